"""How the text of a forked child gets to its kernel; loaded in the kernel's process.

Standard library only, Python 3.8 syntax.
"""

import errno
import os
import select
from os import getpid

_FRAME = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""Bytes that a pipe takes as a whole, however many write to it."""


class Children:
    """The way of a forked child's text to the kernel: whole lines, with the id of their request.

    The stock way, a connection for each write, is so slow that a cell ends before it, and parts
    of one line meet those of another child.
    """

    def __init__(self):
        """Both ends are open."""
        self.receiver, self._sender = os.pipe()
        self._pid = getpid()
        self._unended = ""
        self._frames = b""

    def send(self, execution_id, string, whole=False):
        """In the child: send complete lines, and with `whole` also the beginning of one."""
        if self._pid != getpid():
            self._pid, self._unended = getpid(), ""
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
        while readable((self.receiver,), 0):
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
        """Close both ends."""
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


def readable(fds, patience=None):
    """Those of `fds` that can be read, after `patience` seconds at most; None has no limit."""
    poll = select.poll()  # unlike select, it takes descriptors of any number
    for fd in fds:
        poll.register(fd, select.POLLIN)
    ready = poll.poll(None if patience is None else int(patience * 1000))
    if any(event & select.POLLNVAL for _, event in ready):
        raise OSError(errno.EBADF, "a descriptor was closed")
    return [fd for fd, _ in ready]
