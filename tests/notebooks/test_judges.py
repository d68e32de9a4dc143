"""Exports of the real server before judges that are not ours: nbformat, nbclient, nbval, nbmake."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.recorded import SESSIONS, record, recording

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(300)]

_NOT_FOR_STOCK_KERNELS = {"surrogates.ipynb"}
"""A stock kernel may fail to send what a cell prints there, and whoever waits for it waits on."""

_FOR_NBVAL = ["asynchronous.ipynb", "folded_failures.ipynb", "needed_failures.ipynb", "rich.ipynb"]
"""It runs code as nbmake does, and is asked about what it may read otherwise: tags and outputs."""

_PRINTS_THE_SAME = {"needed_failures", "numbered", "stopped"}

_PYTEST = [
    "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider",
    "-p", "no:randomly", "-p", "no:xdist", "-p", "no:anyio", "--color=no",
    "-p", "tests.notebooks.over_ipc",
]  # fmt: skip


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The notebook of each session by its name, in one folder."""
    folder = tmp_path_factory.mktemp("recorded")
    with recording(folder) as server:
        for name in SESSIONS:
            record(server, folder, name)
    return {path.name: path for path in (folder / "storage" / "notebooks").iterdir()}


@pytest.fixture(scope="module")
def variables(exports: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Those of a process in which what the sessions installed can be imported."""
    folder = next(iter(exports.values())).parents[2]
    (packages,) = (folder / "installed").glob("lib/python*/site-packages")
    paths = f"{packages}{os.pathsep}{Path(__file__).parents[2]}"
    with tempfile.TemporaryDirectory() as short:  # paths of sockets have a limit
        yield {**os.environ, "PYTHONPATH": paths, "JUPYTER_RUNTIME_DIR": short}


def test_every_session_has_a_valid_notebook_with_ids_of_their_own(
    exports: dict[str, Path],
) -> None:
    assert {f"{name}.ipynb" for name in SESSIONS} <= exports.keys()
    for path in exports.values():
        nbformat.validate(json.loads(path.read_text("utf-8")), version=4, version_minor=5)
        notebook = _read(path)
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells) > 0, path


@pytest.fixture(scope="module")
def judged(
    exports: dict[str, Path], variables: dict[str, str]
) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """What judges said of all of them; nbmake leaves what nbclient made of them in `again`."""
    folder = next(iter(exports.values())).parent
    shutil.copytree(folder, folder.with_name("again"))

    def judge(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *_PYTEST, *arguments],
            cwd=folder.with_name("again" if "--overwrite" in arguments else folder.name),
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    lax = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=60", *_FOR_NBVAL]
    make = ["--nbmake", "--overwrite", "--nbmake-timeout=60"]
    make += sorted(exports.keys() - _NOT_FOR_STOCK_KERNELS)
    with ThreadPoolExecutor() as pool:
        said = pool.map(judge, [lax, make])
        yield dict(zip(["nbval", "nbmake"], said, strict=True))


@pytest.mark.parametrize("name", ["nbval", "nbmake"])
def test_a_judge_finds_nothing(
    judged: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    finished = judged[name]
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout


def test_what_failed_fails_again_as_it_did_and_prints_the_same(
    exports: dict[str, Path], judged: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    for path in exports.values():
        first, again = _read(path), _read(path.parents[1] / "again" / path.name)
        assert errors(again) == errors(first), path
        if path.stem in _PRINTS_THE_SAME:
            assert printed(again) == printed(first), path


def _read(path: Path) -> Any:
    reader: Any = nbformat
    return reader.read(path, as_version=4)


def errors(notebook: Any) -> list[str]:
    return [
        f"{cell.source}\n{output.ename}"
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        # a stock kernel shows a UsageError as text, and an error by that of its `__str__`
        if output.output_type == "error" and output.ename != "UsageError"
        if "__str__" not in cell.source
    ]


def printed(notebook: Any) -> list[tuple[str, str]]:
    return [
        (cell.source, output.text)
        for cell in notebook.cells
        if cell.cell_type == "code" and "kernel-exec-generated" not in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.output_type == "stream"
    ]
