"""What the server reads of a kernel beside its messages; runs in the kernel.

Python 3.8 syntax, standard library only. Files of fixed size in the run directory, mapped into
memory: the journal of what was put out last, which outlives the process, and the number of bytes
that the server has dealt with, which the server writes.
"""

import mmap
import os
import struct
import threading
import time

_JOURNAL_SIZE = 1 << 20
_JOURNAL_HEAD = 40
_ENTRY = struct.Struct("<QcI")

_AHEAD = 16000000
"""Bytes that may be on their way to the server before code that displays has to wait."""

_PATIENCE = 10.0
"""Seconds without progress of the server after which nothing waits for it any more."""


class Journal:
    """What the latest execution put out last, in memory that outlives the process.

    The server reads it when the kernel died, for what was written but not yet sent: 32 bytes
    execution id, 8 bytes length, then entries of 8 bytes number, 1 byte stream ("o", "e", or "c"
    for a clear), 4 bytes length, UTF-8.
    """

    def __init__(self, path):
        try:
            self._memory = _mapped(path, _JOURNAL_SIZE)
        except OSError:
            self._memory = mmap.mmap(-1, _JOURNAL_SIZE)  # no room: last words are lost
        self._id = ""
        self._end = _JOURNAL_HEAD

    def begin(self, execution_id):
        """Be for this execution from now on."""
        if execution_id != self._id:
            self._id = execution_id
            self.empty(execution_id)

    def empty(self, execution_id):
        """Forget what there is, if it is of this execution."""
        if execution_id != self._id:
            return
        self._end = _JOURNAL_HEAD
        self._memory[32:40] = bytes(8)
        self._memory[:32] = execution_id.encode("ascii", "replace")[:32].ljust(32)

    def add(self, execution_id, number, name, text):
        """Add an entry; False when there is no room left for it."""
        if execution_id != self._id:
            return True
        written = text.encode("utf-8", "backslashreplace")
        start = self._end + _ENTRY.size
        end = start + len(written)
        if end > len(self._memory):
            return False
        kind = {"stdout": b"o", "stderr": b"e"}.get(name, b"c")
        self._memory[self._end : start] = _ENTRY.pack(number, kind, len(written))
        self._memory[start:end] = written
        self._memory[32:40] = (end - _JOURNAL_HEAD).to_bytes(8, "little")
        self._end = end
        return True


def _mapped(path, size):
    """A new file of this size, in memory."""
    with open(path, "w+b") as file:
        if hasattr(os, "posix_fallocate"):  # to write to holes on a full disk ends the process
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.ftruncate(file.fileno(), size)
        return mmap.mmap(file.fileno(), size)


class Flow:
    """Bytes sent, beside the number that the server has dealt with, which it writes to a file."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._sent = 0
        try:
            self._taken = _mapped(path, 8)
        except OSError:
            self._taken = None  # no room: nothing ever waits

    def count(self, frames):
        """Note that `frames` are sent."""
        size = sum(map(len, frames))
        with self._lock:
            self._sent += size

    def wait(self):
        """Wait until the server has caught up; give up on one that does not come on."""
        if self._taken is None:
            return
        taken, since = -1, 0.0
        while True:
            dealt_with, now = int.from_bytes(self._taken[:8], "little"), time.monotonic()
            if self._sent - dealt_with <= _AHEAD:
                return
            if dealt_with != taken:
                taken, since = dealt_with, now
            elif now - since > _PATIENCE:
                return
            time.sleep(0.005)
