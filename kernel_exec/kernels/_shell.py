"""How IPython's shell behaves where nobody sits at a terminal; loaded in the kernel's process.

Python 3.8 syntax; beside the standard library only IPython. Text has no colours, `!command` has no
terminal, and a cell is compiled under the name of its stored script.
"""

import os
import subprocess

from IPython.utils.text import LSString, SList


def plain_terminal(shell):
    """Text without colours: a model reads it."""
    for name in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        os.environ.pop(name, None)
    os.environ.update(TERM="dumb", NO_COLOR="1")
    try:
        shell.colors = "nocolor"
    except Exception:
        shell.colors = "NoColor"  # before IPython 9


def without_terminal(shell):
    """`!command` without a terminal: its output goes where C code's goes, its input is empty."""

    def system(cmd):
        __tracebackhide__ = True
        code = subprocess.call(
            shell.var_expand(cmd, depth=1),
            shell=True,
            executable=_shell_program(),
            stdin=subprocess.DEVNULL,
        )
        shell.user_ns["_exit_code"] = code

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
        return SList(output.splitlines()) if split else LSString(output)

    if os.name == "posix":
        shell.system = system
        shell.getoutput = getoutput


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


def name_cells(shell):
    """Compile a cell under the path of its script, and show that path in tracebacks."""
    compiler = shell.compile
    compiler.cell_file = None
    get_code_name = compiler.get_code_name
    format_code_name = getattr(compiler, "format_code_name", None)
    scripts = set()

    def name_cell(*args):
        if compiler.cell_file is None:
            return get_code_name(*args)
        scripts.add(compiler.cell_file)
        return compiler.cell_file

    def format_name(name):
        return None if name in scripts or format_code_name is None else format_code_name(name)

    compiler.get_code_name = name_cell
    compiler.format_code_name = format_name
