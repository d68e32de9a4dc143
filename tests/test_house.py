"""What the house rules say that a machine can check."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import kernel_exec
from kernel_exec import errors
from kernel_exec.errors import KernelExecError
from kernel_exec.options import SETTINGS
from kernel_exec.server.tools import TOOLS

pytestmark = pytest.mark.house

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "kernel_exec").rglob("*.py"))
FOLDERS = [name for name in ("kernel_exec", "tests", "examples") if (ROOT / name).is_dir()]
FOREIGN = [path for path in MODULES if path.parent.name == "inside"]

_LIMITS = {"module": 400, "median": 199, "function": 40, "class": 15, "folder": 7}
"""Lines, lines, lines, methods, modules."""

_HARD_LIMIT = 60
"""Lines of a function that no reason excuses."""

_EXCEPTIONS: dict[str, tuple[int, str]] = {
    "class: inside/streams.py KernelStream": (18, "the methods of a text stream"),
    "folder: cli": (16, "a module for each command"),
    "folder: clients": (10, "two formats, their edits, and what touches the disk, each alone"),
    "folder: content": (16, "a module for each kind of content"),
    "folder: host": (9, "light modules that greet a client, and those that serve it"),
    "folder: environments": (8, "a module for each kind of environment and tool"),
    "folder: inside": (35, "sent to other interpreters as one folder"),
    "folder: kernel_exec": (21, "the ground floor, one module for each thing"),
    "folder: kernels": (20, "the pure conversation, its words, and each thing a process needs"),
    "folder: server": (14, "a module for each group of tools"),
    "folder: sessions": (11, "a module for each kind of work that a session does"),
    "function: notebooks/build.py build": (41, "the notebook's parts in reading order"),
}
"""What is larger than its limit, how large it is, and why that is better than the alternative.

