"""The standard streams of a kernel; loaded by `_launch.py` in the kernel's process.

Python 3.8 syntax. A stream sends what user code writes as messages, up to a budget for each
execution; what exceeds it goes to a file. What was written but not yet sent outlives the process
in a journal, so that the last words before a crash are not lost.
"""

import codecs
import collections
import mmap
import os
import select
import threading

from ipykernel.iostream import OutStream

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
WIRE_BUDGET = 256 * 1024
"""Characters per execution and stream that travel as messages; the rest goes to a file."""

_OPEN_ACCOUNTS = 8
_JOURNAL_HEAD = 40

settings = {}
"""The launcher's configuration; set before the first stream is made."""


class KernelStream(OutStream):
    """A standard stream of the kernel."""

    def __init__(self, *args, **kwargs):
        """Start capturing, like the original, but through `_watch_pipe_fd` below."""
        self._fd_lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._journal = _Journal(kwargs.get("name") or args[2])
        self._accounts = collections.OrderedDict()
        self._account_lock = threading.RLock()
        super().__init__(*args, **kwargs)

    def _watch_pipe_fd(self):
        """Forward what C code and child processes write, until the stream closes."""
        try:
            while self._should_watch and self._fid is not None:
                select.select([self._fid], [], [])
                self._drain()
        except (OSError, ValueError):
            pass  # the descriptor was closed under us, by user code or at exit

    def _drain(self):
        """Take in all that the captured descriptor holds now."""
        with self._fd_lock:
            while self._should_watch and select.select([self._fid], [], [], 0)[0]:
                chunk = os.read(self._fid, 65536)
                if not chunk:
                    self._should_watch = False
                written = self._decoder.decode(chunk)
                if written:
                    self.write(written)

    def flush(self):
        """Send what is buffered, captured text included; do nothing when there is none."""
        mine = os.getpid() == self._master_pid
        if mine and self._fid is not None and self._should_watch:
            try:
                self._drain()
            except (OSError, ValueError):
                pass
        if self._buffers or self.echo is not None:
            super().flush()

    def write(self, string):
        """Send `string`, or add it to the file of an execution that is over its budget."""
        if not isinstance(string, str) or self.pub_thread is None:
            return super().write(string)
        if os.getpid() != self._master_pid:
            return super().write(string)
        with self._account_lock:
            account = self._account()
            kept = account.take(string)
            if kept:
                self._journal.add(account.execution_id, kept)
                super().write(kept)
        return len(string)

    def _account(self):
        execution_id = self.parent_header.get("msg_id", "")
        account = self._accounts.get(execution_id)
        if account is None:
            account = self._accounts[execution_id] = _Account(self, execution_id)
            self._journal.begin(execution_id)
            while len(self._accounts) > _OPEN_ACCOUNTS:
                self._accounts.popitem(last=False)[1].close()
        return account

    def announce(self, path, last):
        """Send `last`, then tell the server that `path` holds all of this stream."""
        super().write(last)
        super().flush()
        self.session.send(
            self.pub_thread,
            "display_data",
            {
                "data": {SPILL_MIME: {"name": self.name, "path": path}},
                "metadata": {},
                "transient": {},
            },
            parent={"header": self.parent_header},
            ident=b"display_data",
        )


class _Journal:
    """What the latest execution wrote to one stream, in memory that outlives the process.

    The server reads it when the kernel died, for what was written but not yet sent: 32 bytes
    execution id, 8 bytes length, then UTF-8.
    """

    def __init__(self, name):
        path = os.path.join(settings["run_dir"], name + ".journal")
        with open(path, "wb") as file:
            file.truncate(_JOURNAL_HEAD + 4 * WIRE_BUDGET)
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._id = ""
        self._end = _JOURNAL_HEAD

    def begin(self, execution_id):
        self._id = execution_id
        self._end = _JOURNAL_HEAD
        self._memory[32:40] = bytes(8)
        self._memory[:32] = execution_id.encode("ascii", "replace")[:32].ljust(32)

    def add(self, execution_id, string):
        if execution_id != self._id:
            return
        written = string.encode("utf-8", "backslashreplace")
        end = self._end + len(written)
        if end <= len(self._memory):
            self._memory[self._end : end] = written
            self._memory[32:40] = (end - _JOURNAL_HEAD).to_bytes(8, "little")
            self._end = end


class _Account:
    """What one execution wrote to one stream: a head for the wire, all of it in a file."""

    def __init__(self, stream, execution_id):
        self.execution_id = execution_id
        self._stream = stream
        self._path = os.path.join(
            settings["spill_dir"], "%s.%s.txt" % (execution_id or "background", stream.name)
        )
        self._head = []
        self._size = 0
        self._file = None

    def take(self, string):
        """The part of `string` to send."""
        if self._file is not None:
            try:
                self._keep(string)
                return ""
            except OSError:
                return string  # the disk is full: the wire takes it
        sent = self._size
        self._size += len(string)
        if self._size <= WIRE_BUDGET:
            self._head.append(string)
            return string
        try:
            # a file that is opened again, for late text, goes on where it was
            self._file = open(self._path, "ab", buffering=0)
            if self._file.tell() == 0:
                self._keep("".join(self._head))
            self._keep(string)
        except OSError:
            self._file = None  # no place to spill to: the wire has to take it all
            return string
        self._head = []
        self._stream.announce(self._path, string[: max(0, WIRE_BUDGET - sent)])
        return ""

    def _keep(self, string):
        self._file.write(string.encode("utf-8", "backslashreplace"))

    def close(self):
        """Give up the file; late text opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
