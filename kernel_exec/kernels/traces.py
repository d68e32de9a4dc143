"""What a kernel's process leaves in its run directory: stacks, a fault dump, stderr, journals."""

import struct
from pathlib import Path

import anyio

from .messages import CELL_NAME
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
        """What runs inside writes there."""
        self._run_dir = run_dir
        self._files: dict[str, str] = {}

    def name_cell(self, name: str, file: str) -> None:
        """Show `file` where the process writes `name`, under which it compiles the cell."""
        self._files[name] = file

    def stack_size(self) -> int:
        """Bytes of all stacks so far; what comes after them is new."""
        return _size(self._run_dir / "stack")

    def stack(self, start: int) -> str:
        """The main thread's stacks that were written after byte `start`."""
        return self._read("stack", start)

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
        return self._read("fault")[:_TAIL]

    def stderr(self) -> str:
        """The end of what the process wrote to stderr outside of cells."""
        start = _size(self._run_dir / "stderr") - 4 * _TAIL  # 4 bytes a character at most
        return self._read("stderr", max(0, start))[-_TAIL:]

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

    def _read(self, name: str, start: int = 0) -> str:
        try:
            with (self._run_dir / name).open("rb") as file:
                file.seek(start)
                read = file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return CELL_NAME.sub(lambda found: self._files.get(found[0], found[0]), read)


def _output(kind: bytes, written: bytes) -> OutputEvent:
    if kind == b"c":
        return Clear(wait=False)
    name = "stderr" if kind == b"e" else "stdout"
    return Stream(name=name, text=written.decode("utf-8", "replace"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
