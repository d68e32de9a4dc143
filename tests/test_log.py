"""The log: complete whoever writes to it, and silent about what it must not tell."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_exec import log
from kernel_exec.errors import StorageError

_FULL = 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A log that this process has begun, and has forgotten afterwards."""
    root, hook = logging.getLogger(), threading.excepthook
    ours = logging.getLogger("kernel_exec")
    before = (root.handlers[:], logging.lastResort, logging.raiseExceptions, ours.level)
    path = tmp_path / "server.log"
    log.begin(path, "info")
    yield path
    root.handlers[:], logging.lastResort, logging.raiseExceptions, level = before
    ours.setLevel(level)
    threading.excepthook = hook


def ours() -> logging.Logger:
    return logging.getLogger("kernel_exec.test")


def test_processes_that_write_at_once_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(f"{'x' * 99}\n" * (_FULL // 100))  # is moved aside while they write
    script = (
        "import sys; from pathlib import Path; from kernel_exec.log import append\n"
        "path, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for number in range(1000): append(path, f'{name} {number} ' + 'y' * 60)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(each)]) for each in range(4)
    ]
    assert [each.wait() for each in writers] == [0] * 4

    lines = path.with_name("server.log.1").read_text() + path.read_text()
    written = [line for line in lines.splitlines() if not line.startswith("x")]
    expected = {f"{each} {number} {'y' * 60}" for each in range(4) for number in range(1000)}
    assert len(written) == len(expected)
    assert set(written) == expected
    assert path.stat().st_size < _FULL


def test_a_log_that_is_full_is_moved_aside_by_one_of_those_who_see_it(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"x" * (_FULL + 1))
    late = os.open(path, os.O_WRONLY)  # sees the full file, and comes to the lock as it is new
    log.append(path, "the first of the new one")

    assert not log._moved_aside(path, late) or path.exists()
    os.close(late)
    assert path.read_text() == "the first of the new one\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_is_one_line_with_time_process_and_place(path: Path) -> None:
    ours().info("a client named %s\nFORGED", "\x1b[31mred\u2028")

    first, second = path.read_text().splitlines()
    assert first.endswith(f"+00:00 INFO    {os.getpid()} test: a client named \\x1b[31mred\\u2028")
    assert second == "    FORGED"


def test_what_errors_and_libraries_quote_is_left_out(path: Path) -> None:
    try:
        try:
            raise OSError(28, "No space left on device", "/a/file")
        except OSError as error:
            raise ValueError("SECRET") from error
    except ValueError:
        ours().exception("it failed")
    group = ExceptionGroup("SECRET", [KeyError("SECRET"), StorageError("the disk is full")])
    ours().error("all failed", exc_info=group)
    logging.getLogger("library").error("SECRET %s", "SECRET")
    ours().warning("no index at https://user:SECRET@host/simple")

    told = path.read_text()
    assert "SECRET" not in told.replace('ValueError("SECRET")', "").replace("# SECRET", "")
    for words in ("No space left on device", "ValueError", "StorageError: the disk is full",
                  "test_log.py", "https://…@host/simple"):  # fmt: skip
        assert words in told


def test_what_is_below_the_level_and_of_libraries_below_a_warning_is_left_out(path: Path) -> None:
    ours().debug("left out")
    logging.getLogger("library").info("left out")
    ours().info("written")

    assert "left out" not in path.read_text()
    log.begin(path, "error")
    ours().warning("left out")
    assert "left out" not in path.read_text()


@pytest.mark.parametrize("obstacle", ["folder", "pipe", "link", "nothing"])
def test_what_can_not_be_written_is_shown_on_stderr_and_holds_up_nobody(
    path: Path, capfd: pytest.CaptureFixture[str], obstacle: str
) -> None:
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "pipe":
        os.mkfifo(path)
    elif obstacle == "link":
        path.symlink_to(path.with_name("precious"))
    else:
        log.begin(path / "gone" / "server.log", "info")
    ours().warning("it goes on")

    assert "it goes on" in capfd.readouterr().err
    assert not path.with_name("precious").exists()


def test_what_ends_a_thread_is_logged(path: Path) -> None:
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

    assert "ZeroDivisionError" in path.read_text()
