"""Which paths are allowed, and what is opened; `promises/test_files.py` has more of both."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.scripts.confined import opened, place_below

pytestmark = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="needs dir_fd")

ROOT = Path("/srv/root")
REFUSED = {
    "outside of": ["/etc/passwd", "/srv/root", "/srv/roots/a", "/proc/self/root/x"],
    "it names no file": ["", "/srv/root/"],
    "is no name between": ["a/", "a//b", "../x", "a/./b", "/srv/root/../x"],
    "'~' is not a folder": ["~/x"],
    "server's own": ["a/.kernel_exec/x", ".\u212aernel_exec/x", "/srv/root/.kernel_exec/x"],
    "backslash": ["..\\x"],
    "begins with '-'": ["-rf", "a/-x"],
    "control": ["a\0b", "a\u2028b", "\ud800", "\u202ea.py"],
    "more than": ["x" * 256, "分" * 86, "a/" * 600 + "x"],
}


def read(root: Path, path: str) -> bytes:
    with opened(place_below(root, path), most=99) as stream:
        return stream.read()


@pytest.mark.parametrize("why", REFUSED)
def test_a_path_that_is_not_plain_is_refused_with_the_reason_and_the_way_out(why: str) -> None:
    for path in REFUSED[why]:
        with pytest.raises(InvalidArgumentError, match=f"{why}.*; name a file below '/srv/root'"):
            place_below(ROOT, path)


@given(
    st.text(st.characters(), max_size=20)
    | st.lists(st.sampled_from(["a", "..", ".", "", "~", ".kernel_exec", "b.py"])).map("/".join)
)
@example("a b/$(touch P)/e\u0301.py")
@example("/srv/root/日本.py")
def test_what_is_allowed_is_names_that_lead_down(path: str) -> None:
    try:
        parts = place_below(ROOT, path).parts
    except InvalidArgumentError:
        return
    assert path.removeprefix("/srv/root/") == "/".join(parts)
    assert not {"", ".", "..", ".kernel_exec"} & set(parts)
    assert not [part for part in parts if {"/", "\\", "\0", "\n"} & set(part)]


def test_a_file_is_opened_by_each_of_its_paths(tmp_path: Path) -> None:
    root, link = tmp_path / "root", tmp_path / "link"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "a.py").write_text("1")
    link.symlink_to(root)
    for path in ("sub/deep/a.py", f"{link}/sub/deep/a.py", f"{root}/sub/deep/a.py"):
        assert read(link, path) == b"1"
        assert place_below(link, path).path == link / "sub" / "deep" / "a.py"


def test_a_link_is_not_followed_wherever_it_is_and_leads(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.py").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    links = {
        "inner": "sub/a.py",
        "folder": "sub",
        "up": "..",
        "out": "/proc/self",
        "gone": "x",
    }
    for name, to in links.items():
        (root / name).symlink_to(to)
    before = set(Path("/dev/fd").iterdir())
    for path in ("inner", "folder/a.py", "up/secret", "out/stat", "gone", "sub/a.py/x"):
        with pytest.raises(InvalidArgumentError, match=f"{path}' is a symbolic link, or leads"):
            read(root, path)
    with pytest.raises(InvalidArgumentError, match="is a folder"):
        read(root, "sub")
    assert set(Path("/dev/fd").iterdir()) == before


def test_what_can_not_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidArgumentError, match="symbolic link"):
        read(tmp_path / "a", "x.py")
    with pytest.raises(NotFoundError, match="create one with initialize_code_file"):
        read(tmp_path / "no root", "x.py")
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(StorageError, match="use execute_code to read or write it"):
        read(tmp_path, "a.py")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails")
def test_a_file_that_can_not_be_read_says_why() -> None:
    with pytest.raises(StorageError, match="can't be read: Input/output error; let the server's"):
        read(Path("/proc"), f"{os.getpid()}/mem")
