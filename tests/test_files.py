import os
import stat
from pathlib import Path

import pytest

from kernel_exec.files import held, open_plain, work_folder, write_in, write_whole


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


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    for folder in (work, elsewhere):
        (folder / "below").mkdir(parents=True)
    work.rename(tmp_path / "moved")
    work.symlink_to(elsewhere)

    for folder in (work, work / "below", work / "new"):
        with pytest.raises(OSError, match="work"), held(folder, missing=0o700):
            pass

    assert list(elsewhere.iterdir()) == [elsewhere / "below"]


def test_a_file_is_written_into_the_folder_that_is_held(tmp_path: Path) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with held(work / "deep", missing=0o700) as folder:
        work.rename(tmp_path / "moved")
        work.symlink_to(elsewhere)
        write_in(folder, work / "deep" / "file", b"ours")

    assert (tmp_path / "moved" / "deep" / "file").read_bytes() == b"ours"
    assert mode(tmp_path / "moved" / "deep") == 0o700
    assert list(elsewhere.iterdir()) == []


def test_what_takes_the_place_of_an_unfinished_file_does_not_get_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, work = tmp_path / "secret", tmp_path / "work"
    secret.touch(mode=0o600)
    work.mkdir()
    status = os.fstat

    def exchanging(descriptor: int) -> os.stat_result:
        for unfinished in work.iterdir():
            unfinished.unlink()
            unfinished.symlink_to(secret)
        return status(descriptor)

    with held(work) as folder:
        monkeypatch.setattr(os, "fstat", exchanging)
        write_in(folder, work / "file", b"", mode=0o644)
        monkeypatch.undo()

    assert (work / "file").is_symlink()
    assert mode(secret) == 0o600


def test_a_work_folder_lies_in_ours_and_one_of_a_killed_server_is_removed(tmp_path: Path) -> None:
    private = tmp_path / ".kernel_exec"
    left, living = private / "tmp" / "left", private / "tmp" / "living"
    for folder in (left / "below", living):
        folder.mkdir(parents=True)
    os.utime(left, (1, 1))

    with work_folder(private, "work-") as folder:
        assert {folder, living} == set((private / "tmp").iterdir())
    assert list((private / "tmp").iterdir()) == [living]
