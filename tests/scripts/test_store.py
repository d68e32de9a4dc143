import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from kernel_exec.errors import (
    BusyError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
    UnencodableError,
)
from kernel_exec.scripts import store as stored
from kernel_exec.scripts.store import Appended, Script, ScriptStore, checked_source

pytestmark = pytest.mark.skipif(
    os.open not in os.supports_dir_fd, reason="files are appended to by descriptors of folders"
)


@pytest.mark.parametrize(
    ("stem", "pattern"),
    [
        ("", r"code_[0-9a-f]{8}\.py"),
        ("plot.py", r"plot_[0-9a-f]{8}\.py"),
        ("plot.py.py", r"plot\.py_[0-9a-f]{8}\.py"),
        ("step 2-b_3.1", r"step 2-b_3\.1_[0-9a-f]{8}\.py"),
        ("ana\u0301lisis", r"análisis_[0-9a-f]{8}\.py"),
        ("分析", r"分析_[0-9a-f]{8}\.py"),
        ("हिन्दी", r"हिन्दी_[0-9a-f]{8}\.py"),
        ("a" * 200, r"a{200}_[0-9a-f]{8}\.py"),
    ],
)
def test_a_script_is_named_after_its_stem(tmp_path: Path, stem: str, pattern: str) -> None:
    path = ScriptStore(tmp_path).save("1 + 1", stem)

    assert path.parent == tmp_path
    assert re.fullmatch(pattern, path.name)
    assert path.read_text("utf-8") == "1 + 1"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("", ""),
        ("\ufeffx = 1\n", "x = 1\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\rb", "a\nb"),
        ("a\r\r\nb", "a\n\nb"),
        ("s = 'é漢🙂'", "s = 'é漢🙂'"),
        ("x = '\x0c\u2028'", "x = '\x0c\u2028'"),
    ],
)
def test_a_script_holds_what_was_given_and_runs_without_marks(
    tmp_path: Path, source: str, kept: str
) -> None:
    store = ScriptStore(tmp_path)
    path = store.save(source)

    assert path.read_bytes() == source.encode()
    assert store.source(path.name) == Script(
        path=path, source=kept, sha256=hashlib.sha256(source.encode()).hexdigest()
    )


LATIN = "# coding: latin-1\r\n"


@pytest.mark.parametrize(
    ("begun", "added", "encoding"),
    [
        (f"{LATIN}x = '\xe9'", "y = '\xfc'", "latin-1"),
        ("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :", "x = '\u20ac'\n", "cp1252"),
        ("# -*- coding: shift-jis -*-\nx = '\u30c6'\n", "# \u8868\n", "shift-jis"),
        ("# coding: iso2022_jp\nx = '\u30c6'\n", "# \u8868\n", "iso2022_jp"),
        ("", f"{LATIN}x = '\xe9'", "latin-1"),
        ("#!/usr/bin/python", f"{LATIN}x = '\xe9'", "latin-1"),
        ("# a\r# b\r# coding: latin-1\r", "x = '\xe9'", "utf-8"),
    ],
)
def test_a_script_is_in_the_encoding_that_it_declares(
    tmp_path: Path, begun: str, added: str, encoding: str
) -> None:
    store = ScriptStore(tmp_path)
    path = store.save(begun)
    store.append(path.name, added)

    text = path.read_bytes().decode(encoding)
    assert text.startswith(begun)
    assert text.endswith(added)
    assert store.source(path.name).source == checked_source(text)
    assert store.read(path.name, limit=9).text == text
    assert subprocess.run([sys.executable, path], check=False).returncode == 0


