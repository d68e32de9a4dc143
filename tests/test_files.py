import os
import stat
from pathlib import Path

import pytest

from kernel_exec.files import open_plain, write_whole


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_takes_the_place_of_what_was_there_and_not_of_what_a_link_leads_to(
    tmp_path: Path,
) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"theirs")
    link.symlink_to(target)

    write_whole(link, b"ours", mode=0o640)

    assert (link.read_bytes(), link.is_symlink(), mode(link)) == (b"ours", False, 0o640)
    assert target.read_bytes() == b"theirs"
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_without_a_mode_a_file_has_that_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)

    assert mode(tmp_path / "file") == 0o640


def test_a_file_that_could_not_be_written_leaves_what_was_there_and_nothing_else(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)

    with pytest.raises(OSError, match="folder"):
        write_whole(folder, b"text")

    assert list(tmp_path.iterdir()) == [folder]


def test_only_a_plain_file_is_opened_as_what_was_spilled(tmp_path: Path) -> None:
    plain, link, pipe = (tmp_path / name for name in ("plain", "link", "pipe"))
    plain.write_bytes(b"text")
    link.symlink_to(plain)
    os.mkfifo(pipe)
    with open_plain(str(plain)) as file:
        assert file.read() == b"text"
    for other in (link, pipe, tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(OSError, match=str(other)):
            open_plain(str(other))
