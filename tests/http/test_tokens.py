"""Where the secret comes from that clients carry."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.http.rules import is_token
from kernel_exec.http.tokens import own_token, read_token

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of files")

TOKEN = "0123456789abcdef" * 4


def test_our_own_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    os.umask(os.umask(0o022))
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(own_token, [file] * 32))
    (token,) = made
    assert is_token(token)
    assert own_token(file) == token
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    file.unlink()
    assert own_token(file) != token


@pytest.mark.parametrize("content", ["", "short", "\x00" * 40, "\u00e4" * 40, f"{TOKEN}\n{TOKEN}"])
def test_a_file_of_ours_that_was_spoilt_is_named_and_never_used(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content, "utf-8")
    file.chmod(0o600)
    with pytest.raises(StorageError, match="holds no token; delete it"):
        own_token(file)


def test_a_file_of_ours_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "token"
    own_token(file)
    file.chmod(0o640)
    with pytest.raises(StorageError, match="not this user's alone; delete it"):
        own_token(file)


def test_a_link_or_a_folder_in_its_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "link"
    own_token(elsewhere)
    link.symlink_to(elsewhere)
    for place in (link, tmp_path, tmp_path / "missing" / "token"):
        with pytest.raises(StorageError, match="can't be used"):
            own_token(place)


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n", "a" * 32 + "=="])
def test_a_token_that_is_given_is_taken_without_the_space_around_it(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    assert read_token(file) == content.strip()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"short",
        b"a b" * 20,
        b"\xff" * 40,
        b"\0" * 40,
        b"a" * 10_000,
        b"a" * 40 + b"\nb",
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="holds no token; write one line") as refused:
        read_token(file)
    assert "aaaa" not in str(refused.value)


def test_a_token_file_that_is_missing_or_that_others_may_write_is_named(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(NotFoundError, match=r"token' can't be read: No such file"):
        read_token(file)
    with pytest.raises(NotFoundError, match="can't be read: Is a directory"):
        read_token(tmp_path)
    file.write_text(TOKEN)
    file.chmod(0o622)
    with pytest.raises(InvalidArgumentError, match="chmod go-w"):
        read_token(file)


def test_a_token_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As a shell passes what `<(command)` prints."""
    reading, writing = os.pipe()
    os.write(writing, TOKEN.encode())
    os.close(writing)
    try:
        assert read_token(Path(f"/dev/fd/{reading}")) == TOKEN
    finally:
        os.close(reading)
