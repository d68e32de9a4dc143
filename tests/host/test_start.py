"""Starts that fail: whatever the cause, one line names it, the way out and the log."""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waits import wait_until
from tests.wire import end_host, started

LOG = "storage/.kernel_exec/server.log"
HOSTS = [("serve",), ("serve", "--in-process")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    with suppress(OSError):
        end_host(tmp_path / "storage")


def _written(name: str, content: str) -> Callable[[Path], dict[str, str]]:
    def make(folder: Path) -> dict[str, str]:
        (folder / name).write_text(content)
        return {"KERNEL_EXEC_CONFIG": str(folder / name)}

    return make


def _blocked(folder: Path) -> dict[str, str]:
    (folder / "storage").write_text("a file")
    return {}


def _broken_library(folder: Path) -> dict[str, str]:
    (folder / "mcp").mkdir()
    (folder / "mcp" / "__init__.py").write_text("raise AttributeError('of another version')")
    return {"PYTHONPATH": str(folder)}


REFUSED: dict[str, tuple[Callable[[Path], dict[str, str]], list[str], str]] = {
    "variable": (
        lambda _: {"KERNEL_EXEC_WAIT_SECONDS": "SECRET"},
        [],
        "variable KERNEL_EXEC_WAIT_SECONDS is 'SECRET': it must be a number of seconds",
    ),
    "option": (
        lambda _: {},
        ["--pass-env", "TOKEN=SECRET"],
        "option --pass-env is 'TOKEN=SECRET': it must be names",
    ),
    "log level": (lambda _: {}, ["--log-level", "loud"], "one of debug, info, warning, error"),
    "no TOML": (_written("a.toml", "no"), [], "a.toml is not valid TOML"),
    "unknown key": (_written("a.toml", "wait_second = 1"), [], "did you mean `wait_seconds`?"),
    "bad environment": (
        _written("a.toml", "[environments.x]\nkind = 'nope'"),
        [],
        "a.toml is 'nope': it must be one of conda",
    ),
    "no file": (lambda folder: {"KERNEL_EXEC_CONFIG": str(folder / "gone")}, [], "gone not found"),
    "half an environment": (lambda _: {"ENV_TYPE": "venv"}, [], "which also needs VENV_PATH"),
    "another program's": (
        lambda _: {},
        ["--token", "SECRET"],
        "no such option",
    ),
    "blocked storage": (_blocked, [], "which can't be used as a folder"),
}


BY_HOSTS = ("variable", "option", "no file", "blocked storage")
"""Causes that differ in what a relay hands over, or in where a host begins."""


@pytest.mark.parametrize(
    ("case", "command"),
    [*((case, HOSTS[1]) for case in REFUSED), *((case, HOSTS[0]) for case in BY_HOSTS)],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_start_that_is_refused_names_the_cause_the_way_out_and_the_log(
    folder: Path, case: str, command: tuple[str, ...]
) -> None:
    make, options, cause = REFUSED[case]
    log = folder / LOG

    given = options or ["--inline-images", "2"]
    with started(folder, *given, command=command, **make(folder)) as server:
        told = server.initialize()["result"]["instructions"]
        called = server.call("kernel_status")
        assert server.leave() == 2
    (line,) = server.stderr.read_text().splitlines()

    assert line.startswith("error: ")
    for text in (told, called.text, line):
        assert cause in text
        assert "`kernel-exec doctor`" in text
        assert str(log) in text
    if case != "blocked storage":
        written = log.read_text()
        assert len(written.splitlines()) == 1
        assert "ERROR" in written
        assert "SECRET" not in written
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", HOSTS, ids=["host", "in-process"])
def test_a_library_that_is_broken_is_named_in_one_line_at_once(
    folder: Path, command: tuple[str, ...]
) -> None:
    with started(folder, command=command, **_broken_library(folder)) as server:
        assert server.process.wait(60) == 1
    (line,) = server.stderr.read_text().splitlines()

    assert line == (
        "error: a library that kernel-exec needs is broken (AttributeError: of another version);"
        f" install kernel-exec again; log: {folder / LOG}"
    )


@pytest.mark.kernel
@pytest.mark.parametrize("command", HOSTS, ids=["host", "in-process"])
@pytest.mark.parametrize("home", ["", "/dev/null"], ids=["none", "not a folder"])
def test_a_user_without_a_home_needs_nothing_but_a_storage_folder(
    folder: Path, home: str, command: tuple[str, ...]
) -> None:
    """`/dev/null` can't be written to by anybody, root included."""
    folders = dict.fromkeys(("XDG_CACHE_HOME", "XDG_DATA_HOME"), "/dev/null")
    without = {"HOME": home, "KERNEL_EXEC_CACHE": "", "UV_CACHE_DIR": "", **folders}
    with started(folder, command=command, **without) as server:
        server.initialize()
        told = server.run("from pathlib import Path; print(Path.home())")
        assert told.text.startswith(f"{folder / 'storage'}\n")
        server.leave()


@pytest.mark.kernel
@pytest.mark.parametrize("command", HOSTS, ids=["host", "in-process"])
def test_what_happens_to_a_client_is_in_the_log_and_no_code_or_output(
    folder: Path, command: tuple[str, ...]
) -> None:
    with started(folder, command=command) as server:
        server.initialize()
        server.run("token = 'SEC' + 'RET'; print(token)")
        server.call("install_dependencies", packages=["no-such-package-of-anybody==1"])
        server.run("import os; os.kill(os.getpid(), 9)")
        server.leave()

    def written() -> str:
        return (folder / LOG).read_text()

    wait_until(lambda: "closes" in written() and "ends: signal" in written())
    told = written()
    for pattern in (
        r"INFO .* connection: connection (\w+) opens from '.*'",
        r"INFO .* connection \w+ is of test 1\n",
        r"INFO .* kernel 1 of session \w+ starts: process \d+, Python 3",
        r"WARNING .* an install of session \w+ failed: .*no-such-package-of-anybody",
        r"WARNING .* kernel 1 of session \w+ ends: signal SIGKILL",
        r"INFO .* connection: connection \w+ closes",
    ):
        assert re.search(pattern, told), (pattern, told)
    assert "SECRET" not in told
    assert "os.kill" not in told


@pytest.mark.kernel
@pytest.mark.parametrize("command", HOSTS, ids=["host", "in-process"])
def test_a_log_that_can_not_be_written_stops_nobody(folder: Path, command: tuple[str, ...]) -> None:
    log = folder / LOG
    with started(folder, command=command) as server:
        server.initialize()
        log.unlink()
        log.mkdir()
        assert server.run("print(6 * 7)").text.startswith("42\n")
        assert server.leave() == 0


@pytest.mark.kernel
def test_an_environment_without_a_kernel_is_in_the_log(folder: Path) -> None:
    gone = str(folder / "gone" / os.path.basename(sys.executable))  # noqa: PTH119 - a name
    with started(folder, "--python-path", gone) as server:
        server.initialize()
        server.run("1")
        server.leave()

    assert re.search(r"WARNING .* session \w+ gets no kernel: .*gone", (folder / LOG).read_text())
