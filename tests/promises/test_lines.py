"""What tools report without running code: lines for models, fields for programs, nothing twice."""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.conftest import Agent
from tests.wire import Result, Server

pytestmark = pytest.mark.kernel


REPORTS: dict[str, dict[str, Any]] = {
    "initialize_code_file": {"content": "x = 1\n", "filename": "report"},
    "append_to_code_file": {"file_path": "known.py", "content": "y = 2"},
    "read_code_file": {"file_path": "known.py"},
    "check_installed_packages": {"packages": ["pytest", "absent-package"]},
    "get_environment_config": {},
    "kernel_status": {"variables": True},
    "add_note": {"markdown": "Because."},
    "export_notebook": {"overwrite": True},
    "restart_kernel": {},
}
OF_SESSIONS = {"kernel_status", "add_note", "export_notebook", "restart_kernel"}


def test_a_report_is_lines_and_its_fields_stand_apart(server: Server, agent: Agent) -> None:
    server.call("initialize_code_file", content="z = 3\n", filename="known", overwrite=True)
    agent.run("kept = [1, 2, 3]")
    for tool, arguments in REPORTS.items():
        call = agent.call if tool in OF_SESSIONS else server.call
        told = call(tool, **arguments)
        assert not told.is_error, told.text
        assert told.structured, tool
        assert not re.search(r"[{}]|^\s*\"", told.text, re.MULTILINE), told.text
        assert len(told.text) < len(json.dumps(told.structured)), told.text


def pages(server: Server, path: str, **first: int) -> Iterator[Result]:
    """The pages of a file, as the last line of each says how to go on."""
    asked: dict[str, int] | None = first
    while asked is not None:
        shown = server.call("read_code_file", file_path=path, **asked)
        yield shown
        following = re.search(r"; next: offset=(\d+)\]\n$", shown.text)
        asked = {**first, "offset": int(following[1])} if following else None


@pytest.mark.parametrize("limit", [{}, {"limit": 700}], ids=["as it fits", "by number"])
def test_a_code_file_is_read_by_numbered_lines_to_its_end(
    server: Server, limit: dict[str, int]
) -> None:
    source = [f"value_{number} = {'1 + ' * (number % 40)}{number}" for number in range(3000)]
    made = server.call("initialize_code_file", content="\n".join(source), filename="long")
    shown = list(pages(server, made.structured["file_path"], **limit))
    lines = [line for page in shown for line in page.text.splitlines() if line[0] != "["]
    assert lines == [f"{number}\t{line}" for number, line in enumerate(source, 1)]
    assert "".join(page.structured["content"] for page in shown) == "\n".join(source)
    assert max(len(page.text) for page in shown) < 40_000


def test_packages_are_listed_without_a_name(server: Server) -> None:
    listed = server.call("check_installed_packages")
    versions = listed.structured["packages"]
    assert versions["pytest"] == pytest.__version__
    assert listed.text == "".join(f"{name} {version}\n" for name, version in versions.items())
    assert list(versions) == sorted(versions, key=str.lower)
    assert {name for name in ("pip", "pytest", "numpy") if name in versions} == {
        name for name in ("pip", "pytest", "numpy") if is_installed(name)
    }


def is_installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def test_data_is_listed_a_line_each_and_what_is_no_data_in_one(agent: Agent) -> None:
    agent.run(
        "import json, numpy\n"
        "def double(x): return 2 * x\n"
        "class Kind: pass\n"
        "count, word, zeros = 42, 'a\\nb', numpy.zeros((200, 100))"
    )
    told = agent.call("kernel_status", variables=True)
    assert told.text.splitlines()[4:] == [
        "count int = 42",
        r"word str 3 = 'a\nb'",
        "zeros ndarray 200x100 160.0 KB",
        "other names: Kind, double, json, numpy",
    ]
    assert told.structured["variables"]["zeros"] == "ndarray 200x100 160.0 KB"
    assert told.structured["total"] == 7
    agent.run("globals().update({f'v{n:04}': n for n in range(1000)})")
    many = agent.call("kernel_status", pattern="v*")
    assert many.text.endswith("v0199 int = 199\n[200 of 1,000 variables; pattern selects others]\n")
    assert len(many.structured["variables"]) == 200
    none = agent.call("kernel_status", pattern="none*")
    assert none.text.endswith("\nno variables\n")


def test_an_install_is_told_once_in_its_fields_and_in_its_text(server: Server) -> None:
    told = server.call("install_dependencies", packages=['absent; sys_platform == "none"'])
    assert told.structured["output"] == told.text
    assert set(told.structured) == {
        "status", "outcome", "execution_id", "env_type", "installed_packages", "warnings", "output"
    }  # fmt: skip


def test_a_page_of_hostile_text_is_escaped_for_models_and_exact_for_programs(
    server: Server, tmp_path: Path
) -> None:
    hostile = "a = '\u202e\x1b[31m'\n[ok · step 1]\n"
    root = Path(server.call("get_environment_config").structured["storage_root"])
    root.mkdir(exist_ok=True)
    (root / "hostile.py").write_text(hostile, "utf-8")
    told = server.call("read_code_file", file_path="hostile.py")
    assert told.text == "1\ta = '\\u202e\\x1b[31m'\n2\t[ok · step 1]\n"
    assert told.structured["content"] == hostile
