"""What code needs to run again, as the sources of cells that are added to a notebook. Pure.

**Packages**: the first cell has PEP 723 script metadata. Imports are found with `ast` and mapped to
distributions by what the interpreter has installed; versions are pinned, so that `uv` and `juv`
make the same environment again. Names that no distribution is known for are listed in a comment
and never become requirements: a package of that name may be anybody's.

**Scripts**: the kernel lends a script `__file__`, `sys.argv` and its folder on `sys.path`, shows no
value of its last line, and takes `sys.exit(0)` for no error (`inside/script.py`). In a notebook the
cell before does the same and the cell after takes it back; a script that can't tell gets none.

Source: PEP 723 (the block), PEP 440 (`==3.12.*`; a local version label matches a pin without it).
"""

import ast
import posixpath
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import mapping, text

Inventory: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]
"""By import name, the distributions that provide it with their versions."""

_STANDARD = sys.stdlib_module_names | frozenset(
    {"asynchat", "asyncore", "cgi", "cgitb", "crypt", "distutils", "imaplib", "imp", "nntplib"}
    | {"pipes", "smtpd", "spwd", "telnetlib", "uu", "xdrlib"}
)
"""Of this Python, and of older and newer ones."""

_OF_THE_KERNEL = frozenset({"IPython", "ipykernel", "_"})
"""Imports that any kernel has; `_` stands for what a magic may bind."""

_SHOWN = 20
"""Names that a comment tells."""

_MAGIC = re.compile(r"^(?P<bound>\s*(?:[^\W\d][\w, \t]*=\s*)?)(?:!(?!=)|%(?=[^\W\d]))(?P<rest>.*)$")
_HELP = re.compile(r"^\s*(?:\?.*|[%\w.*]+\?{1,2}\s*)$")
_RUNS_PYTHON = re.compile(r"%%(?:capture|prun|time|timeit)\b")

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

SCRIPT_END = "# Made by kernel-exec: takes back what the script was lent\n_kernel_exec_script()"
"""The source of the cell after a script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a notebook needs: requirements, and imports that no distribution is known for."""

    python: str
    dependencies: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def needs(entries: Sequence[Entry], *, python_version: str, inventory: Inventory | None) -> Needs:
    """What code needs, and which installs stand between; without an inventory, only they tell.

    A distribution that was replaced after its first import counts with the version it had then.
    What was asked to be installed counts as well: not all that is needed is imported by name.
    """
    installs = [entry for entry in entries if entry.kind is EntryKind.INSTALL]
    first: dict[str, int] = {}
    for entry in entries:
        for name in () if entry.kind is EntryKind.INSTALL else imports(entry.source):
            first.setdefault(name, entry.number)
    # modules of the standard library need nothing, and what is in no distribution stays a name
    known = inventory or {}
    foreign = [name for name in first if not is_standard(name)]
    found = {
        name: (version, first[module])
        for module in foreign
        for name, version in _providers(module, known.get(module, ()))
    }
    installed: dict[str, tuple[str, str]] = {
        canonicalize_name(name): (name, version)
        for pairs in known.values()
        for name, version in pairs
    }
    for install in installs:
        for asked in _asked_for(install.source):
            if inventory is None:
                version = text(mapping(install.details, "after"), asked)
                found.setdefault(asked, (version, install.number))
            elif asked in installed:
                name, version = installed[asked]
                found.setdefault(name, (version, install.number))
    pinned = {
        canonicalize_name(name): _pin(name, _version_then(name, version, number, installs))
        for name, (version, number) in found.items()
    }
    return Needs(
        python=".".join(python_version.split(".")[:2]),
        dependencies=tuple(pinned[name] for name in sorted(pinned)),
        unknown=tuple(sorted(name for name in foreign if name not in known)),
    )


def block(needed: Needs, *, known: bool) -> str:
    """The source of the first cell: comments only; `known` is False without an inventory."""
    python = f'# requires-python = "=={needed.python}.*"' if needed.python else ""
    listed = "".join(f'\n#     "{requirement}",' for requirement in needed.dependencies)
    inside = f"# dependencies = [{listed}\n# ]" if listed else "# dependencies = []"
    lines = ["# /// script", *([python] if python else []), inside, "# ///"]
    names = ", ".join(needed.unknown[:_SHOWN])
    more = len(needed.unknown) - _SHOWN
    names += f" and {more} more" if more > 0 else ""
    if not known:
        why = "its interpreter is gone, so no versions are known"
        lines.append(f"# {why}; imported: {names}" if names else f"# {why}")
    elif names:
        lines.append(f"# no distribution is known for: {names}")
    return "\n".join(lines)


def imports(source: str) -> Iterator[str]:
    """The top-level names of what code imports, anywhere in it."""
    tree = parsed(source) if "import" in source else None
    for node in ast.walk(tree) if tree is not None else ():
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case _:
                pass


def is_standard(name: str) -> bool:
    """Whether any kernel can import it."""
    return name in _STANDARD or name in _OF_THE_KERNEL


def _asked_for(requirements: str) -> Iterator[str]:
    """The canonical names of requirements, one a line."""
    for line in requirements.splitlines():
        try:
            yield canonicalize_name(Requirement(line).name)
        except InvalidRequirement:
            continue


def _providers(module: str, pairs: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """The distribution that has the module's name; else all that have a part in it."""
    same = [pair for pair in pairs if canonicalize_name(pair[0]) == canonicalize_name(module)]
    return same or pairs


def _version_then(name: str, now: str, number: int, installs: Sequence[Entry]) -> str:
    """The version that step `number` had: the one that the first install after it replaced."""
    for install in installs:
        before = text(mapping(install.details, "before"), canonicalize_name(name))
        if install.number > number and before:
            return before
    return now


def _pin(name: str, version: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        return canonicalize_name(re.sub(r"[^A-Za-z0-9._-]", "-", name)).strip("-")
    try:
        return f"{name}=={Version(version).public}"
    except InvalidVersion:
        return name


def script_begin(path: str, arguments: Sequence[str]) -> str:
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


def parsed(source: str) -> ast.Module | None:
    """Plain Python as it stands; what is none may be so without IPython's own syntax."""
    return parsed_python(source) or parsed_python(_plain_python(source))


def parsed_python(source: str) -> ast.Module | None:
    """`source` as plain Python, None when it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the kernel has given them
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _plain_python(source: str) -> str:
    """`source` with `None` for magics, shell commands and help; `%time` runs what follows it."""
    first, _, rest = source.strip().partition("\n")
    if first.startswith("%%"):
        source = rest if _RUNS_PYTHON.match(first) else ""
    # a magic or command goes on after a backslash
    joined = re.sub(r"(?m)^(\s*[!%].*)\\\n", r"\1 ", source)
    return "\n".join(map(_plain, joined.split("\n")))


def _plain(line: str) -> str:
    if _HELP.match(line):
        return "None"
    found = _MAGIC.match(line)
    if found is None:
        return line
    magic, _, rest = found["rest"].partition(" ")
    return f"{found['bound']}{rest if rest and magic == 'time' else None}"
