"""What a script finds while it runs in a kernel; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. It is as under `python FILE ARGUMENTS`, except that its
names stay in the kernel afterwards.
"""

import ast
import contextlib
import os
import sys

_MISSING = object()
_QUIET_EXIT = """
try:
    pass
except SystemExit:
    if __import__("sys").exc_info()[1].code not in (None, 0):
        raise
"""


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
