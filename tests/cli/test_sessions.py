"""What a person types about sessions, against a host process as `run` starts it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from kernel_exec.cli.main import main
from kernel_exec.host.client import pid_of_host
from tests.shared import CACHE
from tests.waits import FOR_EVER, patient, wait_gone, wait_until

pytestmark = pytest.mark.kernel

PROGRAM = [sys.executable, "-m", "kernel_exec"]


class Told(NamedTuple):
    code: int
    out: str
    err: str


Type = Callable[..., Told]


def variables(root: Path) -> dict[str, str]:
    return {
        "CODE_STORAGE_DIR": str(root / "storage"),
        "KERNEL_EXEC_CACHE": str(CACHE),
        "KERNEL_EXEC_PYTHON_PATH": sys.executable,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a storage root whose host ends with the tests here."""
    root = tmp_path_factory.mktemp("root")
    yield root
    stopped = subprocess.run(
        [*PROGRAM, "stop", "--all"], env={**os.environ, **variables(root)}, check=False
    )
    assert stopped.returncode == 0


@pytest.fixture
def type_in(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Type:
    """Types a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in variables(root).items():
        monkeypatch.setenv(name, value)

    def type_in(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        told = capfd.readouterr()
        assert isinstance(caught.value.code, int)
        return Told(caught.value.code, told.out, told.err)

    return type_in


@pytest.fixture
def spawn(root: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in a process of its own, which ends with the test."""
    begun: list[subprocess.Popen[str]] = []

    def spawn(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env={**os.environ, **variables(root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        begun.append(process)
        return process

    yield spawn
    for process in begun:
        process.kill()
        process.communicate()


def rows(type_in: Type) -> dict[str, dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(type_in("sessions", "--json").out)
    return {row["name"]: row for row in listed}


def test_code_is_run_in_a_session_that_remembers(type_in: Type, tmp_path: Path) -> None:
    assert type_in("run", "x = 6; print('made')", "--session", "lab") == (0, "made\n", "")
    code = tmp_path / "code.py"
    code.write_text("import sys; print('aside', file=sys.stderr); x * 7")
    told = type_in("run", "--file", str(code), "--session", "lab")
    assert told == (0, "42\n", "aside\n")
    code.write_bytes(b"x = '\xff'")
    assert "the code is not UTF-8" in type_in("run", "--file", str(code), "--session", "lab").err
    failed = type_in("run", "y", "--session", "lab")
    assert (failed.code, failed.out) == (1, "")
    assert "NameError: name 'y' is not defined" in failed.err
    assert failed.err.endswith("error: exception\n")
    row = rows(type_in)["lab"]
    assert (row["state"], row["executions"], row["running"]) == ("idle", 3, None)
    assert row.keys() >= {
        "name", "id", "client", "folder", "environment", "state", "memory_bytes", "running",
        "executions", "last_used",
    }  # fmt: skip
    assert Path(row["folder"]) == tmp_path
    assert row["memory_bytes"] > 10_000_000
    table = type_in("sessions").out.splitlines()
    assert table[0].split()[:3] == ["name", "id", "state"]
    assert any(line.split()[:3] == ["lab", row["id"][:8], "idle"] for line in table)


def test_code_comes_from_stdin_too(spawn: Callable[..., subprocess.Popen[str]], root: Path) -> None:
    ended = subprocess.run(
        [*PROGRAM, "run", "-", "--session", "stdin"],
        input="print('from')\nprint('stdin')",
        env={**os.environ, **variables(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "from\nstdin\n"


def test_a_picture_is_written_to_a_file(type_in: Type, tmp_path: Path) -> None:
    code = "import PIL.Image; PIL.Image.new('RGB', (3, 3))"
    told = type_in("run", code, "--session", "draw", "--pictures", "drawn")
    (path,) = (tmp_path / "drawn").iterdir()
    assert Path(told.out.splitlines()[-1]) == Path("drawn") / path.name
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_not_written_through_a_link_of_the_codes_own(
    type_in: Type, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    code = (
        "import os, base64\n"
        "class Frame:\n"
        "    def _repr_png_(self):\n"
        "        step = get_ipython().kernel.get_parent()['header']['msg_id']\n"
        f"        os.symlink({str(mine)!r}, f'{tmp_path}/picture_{{step}}_1.png')\n"
        "        return b'picture'\n"
        "Frame()"
    )

    told = type_in("run", code, "--session", "draw")

    written = tmp_path / told.out.splitlines()[-1]
    assert (written.read_bytes(), written.is_symlink()) == (b"picture", False)
    assert mine.read_bytes() == b"mine"


def test_a_step_is_shown_with_its_whole_output(type_in: Type) -> None:
    type_in("run", "for i in range(50_000): print(f'line {i}')", "--session", "long")
    type_in("run", "1 / 0", "--session", "long")
    steps = type_in("show", "long").out.splitlines()
    assert [line.split()[0] for line in steps] == ["1", "2"]
    assert [line.split()[2] for line in steps] == ["ok", "exception"]
    whole = type_in("show", "lon", "1").out.splitlines()
    assert whole[1:] == [
        ">>> for i in range(50_000): print(f'line {i}')",
        *(f"line {number}" for number in range(50_000)),
    ]
    by_id = type_in("show", "long", steps[1].split()[1])
    assert "ZeroDivisionError" in by_id.out
    listed = json.loads(type_in("show", "long", "--json").out)
    assert [each["outcome"] for each in listed] == ["ok", "exception"]
    missing = type_in("show", "long", "7")
    assert missing == (
        1,
        "",
        "error: no single step is '7' in this session\nhint: the last is step 2\n",
    )


@pytest.mark.parametrize("command", ["show", "tail", "interrupt", "restart", "stop"])
def test_a_wrong_session_is_answered_with_those_that_are_there(type_in: Type, command: str) -> None:
    for name in ("twin-a", "twin-b"):
        type_in("run", "1", "--session", name)
    refused = type_in(command, "nothing")
    assert refused.code == 1
    assert re.match(r"error: no session 'nothing'\nhint: there is [\w-]+ \(\w{8}\)", refused.err)
    several = type_in(command, "twin")
    assert several.code in {1, 2}
    assert "'twin' may be any of twin-a (" in several.err


def test_a_storage_folder_that_can_not_be_made_is_named(
    type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE_STORAGE_DIR", "/dev/null/storage")
    assert type_in("run", "1", "--session", "a") == (
        2,
        "",
        "error: variable CODE_STORAGE_DIR is '/dev/null/storage', which can't be used as a folder"
        " (Not a directory)\nhint: choose another one with CODE_STORAGE_DIR or --storage-dir\n",
    )


def test_what_runs_is_interrupted_from_outside(
    type_in: Type, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    type_in("run", "x = 1", "--session", "busy")
    for stop in ("interrupt", "Ctrl-C"):
        running = spawn("run", f"print('begun', flush=True)\n{FOR_EVER}", "--session", "busy")
        assert running.stdout is not None
        assert running.stdout.readline() == "begun\n"
        if stop == "interrupt":
            assert "is interrupted" in type_in("interrupt", "busy").err
            assert running.wait(patient(20)) == 1
        else:
            running.send_signal(signal.SIGINT)
            assert running.wait(patient(20)) == 130
        wait_until(lambda: rows(type_in)["busy"]["state"] == "idle")
    assert type_in("run", "print(x)", "--session", "busy").out == "1\n"
    assert type_in("interrupt", "busy").err == "nothing is running in session busy\n"


def test_a_run_that_is_killed_does_not_stop_what_it_began(
    type_in: Type, spawn: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    code = f"print('begun', flush=True); open({str(tmp_path / 'gate')!r}).read(); print('after')"
    running = spawn("run", code, "--session", "orphan")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    running.kill()
    running.wait()
    (tmp_path / "gate").write_text("")
    wait_until(lambda: rows(type_in)["orphan"]["state"] == "idle")
    assert "begun\nafter\n" in type_in("show", "orphan", "1").out


def test_a_tail_follows_what_a_session_puts_out(
    type_in: Type, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    type_in("run", "for i in range(20): print(i)", "--session", "told")
    following = spawn("tail", "told", "-n", "2")
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(2)] == ["18\n", "19\n"]
    type_in("run", "print('more')", "--session", "told")
    assert following.stdout.readline() == "more\n"
    type_in("stop", "told")
    assert following.wait(patient(20)) == 0


def test_a_restart_and_a_stop_end_the_kernel_and_keep_history(type_in: Type) -> None:
    type_in("run", "x = 1", "--session", "ends")
    assert type_in("restart", "ends").err == "session ends: kernel 2 started; 1 variable lost\n"
    assert type_in("stop", "ends").err == "stopped ends\n"
    wait_until(lambda: rows(type_in)["ends"]["state"] == "ended")
    assert "x = 1" in type_in("show", "ends").out
    refused = type_in("restart", "ends")
    assert "has ended and has no kernel" in refused.err
    lost = type_in("run", "x", "--session", "ends")
    assert lost.code == 1
    assert (
        "warning: new kernel; variables of kernel 2 were lost (it was stopped on request)"
        in lost.err
    )


HEAVY = {
    "asyncio", "mcp", "jupyter_client", "zmq", "pydantic", "sqlite3", "filelock", "psutil", "nh3",
    "subprocess", "rich", "importlib.metadata", "kernel_exec.processes",
}  # fmt: skip
"""What takes a while to import."""

LIGHT: dict[str, set[str]] = {
    "--help": set(),
    "sessions": {"sqlite3", "filelock"},
    "show light": {"sqlite3", "filelock", "nh3"},
    "run 1 --session light": set(),
    "tail nobody": set(),
    "interrupt light": set(),
    "restart light": set(),
    "stop light": set(),
    "--version": {"importlib.metadata"},
}
"""What commands that somebody waits for need of it."""


def test_light_commands_load_only_what_they_need(type_in: Type, root: Path) -> None:
    type_in("run", "1", "--session", "light")
    program = (
        "import sys; from kernel_exec.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    for command, needed in LIGHT.items():
        ended = subprocess.run(
            [sys.executable, "-c", program, *command.split()],
            env={**os.environ, **variables(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.stdout.splitlines()[-1] == str(sorted(needed)), command


# Without a host, and its end


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_in: Type) -> Type:
    """Types commands about another storage root, which has no host."""
    for name, value in variables(tmp_path / "alone").items():
        monkeypatch.setenv(name, value)
    return type_in


def test_all_is_ended_with_the_host_also_what_hid_from_it(alone: Type, tmp_path: Path) -> None:
    hidden = "import subprocess as s; print(s.Popen(['sleep', '100'], start_new_session=True).pid)"
    pid = int(alone("run", hidden, "--session", "a").out)
    storage = tmp_path / "alone" / "storage"
    host = pid_of_host(storage)
    processes = [psutil.Process(host), *psutil.Process(host).children(recursive=True)]
    processes.append(psutil.Process(pid))
    assert alone("stop", "--all") == (0, "", "the host process has ended\n")
    assert wait_gone(processes) == []
    assert pid_of_host(storage) is None
    ((name, row),) = rows(alone).items()
    assert (name, row["state"], row["memory_bytes"]) == ("a", "ended", None)
    assert "sleep" in alone("show", "a").out
    for command in ("interrupt", "restart", "tail"):
        refused = alone(command, "a")
        assert refused.code == 1
        assert refused.err.startswith("error: no host process is running for ")
    assert alone("stop", "a") == (0, "", "no host process is running\n")


@pytest.mark.slow
def test_a_host_that_hangs_is_killed_on_request_only(alone: Type, tmp_path: Path) -> None:
    alone("run", "1", "--session", "a")
    host = pid_of_host(tmp_path / "alone" / "storage")
    process = psutil.Process(host)
    kernels = process.children(recursive=True)
    process.suspend()
    hangs = "does not answer\nhint: `kernel-exec stop --force` ends it"
    assert hangs in alone("stop", "--all").err
    listed = alone("sessions")
    assert (listed.code, hangs in listed.err) == (0, True)
    assert "running in another server" in listed.out
    assert alone("stop", "--all", "--force") == (0, "", "the host process has ended\n")
    assert wait_gone([process, *kernels], within=3) == []


def test_a_folder_without_history_is_named(alone: Type, tmp_path: Path) -> None:
    for arguments in (["sessions"], ["show", "a"]):
        refused = alone(*arguments)
        assert refused.code == 1
        assert refused.err.startswith(f"error: no history in {str(tmp_path / 'alone')!r:.20}")
    assert alone("stop").code == 2
    assert alone("stop", "a", "--all").code == 2
    assert alone("run", "--session", "a").code == 2
