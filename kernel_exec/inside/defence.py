"""The last line of defence: a defect of ours is reported, and never costs a reply.

Standard library only, Python 3.8 syntax. Threads that serve go on when their loops fail, and what
ends the process leaves its stack. Whatever decorates a cell (names, notes, descriptions,
smaller displays) goes through `attempt`. The report goes to descriptor 2, which any thread may
write to, with no lock held: the streams are among what may fail.
"""

import faulthandler
import os
import signal
import time

_BETWEEN = 0.05
"""Seconds until a thread's loop begins again: what it lacks may be lacking for a while."""

_MOST = 20
"""Reports in a kernel's life: one is output again, which may meet the same defect."""

_LONGEST = 500
_reported = set()
_files = {}


def attempt(part, *args, otherwise=None, **kwargs):
    """The result of `part`, or `otherwise` where it fails, which is reported.

    It may look at values of the user, whose own code can raise anything, SystemExit included.
    """
    try:
        return part(*args, **kwargs)
    except BaseException as error:
        report(defect(part, error))
        return otherwise


def defect(part, error):
    """What failed and why, in one line; the error's own text may be hostile as well."""
    try:
        why = str(error)[:_LONGEST]
    except BaseException:
        why = "it can't say why"
    name = getattr(part, "__name__", "a part").strip("_")
    return "%s failed: %s: %s" % (name, type(error).__name__[:100], why)


def report(note):
    """Write a note to stderr, each only once: a value that fails may stay for many cells."""
    if note not in _reported and len(_reported) < _MOST:
        _reported.add(note)
        try:
            os.write(2, ("[kernel-exec] %s\n" % note).encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # user code has closed it


def make_lasting(kind, mend):
    """Let the loops of all threads of `kind` go on, whatever user code takes from them."""
    start = kind.start

    def start_lasting(thread):
        serve = thread.io_loop.start

        def event_loop():
            while True:
                try:
                    return serve()
                except BaseException as error:
                    report(defect(event_loop, error))
                    attempt(mend)
                    time.sleep(_BETWEEN)

        thread.io_loop.start = event_loop
        start(thread)

    kind.start = start_lasting


def dump_faults(run_dir):
    """Python's stack at a crash goes to `fault`, on request to `stack`; fd 2 is captured."""
    crash = open(os.path.join(run_dir, "fault"), "w", encoding="utf-8")
    faulthandler.enable(file=crash, all_threads=False)
    stack = open(os.path.join(run_dir, "stack"), "w", encoding="utf-8")
    _files.update(fault=crash, stack=stack)
    dump_on_request()


def dump_on_request():
    """The stack is asked for by SIGURG: libraries take SIGUSR1, and without a handler it kills.

    That of SIGURG may have been reset; one of the user's own stays.
    """
    if hasattr(faulthandler, "register") and hasattr(signal, "SIGURG"):
        if signal.getsignal(signal.SIGURG) is signal.SIG_DFL:
            faulthandler.unregister(signal.SIGURG)
            faulthandler.register(signal.SIGURG, file=_files["stack"], all_threads=False)


def give_up(error):
    """End the process: without memory for a reply, that is an answer."""
    os.write(_files["fault"].fileno(), type(error).__name__.encode("ascii", "replace"))
    os._exit(1)