A size is exact and an entry that nothing needs fails, so that the table can only shrink. When it
fails, the difference that pytest shows is the table as it has to be: left what was measured.
"""

_WAIT = re.compile(r"(?<!def )\bsleep\((?!0[,)])|\bwhile (?:True|1|not \w+): *(?:\\n *)?pass\b")
"""A sleep, or a loop that does nothing else; `sleep(0)` only lets others have their turn."""

_WAITS: dict[str, int] = {
    "cli/test_verify.py": 1,
    "contracts/test_kernel.py": 2,
    "fakes.py": 1,
    "kernels/test_programs.py": 5,
    "notebooks/recorded.py": 3,
    "promises/test_death.py": 1,
    "promises/test_interrupt.py": 3,
    "promises/test_left_behind.py": 2,
    "promises/test_odd_cells.py": 1,
    "promises/test_starts.py": 1,
    "promises/test_view.py": 1,
    "readme.py": 1,
    "sandbox/test_limits.py": 4,
    "server/test_run_file.py": 1,
    "sessions/test_session.py": 1,
    "test_process.py": 1,
    "verification/test_verify.py": 2,
    "waits.py": 1,
}
"""How many of them each file of tests has, most in code that is to be stopped: they get fewer."""

_BANNED_NAMES = {"utils", "helpers", "common", "base", "misc", "core", "manager"}
_NOT_OURS = re.compile(
    r"https?://[a-z.-]*(?:registry|pypi|pythonhosted|debian|npmjs)[a-z.]*"
    r"|(?<![\w.])/(?:root|home/\w+|opt/dev|work)/"
)
"""Package registries, and folders that are those of one machine."""

_BROAD_RAISES = {"Exception", "BaseException", "RuntimeError"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _run(*arguments: str) -> None:
    finished = subprocess.run(
        arguments, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "ruff", "check", "--no-cache", *FOLDERS],
        ["-m", "ruff", "format", "--check", "--no-cache", *FOLDERS],
        ["-m", "mypy", *FOLDERS],
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
@pytest.mark.slow
def test_a_linter_finds_nothing(arguments: list[str]) -> None:
    _run(sys.executable, *arguments)


def test_arrows_point_down() -> None:
    _run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


def _sizes() -> Iterator[tuple[str, str, int]]:
    """The limit that holds, the thing, and its size."""
    folders: Counter[str] = Counter()
    lines: list[int] = []
    for path in MODULES:
        name, tree = path.relative_to(ROOT / "kernel_exec").as_posix(), _tree(path)
        lines.append(len(path.read_text("utf-8").splitlines()))
        yield "module", name, lines[-1]
        folders[path.parent.name] += path.name != "__init__.py"
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTION):
                yield "function", f"{name} {node.name}", _lines(node)
            elif isinstance(node, ast.ClassDef):
                methods = sum(isinstance(each, _FUNCTION) for each in node.body)
                yield "class", f"{name} {node.name}", methods
    yield "median", "of all modules", int(statistics.median(lines))
    yield from (("folder", name, modules) for name, modules in folders.items())


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    end = function.body[-1].end_lineno
    assert end is not None
    return end - function.body[0].lineno + 1


def test_what_is_large_is_named_with_its_size_and_the_reason() -> None:
    large = {
        f"{kind}: {name}": size for kind, name, size in sorted(_sizes()) if size > _LIMITS[kind]
    }
    assert large == {name: size for name, (size, _) in _EXCEPTIONS.items()}
    assert all(size <= _HARD_LIMIT for name, size in large.items() if name.startswith("function:"))
    assert all(reason for _, reason in _EXCEPTIONS.values())


def test_tests_wait_for_events_and_not_for_time() -> None:
    found = {
        path.relative_to(ROOT / "tests").as_posix(): len(_WAIT.findall(path.read_text("utf-8")))
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__)
    }
    assert {name: count for name, count in found.items() if count} == _WAITS


def test_a_module_says_what_it_is_for_and_a_package_is_that_alone() -> None:
    trees = {_name(path): _tree(path) for path in MODULES}
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []
    packages = {name: tree for name, tree in trees.items() if name.endswith("__init__.py")}
    assert [name for name, tree in packages.items() if len(tree.body) != 1] == []


def test_modules_lie_two_levels_deep_and_are_named_for_what_they_do() -> None:
    named = [path.relative_to(ROOT / "kernel_exec").with_suffix("").parts for path in MODULES]
    assert [parts for parts in named if len(parts) > 2] == []
    assert [parts for parts in named if {part.strip("_") for part in parts} & _BANNED_NAMES] == []


def test_what_runs_in_foreign_interpreters_parses_on_the_oldest() -> None:
    assert FOREIGN
    for path in FOREIGN:
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 8))


def test_errors_have_one_root_and_say_when_they_are_raised() -> None:
    for module in pkgutil.walk_packages(kernel_exec.__path__, "kernel_exec."):
        if ".inside." not in module.name:
            importlib.import_module(module.name)
    tree = [KernelExecError, *_below(KernelExecError)]

    for error in tree:
        assert inspect.getdoc(error), error
        assert error is KernelExecError or (error.__doc__ or "").startswith("Raised when"), error
    ours = {error for error in vars(errors).values() if inspect.isclass(error)}
    assert ours <= set(tree)


def _below(error: type[Exception]) -> list[type[Exception]]:
    return [each for child in error.__subclasses__() for each in (child, *_below(child))]


def test_nothing_broad_is_raised() -> None:
    raised = [
        f"{_name(path)}:{node.lineno} {name.id}"
        for path in MODULES
        if path not in FOREIGN
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Raise)
        for name in [node.exc.func if isinstance(node.exc, ast.Call) else node.exc]
        if isinstance(name, ast.Name) and name.id in _BROAD_RAISES
    ]
    assert raised == []


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {hit[0]}" for hit in _NOT_OURS.finditer(text)]

    assert not found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_our_folder_and_the_default_session_are_spelled_in_one_place(path: Path) -> None:
    """HTML has an element of that name."""
    spelled = {
        node.value
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith(".kernel_exec") or node.value in {"history.db", "main"}
    }

    assert path.name in {"places.py", "entries.py", "markup.py"} or not spelled


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parent.name == "server"], ids=_name
)
def test_a_tool_sees_its_connection_and_nothing_behind_it(path: Path) -> None:
    reached = {node.attr for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute)}

    assert not reached & {"app", "store"}


def test_ci_runs_the_tests_as_the_readme_says() -> None:
    commands = re.findall(r"^(python3 -m pip .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert [command.rpartition("uv run ")[2] for command in commands] == [
        "--no-dev kernel-exec demo",
        "pytest",
    ]
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_readme_lists_every_setting_and_every_tool() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()

    for word in SETTINGS:
        assert f"| `{word.option}` | `{word.variable}` | `{word.key}` | {word.help} |" in lines
    described = [line.split("`")[1] for line in lines if re.match(r"\| `\w+` \|", line)]
    tools = [spec.name for spec in TOOLS]
    assert sorted(set(described) & set(tools)) == sorted(tools)
