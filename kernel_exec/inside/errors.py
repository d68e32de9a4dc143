"""Errors as they are shown, also without memory; loaded in the kernel's process.

Standard library only, Python 3.8 syntax.
"""

import asyncio
import builtins
import mmap
import os
import traceback

from .defence import attempt

_RESERVE = 16 << 20
"""Bytes of address space, never touched: a traceback, a reply and a small cell fit."""

_CAUSES = 100
"""Errors that one came of, at most: user code can link them in a ring."""


def show_errors(shell, files):
    """Show the files that cells are stored in, which `files` knows.

    An exception whose `__str__` raises is shown by its type and by the error of its `__str__`.
    """
    show = shell._showtraceback

    def show_any(etype, evalue, stb):
        if isinstance(evalue, SyntaxError):
            evalue.filename = files.shown(evalue.filename)
        try:
            str(evalue)
        except BaseException as error:  # whatever a `__str__` may raise
            message = "[its __str__ raised %s: %s]" % (type(error).__name__, _message_of(error))
            evalue = _Message(message)
            stb = [*stb[:-1], "%s: %s" % (etype.__name__, message)]
        return show(etype, evalue, [files.with_files(part) for part in stb])

    shell._showtraceback = show_any
    # IPython 9 would format each traceback a second time, for a history that nobody reads here
    shell._format_exception_for_storage = _brief


def _brief(error, *args, **kwargs):
    return {"ename": type(error).__name__, "evalue": "", "traceback": []}


class _Message:
    """An exception's message in place of the exception."""

    def __init__(self, message):
        self._message = message

    def __str__(self):
        return self._message


def _message_of(error):
    try:
        return str(error)
    except BaseException:
        return "it has no readable message"


def show_groups(shell):
    """Show a group of exceptions as an error, where IPython writes it to stderr as mere text."""
    show = shell.showtraceback

    def show_any(exc_tuple=None, *args, **kwargs):
        try:
            kind, error, frames = shell._get_exc_info(exc_tuple)
        except ValueError:  # there is none
            return show(exc_tuple, *args, **kwargs)
        if not _holds_a_group(error) or issubclass(kind, SyntaxError):
            return show(exc_tuple, *args, **kwargs)
        while frames is not None and _is_of_ipython(frames):
            frames = frames.tb_next
        lines = "".join(traceback.format_exception(kind, error, frames)).rstrip().split("\n")
        return shell._showtraceback(kind, error, lines)

    shell.showtraceback = show_any


def _holds_a_group(error):
    group = getattr(builtins, "BaseExceptionGroup", ())
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, group):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _is_of_ipython(frames):
    return os.sep + "IPython" + os.sep in frames.tb_frame.f_code.co_filename


class Reserve:
    """Memory that is set aside while code runs, and given back when the code has failed.

    Without it the kernel could not say that there was none left, nor run the cell that frees some.
    """

    def __init__(self):
        self._held = []
        self.take()

    def take(self):
        """Set memory aside, if as much again is left for the code."""
        if self._held:
            return
        try:
            for _ in range(2):
                self._held.append(mmap.mmap(-1, _RESERVE))
        except (OSError, MemoryError):
            self.release()
        else:
            self._held.pop().close()

    def release(self):
        """Give it back."""
        while self._held:
            self._held.pop().close()


def reply_for(error, execution_count):
    """What a cell that could not even be run is answered with; else nobody would answer."""
    name, message = type(error).__name__, attempt(str, error, otherwise="")
    return {
        "status": "error",
        "execution_count": execution_count,
        "ename": name,
        "evalue": message,
        "traceback": ["%s: %s" % (name, message)],
        "payload": [],
        "user_expressions": {},
    }


def was_interrupted(shell):
    """True when an interrupt ended the cell, also where another error came of it."""
    result = shell.last_execution_result
    error = result.error_in_exec if result is not None else None
    for _ in range(_CAUSES if error is not None else 0):
        if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return True
        error = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
    return False


def give_back_before(shell, *steps):
    """Do `steps` before an error is shown: what a cell took before it failed is needed for that."""
    show = shell.showtraceback

    def show_traceback(*args, **kwargs):
        for step in steps:
            step()
        return show(*args, **kwargs)

    shell.showtraceback = show_traceback
