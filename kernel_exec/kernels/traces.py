"""What a kernel's process leaves in its run directory: stacks, a fault dump, stderr, journals."""

import struct
from pathlib import Path

import anyio

from .outputs import Clear, OutputEvent, Stream

_HEAD = 40
_ENTRY = struct.Struct("<QcI")

_TAIL = 4000
"""Characters of a dead kernel's stderr (its end) and fault dump (its start) that are kept."""

_LOOKS, _INTERVAL = 10, 0.1
"""How often, and seconds apart, we look for a stack that was asked for."""


class Traces:
    """Reads the files of one run directory; what is not there is ""."""

    def __init__(self, run_dir: Path) -> None:
        """`_launch.py` and `_inside.py` write there."""
        self._run_dir = run_dir

    def stack_size(self) -> int:
        """Bytes of all stacks so far; what comes after them is new."""
        return _size(self._run_dir / "stack")

    def stack(self, start: int) -> str:
        """The main thread's stacks that were written after byte `start`."""
        return _read(self._run_dir / "stack", start)

    async def next_stack(self, start: int) -> str:
        """Wait for one that is whole; "" when the process can't write it."""
        stack = ""
        for _ in range(_LOOKS):  # nothing tells when a signal handler has written
            await anyio.sleep(_INTERVAL)
            before, stack = stack, self.stack(start)
            if stack and stack == before:
                return stack
        return ""

    def fault(self) -> str:
        """Python's stack at a crash."""
        return _read(self._run_dir / "fault")[:_TAIL]

    def stderr(self) -> str:
        """The end of what the process wrote to stderr outside of cells."""
        path = self._run_dir / "stderr"
        return _read(path, max(0, _size(path) - 4 * _TAIL))[-_TAIL:]  # 4 bytes a character at most

    def journal(self) -> tuple[str, list[tuple[int, OutputEvent]]]:
        """An execution's id, and its last output, numbered; `_shared.py` has the layout."""
        try:
            journal = (self._run_dir / "output.journal").read_bytes()
        except OSError:
            return "", []
        end = min(len(journal), _HEAD + int.from_bytes(journal[32:_HEAD], "little"))
        found: list[tuple[int, OutputEvent]] = []
        at = _HEAD
        while at + _ENTRY.size <= end:
            number, kind, size = _ENTRY.unpack_from(journal, at)
            at += _ENTRY.size + size
            found.append((number, _output(kind, journal[at - size : at])))
        return journal[:32].decode("ascii", "replace").strip(), found


def _output(kind: bytes, written: bytes) -> OutputEvent:
    if kind == b"c":
        return Clear(wait=False)
    name = "stderr" if kind == b"e" else "stdout"
    return Stream(name=name, text=written.decode("utf-8", "replace"))


def _read(path: Path, start: int = 0) -> str:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
