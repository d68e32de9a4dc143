"""Puts back what user code took from its kernel.

Loaded in the kernel's process; Python 3.8 syntax. Looked after before and after each cell: the
standard streams, the builtins, the functions of the standard library that a kernel needs,
`sys.modules`, the parts of IPython's shell and of the kernel, the recursion limit, the working
directory. A note says what was put back, in the output of the cell that took it, as what was
written in between may be missing.

What is used here is held from before any user code ran: the builtins too (see `launch.py`).
"""

import io
import operator
import os
import sys
import threading

from . import streams
from .defence import attempt, defect

_LIBRARY = (
    *("os", os.path.__name__, "sys", "time", "datetime", "json", "json.encoder"),
    *("threading", "_thread", "select", "selectors", "signal", "socket", "io", "codecs"),
    *("asyncio", "asyncio.events", "contextvars", "contextlib", "functools", "inspect", "ast"),
    *("traceback", "linecache", "tokenize", "warnings", "logging", "uuid", "hmac", "hashlib"),
)
"""Modules without which ipykernel can't serve a request."""

_OFTEN_REPLACED = ("__import__", "open", "input", "help", "breakpoint")
"""Builtins that libraries replace for good reason; these only have to be callable."""

_PASSING = ("exit", "quit", "copyright", "credits", "license")
"""Builtins that IPython and `site` put there and take away."""

_SHELL = (
    *("user_ns_hidden", "display_pub", "displayhook", "display_formatter", "display_trap"),
    *("builtin_trap", "compile", "events", "input_transformer_manager", "payload_manager"),
    *("history_manager", "magics_manager", "InteractiveTB", "SyntaxTB", "logger"),
)
"""Parts of IPython's shell without which it runs no cell."""

_LEAST_DEPTH = 500
"""A recursion limit with which ipykernel can serve; a lower one is no choice of the user's."""

_NAMED = 5
_Module = type(sys)


class Mending:
    """Knows how the streams, the library and the working directory of one kernel ought to be."""

    def __init__(self, kernel):
        """All is well now."""
        self._kernel = kernel
        self._streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._attributes = {}  # of the streams, when they were looked at last
        self.folder = WorkingDirectory()
        self._depth = sys.getrecursionlimit()
        self._loaded, self._modules = sys.modules, dict(sys.modules)
        builtins = sys.modules["builtins"]
        self._builtins = _Callables(builtins, "", without=_PASSING, replaced=_OFTEN_REPLACED)
        self._parts = {name: getattr(kernel.shell, name, None) for name in _SHELL}
        self._send = kernel.session.send
        modules = [(name, sys.modules[name]) for name in _LIBRARY if name in sys.modules]
        modules.append(("Thread", threading.Thread))
        self._library = [_Callables(owner, name + ".") for name, owner in modules]
        self._spaces = [vars(owner) for _, owner in modules]
        self._seen = None

    def mend(self):
        """Mend what is broken, and say so."""
        self.mend_python(
            lambda: self._mend_stream("stdout"),
            lambda: self._mend_stream("stderr"),
            self._mend_shell,
            self._mend_methods,
            self._mend_namespace,
            self.folder.mend,
        )

    def mend_python(self, *others):
        """Mend what any code needs; alone in the midst of a cell, whose streams are its own."""
        library = (self._mend_library, self._mend_modules)
        self._mend(self._mend_depth, self._mend_builtins, *library, *others)

    def mend_builtins(self):
        """Mend what the next step of a cell needs; fast."""
        self._mend(self._mend_builtins)

    def _mend(self, *parts):
        notes = []
        for part in parts:  # not a word before all are mended: it needs them
            try:
                notes.append(part())
            except BaseException as error:
                notes.append(defect(part, error))
        attempt(self.say, notes)

    def say(self, notes):
        """Write notes to stderr; "" is none."""
        for note in filter(None, notes):
            self._streams["stderr"].write("[kernel-exec] %s\n" % note)

    def _mend_depth(self):
        depth = sys.getrecursionlimit()
        if depth >= min(self._depth, _LEAST_DEPTH):
            return ""
        sys.setrecursionlimit(self._depth)
        return "the recursion limit was %d and is %d again" % (depth, self._depth)

    def _mend_builtins(self):
        return _restored(self._builtins.restore(same=True))

    def _mend_library(self):
        try:
            seen = [[*space.values()] for space in self._spaces]
            if self._seen == seen:  # almost always
                return ""
        except Exception:
            seen = None  # somebody's own `==` fails
        taken = [name for each in self._library for name in each.restore()]
        self._seen = None if taken else seen
        return _restored(taken)

    def _mend_modules(self):
        """Somebody who reloads a module takes out that one; without `sys` nothing can go on.

        Another thread that imports meanwhile makes a second `sys`, without half of what it needs.
        """
        replaced = sys.modules is not self._loaded
        if not replaced and self._loaded.get("sys") is sys:
            return ""
        sys.modules = self._loaded
        self._loaded.update(self._modules)
        return "sys.modules was %s and is restored" % ("replaced" if replaced else "emptied")

    def _mend_shell(self):
        shell = self._kernel.shell
        missing = [name for name in self._parts if getattr(shell, name, None) is None]
        taken = [name for name in missing if self._parts[name] is not None]
        for name in taken:
            setattr(shell, name, self._parts[name])
        return _restored(["get_ipython().%s" % name for name in taken])

    def _mend_methods(self):
        """Nobody can be served and answered without them."""
        kernel, taken = self._kernel, []
        for owner in (kernel, kernel.shell, kernel.shell.compile, kernel.shell.display_pub):
            for key in [key for key, value in vars(owner).items() if value is None]:
                if callable(getattr(type(owner), key, None)):
                    del vars(owner)[key]
                    taken.append(key)
        if callable(kernel.session.send):
            self._send = kernel.session.send
        else:
            kernel.session.send = self._send
            taken.append("session.send")
        return _restored(taken)

    def _mend_namespace(self):
        """Without these names neither Python nor IPython can run a cell there."""
        shell, taken = self._kernel.shell, []
        builtins = self._builtins.owner
        found = shell.user_ns.setdefault("__builtins__", builtins)
        if found is not builtins and found is not vars(builtins):  # Python itself puts either there
            shell.user_ns["__builtins__"] = builtins
            taken.append("__builtins__")
        if "_oh" not in shell.user_ns:
            shell.init_user_ns()
            taken.append("IPython's names (_oh)")
        return _restored(taken)

    def _mend_stream(self, name):
        stream, found = self._streams[name], getattr(sys, name, None)
        taken = []
        if vars(stream).keys() != self._attributes.get(name):
            taken = _without_own_methods(stream)
            self._attributes[name] = set(vars(stream))
        stream.session = self._kernel.session
        closed = stream.closed
        if not closed and stream.reopen_descriptor():
            taken.append("fileno()")
        if found is stream and not closed:
            return _restored(["sys.%s.%s" % (name, key) for key in taken])
        if type(found) is io.TextIOWrapper:
            found.flush()
        if closed:
            setattr(sys, name, getattr(sys, "__%s__" % name))
            stream = streams.KernelStream(self._kernel.session, self._kernel.iopub_thread, name)
            self._streams[name] = stream
        stream.set_parent(self._kernel.request)
        setattr(sys, name, stream)
        if closed:
            return "sys.%s was closed and is open again" % name
        by = "None" if found is None else type(found).__name__[:100]
        return "sys.%s was replaced by %s and is restored" % (name, by)