@pytest.mark.parametrize(
    ("begun", "added", "told"),
    [
        ("", f"{LATIN}x = '\u20ac'", r"iso-8859-1 has no '\\u20ac', which is in line 2"),
        (LATIN, "1\nx = '\u20ac'", r"iso-8859-1 has no '\\u20ac', which is in line 3"),
        ("# \xe9\n", LATIN, "what is before the declaration of iso-8859-1|invalid"),
        ("", f"# \xe9\n{LATIN}", "declaration"),
        ("", f"\ufeff{LATIN}", "encoding problem"),
        ("", "# coding: moon\n", "unknown encoding: moon"),
        ("", "# coding: utf-16\n", "no encoding of Python files"),
        ("", "# coding: rot13\n", "rot13"),
    ],
)
def test_text_that_its_encoding_does_not_have_is_refused_and_nothing_changes(
    tmp_path: Path, begun: str, added: str, told: str
) -> None:
    store = ScriptStore(tmp_path)
    path = store.save(begun)

    with pytest.raises(UnencodableError, match=told):
        store.append(path.name, added)
    with pytest.raises(UnencodableError, match=told):
        store.save(begun + added)

    assert path.read_text("utf-8") == begun.replace("\r\n", "\n")
    assert len(list(tmp_path.glob("*.py"))) == 1


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        ("\0", r"NUL in line 1, column 1; .*'\\x00'"),
        ("a\r\n\ud800", r"surrogate U\+D800 in line 2, column 1; .*'\\ud800'"),
        ("\ufeff\udfff", r"surrogate U\+DFFF in line 1, column 1"),
    ],
)
def test_code_that_is_not_text_is_refused_with_its_place(source: str, reported: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reported):
        checked_source(source)


