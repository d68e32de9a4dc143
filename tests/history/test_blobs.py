import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.errors import StorageError
from kernel_exec.history.blobs import Blobs


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", b"\0", b"text", os.urandom(1_000_000)])
def test_a_content_comes_back_by_its_hash(tmp_path: Path, content: bytes) -> None:
    blobs = Blobs(tmp_path / "blobs")

    name = blobs.put(content)

    assert name == hashlib.sha256(content).hexdigest()
    assert blobs.get(name) == content
    assert files(tmp_path) == [tmp_path / "blobs" / name[:2] / name]


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    (first,) = {blobs.put(b"same"), blobs.put(b"same"), Blobs(tmp_path / "blobs").put(b"same")}
    kept = tmp_path / "blobs" / first[:2] / first
    inode = kept.stat().st_ino

    blobs.put(b"same")

    assert kept.stat().st_ino == inode
    assert files(tmp_path) == [kept]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a Unix thing")
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_can_read_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        name = Blobs(tmp_path / "blobs").put(b"secret")
    finally:
        os.umask(before)

    folder = tmp_path / "blobs"
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / name[:2])]
    assert modes == [0o700, 0o700]
    assert (folder / name[:2] / name).stat().st_mode & 0o777 == 0o600


def test_a_file_cut_short_is_written_anew(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    name = blobs.put(b"whole")
    (tmp_path / "blobs" / name[:2] / name).write_bytes(b"who")

    blobs.put(b"whole")

    assert blobs.get(name) == b"whole"


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    name = blobs.put(b"mine")
    (tmp_path / "blobs" / name[:2] / name).write_bytes(b"ours")

    with pytest.raises(StorageError, match="was changed"):
        blobs.get(name)


@pytest.mark.parametrize("name", ["", "ab", "../../etc/passwd", "A" * 64, "0" * 65])
def test_what_is_no_hash_names_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="does not name a content"):
        Blobs(tmp_path).get(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"0{64} can't be read: No such file"):
        Blobs(tmp_path).get("0" * 64)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    name = hashlib.sha256(b"content").hexdigest()
    (tmp_path / "blobs" / name[:2] / name).mkdir(parents=True)  # where the file should go

    with pytest.raises(OSError, match="directory"):
        blobs.put(b"content")

    assert files(tmp_path) == []


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NotADirectoryError):
        Blobs(tmp_path / "file" / "blobs").put(b"content")


def test_two_processes_that_write_the_same_content_at_once_both_succeed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kernel_exec.history.blobs import Blobs\n"
        "blobs = Blobs(Path(sys.argv[1])); sys.stdin.read()\n"
        "for n in range(50): print(blobs.put(str(n).encode() * 10_000))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "blobs")]
    root = Path(__file__).parents[2]
    gate, opening = os.pipe()
    writers = [
        subprocess.Popen(command, cwd=root, stdin=gate, stdout=subprocess.PIPE) for _ in range(2)
    ]
    os.close(gate)
    os.close(opening)  # both begin now
    answers = [writer.communicate()[0].decode().split() for writer in writers]

    assert answers[0] == answers[1]
    blobs = Blobs(tmp_path / "blobs")
    assert [blobs.get(name) for name in answers[0]] == [str(n).encode() * 10_000 for n in range(50)]
    assert len(files(tmp_path)) == 50