class WorkingDirectory:
    """Knows where the kernel began, and where it was last."""

    def __init__(self):
        """The kernel begins here."""
        self._home = self._latest = os.getcwd()

    def moved_to(self):
        """The working directory, if it is another than when this was asked last; or ""."""
        before, self._latest = self._latest, os.getcwd()
        return "" if self._latest == before else self._latest

    def mend(self):
        """Where it was deleted, enter the one of the start, or what is left of the way there."""
        try:
            os.getcwd()
            return ""
        except OSError:
            pass
        folder = self._home
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError:
            pass  # such as a file in its place
        while True:
            try:
                os.chdir(folder)
                return "the working directory was deleted; it is %s now" % folder
            except OSError:
                if folder == os.path.dirname(folder):
                    return "the working directory was deleted, and no other can be entered"
                folder = os.path.dirname(folder)


class _Callables:
    """What can be called in a module or a class, and the modules in it, as at the start.

    What is `replaced` for good reason only has to be callable.
    """

    def __init__(self, owner, prefix, without=(), replaced=()):
        self.owner, self._prefix, self._replaced = owner, prefix, replaced
        self._saved = {
            name: value
            for name, value in vars(owner).items()
            if _is_usable(value) and name not in without
        }
        self._values = (
            operator.itemgetter(*(name for name in self._saved if name not in replaced))
            if replaced
            else _all_values
        )
        self._seen = self._values(vars(owner))

    def restore(self, same=False):
        """Put back what is gone or can't be called; the names of those, with their owner's.

        Where it has to be the `same`, also what is not.
        """
        there, seen = vars(self.owner), None
        try:
            seen = self._values(there)
            # almost always; of two that are not the same one was seen before, and equals no other
            if self._seen == seen and all(callable(there[name]) for name in self._replaced):
                return []
        except Exception:
            pass  # one is missing, or somebody's own `==` fails
        taken = [name for name in self._saved if not self._is_there(name, there, same)]
        for name in taken:
            setattr(self.owner, name, self._saved[name])
        if not taken:
            self._seen = seen
        return [self._prefix + name for name in taken]

    def _is_there(self, name, there, same):
        value = there.get(name)
        return _is_usable(value) and (
            not same or name in self._replaced or value is self._saved[name]
        )


def _all_values(names):
    """Fast to compare with those of before, as nearly all are what they were."""
    return [*names.values()]


def _is_usable(value):
    return callable(value) or isinstance(value, _Module)


def _without_own_methods(stream):
    """Take from `stream` what hides its methods; the names of those that are not the same.

    IPython leaves a method there that is the same.
    """
    hidden = {}
    for key in list(vars(stream)):
        method = getattr(type(stream), key, None)
        if callable(method):
            hidden[key] = vars(stream).pop(key) == method.__get__(stream)
    return [key for key, same in hidden.items() if not same]


def _restored(names):
    """The note for what was put back."""
    if not names:
        return ""
    listed = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        listed += " and %d more" % (len(names) - _NAMED)
    were, are = ("were", "are") if names[1:] else ("was", "is")
    return "%s %s replaced and %s restored" % (listed, were, are)
