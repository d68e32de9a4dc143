"""What the house rules say that a machine can check."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
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

_LONG_MODULE = 400
_LONG_FUNCTION = 60
_BANNED_NAMES = {"utils", "helpers", "common", "base", "misc", "core", "manager"}
_NOT_OURS = re.compile(
    r"https?://[a-z.-]*(?:registry|pypi|pythonhosted|debian|npmjs)[a-z.]*"
    r"|(?<![\w.])/(?:root|home/\w+|opt/dev|work)/"
)
"""Package registries, and folders that are those of one machine."""

_BROAD_RAISES = {"Exception", "BaseException", "RuntimeError"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


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
def test_a_linter_finds_nothing(arguments: list[str]) -> None:
    _run(sys.executable, *arguments)


def test_arrows_point_down() -> None:
    _run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_small_or_says_why_it_is_not(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    docstring = ast.get_docstring(_tree(path)) or ""

    assert docstring
    assert lines <= _LONG_MODULE or re.search(r"\b(?:in one|no other) (?:file|module)\b", docstring)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_function_is_small(path: Path) -> None:
    long = {
        node.name: node.body[-1].end_lineno - node.body[0].lineno + 1
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body[-1].end_lineno is not None
        and node.body[-1].end_lineno - node.body[0].lineno >= _LONG_FUNCTION
    }

    assert not long


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=_name
)
def test_a_package_is_a_docstring_and_nothing_else(path: Path) -> None:
    (only,) = _tree(path).body

    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)
    assert isinstance(only.value.value, str)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_named_for_what_it_does(path: Path) -> None:
    parts = path.relative_to(ROOT / "kernel_exec").with_suffix("").parts

    assert len(parts) <= 2
    assert not {part.strip("_") for part in parts} & _BANNED_NAMES


@pytest.mark.parametrize("path", FOREIGN, ids=_name)
def test_what_runs_in_foreign_interpreters_parses_on_the_oldest(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))


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


@pytest.mark.parametrize("path", [path for path in MODULES if path not in FOREIGN], ids=_name)
def test_nothing_broad_is_raised(path: Path) -> None:
    raised = {
        name.id
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Raise) and node.exc is not None
        for name in [node.exc.func if isinstance(node.exc, ast.Call) else node.exc]
        if isinstance(name, ast.Name)
    }

    assert not raised & _BROAD_RAISES


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
    described = [line.split("`")[1] for line in lines if re.match(r"\| `\w+` \| [a-z]", line)]
    tools = [spec.name for spec in TOOLS]
    assert sorted(set(described) & set(tools)) == sorted(tools)
