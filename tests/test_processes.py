"""Child processes: all that they say is heard, and none outlives its time."""

import os
import resource
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest

from kernel_exec import processes
from kernel_exec.errors import BusyError
from tests.waits import patient, wait_until

HERE = Path.cwd()


async def run(code: str, *, limit: float = 20, **more: object) -> processes.Finished:
    argv = [sys.executable, "-c", code]
    return await processes.run(argv, env=os.environ, cwd=HERE, limit=limit, **more)  # type: ignore[arg-type] # on_line


async def test_exit_code_and_both_streams_are_told() -> None:
    done = await run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert not done.timed_out


async def test_lines_are_heard_as_they_come() -> None:
    heard: list[str] = []
    await run("print('a'); print('b\\rc'); print('d', end='')", on_line=heard.append)
    assert heard == ["a", "b", "c", "d"]


async def test_what_is_no_utf8_is_replaced() -> None:
    assert (await run("import os; os.write(1, b'a\\xff')")).stdout == "a\ufffd"


async def test_long_output_is_kept_at_both_ends() -> None:
    done = await run("print('start'); print('x' * 5_000_000); print('end')")
    assert done.stdout.startswith("start\n")
    assert done.stdout.endswith("end\n")
    assert "bytes hidden" in done.stdout
    assert len(done.stdout) < 1_100_000


async def test_it_has_no_terminal_and_no_input() -> None:
    assert (await run("import sys; print(repr(sys.stdin.read()))")).stdout == "''\n"


FAMILY = """
import signal, subprocess, sys
for own_session in (False, True):
    subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'],
                     start_new_session=own_session)
print('ready', flush=True)
signal.pause()
"""


async def test_its_time_ends_the_whole_tree() -> None:
    done = await run(FAMILY, limit=1.5)
    assert done.timed_out
    assert done.stdout == "ready\n"
    assert psutil.Process().children(recursive=True) == []


async def test_cancelling_ends_the_whole_tree() -> None:
    with anyio.CancelScope() as scope:
        await run(FAMILY, on_line=lambda line: scope.cancel())
    assert scope.cancelled_caught
    assert psutil.Process().children(recursive=True) == []


DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', 'import signal; '
                  'signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()'],
                 start_new_session=True)
print('ready', flush=True)
signal.pause()
"""


async def test_one_that_ignores_sigterm_is_killed() -> None:
    done = await run(DEAF, limit=1)
    assert (done.returncode, done.timed_out) == (-9, True)
    assert psutil.Process().children(recursive=True) == []


async def test_a_grandchild_that_keeps_the_pipe_does_not_make_it_look_timed_out() -> None:
    with anyio.fail_after(patient(15)):
        done = await run(
            "import subprocess, sys\n"
            "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
            "print('done')",
            limit=1,
        )
    assert (done.returncode, done.timed_out, done.stdout) == (0, False, "done\n")


async def test_no_descriptor_of_ours_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        done = await run(
            "import os\n"
            f"try: os.fstat({file.fileno()})\n"
            "except OSError: print('none')\n"
            "print(os.getsid(0) == os.getpid())"
        )
    assert done.stdout == "none\nTrue\n"


async def test_a_line_without_end_is_heard_in_bounded_pieces() -> None:
    heard: list[str] = []
    await run("import sys; sys.stdout.write('x' * 3_000_000)", on_line=heard.append)
    assert len(heard) == 1
    assert len(heard[0]) <= 500_000


async def test_what_the_listener_raises_ends_the_program() -> None:
    def refuse(line: str) -> None:
        raise LookupError(line)

    with pytest.raises(ExceptionGroup) as caught:
        await run(FAMILY, on_line=refuse)
    assert caught.group_contains(LookupError, match="ready")
    assert psutil.Process().children(recursive=True) == []


async def test_when_there_is_no_room_for_more_programs_it_says_try_again() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, limits[1]))
    try:
        with pytest.raises(BusyError, match="try again"):
            await run("pass")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(processes.ProgramMissingError, match="gone"):
        await processes.run([sys.executable], env={}, cwd=tmp_path / "gone", limit=5)


@pytest.mark.parametrize("program", ["/no/such/program", "/", "a\0b", "\ud800", ""])
async def test_what_can_not_be_started_is_named(program: str) -> None:
    with pytest.raises(processes.ProgramMissingError, match="can't be started"):
        await processes.run([program], env={}, cwd=HERE, limit=5)
    with pytest.raises(processes.ProgramMissingError, match="can't be started"):
        processes.spawn([program], env={}, cwd=HERE, stderr=Path(os.devnull))


async def test_a_spawned_program_writes_its_stderr_to_a_file_and_can_be_killed(
    tmp_path: Path,
) -> None:
    code = "import signal, sys; print('up', file=sys.stderr, flush=True); signal.pause()"
    child = processes.spawn(
        [sys.executable, "-c", code], env=os.environ, cwd=tmp_path, stderr=tmp_path / "log"
    )
    wait_until(lambda: "up" in (tmp_path / "log").read_text())
    processes.kill(child)
    assert child.returncode == -9
    assert processes.reap(child) == -9


CAREFREE = """
import signal, subprocess
subprocess.Popen(["sleep", "60"])
subprocess.Popen(["nohup", "sleep", "60"])
subprocess.Popen(["sleep", "60"], start_new_session=True)
subprocess.Popen(["sh", "-c", "(sleep 60 &) &"], start_new_session=True)
print("ready", flush=True)
signal.pause()
"""

SERVER = f"""
import anyio, os, sys
from pathlib import Path
from kernel_exec import processes

async def main():
    async with processes.warden(os.environ):
        await processes.run([sys.executable, "-c", {CAREFREE!r}], env=os.environ, cwd=Path.cwd(),
                            limit=60, on_line=lambda line: print(line, flush=True))

anyio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_runs_ends_with_us_however_we_end(number: int) -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={**os.environ, "MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        server.send_signal(number)
    wait_until(lambda: not _marked(mark), within=5)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.environ().get("MARK") == mark
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def test_few_free_descriptors_are_too_few_for_many() -> None:
    processes.require_descriptors(1)
    with pytest.raises(BusyError, match="ulimit -n"):
        processes.require_descriptors(10_000_000)
