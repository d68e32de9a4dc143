"""Under which names cells are compiled, which files are shown for them, and what scripts find.

Loaded in the kernel's process; standard library only, Python 3.8 syntax. A script runs as under
`python FILE ARGUMENTS`, except that its names stay in the kernel afterwards.
"""

import ast
import contextlib
import os
import re
import sys
import threading
import traceback
import warnings

_NAME = re.compile(r"/ipykernel_0/\d+\.py")
"""What the server names cells; see `messages.cell_name`."""

_MISSING = object()
_QUIET_EXIT = """
try:
    pass
except SystemExit:
    if __import__("sys").exc_info()[1].code not in (None, 0):
        raise
"""


class CellFiles:
    """Compiles cells under names made of their source, and shows the files that they are stored in.

    A name that is the same for the same source, as ipykernel gives it, is how `joblib`, `numba` and
    others know what they have on disk. Of several files with the same source the latest is shown.
    """

    def __init__(self, shell):
        """Nothing is compiled yet."""
        self._files = {}
        self._name = None
        compiler = shell.compile
        self._stock_name = compiler.get_code_name
        self._stock_format = getattr(compiler, "format_code_name", lambda name: None)
        compiler.get_code_name = self._code_name
        compiler.format_code_name = self._format
        _show_in_library(self.shown)

    def begin(self, name, file, is_script):
        """What is compiled next is a cell: its name, and its file or None. A script has its own."""
        self._name = file if is_script else name
        if file is not None:
            self._files[self._name] = file

    def shown(self, name):
        """The file to show for a name."""
        return self._files.get(name, name)

    def with_files(self, text):
        """The same text with files in place of names."""
        return _NAME.sub(lambda found: self.shown(found[0]), text)

    def _code_name(self, *args):
        return self._name or self._stock_name(*args)

    def _format(self, name):
        """IPython's own way to name a cell, `In[3]`, or None for what has a file."""
        return None if name in self._files else self._stock_format(name)


def _show_in_library(shown):
    """Show files also where code prints a traceback, logs an error, or warns."""
    begin, write = traceback.FrameSummary.__init__, warnings.formatwarning

    def begin_shown(self, filename, *args, **kwargs):
        begin(self, shown(filename), *args, **kwargs)

    def write_shown(message, category, filename, *args, **kwargs):
        return write(message, category, shown(filename), *args, **kwargs)

    traceback.FrameSummary.__init__, warnings.formatwarning = begin_shown, write_shown
    threading.excepthook = _report_thread


def _report_thread(failed):
    """As Python itself, which looks for the lines of a cell on the disk only."""
    if failed.exc_type is not SystemExit:
        name = failed.thread.name if failed.thread is not None else threading.get_ident()
        print("Exception in thread %s:" % name, file=sys.stderr)
        traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)


@contextlib.contextmanager
def as_script(shell, ours):
    """Lend a script its path, arguments and folder; `ours` says which, or that it is a cell."""
    if ours.get("arguments") is None:
        yield
        return
    file, folder, exits = ours["file"], os.path.dirname(ours["file"]), _ExitsQuietly()
    argv, shown = sys.argv, shell.ast_node_interactivity
    before = shell.user_ns.get("__file__", _MISSING)
    sys.argv, shell.user_ns["__file__"] = [file, *ours["arguments"]], file
    sys.path.insert(0, folder)
    shell.ast_transformers.append(exits)
    shell.ast_node_interactivity = "none"
    try:
        yield
    finally:
        sys.argv, shell.ast_node_interactivity = argv, shown
        with contextlib.suppress(Exception):  # the script may have changed its path
            sys.path.remove(folder)
        with contextlib.suppress(Exception):
            shell.ast_transformers.remove(exits)
        shell.user_ns.pop("__file__", None)
        if before is not _MISSING:
            shell.user_ns["__file__"] = before


class _ExitsQuietly(ast.NodeTransformer):
    """`sys.exit(0)` at the end of a script is no error."""

    def visit_Module(self, node):
        """Put all but the docstring and what must come first into a `try`."""
        first = 0
        while first < len(node.body) and _must_lead(node.body[first]):
            first += 1
        attempt = ast.parse(_QUIET_EXIT).body[0]
        attempt.body = node.body[first:] or attempt.body
        node.body[first:] = [attempt]
        return ast.fix_missing_locations(node)


def _must_lead(node):
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or (isinstance(node, ast.ImportFrom) and node.module == "__future__")
