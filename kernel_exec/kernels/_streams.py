"""The standard streams of a kernel; loaded by `_launch.py` in the kernel's process.

Python 3.8 syntax. A stream sends what user code writes as messages, up to a budget for each
execution; what exceeds it goes to a file. What was written but not yet sent outlives the process
in a journal, so that the last words before a crash are not lost.

Whose text it is: that of a thread belongs to the execution that started the thread (or gave the
work to its pool), that of a forked child to the execution that forked it, also when another one
runs by then. Text of C code and of other processes comes through a file descriptor that says
nothing of its writer: it counts for the execution under way, as does that of raw `_thread`
threads.
"""

import codecs
import collections
import errno
import mmap
import os
import select
import threading

import _kernel_exec_budgets as budgets
import _kernel_exec_owners as owners
from ipykernel.iostream import OutStream

_OPEN_ACCOUNTS = 8
_JOURNAL_HEAD = 40
_PARENTS = 1000
"""Executions whose late text from children finds its way."""

_FRAME = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""Bytes that a pipe takes as a whole, however many write to it."""

settings = budgets.settings
"""The launcher's configuration; set before the first stream is made."""

_parents = collections.OrderedDict()


class KernelStream(OutStream):
    """A standard stream of the kernel."""

    def __init__(self, *args, **kwargs):
        """Start capturing, like the original, but through `_watch_pipe_fd` below."""
        self._fd_lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._journal = _Journal(kwargs.get("name") or args[2])
        self._accounts = collections.OrderedDict()
        self._account_lock = threading.RLock()
        self._latest = None
        self._children = _Children()
        super().__init__(*args, **kwargs)

    if isinstance(getattr(OutStream, "parent_header", None), property):
        parent_header = property(
            lambda self: owners.parent_of(self, OutStream.parent_header.fget),
            OutStream.parent_header.fset,
            doc="The header of the request that what is written now belongs to.",
        )

    def set_parent(self, parent):
        """A request begins."""
        super().set_parent(parent)
        header = self.parent_header
        _parents[header.get("msg_id", "")] = header
        while len(_parents) > _PARENTS:
            _parents.popitem(last=False)

    def _watch_pipe_fd(self):
        """Forward what C code and other processes write, until the stream closes."""
        owners.forget_thread()
        try:
            while self._should_watch and self._fid is not None:
                _readable((self._fid, self._children.receiver))
                self._drain()
        except (OSError, ValueError):
            pass  # the descriptor was closed under us, by user code or at exit

    def _drain(self):
        """Take in all that the captured descriptor and the children's pipe hold now."""
        with self._fd_lock:
            while self._should_watch and _readable((self._fid,), 0):
                chunk = os.read(self._fid, 65536)
                if not chunk:
                    self._should_watch = False
                written = self._decoder.decode(chunk)
                if written:
                    self.write(written)
            for execution_id, written in self._children.received():
                parent = _parents.get(execution_id) or self.parent_header
                with self._account_lock:
                    account = self._account(parent)
                    account.waiting.append(written)  # not into a line that we are writing
                    if not account.unended:
                        self._put_waiting(account)

    def flush(self):
        """Send what is buffered, captured text included; do nothing when there is none."""
        if os.getpid() != self._master_pid:
            self._children.send(self.parent_header.get("msg_id", ""), "", whole=True)
            return
        if self._fid is not None and self._should_watch:
            try:
                self._drain()
            except (OSError, ValueError):
                pass
        with self._account_lock:
            for account in list(self._accounts.values()):
                self._put_waiting(account)
                account.settle()
        if getattr(self, "_buffers", True) or self.echo is not None:
            super().flush()

    def write(self, string):
        """Send `string`, or add it to the file of an execution that is over its budget."""
        if not isinstance(string, str) or self.pub_thread is None:
            return super().write(string)
        if os.getpid() != self._master_pid:
            self._children.send(self.parent_header.get("msg_id", ""), string)
        else:
            self._take(string, self.parent_header)
        return len(string)

    def _take(self, string, parent):
        with self._account_lock:
            account = self._latest
            if account is None or account.parent is not parent:
                account = self._latest = self._account(parent)
            self._put(account, string)
            if account.waiting and not account.unended:
                self._put_waiting(account)

    def _put(self, account, string):
        account.unended = string[-1:] not in ("\n", "")
        kept = account.take(string)
        if kept:
            self._journal.add(account.execution_id, kept)
            self._send_later(kept, account.parent)

    def _put_waiting(self, account):
        waiting, account.waiting = account.waiting, []
        if waiting:
            self._put(account, "".join(waiting))

    def _send_later(self, string, parent):
        if parent is self.parent_header or not hasattr(self, "_buffers"):
            super().write(string)
            return
        with self._buffer_lock:
            self._buffers[frozenset(parent.items())].write(string)
        self._schedule_flush()

    def _account(self, parent):
        execution_id = parent.get("msg_id", "")
        account = self._accounts.get(execution_id)
        if account is None:
            account = self._accounts[execution_id] = _Account(self, parent)
            latest = next(reversed(_parents), "")
            if execution_id == latest or not latest:
                self._journal.begin(execution_id)
            while len(self._accounts) > _OPEN_ACCOUNTS:
                self._accounts.popitem(last=False)[1].close()
        return account

    def close(self):
        """Close the stream."""
        is_open = not self.closed
        super().close()
        if is_open:
            self._children.close()

    def announce(self, path, last, parent):
        """Send `last`, then tell the server that `path` holds all of this stream."""
        self._send_later(last, parent)
        super().flush()
        self.session.send(
            self.pub_thread,
            "display_data",
            {
                "data": {budgets.SPILL_MIME: {"name": self.name, "path": path}},
                "metadata": {},
                "transient": {},
            },
            parent={"header": parent},
            ident=b"display_data",
        )


