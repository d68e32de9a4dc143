"""Puts back what user code took from its kernel, and keeps our own defects from costing a reply.

Loaded in the kernel's process; Python 3.8 syntax. Looked after before and after each cell: the
standard streams, the builtins, the functions of the standard library that a kernel needs,
`sys.modules`, the parts of IPython's shell, the recursion limit, the working directory. A note
says what was put back, in the output of the cell that took it, as what was written in between may
be missing.

What is used here is held from before any user code ran: the builtins too (see `launch.py`).
"""

import functools
import io
import operator
import os
import sys
import threading

from . import streams

_LIBRARY = (
    *("os", "posixpath", "ntpath", "sys", "time", "datetime", "json", "json.encoder"),
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

_REMEMBERED = 100
_NAMED = 5
_Module = type(sys)
_getcwd, _chdir, _makedirs, _dirname = os.getcwd, os.chdir, os.makedirs, os.path.dirname


class Mending:
    """Knows how the streams, the library and the working directory of one kernel ought to be."""

    def __init__(self, kernel):
        """All is well now."""
        self._kernel = kernel
        self._streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._home = self._folder = _getcwd()
        self._depth = sys.getrecursionlimit()
        self._loaded, self._modules = sys.modules, dict(sys.modules)
        self._builtins = _Functions(sys.modules["builtins"], without=_PASSING)
        self._shell = {name: getattr(kernel.shell, name, None) for name in _SHELL}
        self._told = set()
        modules = [sys.modules[name] for name in _LIBRARY if name in sys.modules]
        self._library = [_Functions(owner) for owner in (*modules, threading.Thread)]

    def attempt(self, part, *args, otherwise=None, **kwargs):
        """What `part` returns. When it fails, stderr says so, and the answer is `otherwise`.

        It may look at values of the user, whose own code can raise anything, SystemExit included.
        """
        try:
            return part(*args, **kwargs)
        except BaseException as error:
            try:
                self._say_once(_defect(part, error))
            except BaseException:
                pass  # not even that: what was asked for is only decoration
            return otherwise

    def mend(self):
        """Mend what is broken, and say so."""
        of_streams = [functools.partial(self._mend_stream, name) for name in self._streams]
        parts = [self._mend_shell, self._mend_kernel, self._mend_namespace, self._mend_folder]
        self._mend(*self._python, *of_streams, *parts)

    def mend_python(self):
        """Mend what any code needs, in the midst of a cell, whose streams are its own affair."""
        self._mend(*self._python)

    def mend_builtins(self):
        """Mend what the next step of a cell needs; fast."""
        self._mend(self._mend_builtins)

    @property
    def _python(self):
        return self._mend_depth, self._mend_builtins, self._mend_library, self._mend_modules

    def _mend(self, *parts):
        notes = []
        for part in parts:  # not a word before all are mended: it needs them
            try:
                notes.append(part())
            except BaseException as error:
                notes.append(_defect(part, error))
        self.attempt(self.say, notes)

    def _say_once(self, note):
        """A value that our code can't take may well stay there for many cells."""
        if note not in self._told and len(self._told) < _REMEMBERED:
            self._told.add(note)
            self.say([note])

    def say(self, notes):
        """Write notes to stderr; "" is none."""
        for note in filter(None, notes):
            self._streams["stderr"].write("[kernel-exec] %s\n" % note)

    def moved_to(self):
        """The working directory, if it is another than when this was asked last; or ""."""
        before, self._folder = self._folder, _getcwd()
        return "" if self._folder == before else self._folder

    def _mend_depth(self):
        depth = sys.getrecursionlimit()
        if depth >= min(self._depth, _LEAST_DEPTH):
            return ""
        sys.setrecursionlimit(self._depth)
        return "the recursion limit was %d and is %d again" % (depth, self._depth)

    def _mend_builtins(self):
        return _restored(self._builtins.restore(but=_OFTEN_REPLACED))

    def _mend_library(self):
        return _restored(
            [name for functions in self._library for name in functions.restore_named()]
        )

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
        taken = [name for name in self._shell if getattr(shell, name, None) is None]
        taken = [name for name in taken if self._shell[name] is not None]
        for name in taken:
            setattr(shell, name, self._shell[name])
        return _restored(["get_ipython().%s" % name for name in taken])

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

    def _mend_kernel(self):
        """Nobody can be served and answered without them."""
        kernel, session = self._kernel, self._kernel.session
        taken = []
        for owner in (kernel, kernel.shell, kernel.shell.compile, kernel.shell.display_pub):
            for key in [key for key, value in vars(owner).items() if value is None]:
                if callable(getattr(type(owner), key, None)):
                    del vars(owner)[key]
                    taken.append(key)
        if callable(session.send):
            self._send = session.send
        else:
            session.send = self._send
            taken.append("session.send")
        return _restored(taken)

    def _mend_stream(self, name):
        stream, found = self._streams[name], getattr(sys, name, None)
        taken = _without_own_methods(stream)
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

    def _mend_folder(self):
        try:
            _getcwd()
            return ""
        except OSError:
            pass
        folder = self._home
        try:
            _makedirs(folder, exist_ok=True)
        except OSError:
            pass  # such as a file in its place
        while True:
            try:
                _chdir(folder)
                return "the working directory was deleted; it is %s now" % folder
            except OSError:
                if folder == _dirname(folder):
                    return "the working directory was deleted, and no other can be entered"
                folder = _dirname(folder)


class _Functions:
    """What can be called in a module or a class, and the modules in it, as at the start."""

    def __init__(self, owner, without=()):
        self.owner = owner
        self._saved = {
            name: value
            for name, value in vars(owner).items()
            if _is_usable(value) and name not in without
        }
        self._values = operator.itemgetter(*self._saved)
        self._as_saved = self._values(self._saved)

    def restore(self, but=None):
        """Put back what is gone or can't be called; the names of those.

        With `but`, all that is not the same, except these.
        """
        there = vars(self.owner)
        try:
            if all(map(operator.is_, self._values(there), self._as_saved)):  # almost always
                return []
        except KeyError:
            pass
        taken = [
            name
            for name, value in self._saved.items()
            if not _is_usable(there.get(name))
            or (but is not None and name not in but and there[name] is not value)
        ]
        for name in taken:
            setattr(self.owner, name, self._saved[name])
        return taken

    def restore_named(self):
        """The same, with the owner's name before each."""
        return ["%s.%s" % (self.owner.__name__, name) for name in self.restore()]


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
    told = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        told += " and %d more" % (len(names) - _NAMED)
    return "%s %s replaced and %s restored" % (told, *_BE[len(names) > 1])


_BE = (("was", "is"), ("were", "are"))


def _defect(part, error):
    """What failed and why; what the error itself has to say may be hostile as well."""
    try:
        why = str(error)[:500]
    except BaseException:
        why = "it can't say why"
    name = getattr(part, "__name__", None) or getattr(part.func, "__name__", "a part")
    return "%s failed: %s: %s" % (name.strip("_"), type(error).__name__[:100], why)
