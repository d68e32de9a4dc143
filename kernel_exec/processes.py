"""Starts and ends child processes; the only module that does.

Never a shell; every child has a session of its own, no terminal, and no descriptor of ours. All
carry a mark in their environment, by which a `warden` finds and ends them when we were killed.
"""

import errno
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import anyio
import psutil
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process

from kernel_exec.errors import BusyError, KernelExecError
from kernel_exec.inherited import INHERITED
from kernel_exec.places import INSIDE

if sys.platform != "win32":
    import resource

Child: TypeAlias = subprocess.Popen[bytes]

_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL: enough to remove temporary files."""

_REAP = 2.0
"""Seconds to wait for a process that has ended or was killed."""

_TAKES = 3
"""Processes and threads that a program and whoever waits for it take; without the latter, nobody
hears that it has ended."""

_EXHAUSTED = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""The machine has no room for one more process; the program itself may be sound."""

_KEPT = 500_000
"""Bytes of each stream that are kept from its start, and again from its end."""

_MARK = ("KERNEL_EXEC_SERVER", f"{os.getpid()}-{secrets.token_hex(8)}")
"""A variable and its value, which all that this process starts has, and nothing else."""

_PLENTY = 65_536
"""Descriptors for 3,000 kernels; with far more, programs that close all they may have are slow."""


class ProgramMissingError(KernelExecError):
    """Raised when a program can't be started: it is not there, or not executable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that has ended. Long output is cut in its middle.

    `timed_out` says that it had not ended by itself; `returncode` is negative for a signal.
    """

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    limit: float,
    umask: int = INHERITED.umask,
    on_line: Callable[[str], None] | None = None,
    stdin: IO[bytes] | None = None,
) -> Finished:
    """Run a program to its end, at most `limit` seconds; `on_line` hears both streams live.

    It reads the file `stdin`, or nothing.

    When the time is over or the caller is cancelled, it is ended with everything below it. A
    grandchild that outlives the program and keeps its pipes does not hold us up.

    Raises:
        ProgramMissingError: It can't be started.
        BusyError: It can't be started now.
    """
    require_threads(_TAKES, what="another program")
    process = await _open(argv, env=env, cwd=cwd, umask=umask, stdin=stdin)
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = _Kept(on_line), _Kept(on_line)
    timed_out = True
    try:
        with anyio.move_on_after(limit):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stdout.drain, process.stdout)
                tasks.start_soon(stderr.drain, process.stderr)
                await process.wait()
                timed_out = False
                with anyio.move_on_after(_REAP):
                    await stdout.ended.wait()
                    await stderr.ended.wait()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _end_tree(process)
            with anyio.move_on_after(_REAP):  # what the system itself can't end holds nobody up
                await process.aclose()
    return Finished(
        returncode=-1 if process.returncode is None else process.returncode,
        stdout=stdout.text(),
        stderr=stderr.text(),
        timed_out=timed_out,
    )


async def _open(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    umask: int,
    stdin: IO[bytes] | None = None,
) -> Process:
    with _starting(argv[0]):
        return await anyio.open_process(
            argv,
            env=_marked(env),
            cwd=cwd,
            stdin=stdin or subprocess.DEVNULL,
            start_new_session=True,
            umask=umask,
        )


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stderr: Path,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a program that stays; what it writes to stderr is added to a file."""
    with _starting(argv[0]), stderr.open("ab") as log:
        return subprocess.Popen(
            argv,
            env=_marked(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            pass_fds=pass_fds,
        )


def reap(child: Child) -> int | None:
    """The exit code of a child that has ended or is about to, negative for a signal."""
    try:
        return child.wait(_REAP)
    except subprocess.TimeoutExpired:
        return None


def kill(child: Child) -> None:
    """End a spawned child and its process group at once."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    reap(child)


@asynccontextmanager
async def warden(env: Mapping[str, str]) -> AsyncIterator[Callable[[Path], None]]:
    """See to it that all that we start ends with us, even if we are killed.

    A process of its own waits for our end of a pipe to close, so it costs nothing at each start.
    What it yields takes sockets that are to be removed then, each with its folder.
    """
    process = _start_warden(env)
    assert process.stdin is not None
    pipe = process.stdin.fileno()

    def leave(path: Path) -> None:
        with suppress(OSError):  # somebody has killed it
            os.write(pipe, os.fsencode(path) + b"\0")

    try:
        yield leave
    finally:
        process.stdin.close()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(reap, process)


