"""The one way out for all that code puts out, in order; runs in the kernel.

Python 3.8 syntax. Both streams, what C code and child processes write, and `clear_output` pass
through here. Text waits for a moment, so that many short writes become one message; whatever else
is sent (a display, an error, a reply) sends the waiting text first.

Text that was written but not yet sent outlives the process in a journal. The server in turn
writes down how many bytes it has dealt with, so that code which displays faster than the server
can store waits for it.

"""

import functools
import itertools
import os
import select
import threading
import time

from . import shared
from .defence import defect, report

_AFTER = 0.2
"""Seconds that text may wait for more."""

_LATE = 0.1
"""Seconds after which a timer that has not come is set anew: an interrupt may have undone it."""

_FLUSH_LIMIT = 10.0
"""Seconds that `flush` waits for the thread that sends, as ipykernel's own does."""

_BETWEEN = 0.05
"""Seconds from one message to the next, however often code flushes its streams."""

_ROUNDS = 4
"""Reads per captured descriptor: more than a pipe can hold, so that all written before is in."""

_BUSY = b'{"execution_state":"busy"}'
"""The content of a message that waits for the next one, which follows at once."""

_REMEMBERED = 1000
"""Requests of which we know that they show something, or shall be cleared."""


class Outlet:
    """What waits to be sent, for all streams of one kernel.

    One lock guards it, in whatever thread code writes. The thread that sends takes it too: nobody
    may hold it and wait for that thread.
    """

    def __init__(self):
        """Nothing waits; `attach` comes before the first text."""
        self.lock = threading.RLock()
        self.captured = _Captured(self.lock)
        self.sender = None
        self.request = {}  # the header of the latest one
        self.on_cleared = lambda execution_id: None
        self._parts = []
        self._latest = None
        self._showing = {}  # requests that have put out something since they were cleared
        self._clearing = {}  # requests that are cleared with their next output
        self._count = 0
        self._sent_at = 0.0
        self._timed_until = 0.0

    def attach(self, session, pub_thread, run_dir):
        """Send through `pub_thread` from now on; the second stream finds it attached."""
        if self.sender is None:
            self._pid = os.getpid()
            self._journal = shared.Journal(os.path.join(run_dir, "output.journal"))
            self.sender = _Sender(session, pub_thread, os.path.join(run_dir, "taken"))

    @property
    def is_ours(self):
        """False in a forked child, which has no way out of its own."""
        return os.getpid() == self._pid

    def begin(self, execution_id):
        """The journal is for this execution from now on."""
        with self.lock:
            self._journal.begin(execution_id)

    def is_turn_of(self, stream):
        """False when another stream wrote last, so that a part for `stream` has to begin."""
        return self._latest in (None, stream)

    def put(self, stream, parent, text):
        """Add text; the caller holds the lock."""
        self.perform_clear(parent)
        _remember(self._showing, parent)
        self._latest = stream
        part = _part_of(self._parts, stream, parent, text)
        if part is None:
            part = _Part(stream, parent)
            self._parts.append(part)
        part.texts.append(text)
        self._note(part, stream.name, text)

    def clear(self, parent, wait):
        """Take back what the request has put out, with `wait` when it puts out more."""
        with self.lock:
            _remember(self._clearing, parent)
            if not wait:
                self.perform_clear(parent)

    def perform_clear(self, parent):
        """Do what `clear` was asked for, if it was: the next output comes."""
        execution_id = parent.get("msg_id", "")
        if execution_id not in self._clearing:  # of two threads of one request either may be first
            return
        with self.lock:
            if self._clearing.pop(execution_id, None) is None:
                return
            self._parts = [
                part
                for part in self._parts
                if part.stream is None or part.parent.get("msg_id", "") != execution_id
            ]
            self.on_cleared(execution_id)
            if execution_id in self._showing:
                del self._showing[execution_id]
                self._journal.empty(execution_id)
                self._parts.append(_Part(None, parent))
                self._note(self._parts[-1], "clear", "")

    def send_before_display(self, parent):
        """Send all that a display of this request, which follows now, must not overtake."""
        with self.lock:
            self.captured.drain()
            self.perform_clear(parent)
            _remember(self._showing, parent)
            self.send()

    def flush(self):
        """Send what waits, unless something was sent just now: then it follows soon."""
        with self.lock:
            is_due = bool(self._parts) and time.monotonic() - self._sent_at > _BETWEEN
            if is_due:
                self.send()
        if is_due:  # without the lock: the thread that sends may want it first
            self.sender.wait_sent()

    def send(self):
        """Send what waits; whatever is sent after this call comes after it."""
        with self.lock:
            parts, self._parts = self._parts, []
            if parts:
                self._sent_at = time.monotonic()
                self.sender.send_later(parts)

    def wait_for_server(self):
        """Wait while more is on its way than the server should have to hold."""
        if self.is_ours:
            self.sender.flow.wait()

    def _set_timer(self, seconds):
        """In the thread that sends: be back in a moment; where that can't be, wait for nothing."""
        if not self.sender.call_later(seconds, self._on_time):
            self.send()

    def _on_time(self):
        """In the thread that sends: the time of what waits is over."""
        if not self.lock.acquire(blocking=False):
            self._set_timer(0.01)  # the holder may be waiting for this very thread
            return
        try:
            self._timed_until = 0.0
            parts, self._parts = self._parts, []
            self._sent_at = time.monotonic()
            self.sender.send_after_all_scheduled(parts)
        finally:
            self.lock.release()

    def _note(self, part, name, text):
        """Text was added to `part`: it is to be sent soon, and until then in the journal."""
        self._count = part.count = self._count + 1
        execution_id = part.parent.get("msg_id", "")
        if not self._journal.add(execution_id, self._count, name, text):
            self.send()
            self._journal.empty(execution_id)
        elif (now := time.monotonic()) > self._timed_until:
            # one for all that comes meanwhile, also of the next cells: each calls the other thread
            self._timed_until = now + _AFTER + _LATE
            self.sender.call(lambda: self._set_timer(_AFTER))


