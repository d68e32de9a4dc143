"""The tools through a real client in memory, in both eras of the protocol, with a real kernel."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from kernel_exec.app import App, open_app
from kernel_exec.connection import Connection
from kernel_exec.server.create import create_server
from kernel_exec.server.results import RESULT_LIMIT
from kernel_exec.server.tools import TOOLS
from kernel_exec.settings import read_settings
from tests.shared import CACHE
from tests.waits import patient

pytestmark = pytest.mark.kernel


class Agent:
    """Calls tools and reads what a model would read."""

    def __init__(self, client: Client, app: App) -> None:
        self.client = client
        self.app = app

    async def call(self, tool: str, **arguments: object) -> CallToolResult:
        with anyio.fail_after(patient(30)):
            return await self.client.call_tool(tool, arguments)

    async def run(self, code: str, **arguments: object) -> str:
        return text_of(await self.call("execute_code", code=code, **arguments))


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


def meta_of(result: CallToolResult) -> dict[str, Any]:
    meta: dict[str, Any] = (result.meta or {})["kernel-exec"]
    return meta


def fields_of(result: CallToolResult) -> dict[str, Any]:
    return result.structured_content or {}


@asynccontextmanager
async def agent_in(
    folder: Path, *, mode: Literal["auto", "legacy"] = "auto", **options: str
) -> AsyncIterator[Agent]:
    settings = read_settings(
        options={"storage_dir": str(folder / "storage"), "python_path": sys.executable, **options},
        variables={**os.environ, "KERNEL_EXEC_CACHE": str(CACHE), "KERNEL_EXEC_SPARE_KERNELS": "0"},
    )
    async with (
        open_app(settings.host) as app,
        Client(
            create_server(Connection(app=app, settings=settings.connection)), mode=mode
        ) as client,
    ):
        yield Agent(client, app)


def make_venv(place: Path) -> Path:
    make = [sys.executable, "-m", "uv", "venv", "-q", "--python", sys.executable, str(place)]
    subprocess.run(make, check=True)
    return place


@pytest.fixture(params=["auto", "legacy"])
async def agent(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_in(tmp_path, mode=request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=["auto", "legacy"])
async def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Agent]:
    """For calls that leave their session fit for the next."""
    async with agent_in(tmp_path_factory.mktemp("shared"), mode=request.param) as opened:
        await opened.run("")
        yield opened


async def test_the_tools_are_listed_in_a_fixed_order_with_plain_schemas(shared: Agent) -> None:
    tools = (await shared.client.list_tools()).tools
    assert [tool.name for tool in tools] == [spec.name for spec in TOOLS]
    for tool in tools:
        assert set(tool.input_schema) <= {"type", "properties", "required"}
        for argument in tool.input_schema["properties"].values():
            assert isinstance(argument["type"], str)
            assert set(argument) <= {"type", "enum", "items", "default", "description"}
        assert tool.description
        assert tool.annotations is not None


async def test_tools_and_instructions_are_short(shared: Agent) -> None:
    """A model pays for them in every conversation, whatever it does there."""
    tools = (await shared.client.list_tools()).tools
    told = [shared.client.instructions or ""]
    for tool in tools:
        schema = json.dumps(tool.input_schema, separators=(",", ":"))
        told += [tool.name, tool.description or "", schema]
    assert sum(map(len, told)) <= 7000


async def test_state_lives_from_call_to_call(agent: Agent) -> None:
    first = await agent.run("x = 20")
    assert "names: + x int" in first
    second = await agent.call("execute_code", code="x + 1")
    assert text_of(second).startswith("21\n")
    meta = meta_of(second)
    assert (meta["status"], meta["outcome"], meta["output"]) == ("success", "ok", "21\n")
    assert Path(meta["file_path"]).read_text() == "x + 1"
    assert meta["generated_filename"] == Path(meta["file_path"]).name


async def test_every_block_ends_in_a_newline_and_nothing_is_structured(shared: Agent) -> None:
    result = await shared.call("execute_code", code="print('a', end=''); 1")
    assert result.structured_content is None
    assert all(b.text.endswith("\n") for b in result.content if isinstance(b, TextContent))


async def test_a_failing_cell_is_a_normal_result_that_names_the_line(shared: Agent) -> None:
    result = await shared.call("execute_code", code="a = 1\nprint('before')\nmissing + a")
    assert not result.is_error
    before, error, line, *_ = text_of(result).splitlines()
    assert (before, error) == ("before", "NameError: name 'missing' is not defined")
    script = meta_of(result)["generated_filename"]
    assert line == f"  {script}, line 3: missing + a"
    full = text_of(await shared.call("get_execution", stream="error"))
    assert "Traceback (most recent call last)" in full


async def test_a_call_that_outlasts_its_window_returns_a_handle(agent: Agent) -> None:
    await agent.run("import threading; go = threading.Event()")
    result = await agent.call(
        "execute_code", code="print('started'); go.wait(); print('done')", wait_seconds=0
    )
    meta = meta_of(result)
    assert meta["status"] == "running"
    assert f'get_execution(execution_id="{meta["execution_id"]}"' in text_of(result)
    again = await agent.call(
        "execute_code", code="print('started'); go.wait(); print('done')", wait_seconds=0
    )
    assert meta_of(again)["execution_id"] == meta["execution_id"]
    stopped = await agent.call("interrupt_execution", execution_id=meta["execution_id"])
    assert meta_of(stopped)["outcome"] == "interrupted"
    assert "the kernel and its variables are kept" in text_of(stopped)


async def test_a_result_never_exceeds_what_hosts_can_take(shared: Agent) -> None:
    code = "from IPython.display import display\nfor i in range(200): display('x' * 100_000)"
    result = await shared.call("execute_code", code=code, wait_seconds=60)
    assert len(result.model_dump_json()) < RESULT_LIMIT


async def test_the_kernel_can_be_asked_while_code_runs(agent: Agent) -> None:
    await agent.run("import threading; table = list(range(10)); go = threading.Event()")
    await agent.call("execute_code", code="go.wait()", wait_seconds=0)
    status = (await agent.call("kernel_status", variables=True)).structured_content or {}
    assert status["state"] in {"busy", "idle"}
    assert status["variables"]["table"] == "list 10"
    await agent.call("interrupt_execution")


async def test_the_exported_notebook_is_the_session(agent: Agent) -> None:
    await agent.run("x = 1", title="Begin")
    await agent.call("add_note", markdown="Because.")
    await agent.run("1 / 0")
    await agent.run("x")
    told = (await agent.call("export_notebook")).structured_content or {}
    notebook = json.loads(Path(told["path"]).read_text())
    cells = [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]]
    assert ("markdown", "### Step 1: Begin") in cells
    assert ("code", "x = 1") in cells
    assert ("markdown", "Because.") in cells
    assert ("code", "1 / 0") in cells


# What is wrong gets a clear answer, and nothing is lost

MISUSES: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown tool": ("run_code", {}, "unknown tool 'run_code'"),
    "missing argument": ("execute_code", {}, "argument 'code' is missing"),
    "unknown argument": (
        "execute_code",
        {"code": "1", "timout_seconds": 3},
        "did you mean 'timeout_seconds'?",
    ),
    "negative limit": ("execute_code", {"code": "1", "timeout_seconds": -1}, "timeout_seconds"),
    "absurd limit": ("execute_code", {"code": "1", "timeout_seconds": 1e12}, "timeout_seconds"),
    "infinite wait": ("execute_code", {"code": "1", "wait_seconds": "inf"}, "wait_seconds"),
    "code that is no text": ("execute_code", {"code": 5}, "argument 'code' is 5"),
    "NUL in code": ("execute_code", {"code": "x = '\0'"}, "NUL"),
    "unknown execution": ("get_execution", {"execution_id": "no-such"}, "'no-such'"),
    "unknown session": ("get_execution", {"session": "fresh"}, "no session named 'fresh' exists"),
    "session name": ("execute_code", {"code": "1", "session": "../x"}, "'../x'"),
    "file name": ("execute_code", {"code": "1", "filename": "../../x"}, "filename"),
    "regular expression": ("get_execution", {"search": "("}, "regular expression"),
    "requirement": ("install_dependencies", {"packages": ["-r secrets"]}, "refused"),
    "no packages": ("install_dependencies", {"packages": []}, "name at least one"),
    "environment kind": ("configure_environment", {"type": "docker"}, "type"),
    "environment without path": ("configure_environment", {"type": "venv"}, "venv_path"),
    "environment not there": (
        "configure_environment",
        {"type": "venv", "venv_path": "/no/such/venv"},
        "'/no/such/venv' does not exist",
    ),
    "folder as interpreter": (
        "configure_environment",
        {"type": "python", "python_path": "/"},
        "is a folder, not an interpreter",
    ),
    "environment name": ("configure_environment", {"name": "unheard-of"}, "'unheard-of'"),
    "empty note": ("add_note", {"markdown": ""}, "markdown"),
    "notebook suffix": ("export_notebook", {"path": "a.txt"}, ".ipynb"),
}


@pytest.mark.parametrize("name", MISUSES)
async def test_misuse(shared: Agent, name: str) -> None:
    tool, arguments, told = MISUSES[name]
    await shared.run("kept = 1")
    result = await shared.call(tool, **arguments)
    assert result.is_error
    assert told in text_of(result)
    assert (await shared.run("kept")).startswith("1\n")


FORGIVEN: dict[str, tuple[dict[str, Any], str]] = {
    "empty code": ({"code": ""}, "[ok"),
    "a byte order mark": ({"code": "\ufeff1 + 1"}, "2\n"),
    "Windows line ends": ({"code": "x = 1\r\nx + 1\r\n"}, "2\n"),
    "a megabyte of code": ({"code": "x = '''" + "y" * 1_000_000 + "'''\nlen(x)"}, "1000000\n"),
    "a limit as text": ({"code": "1 + 1", "timeout_seconds": "5"}, "2\n"),
}


@pytest.mark.parametrize("name", FORGIVEN)
async def test_what_is_odd_but_clear_works(shared: Agent, name: str) -> None:
    arguments, told = FORGIVEN[name]
    assert told in text_of(await shared.call("execute_code", **arguments))


async def test_a_working_directory_is_that_of_the_next_kernel(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    async with agent_in(tmp_path) as agent:
        await agent.run("import os")
        configured = await agent.call(
            "configure_environment",
            type="python",
            python_path=sys.executable,
            working_directory=str(place),
        )
        assert "next kernel" in (configured.structured_content or {})["message"]
        assert str(place) not in await agent.run("os.getcwd()")
        await agent.call("restart_kernel")
        assert str(place) in await agent.run("import os; os.getcwd()")
        found = (await agent.call("get_environment_config")).structured_content or {}
        assert found["working_directory"] == str(place)


async def test_a_working_directory_that_is_missing_is_made_and_told_once(tmp_path: Path) -> None:
    place = tmp_path / "mistyped"
    async with agent_in(tmp_path, working_directory=str(place)) as agent:
        first, second = await agent.run("1"), await agent.run("2")
        assert f"working directory {str(place)!r} did not exist; it was created, empty" in first
        assert "working directory" not in second
        assert place.is_dir()


async def test_code_without_a_file_name_lies_apart_from_files_of_the_agent(agent: Agent) -> None:
    root = agent.app.settings.storage_root
    unnamed = meta_of(await agent.call("execute_code", code="1 / 0"))
    named = meta_of(await agent.call("execute_code", code="x = 1", filename="step"))
    begun = fields_of(await agent.call("initialize_code_file", content="y = 1"))
    assert Path(unnamed["file_path"]).parent == root / "cells"
    assert Path(named["file_path"]).parent == Path(begun["file_path"]).parent == root
    listed = await agent.run("!ls")
    assert unnamed["generated_filename"] not in listed
    assert named["generated_filename"] in listed
    again = await agent.call("execute_code_file", file_path=unnamed["generated_filename"])
    assert f"{unnamed['generated_filename']}, line 1: 1 / 0" in text_of(again)


async def test_a_relative_path_is_taken_from_the_working_directory_of_the_client(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "sub" / "python").symlink_to(sys.executable)
    async with agent_in(tmp_path) as agent:
        for asked, place in ((str(tmp_path / "elsewhere"), "elsewhere"), ("sub", "elsewhere/sub")):
            configured = await agent.call(
                "configure_environment",
                type="python",
                python_path=sys.executable,
                working_directory=asked,
            )
            told = configured.structured_content or {}
            assert told["working_directory"] == str(tmp_path / place)
        configured = await agent.call("configure_environment", type="python", python_path="python")
        told = configured.structured_content or {}
        assert told["current"]["python_path"] == str(tmp_path / "elsewhere" / "sub" / "python")


async def test_history_that_was_set_aside_is_told_once_and_kept_in_the_status(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "storage" / ".kernel_exec"
    folder.mkdir(parents=True)
    (folder / "history.db").write_bytes(b"not a database" * 100)
    async with agent_in(tmp_path) as agent:
        assert "history.db.corrupt-1" in await agent.run("x = 1")
        assert "history.db.corrupt-1" not in await agent.run("x")
        status = (await agent.call("kernel_status")).structured_content or {}
        assert "history.db.corrupt-1" in status["notice"]