def _start_warden(env: Mapping[str, str]) -> Child:
    argv = [sys.executable, "-I", "-S", "-B", str(INSIDE), "warden", *_MARK]
    argv.append(str(Path(psutil.__file__).parents[1]))
    with _starting(argv[0]):
        return subprocess.Popen(
            argv,
            env=env,
            cwd=INSIDE.anchor,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have: each kernel takes twenty."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _PLENTY if hard == resource.RLIM_INFINITY else min(hard, _PLENTY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a limit below the one it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def require_descriptors(count: int) -> None:
    """Raise `BusyError` when so many descriptors are not to be had."""
    if sys.platform == "win32":
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names, not paths
    except OSError as error:
        used = soft if error.errno in _EXHAUSTED else 0
    if soft != resource.RLIM_INFINITY and used + count > soft:
        raise BusyError(
            f"this server may have {soft} open files and has {used}: end a kernel (`exit()` in its"
            " session), or raise the limit (`ulimit -n`) and start the server again"
        )


def require_threads(count: int, *, what: str) -> None:
    """Raise `BusyError` when the system would refuse the threads and processes that `what` takes.

    It is asked by starting them, for a moment: limits of a user and of a container are told in
    different places, and libzmq ends the whole process when it meets one.
    """
    release = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise BusyError(
            f"the system allows {len(started)} more threads and processes, and {what} takes"
            f" {count}: end a kernel (`exit()` in its session), or raise the limit (`ulimit -u`,"
            " or the container's limit of processes)"
        ) from error
    finally:
        release.set()
        for thread in started:
            thread.join()


def _marked(env: Mapping[str, str]) -> dict[str, str]:
    name, value = _MARK
    return {**env, name: value}


@contextmanager
def _starting(program: str) -> Iterator[None]:
    """Say why a program can't be started."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            raise BusyError(
                f"{program!r} can't be started now: {error}; end other programs, then try again"
            ) from error
        raise ProgramMissingError(f"{program!r} can't be started: {error}") from error


async def _end_tree(process: Process) -> None:
    """SIGTERM, a grace, SIGKILL, for a process group and everything below it."""
    below: set[psutil.Process] = set()
    if process.returncode is None:  # afterwards its number may be another's
        below = _below(process.pid)
        _signal(process.pid, below, signal.SIGTERM)
        with anyio.move_on_after(_GRACE):
            await process.wait()
    if process.returncode is None:
        below |= _below(process.pid)  # it paid no heed, and may have started more
    _signal(process.pid, below, signal.SIGKILL)
    with anyio.move_on_after(_REAP):
        await process.wait()


def _below(pid: int) -> set[psutil.Process]:
    with suppress(psutil.Error):
        return set(psutil.Process(pid).children(recursive=True))
    return set()


def _signal(group: int, below: set[psutil.Process], signum: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
    for process in below:
        with suppress(psutil.Error):
            process.send_signal(signum)


class _Kept:
    """The start and the end of what one stream says."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.ended = anyio.Event()
        self._on_line = on_line
        self._head = b""
        self._tail = b""
        self._hidden = 0
        self._line = b""

    async def drain(self, stream: ByteReceiveStream) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for chunk in stream:
                self._keep(chunk)
                self._hear(chunk)
        if self._line and self._on_line is not None:
            self._on_line(self._line.decode("utf-8", "replace"))
        self.ended.set()

    def text(self) -> str:
        middle = f"\n[… {self._hidden} bytes hidden …]\n".encode() if self._hidden else b""
        return (self._head + middle + self._tail).decode("utf-8", "replace")

    def _keep(self, chunk: bytes) -> None:
        room = _KEPT - len(self._head)
        self._head += chunk[:room]
        rest = self._tail + chunk[room:] if room > 0 else self._tail + chunk
        self._tail = rest[-_KEPT:]
        self._hidden += len(rest) - len(self._tail)

    def _hear(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        *lines, self._line = (self._line + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line.strip():
                self._on_line(line.decode("utf-8", "replace"))
        self._line = self._line[-_KEPT:]
