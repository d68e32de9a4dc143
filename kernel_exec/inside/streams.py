"""The standard streams of a kernel; runs in the kernel's process.

Python 3.8 syntax. A stream passes on what user code writes, up to a budget for each execution;
what exceeds it is written to a file. `outlet.py` keeps the order of both streams, and of them and
what C code and other processes write: that is taken in before each text of ours. Only where one
process writes to both descriptors, its lines may change places, and text that is over the budget
is in a file for each stream.

Whose text it is: that of a thread belongs to the execution that started the thread (or gave the
work to its pool), also when another one runs by then. Text of C code and of other processes,
forked children included, comes without a word of its writer: it counts for the execution under
way, as does that of raw `_thread` threads.
"""

import codecs
import collections
import ctypes
import errno
import functools
import io
import os
import select
import sys

from ipykernel.iostream import OutStream

from . import budgets, owners
from .outlet import outlet

_OPEN_ACCOUNTS = 8
_TURN = 16
"""Characters of the budget that it costs when the other stream wrote before: a part more."""


class KernelStream(OutStream):
    """A standard stream of the kernel."""

    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, *args, **kwargs):
        """Start capturing, like the original, but through `_watch_pipe_fd` below."""
        self._decoder = _decoder()
        self.buffer = _Bytes(self)
        self._accounts = collections.OrderedDict()
        self._latest = None
        self._child, self._child_decoder = None, _decoder()
        self._receiver, self._for_children = os.pipe()
        outlet.attach(args[0], args[1], budgets.settings["run_dir"])
        super().__init__(*args, **kwargs)
        if getattr(self, "_should_watch", False):
            self._kept = os.dup(self._original_stdstream_fd)
            outlet.captured.watch(self._fid, self._hear_captured)
            outlet.captured.watch(self._receiver, self._hear_children)

    if isinstance(getattr(OutStream, "parent_header", None), property):
        parent_header = property(
            lambda self: owners.parent_of(self, OutStream.parent_header.fget),
            OutStream.parent_header.fset,
            doc="The header of the request that what is written now belongs to.",
        )

    def set_parent(self, parent):
        """A request begins."""
        super().set_parent(parent)
        outlet.request = self.parent_header

    def fileno(self):
        """The descriptor that is captured, also where a child process gets it."""
        return getattr(self, "_original_stdstream_fd", None) or super().fileno()

    def reopen_descriptor(self):
        """Open what C code and child processes write to; True when user code had closed it."""
        try:
            os.fstat(self.fileno())
        except OSError:
            os.dup2(self._kept, self.fileno())
            return True
        return False

    def reconfigure(
        self, *, encoding=None, errors=None, newline=None, line_buffering=None, write_through=None
    ):
        """Change nothing: text travels as text, whatever its encoding elsewhere."""

    def detach(self):
        """The stream's bytes, for code that puts a text stream of its own around them."""
        return self.buffer

    def finish_cell(self):
        """A cell is over: half a character that it wrote stays half."""
        with outlet.lock:
            outlet.captured.drain()
            rest = self._decoder.decode(b"", True) + self.buffer.rest()
            if rest:
                self._take(rest, outlet.request)

    def _watch_pipe_fd(self):
        """Forward what C code and other processes write, until the stream closes."""
        owners.forget_thread()
        try:
            while self._should_watch and self._fid is not None:
                _wait_readable(self._fid, self._receiver)
                with outlet.lock:
                    outlet.captured.drain()
        except (OSError, ValueError):
            pass  # the descriptor was closed under us, by user code or at exit

    def _hear_captured(self):
        chunk = os.read(self._fid, 65536)
        if not chunk:
            self._should_watch = False
            outlet.captured.forget(self._fid)
        written = self._decoder.decode(chunk)
        if written:
            self._take(written, outlet.request)

    def _hear_children(self):
        account = self._account(outlet.request)
        account.waiting += self._child_decoder.decode(os.read(self._receiver, 65536))
        if not account.unended:  # else it would come into a line that we are writing
            self._put_waiting(account)

    def flush(self):
        """Send what waits, captured text included."""
        if os.getpid() != self._master_pid:
            self._of_child().flush()
            return
        _flush_c()
        _flush_original(self.name)
        with outlet.lock:
            outlet.captured.drain()
            for account in self._accounts.values():
                self._put_waiting(account)
                account.settle()
        outlet.flush()
        if self.echo is not None:
            self.echo.flush()

    def write(self, string):
        """Send `string`, or add it to the file of an execution that is over its budget."""
        if not isinstance(string, str) or self.pub_thread is None:
            return super().write(string)
        if os.getpid() != self._master_pid:
            return self._of_child().write(string)
        with outlet.lock:
            outlet.captured.drain()  # what was written to the descriptors before comes before
            parent, latest = self.parent_header, self._latest
            if latest is None or latest.parent is not parent or not latest.goes_to_file(string):
                self._take(string, parent)
        if self._latest.is_flooding:
            outlet.wait_for_server()
        return len(string)

    def _take(self, string, parent):
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
            outlet.put(self, account.parent, kept)

    def _put_waiting(self, account):
        waiting, account.waiting = account.waiting, ""
        if waiting:
            self._put(account, waiting)

    def _of_child(self):
        """The stream of this forked child, which has no threads and no sockets of the kernel's."""
        if self._child is None or self._child.pid != os.getpid():
            self._child = _ChildStream(self._for_children)
        return self._child

    def _account(self, parent):
        execution_id = parent.get("msg_id", "")
        account = self._accounts.get(execution_id)
        if account is None:
            account = self._accounts[execution_id] = _Account(self, parent)
            if execution_id == outlet.request.get("msg_id", execution_id):
                outlet.begin(execution_id)
            while len(self._accounts) > _OPEN_ACCOUNTS:
                self._accounts.popitem(last=False)[1].close()
        return account

    def close(self):
        """Close the stream."""
        is_open = not self.closed
        if is_open:
            outlet.captured.forget(getattr(self, "_fid", None))
            outlet.captured.forget(self._receiver)
        super().close()
        if is_open:
            for fd in (self._kept, self._receiver, self._for_children):
                os.close(fd)


