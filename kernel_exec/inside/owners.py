"""Whom a thread works for; runs in the kernel's process.

Python 3.8 syntax, standard library only. ipykernel counts what threads write for the request that
came last. Here it counts for the request that started the thread, or gave the work to its pool.
"""

import sys
import threading

_HEADER = "_kernel_exec_header"
"""Where a thread keeps it: a thread of a class of the user's own may not be hashable."""


def forget_thread():
    """The thread that calls this works for nobody in particular."""
    vars(threading.current_thread()).pop(_HEADER, None)


def follow(shell):
    """Let what threads write and display belong to the request that they work for."""
    publisher = shell.display_pub
    kind = type(publisher)
    stock = getattr(kind, "parent_header", None)
    if isinstance(stock, property):
        kind.parent_header = property(lambda self: parent_of(self, stock.fget), stock.fset)
    _follow_threads(lambda: publisher.parent_header)


def _follow_threads(current):
    start = threading.Thread.start

    def start_owned(thread):
        try:
            vars(thread)[_HEADER] = current()
            module = getattr(vars(thread).get("_target"), "__module__", None)
            _follow_pool(sys.modules.get(module), current)
        except Exception:
            pass  # whose text it is matters less than that it starts
        return start(thread)

    threading.Thread.start = start_owned


def _follow_pool(module, current):
    """The same for work that is given to a thread of a pool, which may be an older one."""
    item = getattr(module, "_WorkItem", None)
    if module is None or module.__name__ != "concurrent.futures.thread" or item is None:
        return
    if hasattr(item, "kernel_exec_header"):
        return
    item.kernel_exec_header = None
    begin, run = item.__init__, item.run

    def begin_owned(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.kernel_exec_header = current()

    def run_owned(self, *args, **kwargs):
        if self.kernel_exec_header:
            vars(threading.current_thread())[_HEADER] = self.kernel_exec_header
        return run(self, *args, **kwargs)

    item.__init__, item.run = begin_owned, run_owned


def parent_of(publisher, inherited):
    """Whom `publisher` works for in this thread: a task's own request, the thread's, or the latest.

    `inherited` is the publisher's own way to tell.
    """
    try:
        return publisher._parent_header.get()
    except (LookupError, AttributeError):
        return vars(threading.current_thread()).get(_HEADER) or inherited(publisher)
