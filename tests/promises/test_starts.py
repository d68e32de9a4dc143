"""How kernels start, stop and end, and what is said when they can't."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import psutil
import pytest

from kernel_exec.errors import KernelStartError
from kernel_exec.kernels import local
from kernel_exec.kernels.outcomes import Outcome, Request
from tests.environments.pythons import make_venv
from tests.promises.conftest import Agent
from tests.real import all_kernels, local_kernels, prepared
from tests.waits import FOR_EVER, patient, wait_gone, wait_until
from tests.wire import serving, started

pytestmark = pytest.mark.kernel

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells and limits it")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="kxt"))
    yield folder
    shutil.rmtree(folder)


# Stopped kernels


def test_a_kernel_that_stopped_itself_goes_on_and_says_so(agent: Agent) -> None:
    result = agent.run(
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('on')", within=8
    )
    assert "a signal had stopped the kernel; it was made to go on" in result.text
    assert "\non\n" in result.text
    assert result.outcome == "ok"


def test_a_stopped_kernel_can_be_interrupted(agent: Agent) -> None:
    agent.run("1")
    pid = agent.pid()
    assert pid is not None
    call = agent.begin(FOR_EVER, wait_seconds=60)
    os.kill(pid, signal.SIGSTOP)
    wait_state(pid, psutil.STATUS_STOPPED)
    agent.call("interrupt_execution", within=5)
    assert agent.server.result(call, within=5).outcome == "interrupted"
    assert agent.pid() == pid


def test_an_idle_kernel_that_was_stopped_answers_again(agent: Agent) -> None:
    agent.run("x = 6")
    pid = agent.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert "42" in agent.run("x * 7", within=8).text.splitlines()


def wait_state(pid: int, wanted: str, *, within: float = 5) -> None:
    wait_until(lambda: psutil.Process(pid).status() == wanted, within=within)


# Ends

HANGING = {
    "at-exit": "import atexit, time; atexit.register(time.sleep, 60)",
    "thread": "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
    "deaf": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "busy": "while True: pass",
}


def test_what_hangs_at_its_end_holds_up_neither_restart_nor_leaving(tmp_path: Path) -> None:
    """All of it at once when the server is left."""
    with serving(tmp_path) as server:
        for how, code in HANGING.items():
            server.run("1", session=how)
            server.run(code, session=how, wait_seconds=0.2)
            restarted = server.call("restart_kernel", session=how, within=4)
            assert restarted.structured["generation"] == 2
            server.run(code, session=how, wait_seconds=0.2)
        below = server.below()
        assert server.leave(within=4) == 0
        assert wait_gone(below) == []


@pytest.mark.parametrize("named", [True, False])
def test_an_execution_can_be_interrupted_while_its_kernel_starts(agent: Agent, named: bool) -> None:
    waiting = agent.run("print('ran')", wait_seconds=0, within=5)
    assert waiting.outcome == "queued"
    which = {"execution_id": waiting.id} if named else {}
    agent.call("interrupt_execution", within=5, **which)
    ended = agent.call("get_execution", execution_id=waiting.id, within=5)
    assert ended.outcome == "interrupted"
    assert "ran" not in ended.text
    agent.still_works()


@pytest.mark.parametrize("call", ["execute_code", "restart_kernel"])
def test_a_start_that_nobody_waits_for_any_more_leaves_one_kernel(
    tmp_path: Path, call: str
) -> None:
    with serving(tmp_path) as server:
        server.run("x = 1")
        before = len(server.below())
        server.run("import os; os._exit(0)")
        arguments = {"code": "1"} if call == "execute_code" else {}
        number = server.begin_call(call, **arguments)
        server.notify("notifications/cancelled", requestId=number, reason="changed my mind")
        assert server.run("6 * 7", within=10).text.startswith("42\n")
        assert len(server.below()) == before
        below = server.below()
        assert server.leave() == 0
        assert wait_gone(below) == []


def test_after_exit_and_an_idle_time_the_history_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, KERNEL_EXEC_IDLE_LIMIT="0.5") as server:
        first = server.run("print('kept')")
        wait_dead(lambda: str(server.call("kernel_status").structured["state"]))
        assert "kept" in server.call("get_execution", execution_id=first.id).text
        again = server.run("6 * 7")
        assert "it had nothing to do for" in again.text
        assert again.text.startswith("42\n")


def wait_dead(state: Callable[[], str], *, within: float = 10) -> None:
    wait_until(lambda: state() == "dead", within=within)


# Environments that do not work


def test_an_environment_that_is_gone_is_told_and_the_history_kept(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv", "ipykernel")
    with serving(tmp_path, "--venv-path", str(venv)) as server:
        first = server.run("x = 6; print('kept')")
        shutil.rmtree(venv)
        server.run("import os; os._exit(0)")
        for _ in range(2):
            result = server.run("x", within=5)
            assert result.is_error
            assert f"environment {str(venv)!r} does not exist" in result.text
            assert "create it or choose another" in result.text
        assert "kept" in server.call("get_execution", execution_id=first.id).text
        assert server.call("export_notebook").structured["status"] == "success"
        server.call("configure_environment", type="python", python_path=sys.executable)
        assert server.run("6 * 7").text.startswith("42\n")


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none", "does not exist.*choose another"),
    "a folder": (lambda folder: folder, "is a folder, not an interpreter; name the executable"),
    "not executable": (
        lambda folder: script(folder / "py", "", 0o644),
        "can't be started.*choose another",
    ),
    "no Python": (
        lambda folder: script(folder / "py", "echo nonsense >&2; exit 3"),
        r"not a working Python \(exit code 3\): nonsense",
    ),
    "a dead link": (lambda folder: link(folder / "py"), "does not exist|is a link to"),
}


def link(path: Path) -> Path:
    path.symlink_to(path.with_name("gone"))
    return path


@pytest.mark.parametrize("kind", BROKEN)
def test_an_interpreter_that_does_not_work_is_named_each_time(tmp_path: Path, kind: str) -> None:
    make, message = BROKEN[kind]
    (tmp_path / "folder").mkdir()
    with serving(tmp_path, "--python-path", str(make(tmp_path / "folder"))) as server:
        for _ in range(3):
            result = server.run("1", within=5)
            assert result.is_error
            assert re.search(message, result.text, re.DOTALL)
            assert "Traceback" not in result.text
        assert [child.name() for child in server.below()][1:] == []


def fake_python(path: Path, at_start: str) -> Path:
    """A Python that answers questions, and does something else when it should be a kernel."""
    return script(
        path, f'case "$3 $4" in "guardian /"*) {at_start};; esac\nexec {sys.executable} "$@"'
    )


def test_a_kernel_that_ends_at_every_start_is_told_each_time(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    python = fake_python(
        tmp_path / "python", f"test -e {mended} || {{ echo 'no room for me' >&2; exit 7; }}"
    )
    with serving(tmp_path, "--python-path", str(python)) as server:
        for _ in range(5):
            result = server.run("1", within=10)
            assert result.is_error
            assert "(exit code 7)" in result.text
            assert "no room for me" in result.text
        assert "no room for me" in str(server.call("restart_kernel", within=10).text)
        mended.touch()
        assert server.run("6 * 7").text.startswith("42\n")


async def test_a_start_that_takes_too_long_is_ended_with_all_it_has_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = fake_python(tmp_path / "python", "echo 'still busy' >&2; sleep 60")
    found = await prepared(tmp_path)
    hanging = partial(
        all_kernels().open,
        replace(found, interpreter=replace(found.interpreter, executable=python)),
        working_directory=tmp_path,
        spill_dir=tmp_path,
    )
    monkeypatch.setattr(local, "_START_LIMIT", 0.5)
    before = psutil.Process().children(recursive=True)
    with anyio.fail_after(patient(10)), pytest.raises(KernelStartError, match="still busy"):
        async with hanging(lambda event: None):
            pass
    assert psutil.Process().children(recursive=True) == before


# Many kernels, few descriptors


def test_too_many_kernels_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with serving(tmp_path, KERNEL_EXEC_MAX_KERNELS="2") as server:
        calls = [server.begin_call("execute_code", code="1", session=name) for name in "ab"]
        assert all(server.result(call).outcome == "ok" for call in calls)
        refused = server.run("1", session="c", within=5)
        assert refused.is_error
        assert "KERNEL_EXEC_MAX_KERNELS allows 2 kernels" in refused.text
        assert "2 sessions" in refused.text
        assert set(re.findall(r"([ab]) \(\d+ s\)", refused.text)) == {"a", "b"}
        (call,) = re.findall(r'execute_code\(code="exit\(\)", session="([ab])"\)', refused.text)
        server.run("exit()", session=call)
        assert server.run("6 * 7", session="c").text.startswith("42\n")


@linux
def test_without_descriptors_no_kernel_starts_and_the_server_stays(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.run("1", session="a").outcome == "ok"
        psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE, (80, 80))
        refused = server.run("1", session="b", within=5)
        assert refused.is_error
        assert "this server may have 80 open files" in refused.text
        assert "ulimit -n" in refused.text
        assert server.run("6 * 7", session="a", within=5).text.startswith("42\n")


@contextmanager
def limited(soft: int) -> Iterator[int]:
    """Few descriptors for what is started now; the most that it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@linux
