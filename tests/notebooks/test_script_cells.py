"""Scripts as cells of a notebook."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from kernel_exec.history.entries import EntryKind
from kernel_exec.kernels.outputs import Stream
from kernel_exec.notebooks.build import InterpreterFacts, build
from kernel_exec.notebooks.cells import Step
from kernel_exec.notebooks.needs import can_tell
from tests.notebooks.over_ipc import sockets_in
from tests.notebooks.steps import SESSION, step


def script(source: str, *arguments: str, path: str = "/s/x.py", mode: str = "kernel") -> Step:
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    details = {"arguments": list(arguments), "mode": mode, "sha256": sha256}
    said = Stream(name="stdout", text="said\n")
    return step(source, said, kind=EntryKind.SCRIPT, file_path=path, details=details)


def cells(ran: Step) -> list[dict[str, Any]]:
    facts = InterpreterFacts(inventory={"pandas": [("pandas", "2.0")]})
    notebook: dict[str, Any] = json.loads(
        json.dumps(build(session=SESSION, kernels=[], steps=[ran], facts=facts))
    )
    nbformat.validate(notebook)
    made: list[dict[str, Any]] = notebook["cells"]
    return made[0 if ran.entry.details["mode"] == "isolated" else 1 :]


def test_a_script_is_its_source_below_its_path_arguments_and_hash() -> None:
    ran = script("x = 1\r\n\tx\n", "a b", "`c`")
    above, begin, code, end = cells(ran)
    assert code["source"] == ran.entry.source
    assert above["source"] == (
        "*Script* `/s/x.py` *with arguments* `a b`, `` `c` ``"
        f" (*SHA-256* `{ran.entry.details['sha256']}`)"
    )
    about = code["metadata"]["kernel_exec"]
    assert (about["path"], about["arguments"]) == ("/s/x.py", ["a b", "`c`"])
    assert hashlib.sha256(code["source"].encode()).hexdigest() == about["sha256"]
    for cell in (begin, end):
        assert cell["metadata"]["kernel_exec"]["author"] == "kernel-exec"
        assert cell["metadata"]["tags"] == ["kernel-exec-generated"]
        assert cell["source"].startswith("# Made by kernel-exec")


def test_an_isolated_script_is_folded_with_what_it_said() -> None:
    above, folded = cells(script("x = 1", "a", mode="isolated"))
    assert above["source"].startswith("*Script* `/s/x.py` *with arguments* `a` (")
    assert "<summary>Step 1 ran in a process of its own</summary>" in folded["source"]
    assert "said" in folded["source"]


CAN_TELL: dict[str, bool] = {
    "x = 1": False,
    "import os\nimport pandas\nprint(os.sep)": False,
    "'a docstring alone'": True,
    "print(__file__)": True,
    "import sys\nprint(sys.argv)": True,
    "import argparse": True,
    "import neighbour": True,
    "def main(): ...\nmain()": True,
    "def main(): ...\nmain();": False,
    "raise SystemExit(0)": True,
    "": False,
    "not Python (": False,
}


@pytest.mark.parametrize("source", CAN_TELL)
def test_only_a_script_that_can_tell_is_lent_anything(source: str) -> None:
    known = {"pandas": [("pandas", "2.0")]}
    assert can_tell(source, (), known) is CAN_TELL[source]
    assert can_tell(source, ("x",), known)


@pytest.mark.kernel
async def test_a_script_runs_again_as_a_script(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 7\n")
    source = (
        '"""What it does."""\n'
        "from __future__ import annotations\n"
        "import sys, argparse, neighbour\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('n')\n"
        "told = [parser.parse_args().n, __file__, sys.argv, neighbour.VALUE, __name__]\n"
        "if told: sys.exit(0)\n"
    )
    path = str(tmp_path / "x.py")
    lent = script(source, "5", path=path)
    after = (
        "import sys; print(told); print('__file__' in globals(), 'neighbour' in sys.modules,"
        f" {str(tmp_path)!r} in sys.path, [n for n in dir() if 'kernel_exec' in n])\n1 + 1"
    )
    made = build(session=SESSION, kernels=[], steps=[lent, step(after, number=2)])
    notebook = nbformat.from_dict(json.loads(json.dumps(made)))  # type: ignore[no-untyped-call]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    with tempfile.TemporaryDirectory() as short:
        place = {"metadata": {"path": str(elsewhere)}}
        await NotebookClient(notebook, resources=place, config=sockets_in(short)).async_execute()

    said, shown = notebook.cells[-1].outputs
    assert said.text.splitlines() == [
        str(["5", path, [path, "5"], 7, "__main__"]),
        "False True False []",
    ]
    assert shown.data["text/plain"] == "2"
