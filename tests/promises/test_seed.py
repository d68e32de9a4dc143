"""The defects of the server that this one takes the place of, V1 to V26, do not come back."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.server.tools import TOOLS
from tests.promises.conftest import Agent
from tests.wire import SERVE, Result, Server, serving, started

pytestmark = pytest.mark.kernel

SECRET = "c2VlZC1kZWZlY3QtOQ"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has a secret, and works where what a shell would make can be seen."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, AWS_SECRET_ACCESS_KEY=SECRET, KERNEL_EXEC_MAX_KERNELS="100") as server:
        yield server


def storage(server: Server) -> Path:
    """Its storage root, which is there once something was stored."""
    return server.stderr.parent / "storage"


def stored(server: Server, name: str, content: str = "print('it ran')\n") -> Path:
    """A file that somebody has put there."""
    path = storage(server) / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(content)
    return path


def made(server: Server) -> set[str]:
    """What a shell command `touch P…` has made, wherever it ran."""
    places = {Path.cwd(), Path.cwd().parent, Path("/"), *server.stderr.parent.rglob("")}
    return {str(path) for place in places for path in place.glob("P[0-9]*")}


REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "V1 shell in packages": (
        "install_dependencies", {"packages": ["; touch P1 #"]}, "is not a requirement"
    ),
    "V1 substitution in packages": (
        "install_dependencies", {"packages": ["$(touch P1)"]}, "is not a requirement"
    ),
    "V2 substitution in filename": (
        "execute_code", {"code": "1", "filename": "$(touch${IFS}P2x)"}, "is not allowed"
    ),
    "V3 quotes in filename": (
        "execute_code", {"code": "1", "filename": 'a"; touch P3x; echo "'}, "is not allowed"
    ),
    "V4 traversal in execute_code": (
        "execute_code", {"code": "1", "filename": "../../..lab/P4"}, "is not allowed"
    ),
    "V4 traversal in initialize_code_file": (
        "initialize_code_file", {"content": "1", "filename": "../P4"}, "is not allowed"
    ),
    "V5 reading any file": (
        "read_code_file", {"file_path": "/etc/passwd"}, "outside of the storage root"
    ),
    "V6 appending to any file": (
        "append_to_code_file",
        {"file_path": str(Path("~/.bashrc").expanduser()), "content": "evil"},
        "outside of the storage root",
    ),
    "V7 running any file": (
        "execute_code_file", {"file_path": json.__file__}, "outside of the storage root"
    ),
    "V8 substitution in a folder": (
        "execute_code_file", {"file_path": "$(touch P8)/gone.py"}, "no file"
    ),
    "V14 shell in venv_path": (
        "configure_environment",
        {"type": "venv", "venv_path": "/nonexistent; touch P14; #"},
        "does not exist",
    ),
    "V14 shell in uv_venv_path": (
        "configure_environment",
        {"type": "venv-uv", "uv_venv_path": "/nonexistent; touch P14; #"},
        "does not exist",
    ),
    "V15 shell in conda_name": (
        "configure_environment", {"type": "conda", "conda_name": "x; touch P15; #"},
        "is not allowed",
    ),
    "V15 substitution in conda_name": (
        "configure_environment", {"type": "conda", "conda_name": "$(touch P15)"}, "is not allowed"
    ),
    "V17 an item of install that is no text": (
        "install_dependencies", {"packages": [["-r", "/etc/passwd"]]}, "is not a text"
    ),
    "V17 an item of check that is no text": (
        "check_installed_packages", {"packages": [["-r", "/etc/passwd"]]}, "is not a text"
    ),
    "V18 flags": ("install_dependencies", {"packages": ["-r", "/etc/passwd"]}, "is an option"),
    "V18 flags of check": (
        "check_installed_packages", {"packages": ["-r/etc/passwd"]}, "is an option"
    ),
    "V20 a long name": (
        "execute_code", {"code": "1", "filename": "x" * 300}, "at most 200 bytes"
    ),
    "V21 a link": ("read_code_file", {"file_path": "link"}, "is a symbolic link"),
    "V21 a link to append to": (
        "append_to_code_file", {"file_path": "link", "content": "evil"}, "is a symbolic link"
    ),
    "V21 a link to run": ("execute_code_file", {"file_path": "link"}, "is a symbolic link"),
    "V26 an unknown tool": ("execute_shell", {}, "unknown tool"),
    "V26 an argument that is missing": ("execute_code", {}, "is missing"),
    "also: the size of code": ("execute_code", {"code": "x" * 2_000_001}, "at most 2000000"),
    "also: the size of content": (
        "initialize_code_file", {"content": "x" * 2_000_001}, "at most 2000000"
    ),
    "also: code that has NUL": (
        "execute_code", {"code": "a = 1\nb\0"}, "has NUL in line 2, column 2"
    ),
    "also: content that has NUL": ("initialize_code_file", {"content": "\0"}, "has NUL"),
    "also: code with half a surrogate pair": (
        "execute_code", {"code": "'\ud800'"}, "half a surrogate pair"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_seed_let_through_is_refused_and_nothing_is_done(
    server: Server, case: str
) -> None:
    tool, arguments, told = REFUSED[case]
    stored(server, "$(touch P8)/unused")
    link = storage(server) / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/hostname")
    before = sorted(storage(server).iterdir())

    result = server.call(tool, within=5, **arguments)

    assert result.is_error
    assert told in result.text
    assert "root:x" not in result.text
    assert len(result.text) < 1000
    assert sorted(storage(server).iterdir()) == before
    assert made(server) == set()


def test_v8_a_folder_with_any_name_is_a_folder(server: Server, shared: Agent) -> None:
    stored(server, "$(touch P8)/a.py")
    result = shared.call("execute_code_file", within=10, file_path="$(touch P8)/a.py")
    assert result.text.startswith("it ran\n")
    assert made(server) == set()


def shown_in_full(result: Result) -> bool:
    return result.text.startswith("[stderr]\nnote\n[stdout]\nRESULT\n")


ANSWERED = {
    "V10 stdout beside stderr": (
        "import sys\nprint('note', file=sys.stderr)\nprint('RESULT')", "ok", shown_in_full
    ),
    "V13 input": ("input()", "exception", lambda result: "nobody can answer" in result.text),
    "V22 empty code": ("", "ok", lambda result: result.text.startswith("[ok")),
    "V25 half a surrogate pair": (
        "print('\\ud800')", "ok", lambda result: result.text.startswith("\\ud800\n")
    ),
    "V26 a cell that fails": ("1 / 0", "exception", lambda result: "division" in result.text),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERED)
def test_what_the_seed_lost_or_waited_for_is_answered(shared: Agent, case: str) -> None:
    code, outcome, holds = ANSWERED[case]
    result = shared.run(code, within=10)
    assert holds(result), result.text
    assert result.outcome == outcome
    assert not result.is_error
    assert all("isError" not in block for block in result.content)


def test_v9_no_process_that_code_can_look_into_shows_the_servers_secrets(shared: Agent) -> None:
    result = shared.run(
        "import os, pathlib\n"
        "print(os.environ.get('AWS_SECRET_ACCESS_KEY'))\n"
        "seen = []\n"
        "for process in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    for name in ('environ', 'cmdline'):\n"
        "        try:\n"
        "            told = (process / name).read_bytes()\n"
        "        except OSError:\n"
        "            continue\n"
        f"        if b'{SECRET[:9]}' + b'{SECRET[9:]}' in told:\n"
        "            seen.append((process, name))\n"
        "print(seen)",
        within=10,
    )
    assert result.text.startswith("None\n[]\n")


def test_v11_all_of_a_long_output_can_be_read(shared: Agent) -> None:
    long = shared.run("print('x' * 2_000_000)\nprint('the end')", within=10)
    assert "the end\n" in long.text
    last = shared.call("get_execution", execution_id=long.id, tail=1)
    assert last.text.startswith("the end\n")


def test_v16_v19_checking_packages_imports_nothing_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    mark = tmp_path / "EXECUTED"
    module = stored(server, "evilmod.py", f"open({str(mark)!r}, 'w')")
    before = sorted(storage(server).iterdir())
    result = server.call("check_installed_packages", packages=["evilmod", "pip"], within=10)
    assert not result.is_error
    details = result.structured["package_details"]
    assert not details["evilmod"]["installed"]
    assert not mark.exists()
    assert sorted(storage(server).iterdir()) == before
    module.unlink()


def test_v22_an_empty_file_can_be_begun(server: Server) -> None:
    result = server.call("initialize_code_file", content="", within=5)
    assert not result.is_error
    assert Path(result.structured["file_path"]).read_text() == ""


def test_v24_a_background_process_does_not_hold_the_call(shared: Agent) -> None:
    result = shared.run("import subprocess\np = subprocess.Popen(['sleep', '60'])", within=5)
    assert result.outcome == "ok"
    assert shared.run("print(p.poll()); p.kill(); p.wait();", within=5).text.startswith("None\n")


def test_v26_a_dead_kernel_is_an_error_of_the_result_and_not_of_its_content(agent: Agent) -> None:
    result = agent.run("import os; os._exit(1)", within=10)
    assert result.is_error
    assert result.outcome == "kernel_died"
    assert all("isError" not in block for block in result.content)


def test_also_a_switch_that_fails_changes_nothing_for_calls_beside_it(
    server: Server, agent: Agent
) -> None:
    agent.run("mine = 7", within=10)
    beside = []
    for at in range(10):
        missing = f"/nonexistent/{at}"
        beside.append(server.begin_call("configure_environment", type="venv", venv_path=missing))
        beside.append(agent.begin("import sys; print(mine, sys.prefix)"))
    for switch, run in zip(beside[::2], beside[1::2], strict=True):
        assert server.result(switch, within=10).is_error
        assert server.result(run, within=10).text.startswith(f"7 {sys.prefix}\n")


def test_the_seeds_clients_find_its_keys(server: Server, agent: Agent) -> None:
    def fields(tool: str, **arguments: Any) -> dict[str, Any]:
        result = server.call(tool, **arguments)
        assert not result.is_error, result.text
        return result.structured

    made = fields("initialize_code_file", content="a = '\u2028\x0c'\r\n", filename="keys")
    path = str(made["file_path"])
    assert made["status"] == "success"
    assert made["message"]
    assert made["filename"] == made["generated_filename"] == Path(path).name
    added = fields("append_to_code_file", file_path=path, content="b = 2\r\n")
    assert (added["status"], added["file_path"]) == ("success", path)
    read = fields("read_code_file", file_path=path)
    assert read["content"] == "a = '\u2028\x0c'\r\nb = 2\r\n"
    for ran in (agent.run("print(6 * 7)"), agent.call("execute_code_file", file_path=path)):
        assert ran.meta["status"] == "success"
        assert isinstance(ran.meta["output"], str)
        assert ran.meta["generated_filename"] == Path(ran.meta["file_path"]).name
    checked = fields("check_installed_packages", packages=["pytest", "pytest<1", "absent-package"])
    assert checked["status"] == "success"
    assert checked["env_type"] == "python"
    assert checked["all_installed"] is False
    assert checked["not_installed"] == ["pytest<1", "absent-package"]
    details = checked["package_details"]
    assert details["pytest"]["installed"] is True
    assert details["pytest"]["version"] == pytest.__version__
    assert Path(details["pytest"]["location"]).is_dir()
    assert "does not satisfy" in details["pytest<1"]["error"]
    assert (details["absent-package"]["installed"], bool(details["absent-package"]["error"])) == (
        False, True,
    )  # fmt: skip
    never = 'absent-package; sys_platform == "none"'
    installed = fields("install_dependencies", packages=[never])
    assert (installed["status"], installed["env_type"]) == ("success", "python")
    assert installed["installed_packages"] == []
    assert "not needed" in str(installed["output"])
    assert installed["warnings"] == ""
    switched = fields("configure_environment", type="python", python_path=sys.executable)
    assert isinstance(switched["previous"], dict)
    assert isinstance(switched["current"], dict)
    config = fields("get_environment_config")["config"]
    assert config["type"] == "python"
    refused = server.call("read_code_file", file_path="none.py")
    assert refused.is_error
    assert refused.structured == {"status": "error", "error": refused.text.removesuffix("\n")}


WRONG: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
    "the arguments of the seed": (
        ["/old/build/index.js"], {}, ['remove `"args": ["/old/build/index.js"]` from']
    ),
    "those of a container": (
        ["run", "-e", "TOKEN=hidden", "--rm", "mcp-code-executor"],
        {},
        ['remove `"args": ["run", "-e", "TOKEN=…", "--rm", "mcp-code-executor"]` from'],
    ),
    "a misspelt option": (
        ["--pyhton-path", "/x"], {}, ["--python-path", 'correct `"args": ["--pyhton-path", "/x"]`']
    ),
    "an option that there is not": (
        ["serve", "--bogus", "1"], {}, ['correct `"args": ["serve", "--bogus", "1"]` in']
    ),
    "a wrong value": (
        [], {"ENV_TYPE": "docker"}, ["variable ENV_TYPE is 'docker'", "one of conda, venv"]
    ),
    "a storage folder that is a file": (
        [], {"CODE_STORAGE_DIR": __file__}, [f"CODE_STORAGE_DIR is {__file__!r}", "File exists"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_server_that_is_started_in_a_wrong_way_says_so_to_its_client(
    tmp_path: Path, case: str
) -> None:
    options, variables, told = WRONG[case]
    with started(tmp_path, *(options or SERVE), command=(), **variables) as server:
        instructions = server.initialize()["result"]["instructions"]
        tools = server.request("tools/list")["result"]["tools"]
        assert len(tools) == len(TOOLS)
        for tool in ("execute_code", "get_environment_config", tools[-1]["name"]):
            result = server.call(tool)
            assert result.is_error
            for each in (*told, "restart the server"):
                assert each in result.text
                assert each in instructions
            assert result.structured["error"] == result.text.removesuffix("\n")
        assert server.leave() == 2
        assert server.stderr.read_text().startswith("error: ")