def _remember(requests, parent):
    requests[parent.get("msg_id", "")] = True
    if len(requests) > _REMEMBERED:
        del requests[next(iter(requests))]


def _part_of(parts, stream, parent, text):
    """The one of `parts` that `text` goes on with, or None.

    The end of a line goes to its line, also where another stream has written meanwhile.
    """
    for part in reversed(parts):
        if part.stream is stream and part.parent is parent:
            is_last = part is parts[-1]
            return part if is_last or (text == "\n" and part.is_unended) else None
        if text != "\n" or part.stream is None:
            return None
    return None


class _Captured:
    """The descriptors that C code and other processes write to."""

    def __init__(self, lock):
        self._lock = lock
        self._sources = {}
        self._heard = -1
        self._poll = select.poll() if hasattr(select, "poll") else None

    def watch(self, fd, receive):
        """Call `receive` whenever `fd` can be read, before anything else is taken in."""
        with self._lock:
            self._sources[fd] = receive
            self._poll.register(fd, select.POLLIN)

    def forget(self, fd):
        """Watch `fd` no more."""
        with self._lock:
            if self._sources.pop(fd, None) is not None:
                self._poll.unregister(fd)

    def drain(self):
        """Take in what C code and other processes have written so far; the caller has the lock."""
        ready = self._sources and self._poll.poll(0)
        if ready:  # seldom, and this is asked before each `print`
            self._take_in(ready)

    def _take_in(self, ready):
        for _ in range(_ROUNDS):
            # of two that can be read, the one that was written to last is likely to go on
            for fd, event in sorted(ready, key=lambda found: found[0] != self._heard):
                self._heard = fd
                try:
                    if event & select.POLLNVAL:
                        raise OSError("the descriptor was closed")
                    self._sources[fd]()
                except OSError:
                    self.forget(fd)
            ready = self._poll.poll(0)
            if not ready:
                return