class _Children:
    """The way of a forked child's text to the kernel: whole lines, with the id of their request.

    The stock way, a connection for each write, is so slow that a cell ends before it, and parts
    of one line meet those of another child.
    """

    def __init__(self):
        self.receiver, self._sender = os.pipe()
        self._pid = os.getpid()
        self._unended = ""
        self._frames = b""

    def send(self, execution_id, string, whole=False):
        """In the child: send complete lines, and with `whole` also the beginning of one."""
        if self._pid != os.getpid():
            self._pid, self._unended = os.getpid(), ""
            self._send_at_exit()
        string = self._unended + string
        end = len(string) if whole or len(string) > _FRAME else string.rfind("\n") + 1
        self._execution_id, self._unended = execution_id, string[end:]
        name = execution_id.encode("ascii", "replace")
        data = string[:end].encode("utf-8", "backslashreplace")
        start, room = 0, _FRAME - len(name) - 20
        while start < len(data):
            stop = min(start + room, len(data))
            while stop < len(data) and data[stop] & 0xC0 == 0x80:
                stop -= 1  # not within a character
            try:
                os.write(self._sender, b"%s %d\n%s" % (name, stop - start, data[start:stop]))
            except OSError:
                return  # the kernel is gone
            start = stop

    def received(self):
        """In the kernel: what has come, as pairs of id and text."""
        while _readable((self.receiver,), 0):
            frames = self._frames + os.read(self.receiver, 65536)
            start = 0
            while (end := frames.find(b"\n", start)) >= 0:
                name, _, size = frames[start:end].rpartition(b" ")
                after = end + 1 + int(size)
                if len(frames) < after:
                    break
                yield name.decode("ascii"), frames[end + 1 : after].decode("utf-8", "replace")
                start = after
            self._frames = frames[start:]

    def close(self):
        os.close(self.receiver)
        os.close(self._sender)

    def _send_at_exit(self):
        """A child that leaves by `os._exit` leaves nothing behind, as in a terminal."""
        leave = os._exit

        def leave_with_nothing_unsent(status):
            if self._unended:
                self.send(self._execution_id, "", whole=True)
            leave(status)

        os._exit = leave_with_nothing_unsent


def _readable(fds, patience=None):
    """Those of `fds` that can be read, after `patience` seconds at most; None has no limit."""
    poll = select.poll()  # unlike select, it takes descriptors of any number
    for fd in fds:
        poll.register(fd, select.POLLIN)
    ready = poll.poll(None if patience is None else int(patience * 1000))
    if any(event & select.POLLNVAL for _, event in ready):
        raise OSError(errno.EBADF, "a descriptor was closed")
    return [fd for fd, _ in ready]


class _Journal:
    """What the latest execution wrote to one stream, in memory that outlives the process.

    The server reads it when the kernel died, for what was written but not yet sent: 32 bytes
    execution id, 8 bytes length, then UTF-8.
    """

    def __init__(self, name):
        path = os.path.join(settings["run_dir"], name + ".journal")
        size = _JOURNAL_HEAD + 4 * budgets.WIRE_BUDGET
        try:
            with open(path, "wb") as file:
                _allocate(file.fileno(), size)
            with open(path, "r+b") as file:
                self._memory = mmap.mmap(file.fileno(), size)
        except OSError:
            self._memory = mmap.mmap(-1, size)  # no room: last words are lost with the process
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


def _allocate(descriptor, size):
    """Make a file that long; to write to one with holes on a full disk ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


class _Account:
    """What one execution wrote to one stream: a head for the wire, all of it in a file."""

    def __init__(self, stream, parent):
        self.execution_id = parent.get("msg_id", "")
        self._stream = stream
        self.parent = parent
        self.unended = False
        self.waiting = []
        self._path = os.path.join(
            settings["spill_dir"],
            "%s.%s.txt" % (self.execution_id or "background", stream.name),
        )
        self._head = []
        self._size = 0
        self._file = None

    def take(self, string):
        """The part of `string` to send."""
        if self._file is not None:
            try:
                self._file.write(string)
                return ""
            except OSError:
                return string  # the disk is full: the wire takes it
        sent = self._size
        self._size += len(string)
        if self._size <= budgets.WIRE_BUDGET:
            self._head.append(string)
            return string
        try:
            # a file that is opened again, for late text, goes on where it was
            self._file = budgets.SpillFile(self._path, self.execution_id)
            if self._file.empty:
                self._file.write("".join(self._head))
            self._file.write(string)
        except OSError:
            self._file = None  # no place to spill to: the wire has to take it all
            return string
        self._head = []
        last = string[: max(0, budgets.WIRE_BUDGET - sent)]
        self._stream.announce(self._path, last, self.parent)
        return ""

    def settle(self):
        """Bring the file up to date."""
        if self._file is not None:
            self._file.settle()

    def close(self):
        """Give up the file; late text opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
