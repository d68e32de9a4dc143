"""The generated cells around a script's cell, so that it runs again as a script. Pure.

The kernel lends a script `__file__`, `sys.argv` and its folder on `sys.path`, shows no value of
its last line, and takes `sys.exit(0)` for no error (`kernels/_script.py`). In a notebook the cell
before does the same and the cell after takes it back; a script that can't tell gets none.
"""

import ast
import posixpath
import re
from collections.abc import Sequence

from .pep723 import Inventory, imports, is_standard
from .plain import parsed

_TELL = frozenset(
    {"__file__", "argv", "argparse", "optparse", "getopt", "fileinput", "runpy", "unittest"}
    | {"exit", "SystemExit", "click", "typer", "fire", "docopt", "absl", "tyro", "cyclopts"}
    | {"simple_parsing", "jsonargparse", "configargparse", "hydra", "plac"}
)
"""Names by which code may find out that it runs as a script."""

_BEGIN = """\
# Made by kernel-exec: lends the script in the next cell its path, arguments and folder
def _kernel_exec_script(file, arguments, folder):
    import ast, sys
    class ExitsQuietly(ast.NodeTransformer):  # sys.exit(0) is no error of a script
        def visit_Module(self, node):
            leads = lambda each: getattr(each, "module", "") == "__future__" or (
                isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            first = next((at for at, each in enumerate(node.body) if not leads(each)), 0)
            attempt = ast.parse("try: pass\\nexcept SystemExit:\\n if "
                "__import__('sys').exc_info()[1].code not in (None, 0): raise").body[0]
            attempt.body = node.body[first:] or attempt.body
            node.body[first:] = [attempt]
            return ast.fix_missing_locations(node)
    shell, quiet, argv = get_ipython(), ExitsQuietly(), sys.argv
    shown = shell.ast_node_interactivity
    def end():
        sys.argv, shell.ast_node_interactivity = argv, shown
        folder in sys.path and sys.path.remove(folder)
        quiet in shell.ast_transformers and shell.ast_transformers.remove(quiet)
        for name in "__file__", "_kernel_exec_script":
            shell.user_ns.pop(name, None)
    sys.argv, shell.user_ns["__file__"] = [file, *arguments], file
    sys.path.insert(0, folder)
    shell.ast_transformers.append(quiet)
    shell.ast_node_interactivity = "none"
    return end
"""

END = "# Made by kernel-exec: takes back what the script was lent\n_kernel_exec_script()"
"""The source of the cell after a script."""


def begin(path: str, arguments: Sequence[str]) -> str:
    """The source of the cell before a script."""
    folder = posixpath.dirname(path.replace("\\", "/"))
    asked = f"{path!r}, {list(arguments)!r}, {folder!r}"
    return f"{_BEGIN}_kernel_exec_script = _kernel_exec_script({asked})"


def can_tell(source: str, arguments: Sequence[str], inventory: Inventory | None) -> bool:
    """Whether a script may do otherwise, or show more, when it is run as a cell."""
    if arguments or not _TELL.isdisjoint(re.findall(r"\w+", source)) or _shows(source):
        return True
    # what is installed nowhere may lie in the script's folder
    return any(name not in (inventory or {}) and not is_standard(name) for name in imports(source))


def _shows(source: str) -> bool:
    """Whether a cell would show the value of its last line."""
    tree = parsed(source)
    if tree is None or not tree.body:
        return False
    match tree.body[-1]:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return False
        case ast.Expr():
            return not source.rstrip().endswith(";")
        case _:
            return False