class _Sender:
    """Sends, one message after the other: in the thread of ipykernel's that does so, or at once.

    To call that thread takes the interpreter from the one that runs code, so between two pieces of
    user code the main thread sends by itself. Within user code it never does: what a signal handler
    raises there would cut a message in two. One lock guards the socket; it is held for sending
    only, and nobody waits for it who could run a handler.
    """

    def __init__(self, session, pub_thread, flow):
        self._session, self._pub_thread = session, pub_thread
        self.flow = shared.Flow(flow)
        self.is_direct = False  # the main thread is in no user code
        self.may_wait = False  # what it sends is the last of a cell
        self._main = threading.main_thread().ident
        self._sending = threading.Lock()
        self._is_called = False
        pub_thread.schedule = self.schedule
        pub_thread.send_multipart = self._send_counted

    def schedule(self, action, waits=False):
        """Have it done, in the place of the stock way, which costs much more.

        What `waits` is done with what comes next.
        """
        if not self._pub_thread.thread.is_alive():
            action()
            return
        self._pub_thread._events.append(action)
        is_main = threading.get_ident() == self._main
        if waits or (is_main and (self.may_wait or (self.is_direct and self._has_caught_up()))):
            return
        if not self._is_called:
            self._is_called = True
            self.call(self._do_scheduled)

    def call(self, action):
        """Have the thread that sends do it, whatever else it does."""
        try:
            self._pub_thread.io_loop.asyncio_loop.call_soon_threadsafe(action)
        except RuntimeError:  # its loop is closed: the kernel ends
            action()

    def _send_counted(self, frames, *args, **kwargs):
        self.flow.count(frames)
        action = functools.partial(self._pub_thread._really_send, frames, *args, **kwargs)
        self.schedule(action, waits=frames[-1] == _BUSY)

    def send_later(self, parts):
        """Send parts after all that was scheduled, and before all that will be."""
        self._pub_thread.schedule(lambda: self._send(parts))

    def wait_sent(self):
        """Wait until all that was scheduled is sent, in any thread but the one that sends."""
        thread = self._pub_thread.thread
        if thread.is_alive() and thread is not threading.current_thread():
            sent = threading.Event()
            self._pub_thread.schedule(sent.set)
            sent.wait(_FLUSH_LIMIT)

    def _has_caught_up(self):
        """True when what was scheduled could be done here and now, in the main thread."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            self._perform()
        finally:
            self._sending.release()
        return True

    def _perform(self):
        events = self._pub_thread._events
        for _ in range(len(events)):
            action = events.popleft()
            try:
                action()
            except Exception as error:  # the others are to be sent
                report(defect(self._perform, error))

    # In the thread that sends

    def _do_scheduled(self):
        self._is_called = False  # from here on, whoever adds to them calls again
        with self._sending:
            self._perform()

    def call_later(self, seconds, action):
        """False where it can't be: the loop is closed, or code has taken its clock."""
        try:
            self._pub_thread.io_loop.call_later(seconds, action)
            return True
        except Exception:
            return False

    def send_after_all_scheduled(self, parts):
        """Send parts now, and before them what was scheduled."""
        self._pub_thread._events.append(lambda: self._send(parts))
        self._do_scheduled()

    def _send(self, parts):
        """One message for what one request wrote in a row, and one for each `clear_output`."""
        for _, run in itertools.groupby(parts, lambda part: (id(part.parent), part.clear_id)):
            self._send_run(list(run))

    def _send_run(self, run):
        """Send parts of one request as one message: each text with the name of its stream."""
        if run[0].stream is None:
            kind, content = "clear_output", {"wait": False}
        else:
            texts = [[part.stream.name, "".join(part.texts)] for part in run]
            kind, content = "stream", {"name": texts[0][0], "text": texts[0][1], "more": texts[1:]}
        content["upto"] = max(part.count for part in run)
        try:
            self._session.pid = os.getpid()  # the thread that sends knows of forks by itself
            message = self._session.msg(kind, content, parent=run[0].parent)
            self._session.send(self, message, ident=kind.encode("ascii"))
        except Exception as error:  # the thread serves all the others
            report(defect(self._session.send, error))

    def send_multipart(self, frames, **kwargs):
        """What a session calls: send at once, from the thread that sends."""
        self.flow.count(frames)
        self._pub_thread._really_send(frames, **kwargs)


class _Part:
    """What one stream wrote in one go for one request; without a stream, a `clear_output`."""

    __slots__ = ("count", "parent", "stream", "texts")

    def __init__(self, stream, parent):
        self.stream, self.parent, self.texts, self.count = stream, parent, [], 0

    @property
    def clear_id(self):
        """None for text, of no other part for a `clear_output`."""
        return id(self) if self.stream is None else None

    @property
    def is_unended(self):
        """True when more of its last line is to come."""
        return not self.texts[-1].endswith("\n")


outlet = Outlet()
"""Of this kernel, which is all of the process."""
