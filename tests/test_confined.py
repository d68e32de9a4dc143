"""Which paths are allowed, and that none leads out, by either way of opening."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernel_exec import confined
from kernel_exec.confined import Place, folder_of, open_in, opened, parts_below, place_below
from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError

pytestmark = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="needs dir_fd")

ROOTS = ["/srv/link", "/srv/real"]
REFUSED = [
    "../x", "a/../../x", "/etc/passwd", "~/x", "C:\\x", "..\\..\\x", "a//b", "./a", "a/./b",
    "con.py", "NUL", "x ", "x.", "a\0b", "a\nb", "\u202ea.py", "-rf", "\ud800", "", "~", ".", "..",
    "a/", "/", "//etc/passwd", "a/..", "sub\\b.py", "C:x", "a.py:stream", "a\x7fb", "\x1b[31m",
    "a\u200bb", "a\u2028b", "\ufeffa", "a/-x", "a./b", "a /b", "com1.py", "sub/aux/x.py",
    "x" * 256, "分" * 86, "a/" * 600 + "x", ".kernel_exec", ".kernel_exec/history.db",
    ".Kernel_Exec/x", ".\u212aernel_exec/x", "sub/.kernel_exec/x", "KERNEL~1/x", "a~1.py",
    "/srv/link", "/srv/link/", "/srv/link/../x", "/srv/link//etc/passwd", "/srv/linked/x",
    "/srv/link/.kernel_exec/x", "/srv/real/../real/x", "/srv/other/a.py", "/proc/self/root/x",
]  # fmt: skip


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "walk":
        monkeypatch.setattr(confined, "_openat2", _as_on_an_old_kernel)
    elif not _has_openat2():
        pytest.skip("this kernel has no openat2")
    else:
        monkeypatch.setattr(confined, "_walk", _never)
    return str(request.param)


def _as_on_an_old_kernel(folder: int, path: str, flags: int) -> int:
    raise OSError(errno.ENOSYS, "Function not implemented")


def _never(folder: int, parts: object, flags: int) -> int:
    raise AssertionError("openat2 would do")


def _has_openat2() -> bool:
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        os.close(confined._openat2(folder, ".", os.O_RDONLY))
    except (OSError, AttributeError):
        return False
    finally:
        os.close(folder)
    return sys.platform == "linux"


def read(root: Path, path: str) -> bytes:
    with opened(place_below(root, path)) as stream:
        return stream.read()


def refusal(root: Path, path: str) -> str:
    with pytest.raises(InvalidArgumentError) as refused:
        read(root, path)
    return str(refused.value)


@pytest.mark.parametrize("path", REFUSED, ids=ascii)
def test_a_path_that_is_not_plain_is_refused_with_the_way_out(path: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parts_below(path, ROOTS)
    told = str(refused.value)
    assert told.startswith(f"file_path {path[:200]!r}"[:200])
    assert "name a file below '/srv/link'" in told
    assert len(told) < 1200


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.py", ("a.py",)),
        ("sub/b.py", ("sub", "b.py")),
        ("日本.py", ("日本.py",)),
        ("e\u0301.py", ("e\u0301.py",)),
        (".hidden", (".hidden",)),
        ("a b/c-d.py", ("a b", "c-d.py")),
        ("$(touch P6y)/a.py", ("$(touch P6y)", "a.py")),
        ("x~/a.py", ("x~", "a.py")),
        ("x" * 255, ("x" * 255,)),
        ("console.py", ("console.py",)),
        ("/srv/link/a.py", ("a.py",)),
        ("/srv/real/sub/a.py", ("sub", "a.py")),
    ],
)
def test_a_plain_path_is_taken_relative_or_from_the_root(path: str, parts: tuple[str, ...]) -> None:
    assert parts_below(path, ROOTS) == parts


def test_a_name_that_the_system_can_not_write_is_refused() -> None:
    script = (
        "from kernel_exec.confined import parts_below;"
        "from kernel_exec.errors import InvalidArgumentError\n"
        "try: parts_below('\\u65e5.py', ['/srv'])\n"
        "except InvalidArgumentError as error: print(error)"
    )
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    told = subprocess.run(
        [sys.executable, "-B", "-X", "utf8=0", "-c", script],
        env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "this system's file names are in ascii" in told.stdout


@given(
    st.text(st.characters(), max_size=20)
    | st.lists(st.sampled_from(["a", "..", ".", "", "~", "con", ".kernel_exec", "b.py"])).map(
        "/".join
    )
)
@example("a/b")
@example("/srv/real/a")
def test_what_is_allowed_is_names_that_lead_down(path: str) -> None:
    try:
        parts = parts_below(path, ROOTS)
    except InvalidArgumentError:
        return
    assert path.endswith("/".join(parts))
    assert path.removesuffix("/".join(parts)) in {"", "/srv/link/", "/srv/real/"}
    assert not {"", ".", "..", ".kernel_exec"} & set(parts)
    assert not [part for part in parts if {"/", "\\", "\0", "\n", ":"} & set(part)]
    if path == "/".join(parts):
        assert parts_below(f"/srv/link/{path}", ROOTS) == parts


@pytest.mark.usefixtures("way")
def test_a_file_is_opened_by_each_of_its_paths(tmp_path: Path) -> None:
    root, link = tmp_path / "root", tmp_path / "link"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "a.py").write_text("1")
    (root / "b.py").write_text("2")
    link.symlink_to(root)
    for path in ("sub/deep/a.py", f"{link}/sub/deep/a.py", f"{root}/sub/deep/a.py"):
        assert read(link, path) == b"1"
    assert read(root, "b.py") == b"2"
    assert place_below(link, f"{root}/b.py").path == link / "b.py"


@pytest.mark.usefixtures("way")
def test_a_link_is_not_followed_wherever_it_is_and_leads(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.py").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "inner").symlink_to("sub/a.py")
    (root / "folder").symlink_to("sub")
    (root / "up").symlink_to("..")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "gone").symlink_to("nowhere")
    for path in ("file", "inner", "folder/a.py", "up/secret", "proc/etc/passwd", "gone"):
        told = refusal(root, path)
        assert f"{str(root / path)!r} is a symbolic link, or leads through one" in told
        assert "name a plain file below" in told


@pytest.mark.usefixtures("way")
def test_only_a_plain_file_is_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.py").touch()
    os.mkfifo(tmp_path / "pipe")
    before = set(Path("/dev/fd").iterdir())
    assert "is a folder" in refusal(tmp_path, "folder")
    assert "is a pipe or a device" in refusal(tmp_path, "pipe")
    assert "leads through one or through a file" in refusal(tmp_path, "a.py/b")
    assert set(Path("/dev/fd").iterdir()) == before


@pytest.mark.usefixtures("way")
def test_a_socket_and_a_device_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert "is a socket or a device" in refusal(tmp_path, "socket")
    assert "is a pipe or a device" in refusal(Path("/dev"), "null")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("path", ["missing.py", "missing/a.py"])
def test_a_missing_file_tells_how_to_make_one(tmp_path: Path, path: str) -> None:
    with pytest.raises(NotFoundError, match="create one with initialize_code_file"):
        read(tmp_path, path)
    with pytest.raises(NotFoundError, match="no file"):
        read(tmp_path / "no root", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch(mode=0)
    with pytest.raises(StorageError, match="Permission denied; let the server's user read it"):
        read(tmp_path, "a.py")


def test_a_root_in_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidArgumentError, match="symbolic link"):
        read(tmp_path / "a", "x.py")


def test_an_opened_file_that_fails_otherwise_is_a_matter_of_storage(tmp_path: Path) -> None:
    odd = Place(root=tmp_path, parts=("x" * 300,))
    with folder_of(odd) as folder, pytest.raises(StorageError, match="File name too long"):
        open_in(folder, odd)


def test_a_system_without_folder_descriptors_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(StorageError, match="use execute_code to read or write it"):
        read(tmp_path, "a.py")


def _swap_file(root: Path, outside: Path) -> None:
    (root / "new").write_text("safe")
    (root / "new").replace(root / "sub" / "t.py")
    (root / "new").symlink_to(outside / "t.py")
    (root / "new").replace(root / "sub" / "t.py")


def _swap_folder(root: Path, outside: Path) -> None:
    (root / "sub").rename(root / "kept")
    (root / "sub").symlink_to(outside)
    (root / "sub").unlink()
    (root / "kept").rename(root / "sub")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("swap", [_swap_file, _swap_folder])
def test_swapping_links_in_while_files_are_opened_leads_nowhere(
    tmp_path: Path, swap: Callable[[Path, Path], None]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (root / "sub" / "t.py").write_text("safe")
    (outside / "t.py").write_text("secret")
    swapped = threading.Event()

    def swap_many() -> None:
        for _ in range(400):
            swap(root, outside)
        swapped.set()

    swapping = threading.Thread(target=swap_many)
    swapping.start()
    seen = set()
    while not swapped.is_set():
        with suppress(InvalidArgumentError, NotFoundError):
            seen.add(read(root, "sub/t.py"))
    swapping.join()
    assert seen <= {b"safe"}