def _decoder():
    return codecs.getincrementaldecoder("utf-8")("replace")


def _flush_original(name):
    """Write what code has printed to `sys.__stdout__`, which is not this stream here."""
    try:
        getattr(sys, "__%s__" % name).flush()
    except (AttributeError, OSError, ValueError):
        pass  # user code has replaced or closed it


def _wait_readable(*fds):
    poll = select.poll()  # unlike select, it takes descriptors of any number
    for fd in fds:
        poll.register(fd, select.POLLIN)
    if any(event & select.POLLNVAL for _, event in poll.poll()):
        raise OSError(errno.EBADF, "the descriptor was closed")


class _ChildStream:
    """What a forked child writes: whole lines, to a pipe of their own.

    In the captured descriptor they could come into a line that the kernel itself is writing. The
    stock way, a connection for each write, is so slow that a cell ends before it, and parts of one
    line meet those of another child.
    """

    def __init__(self, fd):
        self.pid, self._fd, self._unended = os.getpid(), fd, ""
        import os as everybodys  # ours is a copy

        leave = everybodys._exit

        def leave_with_nothing_unsent(status):
            self.flush()
            leave(status)

        everybodys._exit = leave_with_nothing_unsent

    def write(self, string):
        written = self._unended + string
        end = written.rfind("\n") + 1 if len(written) < select.PIPE_BUF else len(written)
        self._unended = written[end:]
        self._send(written[:end])
        return len(string)

    def flush(self):
        if self.pid == os.getpid():  # in a child of this child it is not for that one to say
            unended, self._unended = self._unended, ""
            self._send(unended)

    def _send(self, string):
        data = memoryview(string.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            pass  # the kernel is gone, or the child has closed all descriptors


class _Bytes(io.BufferedIOBase):
    """A stream for code that writes bytes; text and bytes keep their order."""

    mode = "wb"

    def __init__(self, stream):
        self._stream = stream
        self._decoder = _decoder()

    def writable(self):
        """True."""
        return True

    def write(self, data):
        """Write bytes, of which the last may be half a character."""
        data = bytes(memoryview(data))
        self._stream.write(self._decoder.decode(data))
        return len(data)

    def rest(self):
        """What is left of half a character, as text."""
        return self._decoder.decode(b"", True)

    def flush(self):
        """Send what waits."""
        if not self._stream.closed:
            self._stream.flush()

    def close(self):
        """Stay open: a text stream that code has put around this one closes it at its end."""
        self.flush()

    def fileno(self):
        """The descriptor that is captured."""
        return self._stream.fileno()


_LINE_BUFFERED = 1
"""`_IOLBF` of glibc, musl and Darwin: lines of C code come when they are printed."""


def _flusher_of_c():
    """What writes all that C code has printed without an end of line."""
    try:
        library = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(library, "stdout")
        library.setvbuf(stdout, None, _LINE_BUFFERED, ctypes.c_size_t(0))
        return functools.partial(library.fflush, stdout)
    except (AttributeError, OSError, TypeError, ValueError):
        return int  # no library of C that we know: what it prints comes when its buffer is full


_flush_c = _flusher_of_c()


class _Account:
    """What one execution wrote to one stream: a head for the wire, all of it in a file."""

    def __init__(self, stream, parent):
        self.execution_id = parent.get("msg_id", "")
        self._stream = stream
        self.parent = parent
        self.unended = False  # the last line that was written here is not complete
        self.waiting = ""  # lines of forked children that wait for its end
        self._path = os.path.join(
            budgets.settings["spill_dir"],
            "%s.%s.txt" % (self.execution_id or "background", stream.name),
        )
        self._head = []
        self._size = 0
        self._file = None
        self.is_flooding = False

    def goes_to_file(self, string):
        """True when `string` was written to the file, as is most of what a loop prints."""
        if self._file is None or self.waiting or self.take(string):
            return False
        self.unended = string[-1:] not in ("\n", "")
        return True

    def take(self, string):
        """The part of `string` to send."""
        self.is_flooding = False
        if self._file is not None:
            try:
                self._file.write(string)
            except OSError:
                self.is_flooding = True
                return string  # the disk is full: the wire takes it
            return ""
        sent = self._size
        self._size += len(string) + (0 if outlet.is_turn_of(self._stream) else _TURN)
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
            self.is_flooding = True
            return string
        self._head = []
        last = string[: max(0, budgets.WIRE_BUDGET - sent)]
        self._announce(last)
        return ""

    def _announce(self, last):
        """Send `last`, then tell the server that the file holds all of this stream."""
        stream = self._stream
        outlet.put(stream, self.parent, last)
        outlet.send()
        stream.session.send(
            stream.pub_thread,
            "display_data",
            {
                "data": {budgets.SPILL_MIME: {"name": stream.name, "path": self._path}},
                "metadata": {},
                "transient": {},
            },
            parent={"header": self.parent},
            ident=b"display_data",
        )

    def settle(self):
        """Bring the file up to date."""
        if self._file is not None:
            self._file.settle()

    def close(self):
        """Give up the file; late text opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
