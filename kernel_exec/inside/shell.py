"""How IPython's shell behaves where nobody sits at a terminal; loaded in the kernel's process.

Python 3.8 syntax; beside the standard library only IPython. Text has no colours, `!command` has no
terminal, magics that want somebody to look, type or click do what they can or refuse, and context
variables stay from cell to cell.
"""

import contextlib
import contextvars
import os
import subprocess

from ipykernel import ipkernel
from IPython.core.debugger import Pdb
from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.utils.text import LSString, SList

_NOTHING = object()
_OF_BROWSERS = ("notebook", "nbagg", "widget", "ipympl")
"""Backends of matplotlib that draw in a browser."""

_NO_DEBUGGER = "nobody can answer a prompt here: print values instead of calling a debugger"


def plain_terminal(shell):
    """Text without colours: a model reads it."""
    try:
        shell.colors = "nocolor"
    except Exception:
        shell.colors = "NoColor"  # before IPython 9


def without_terminal(shell, ended):
    """`!command` without a terminal: its output goes where C code's goes, its input is empty.

    `ended` is told of each command and its exit code.
    """

    def system(cmd):
        __tracebackhide__ = True
        code = subprocess.call(
            shell.var_expand(cmd, depth=1),
            shell=True,
            executable=_shell_program(),
            stdin=subprocess.DEVNULL,
        )
        shell.user_ns["_exit_code"] = code
        ended(cmd, code)

    def getoutput(cmd, split=True, depth=0):
        __tracebackhide__ = True
        done = subprocess.run(
            shell.var_expand(cmd, depth=depth + 1),
            shell=True,
            executable=_shell_program(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n")
        shell.user_ns["_exit_code"] = done.returncode
        ended(cmd, done.returncode)
        return SList(output.splitlines()) if split else LSString(output)

    if os.name == "posix":
        shell.system = system
        shell.getoutput = getoutput


def without_copies(shell):
    """Keep no copy of all that is put out, which `%notebook` alone would read.

    IPython 9 holds each text and each picture for as long as it lives, and to do so stands in the
    way of every `print`. Our history has them.
    """
    if hasattr(shell, "_tee"):
        shell._tee = lambda channel: contextlib.nullcontext()
    if hasattr(shell.history_manager, "outputs"):
        shell.history_manager.outputs = _Forgetful()


class _Forgetful(dict):
    """Has an empty list for each cell, and forgets it."""

    def __missing__(self, count):
        """A list that nobody keeps."""
        return []


def without_repetitions(shell):
    """Find out once what ipykernel and IPython ask twice for each cell."""
    transform, last = shell.transform_cell, []

    def transform_cell(raw_cell):
        before, last[:] = last[:], []
        if before and before[0] is raw_cell:
            return before[1]
        last[:] = raw_cell, transform(raw_cell)
        return last[1]

    shell.transform_cell = transform_cell
    ask, known = getattr(ipkernel, "_accepts_parameters", None), {}

    def accepts_parameters(method, names):
        key = (method, *names)
        if key not in known:
            known.clear()
            known[key] = ask(method, names)
        return known[key]

    if ask is not None:  # not before ipykernel 6.25
        ipkernel._accepts_parameters = accepts_parameters


def _shell_program():
    return "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"


def events_that_fail(shell, say):
    """Let a callback of the user's, which IPython calls around each cell, fail in any way.

    IPython itself expects no SystemExit from it, which would cost the cell its outcome.
    """
    trigger = shell.events.trigger

    def trigger_safely(event, *args, **kwargs):
        try:
            trigger(event, *args, **kwargs)
        except BaseException as error:
            say("a callback for %s raised %s" % (event, type(error).__name__[:100]))

    shell.events.trigger = trigger_safely


def without_reader(shell, say):
    """Show what a magic would put into the next cell, and refuse what waits for somebody.

    `say` writes a note.
    """

    def set_next_input(text, replace=False):
        shell.payload_manager.write_payload(
            {"source": "page", "data": {"text/plain": text}, "start": 0}
        )
        say("this code has not run: execute it to run it")

    def edit(line):
        """Refuse."""
        raise UsageError("nobody can edit here: write files with %%writefile")

    enable = shell.enable_matplotlib

    def enable_matplotlib(gui=None):
        if gui in _OF_BROWSERS:
            say("no browser draws figures here: they are shown inline instead of by %r" % gui)
            gui = "inline"
        return enable(gui)

    shell.set_next_input = set_next_input
    shell.enable_matplotlib = enable_matplotlib
    shell.magics_manager.magics["line"].update(edit=edit, ed=edit)
    shell.show_usage_error = lambda error: None  # the reply has it
    _without_debugger(say)


def _without_debugger(say):
    def set_trace(*args, **kwargs):
        raise StdinNotImplementedError(_NO_DEBUGGER)

    def interaction(self, *args, **kwargs):
        say(_NO_DEBUGGER)
        self.set_continue()

    Pdb.set_trace, Pdb.interaction = set_trace, interaction


class Context:
    """Carries context variables from cell to cell: a cell that awaits has a context of its own.

    `decimal` keeps its precision in such a variable, for example.
    """

    def __init__(self):
        """No cell has set one yet."""
        self._values = {}

    @contextlib.contextmanager
    def carried_on(self):
        """Begin with the values that cells have left, and keep those that this one leaves."""
        for variable, value in self._values.items():
            if variable.get(_NOTHING) is not value:
                variable.set(value)
        before = contextvars.copy_context()
        try:
            yield
        finally:
            after = contextvars.copy_context()
            for variable, value in after.items():
                if before.get(variable, _NOTHING) is not value:
                    self._values[variable] = value
            for variable in [each for each in self._values if each not in after]:
                del self._values[variable]
