"""The log: one file below the storage root, which names what went wrong in servers, and when.

Host processes and servers with `--in-process` write to it at once. A record is written in one piece
to the end of the file, and a file that is full is moved aside by whoever holds its lock, so that
nobody loses or tears a line of another's. Code, outputs and values never get there: of what others
log only the place is written, and of errors that may quote a value only the type.
"""

import logging
import os
import re
import select
import stat
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kernel_exec.errors import KernelExecError, StorageError
from kernel_exec.leases import lock

_OURS: Final = "kernel_exec"
_SIZE: Final = 1_000_000
"""Bytes of the log and of its predecessor."""

_RECORD: Final = 16_000
"""Characters of a record; of a longer one both ends are kept."""

_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUOTE_NOTHING = (KernelExecError, OSError, ImportError)
"""Errors whose messages are the system's or our own."""

_log = logging.getLogger(__name__)


def begin(path: Path, level: str) -> None:
    """Let what this process logs from `level` on go to `path`, also what ends a thread.

    What can't be written there is shown on stderr.
    """
    logging.raiseExceptions = False
    logging.lastResort = None
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_ToFile(path))
    logging.getLogger(_OURS).setLevel(level.upper())
    threading.excepthook = _thread_failed


def note(path: Path, error: str) -> None:
    """Write an error of a process that has not begun a log.

    Raises:
        OSError: It can't be written.
    """
    said = {"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "msg": error}
    append(path, _line(logging.makeLogRecord(said)))


def append(path: Path, record: str) -> None:
    """Write a line, or some that belong together, to the end of the log.

    Raises:
        OSError: It can't be written.
    """
    line = f"{record}\n".encode("utf-8", "backslashreplace")
    while True:
        descriptor = open_log(path)
        try:
            os.write(descriptor, line)
            if os.fstat(descriptor).st_nlink:
                return
        finally:
            os.close(descriptor)
        # moved aside twice between opening and writing: it has gone with the older one


def open_log(path: Path) -> int:
    """The log, open for writing to its end; only its user may read it.

    Raises:
        OSError: It can't be opened, or is no file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is waited for
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path} is no file")
            if status.st_size <= _SIZE or not _moved_aside(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _moved_aside(path: Path, descriptor: int) -> bool:
    """Move the file away, unless somebody else does so or has done so."""
    try:
        if not lock(path, descriptor):
            return False
        is_moved = not os.path.samestat(os.fstat(descriptor), path.stat())
        if not is_moved:
            path.replace(path.with_name(f"{path.name}.1"))
    except (OSError, StorageError):
        return False
    return True


class _ToFile(logging.Handler):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        line = _line(record)
        try:
            append(self._path, line)
        except OSError:
            if record.levelno >= logging.WARNING:
                _show(line)


def _show(line: str) -> None:
    """Show a record on stderr, unless nobody reads that: then it would be waited for."""
    with suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"{line}\n".encode("utf-8", "backslashreplace")[: select.PIPE_BUF])


def _line(record: logging.LogRecord) -> str:
    """A record as text: one line, and further ones indented."""
    is_ours = record.name.partition(".")[0] == _OURS
    # what a library says may quote what it was given
    said = record.getMessage() if is_ours else f"in {record.module}.py, line {record.lineno}"
    if record.exc_info and record.exc_info[1] is not None:
        said = "\n".join([said, *_told(record.exc_info[1])])
    said = _PASSWORD.sub("…", said.strip())
    if len(said) > _RECORD:
        said = f"{said[: _RECORD // 2]} […] {said[-_RECORD // 2 :]}"
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    name = record.name.removeprefix(f"{_OURS}.")
    lines = [_plain(each) for each in said.split("\n")]
    head = f"{time} {record.levelname:7} {os.getpid()} {name}: "
    return head + "\n    ".join(lines)


def _told(error: BaseException, seen: frozenset[int] = frozenset()) -> Iterator[str]:
    """The traceback of an error and of what led to it, without messages that may quote a value."""
    if id(error) in seen:
        return
    seen |= {id(error)}
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _told(before, seen)
        yield "then, because of this or while it was dealt with:"
    yield from (each.rstrip() for each in traceback.format_tb(error.__traceback__))
    name = type(error).__qualname__
    yield f"{name}: {error}" if isinstance(error, _QUOTE_NOTHING) else name
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _told(each, seen)


def _plain(line: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    _log.error("a thread failed", exc_info=failed.exc_value)