def test_the_server_takes_all_the_descriptors_it_may_have(tmp_path: Path) -> None:
    with limited(256) as most, started(tmp_path) as server:
        server.initialize()
        soft, _ = psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == min(most, 65_536)


@linux
async def test_a_kernel_is_guarded_whatever_the_number_of_its_descriptor(tmp_path: Path) -> None:
    plan = await local_kernels(tmp_path)
    with limited(2048):
        many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        try:
            async with plan(lambda event: None) as kernel:
                ending = await kernel.execute(Request(id="1", source="import os; os._exit(3)"))
        finally:
            for descriptor in many:
                os.close(descriptor)
    assert ending.outcome is Outcome.KERNEL_DIED
    assert ending.death is not None
    assert ending.death.exit_code == 3


def test_what_a_guardian_did_not_foresee_is_written_down(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from kernel_exec.inside import guardian\n"
        "def fail(*_): raise ZeroDivisionError('unforeseen')\n"
        "guardian._watch = fail\n"
        "guardian.fork(os.open(os.devnull, os.O_RDWR))\n"
        "signal.pause()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError: unforeseen" in done.stderr


# Places and words


def test_long_paths_leave_room_for_sockets(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 50)
    long.mkdir()
    places = {name: str(long) for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR")}
    with serving(tmp_path, **places) as server:
        assert server.run("6 * 7").text.startswith("42\n")


def test_a_runtime_folder_that_is_not_there_is_done_without(tmp_path: Path) -> None:
    with serving(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "gone")) as server:
        assert server.run("6 * 7").text.startswith("42\n")


def test_leaving_removes_sockets_and_connection_files(tmp_path: Path, short: Path) -> None:
    with serving(tmp_path, XDG_RUNTIME_DIR=str(short)) as server:
        server.run("1")
        (folder,) = short.glob("kx-*/")
        assert folder.stat().st_mode & 0o777 == 0o700
        server.call("restart_kernel")
        assert len(list(short.glob("kx-*/"))) == 1
        assert server.leave() == 0
        assert list(short.iterdir()) == []


def test_text_is_utf8_without_a_locale_and_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    source = """
import pathlib, subprocess, sys
print("é😀", sys.stdout.encoding.lower(), sys.getfilesystemencoding().lower())
pathlib.Path("ü.txt").write_text("ß")
print(pathlib.Path("ü.txt").read_bytes())
print(subprocess.run(["cat", "ü.txt"], capture_output=True, text=True).stdout)
"""
    with serving(tmp_path, LC_ALL="C") as server:
        result = server.run(source, filename="naïve")
        assert result.text.startswith("é😀 utf-8 utf-8\nb'\\xc3\\x9f'\nß\n")
        assert "naïve_" in result.meta["file_path"]