def test_a_root_that_is_a_file_gives_the_way_out(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("mine")

    with pytest.raises(StorageError, match=r"can't be stored in .*file.* set CODE_STORAGE_DIR"):
        ScriptStore(root).save("1")

    assert root.read_text() == "mine"


def test_an_append_reports_how_long_the_script_is_now(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "a.py"
    path.write_bytes(b"")
    store = ScriptStore(tmp_path)
    for added, lines, size, whole in (
        ("", 0, 0, ""),
        ("é = 1", 1, 6, "é = 1"),
        ("b = 2\n", 2, 13, "é = 1\nb = 2\n"),
        ("c = 3", 3, 18, "é = 1\nb = 2\nc = 3"),
        ("", 3, 18, "é = 1\nb = 2\nc = 3"),
    ):
        assert store.append("sub/a.py", added) == Appended(path=path, lines=lines, size=size)
        assert path.read_text("utf-8") == whole


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_appending_keeps_the_mode_and_leaves_nothing_beside(tmp_path: Path, mode: int) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("1\n")
    path.chmod(mode)

    store.append(path.name, "2\n")

    assert path.stat().st_mode & 0o777 == mode
    assert sorted(each.name for each in tmp_path.iterdir()) == [".kernel_exec", path.name]
    assert (tmp_path / ".kernel_exec").stat().st_mode & 0o777 == 0o700


def test_a_script_does_not_grow_without_end(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("x" * 9_999_990)

    assert store.append(path.name, "123456789").size == 10_000_000
    with pytest.raises(InvalidArgumentError, match="more than the 10,000,000 bytes"):
        store.append(path.name, "1")
    assert path.stat().st_size == 10_000_000
    with pytest.raises(InvalidArgumentError, match="11,000,000 characters"):
        store.save("x" * 11_000_000)
    os.truncate(path, 10**12)
    with pytest.raises(InvalidArgumentError, match=r"has 1,000,000,000,000 bytes.*execute_code"):
        store.read(path.name, limit=1)


def test_a_write_that_fails_half_way_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = ScriptStore(tmp_path).save("x" * 900)
    script = (
        "import resource, signal, sys; from pathlib import Path;"
        "from kernel_exec.errors import StorageError; "
        "from kernel_exec.scripts.store import ScriptStore;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for change in (lambda store: store.append(sys.argv[2], 'y' * 5000),"
        " lambda store: store.save('x' * 5000)):\n"
        "    try: change(ScriptStore(Path(sys.argv[1])))\n"
        "    except StorageError as error: print(error)"
    )

    finished = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tmp_path), path.name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    append, save = finished.stdout.splitlines()
    assert "File too large; it is unchanged. Free some space" in append
    assert "can't be stored" in save
    assert path.read_text() == "x" * 900
    assert sorted(each.name for each in tmp_path.iterdir()) == [".kernel_exec", path.name]


def test_a_root_that_takes_no_lock_is_told(tmp_path: Path) -> None:
    path = ScriptStore(tmp_path).save("1")
    (tmp_path / ".kernel_exec").touch()

    with pytest.raises(StorageError, match="can't be appended to: File exists; it is unchanged"):
        ScriptStore(tmp_path).append(path.name, "2")


def test_who_waits_too_long_for_others_is_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_LOCK_WAIT", 0)
    path = ScriptStore(tmp_path).save("1")
    (tmp_path / ".kernel_exec").mkdir()

    with (
        FileLock(tmp_path / ".kernel_exec" / "scripts.lock"),
        pytest.raises(BusyError, match="try again"),
    ):
        ScriptStore(tmp_path).append(path.name, "2")
    assert path.read_text() == "1"


def test_a_cell_lies_apart_and_is_found_by_its_name(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.write(store.draft("1 + 1"))

    assert path.parent == tmp_path / "cells"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"code_[0-9a-f]{8}\.py", path.name)
    for name in (path.name, path.stem, f"cells/{path.name}", str(path)):
        assert store.source(name).path == path


@pytest.mark.parametrize("kind", ["file", "link"])
def test_cells_lie_in_the_root_where_their_folder_is_none(tmp_path: Path, kind: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    if kind == "file":
        (root / "cells").touch()
    else:
        (root / "cells").symlink_to(outside)

    assert ScriptStore(root).draft("1").path.parent == root
    assert list(outside.iterdir()) == []


def test_a_cell_is_not_stored_through_a_link_that_takes_its_folders_place(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    store = ScriptStore(root)
    store.write(store.draft("1"))
    draft = store.draft("2")
    (root / "cells").rename(root / "moved")
    (root / "cells").symlink_to(outside)

    with pytest.raises(StorageError, match="can't be stored"):
        store.write(draft)

    assert list(outside.iterdir()) == []


def test_a_file_is_found_without_its_suffix_and_only_if_no_other_has_the_name(
    tmp_path: Path,
) -> None:
    store = ScriptStore(tmp_path)
    (tmp_path / "clean.py").write_text("1")
    (tmp_path / "both").write_text("2")
    (tmp_path / "both.py").write_text("3")

    assert store.source("clean").path == tmp_path / "clean.py"
    assert store.append("clean", "2").path == tmp_path / "clean.py"
    assert store.read("clean", limit=9).text == "1\n2"
    assert store.source("both").source == "2"


def test_a_name_that_no_file_has_is_answered_with_the_newest_that_is_like_it(
    tmp_path: Path,
) -> None:
    store = ScriptStore(tmp_path)
    old, new = store.save("1", "clean"), store.save("2", "clean")
    os.utime(old, (1, 1))

    for name in ("clean", "clean.py", "clan.py"):
        with pytest.raises(NotFoundError, match=f"did you mean '{new.name}'"):
            store.source(name)
    with pytest.raises(NotFoundError, match="create one with initialize_code_file"):
        store.source("entirely_different")


def test_a_file_takes_the_place_of_one_of_its_name(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path / "root")
    path = store.replace("1", "clean.py")
    assert (path, path.read_text()) == (tmp_path / "root" / "clean.py", "1")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)

    assert store.replace("2", "clean") == path
    assert path.read_text() == "2"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_only_a_plain_file_is_replaced(tmp_path: Path, kind: str) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    root.mkdir()
    secret.write_text("kept")
    if kind == "link":
        (root / "clean.py").symlink_to(secret)
    else:
        (root / "clean.py").mkdir()

    with pytest.raises(InvalidArgumentError, match="which is not opened"):
        ScriptStore(root).replace("1", "clean")
    assert secret.read_text() == "kept"
