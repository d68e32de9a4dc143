"""`execute_code_file` through a real client: in the session's kernel, and isolated."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.server.test_tools import Agent, agent_in, meta_of, text_of
from tests.waits import lives

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform == "win32", reason="paths are confined by descriptors"),
]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_in(tmp_path) as opened:
        yield opened


async def make(agent: Agent, content: str) -> str:
    made = await agent.call("initialize_code_file", content=content, filename="job")
    return str((made.structured_content or {})["file_path"])


async def test_a_script_runs_in_the_kernel_and_its_names_stay(agent: Agent) -> None:
    await agent.run("before = 20")
    path = await make(agent, "import sys\nafter = before + 1\nprint(sys.argv, __name__)\n")
    result = await agent.call("execute_code_file", file_path=path, args=["a b", "--x"])
    assert text_of(result).startswith(f"['{path}', 'a b', '--x'] __main__\n")
    assert "after int" in text_of(result)
    assert (await agent.run("after")).startswith("21\n")
    by_name = await agent.call("execute_code_file", file_path=Path(path).name)
    assert meta_of(by_name)["outcome"] == "ok"


async def test_an_isolated_script_neither_sees_nor_changes_the_kernel(agent: Agent) -> None:
    await agent.run("secret = 1")
    path = await make(agent, "import os\nprint('secret' in globals(), os.getpid())\nlocal = 2\n")
    pid = ((await agent.call("kernel_status")).structured_content or {})["pid"]
    result = await agent.call("execute_code_file", file_path=path, mode="isolated", args=["x"])
    seen, other = text_of(result).split()[:2]
    assert (seen, meta_of(result)["outcome"]) == ("False", "ok")
    assert int(other) != pid
    assert not psutil.pid_exists(int(other)) or not lives(psutil.Process(int(other)))
    assert "isolated" in text_of(result).splitlines()[-1]
    assert "NameError" in await agent.run("local")
    assert (await agent.run("secret")).startswith("1\n")


async def test_a_traceback_shows_the_files_own_lines(agent: Agent) -> None:
    path = await make(agent, "def half(x):\n    return x / 0\n\n\nhalf(1)\n")
    for mode in ("kernel", "isolated"):
        result = await agent.call("execute_code_file", file_path=path, mode=mode)
        assert not result.is_error
        lines = text_of(result).splitlines()
        assert lines[0] == "ZeroDivisionError: division by zero"
        assert f"{Path(path).name}, line 2, in half: return x / 0" in text_of(result)


@pytest.mark.parametrize("mode", ["kernel", "isolated"])
async def test_a_script_is_stopped_at_its_limit_or_on_request(agent: Agent, mode: str) -> None:
    path = await make(agent, "print('begun', flush=True)\nwhile True:\n    pass\n")
    late = await agent.call("execute_code_file", file_path=path, mode=mode, timeout_seconds=1)
    assert meta_of(late)["outcome"] == "timeout"
    assert "begun\n" in text_of(late)
    running = await agent.call("execute_code_file", file_path=path, mode=mode, wait_seconds=0.1)
    meta = meta_of(running)
    assert meta["outcome"] == "running"
    while "begun" not in text_of(running):
        running = await agent.call(
            "get_execution", execution_id=meta["execution_id"], wait_seconds=0.2
        )
    stopped = await agent.call("interrupt_execution", execution_id=meta["execution_id"])
    assert meta_of(stopped)["outcome"] == "interrupted"


async def test_an_isolated_script_that_dies_costs_nothing_else(agent: Agent) -> None:
    await agent.run("x = 1")
    path = await make(agent, "import os\nprint('last words', flush=True)\nos.abort()\n")
    result = await agent.call("execute_code_file", file_path=path, mode="isolated")
    assert "last words" in text_of(result)
    assert "SIGABRT; it ran in a separate process" in text_of(result)
    assert (await agent.run("x")).startswith("1\n")


async def test_much_output_of_an_isolated_script_is_all_there(agent: Agent) -> None:
    path = await make(agent, "for n in range(200_000):\n    print(n)\n")
    result = await agent.call("execute_code_file", file_path=path, mode="isolated")
    found = await agent.call(
        "get_execution", execution_id=meta_of(result)["execution_id"], stream="stdout", tail=1
    )
    assert text_of(found).startswith("199999\n")


async def test_only_what_ran_in_the_kernel_is_run_again(agent: Agent) -> None:
    stays = await make(agent, "import sys\nkept = sys.argv[1]\n")
    apart = await make(agent, "kept = 'no'\n")
    await agent.call("execute_code_file", file_path=stays, args=["yes"])
    await agent.call("execute_code_file", file_path=apart, mode="isolated")
    again = await agent.call("restart_kernel", restore="replay")
    replayed = (again.structured_content or {})["replayed"]
    assert [each["outcome"] for each in replayed] == ["ok"]
    assert (await agent.run("kept")).startswith("'yes'\n")
    exported = (await agent.call("export_notebook")).structured_content or {}
    notebook = nbformat.read(exported["path"], as_version=4)  # type: ignore[no-untyped-call]
    folded = [cell.source for cell in notebook.cells if "process of its own" in cell.source]
    assert len(folded) == 1
    assert "kept = 'no'" in folded[0]


@pytest.mark.parametrize("path", ["/etc/passwd", "../job.py", "gone.py", "", "job.py\0"])
async def test_what_is_no_stored_script_is_refused(agent: Agent, path: str) -> None:
    refused = await agent.call("execute_code_file", file_path=path)
    assert refused.is_error
    assert repr(path)[1:] in text_of(refused)  # some tell the whole path


async def test_a_file_that_is_no_text_is_refused(agent: Agent, tmp_path: Path) -> None:
    await make(agent, "")
    (tmp_path / "storage" / "bad.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "storage" / "latin.py").write_bytes(b"# coding: latin-1\nprint('\xe9')\n")
    refused = await agent.call("execute_code_file", file_path="bad.py")
    assert refused.is_error
    assert "save it as UTF-8" in text_of(refused)
    assert text_of(await agent.call("execute_code_file", file_path="latin.py")).startswith("é\n")


async def test_isolated_scripts_run_side_by_side_up_to_the_limit_of_kernels(
    tmp_path: Path,
) -> None:
    async with agent_in(tmp_path, max_kernels="2") as agent:
        path = await make(agent, "import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
        running = [
            meta_of(
                await agent.call(
                    "execute_code_file", file_path=path, mode="isolated", args=[at], wait_seconds=0
                )
            )["execution_id"]
            for at in range(2)
        ]
        assert len(set(running)) == 2
        third = await agent.call("execute_code_file", file_path=path, mode="isolated")
        assert third.is_error
        assert "KERNEL_EXEC_MAX_KERNELS allows 2 kernels" in text_of(third)
        assert "2 isolated scripts" in text_of(third)
        for execution_id in running:
            stopped = await agent.call("interrupt_execution", execution_id=execution_id)
            assert meta_of(stopped)["outcome"] == "interrupted"
        assert (await agent.run("6 * 7")).startswith("42\n")
