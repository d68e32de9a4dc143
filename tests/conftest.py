"""What holds for every test: the event loop, and that nothing is left behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from tests.shared import CACHE
from tests.waits import patient, wait_gone

# or every server and every kernel of a test would compile all its modules again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# a shell's `&` has all that it starts ignore it, and tests interrupt what they start
signal.signal(signal.SIGINT, signal.default_int_handler)

_TOOL_FILES = (".coverage", ".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache",
               ".ruff_cache", "__pycache__")  # fmt: skip


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_report_header() -> str:
    """Asked before the workers start, so that they find the cache that is named here."""
    return f"cache of environments: {CACHE}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test hangs when it takes as long as no busy machine needs; modules with slow ones begin."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
    usual = float(config.getini("timeout"))
    for item in items:
        given = item.get_closest_marker("timeout")
        seconds = patient(given.args[0] if given is not None else usual)
        item.add_marker(pytest.mark.timeout(seconds), append=False)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fixtures of a wider scope are set up before this one, so what they started may stay."""
    folder = Path.cwd()
    children, files = _children(), _files(folder)
    yield
    alive = wait_gone(_children() - children)
    left = [_described(child) for child in alive]
    for child in alive:
        child.kill()
    assert not left, f"child processes were left: {left}"
    made = _files(folder) - files
    assert not made, f"files were left in {folder}: {sorted(made)}"


def _children() -> set[psutil.Process]:
    """One question to the system where there are none, and a look at every process otherwise."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    return set(psutil.Process().children(recursive=True))


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(_TOOL_FILES)}


def _described(child: psutil.Process) -> str:
    try:
        return f"{child.pid} {' '.join(child.cmdline())[:200]}"
    except psutil.Error:
        return str(child.pid)
