import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from kernel_exec import scripts
from kernel_exec.errors import (
    BusyError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
    UnencodableError,
)
from kernel_exec.lines import ScriptPage
from kernel_exec.scripts import Appended, Script, ScriptStore, checked_source

UNIX = pytest.mark.skipif(
    os.open not in os.supports_dir_fd, reason="files are appended to by descriptors of folders"
)


@pytest.mark.parametrize(
    ("stem", "pattern"),
    [
        ("", r"code_[0-9a-f]{8}\.py"),
        ("plot", r"plot_[0-9a-f]{8}\.py"),
        ("plot.py", r"plot_[0-9a-f]{8}\.py"),
        ("plot.py.py", r"plot\.py_[0-9a-f]{8}\.py"),
        ("step 2-b_3.1", r"step 2-b_3\.1_[0-9a-f]{8}\.py"),
        ("análisis", r"análisis_[0-9a-f]{8}\.py"),
        ("ana\u0301lisis", r"análisis_[0-9a-f]{8}\.py"),
        ("分析", r"分析_[0-9a-f]{8}\.py"),
        ("console", r"console_[0-9a-f]{8}\.py"),
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
    "stem",
    [
        "../x", "a/../../x", "/etc/passwd", "~/x", "~", "C:\\x", "C:x", "..\\..\\x", "a//b", "./a",
        "a/b", "a\\b", ".", "..", ".hidden", ".py", " ", "con.py", "con", "NUL", "Com1", "lpt9.txt",
        "con .x", "x ", "x.", "x..py", " x", "a\0b", "a\nb", "a\tb", "a\x7fb", "\x1b[31m",
        "\u202ea.py", "a\u200bb", "a\u2028b", "\ufeffa", "-rf", "\ud800", "a*", "a?", "a:b", "a|b",
        '"; touch P #', "$(touch P)", "`id`", "${IFS}", "%PATH%", "a" * 201, "分" * 67,
    ],
)  # fmt: skip
def test_a_name_that_is_not_plain_is_refused_and_nothing_is_written(
    tmp_path: Path, stem: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="filename"):
        ScriptStore(tmp_path).save("1", stem)

    assert list(tmp_path.iterdir()) == []


def test_a_huge_name_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ScriptStore(tmp_path).save("1", "a" * 1_000_000)

    assert len(str(caught.value)) < 400


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


@UNIX
@pytest.mark.parametrize(
    ("begun", "added", "whole"),
    [
        ("a = 1\r\nb = 2", "c\r\nd\n", "a = 1\r\nb = 2\r\nc\r\nd\n"),
        ("a = 1\r\n", "b = 2\n", "a = 1\r\nb = 2\n"),
        ("a\rb", "c", "a\rb\rc"),
        ("a\rb\r", "c", "a\rb\rc"),
        ("a", "b\r\n", "a\r\nb\r\n"),
        ("a\n\nb", "\n", "a\n\nb\n\n"),
        ("\ufeffa\n", "\ufeffb", "\ufeffa\nb"),
        ("", "\ufeffa\r\n", "\ufeffa\r\n"),
        ("x = '\x0c\u2028'", "\u2029", "x = '\x0c\u2028'\n\u2029"),
    ],
)
def test_what_is_appended_is_kept_as_it_is_behind_an_end_of_line_of_the_file(
    tmp_path: Path, begun: str, added: str, whole: str
) -> None:
    store = ScriptStore(tmp_path)
    path = store.save(begun)

    store.append(path.name, added)

    assert path.read_bytes() == whole.encode()


LATIN = "# coding: latin-1\r\n"


@UNIX
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


@UNIX
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
    ("source", "told"),
    [
        ("\0", r"NUL in line 1, column 1; .*'\\x00'"),
        ("a = 1\nb = '\0'", "NUL in line 2, column 6"),
        ("a\r\n\ud800", r"surrogate U\+D800 in line 2, column 1; .*'\\ud800'"),
        ("\ufeff\udfff", r"surrogate U\+DFFF in line 1, column 1"),
    ],
)
def test_code_that_is_not_text_is_refused_with_its_place(
    tmp_path: Path, source: str, told: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        ScriptStore(tmp_path).save(source)

    assert list(tmp_path.iterdir()) == []


def test_a_megabyte_of_code_is_stored_and_eleven_are_refused(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)

    assert store.save("x = 1\n" * 175_000).stat().st_size == 1_050_000
    with pytest.raises(InvalidArgumentError, match="11,000,000 characters"):
        store.save("x" * 11_000_000)


def test_the_same_stem_gives_a_new_file_each_time(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)

    assert len({store.save("1", "same") for _ in range(20)}) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a Unix thing")
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_can_read_a_script_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "root"
    before = os.umask(umask)
    try:
        path = ScriptStore(root).save("secret")
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_root_that_is_a_file_gives_the_way_out(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("mine")

    with pytest.raises(StorageError, match=r"can't be stored in .*file.* set CODE_STORAGE_DIR"):
        ScriptStore(root).save("1")

    assert root.read_text() == "mine"


def test_a_root_that_can_not_be_made_gives_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="set CODE_STORAGE_DIR"):
        ScriptStore(tmp_path / "file" / "below").save("1")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on file sizes to set")
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from pathlib import Path;"
        "from kernel_exec.errors import StorageError; from kernel_exec.scripts import ScriptStore;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: ScriptStore(Path(sys.argv[1])).save('x' * 5000)\n"
        "except StorageError: sys.exit(7)"
    )

    finished = subprocess.run([sys.executable, "-B", "-c", script, str(tmp_path)], check=False)

    assert finished.returncode == 7
    assert list(tmp_path.iterdir()) == []


@UNIX
def test_what_is_appended_begins_a_new_line(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("a = 1")

    assert store.append(path.name, "b = 2\n") == Appended(path=path, lines=2, size=12)
    assert store.append(str(path), "c = 3") == Appended(path=path, lines=3, size=17)
    assert path.read_text() == "a = 1\nb = 2\nc = 3"
    assert store.append(path.name, "") == Appended(path=path, lines=3, size=17)
    assert path.read_text() == "a = 1\nb = 2\nc = 3"


@UNIX
def test_an_empty_script_is_appended_to_without_an_empty_line(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("")

    assert store.append(path.name, "") == Appended(path=path, lines=0, size=0)
    assert store.append(path.name, "é") == Appended(path=path, lines=1, size=2)
    assert path.read_text("utf-8") == "é"


@UNIX
def test_every_script_that_is_saved_can_be_read_and_appended_to(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    for stem in ("", "plot", "plot.py.py", "step 2-b_3.1", "ana\u0301lisis", "a" * 200, "_", "x.1"):
        path = store.save("1\n", stem)
        assert store.append(str(path), "2\n").lines == 2
        assert store.read(path.name, limit=9).text == "1\n2\n"


@UNIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_appending_keeps_the_mode_and_leaves_nothing_beside(tmp_path: Path, mode: int) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("1\n")
    path.chmod(mode)

    store.append(path.name, "2\n")

    assert path.stat().st_mode & 0o777 == mode
    assert sorted(each.name for each in tmp_path.iterdir()) == [".kernel_exec", path.name]
    assert (tmp_path / ".kernel_exec").stat().st_mode & 0o777 == 0o700


@UNIX
def test_who_reads_during_an_append_sees_the_file_before(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("1\n")
    with path.open() as reading:
        store.append(path.name, "2\n" * 1000)
        assert reading.read() == "1\n"


@UNIX
def test_a_file_in_a_folder_is_appended_to_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_bytes(b"a")

    assert ScriptStore(tmp_path).append("sub/a.py", "b").lines == 2
    assert (tmp_path / "sub" / "a.py").read_bytes() == b"a\nb"
    assert [each.name for each in (tmp_path / "sub").iterdir()] == ["a.py"]


@UNIX
def test_nothing_is_appended_through_a_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "bashrc").write_text("mine")
    (root / "link.py").symlink_to(tmp_path / "bashrc")
    (root / "folder").symlink_to(tmp_path)
    for path in ("link.py", "folder/bashrc", "../bashrc", str(tmp_path / "bashrc")):
        with pytest.raises(InvalidArgumentError, match=r"link|outside|no name"):
            ScriptStore(root).append(path, "evil")
    assert (tmp_path / "bashrc").read_text() == "mine"
    assert sorted(each.name for each in root.iterdir()) == [".kernel_exec", "folder", "link.py"]


@UNIX
def test_nothing_is_appended_where_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="initialize_code_file"):
        ScriptStore(tmp_path).append("a.py", "1")
    with pytest.raises(NotFoundError, match="initialize_code_file"):
        ScriptStore(tmp_path / "none").append("a.py", "1")
    assert [each.name for each in tmp_path.iterdir()] == [".kernel_exec"]


@UNIX
def test_a_script_does_not_grow_without_end(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("x" * 9_999_990)

    assert store.append(path.name, "123456789").size == 10_000_000
    with pytest.raises(InvalidArgumentError, match="more than the 10,000,000 bytes"):
        store.append(path.name, "1")
    assert path.stat().st_size == 10_000_000


@UNIX
def test_content_that_is_not_text_is_not_appended(tmp_path: Path) -> None:
    store = ScriptStore(tmp_path)
    path = store.save("1")

    with pytest.raises(InvalidArgumentError, match="NUL in line 1"):
        store.append(path.name, "\0")
    assert path.read_text() == "1"


@UNIX
def test_an_append_that_fails_half_way_loses_nothing(tmp_path: Path) -> None:
    path = ScriptStore(tmp_path).save("x" * 900)
    script = (
        "import resource, signal, sys; from pathlib import Path;"
        "from kernel_exec.errors import StorageError; from kernel_exec.scripts import ScriptStore;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: ScriptStore(Path(sys.argv[1])).append(sys.argv[2], 'y' * 5000)\n"
        "except StorageError as error: print(error); sys.exit(7)"
    )

    finished = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tmp_path), path.name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert finished.returncode == 7, finished.stderr
    assert "File too large; it is unchanged. Free some space" in finished.stdout
    assert path.read_text() == "x" * 900
    assert sorted(each.name for each in tmp_path.iterdir()) == [".kernel_exec", path.name]


@UNIX
def test_a_root_that_takes_no_lock_is_told(tmp_path: Path) -> None:
    path = ScriptStore(tmp_path).save("1")
    (tmp_path / ".kernel_exec").touch()

    with pytest.raises(StorageError, match="can't be appended to: File exists; it is unchanged"):
        ScriptStore(tmp_path).append(path.name, "2")


@UNIX
def test_who_waits_too_long_for_others_is_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_LOCK_WAIT", 0)
    path = ScriptStore(tmp_path).save("1")
    (tmp_path / ".kernel_exec").mkdir()

    with (
        FileLock(tmp_path / ".kernel_exec" / "scripts.lock"),
        pytest.raises(BusyError, match="try again"),
    ):
        ScriptStore(tmp_path).append(path.name, "2")
    assert path.read_text() == "1"


@UNIX
def test_two_processes_that_append_lose_nothing_and_do_not_mix(tmp_path: Path) -> None:
    path = ScriptStore(tmp_path).save("")
    script = (
        "import sys; from pathlib import Path; from kernel_exec.scripts import ScriptStore\n"
        "store = ScriptStore(Path(sys.argv[1]))\n"
        "for n in range(200): store.append(sys.argv[2], f'{sys.argv[3]} {n} ' + 'x' * 300)"
    )
    running = [
        subprocess.Popen([sys.executable, "-B", "-c", script, str(tmp_path), path.name, name])
        for name in "ab"
    ]
    assert [process.wait(50) for process in running] == [0, 0]

    lines = path.read_text().splitlines()
    assert len(lines) == 400
    for name in "ab":
        assert [line for line in lines if line[0] == name] == [
            f"{name} {n} " + "x" * 300 for n in range(200)
        ]


def page_of(folder: Path, content: bytes, *, offset: int = 0, limit: int = 2000) -> ScriptPage:
    (folder / "a.py").write_bytes(content)
    return ScriptStore(folder).read("a.py", offset=offset, limit=limit)


@UNIX
def test_a_small_file_is_read_as_it_is(tmp_path: Path) -> None:
    page = page_of(tmp_path, b"\xef\xbb\xbfa\r\nb\n\n\xc3\xa9")

    assert page == ScriptPage(
        path=tmp_path / "a.py", text="a\r\nb\n\né", offset=0, next_offset=None,
        total_lines=4, cut_lines=(), encoding_errors=False,
    )  # fmt: skip


@UNIX
@pytest.mark.parametrize(
    ("content", "offset", "limit", "text", "next_offset", "total"),
    [
        (b"", 0, 5, "", None, 0),
        (b"", 3, 5, "", None, 0),
        (b"\n", 0, 5, "\n", None, 1),
        (b"a", 0, 1, "a", None, 1),
        (b"a\nb\nc\n", 0, 2, "a\nb\n", 2, 3),
        (b"a\nb\nc\n", 2, 2, "c\n", None, 3),
        (b"a\nb\nc\n", 3, 2, "", None, 3),
        (b"a\nb\nc", 1, 1, "b\n", 2, 3),
        (b"a\nb\nc", 2, 1, "c", None, 3),
        (b"a\nb\nc", 9, 1, "", None, 3),
        (b"x\n" * 3_000_000 + b"end", 3_000_000, 1, "end", None, 3_000_001),
        (b"x\n" * 3_000_000 + b"end", 2_999_999, 1, "x\n", 3_000_000, 3_000_001),
    ],
    ids=range(12),
)
def test_pages_are_counted_in_lines(
    tmp_path: Path,
    content: bytes,
    offset: int,
    limit: int,
    text: str,
    next_offset: int | None,
    total: int,
) -> None:
    page = page_of(tmp_path, content, offset=offset, limit=limit)

    assert (page.text, page.next_offset, page.total_lines) == (text, next_offset, total)
    assert page.offset == offset


@UNIX
def test_pages_put_together_are_the_file(tmp_path: Path) -> None:
    content = "".join(f"{n} {'é' * (n % 977)}\n" for n in range(3000))
    offset: int | None = 0
    pages = []
    while offset is not None:
        page = page_of(tmp_path, content.encode(), offset=offset)
        assert 0 < len(page.text) <= 100_000
        pages.append(page.text)
        offset = page.next_offset

    assert "".join(pages) == content
    assert len(pages) > 10


@UNIX
@pytest.mark.parametrize("character", ["x", "é", "🙂"])
def test_a_line_that_is_too_long_is_cut_and_says_so(tmp_path: Path, character: str) -> None:
    size = 3_000_000 * len(character.encode())
    long = character.encode() * 3_000_000

    page = page_of(tmp_path, b"a\n" + long + b"\nb\n")
    assert page.text == f"a\n{character * 10_000} [line cut here: it has {size:,} bytes]\nb\n"
    assert (page.cut_lines, page.total_lines, page.next_offset) == ((1,), 3, None)
    assert not page.encoding_errors

    last = page_of(tmp_path, b"a\n" + long)
    assert (last.cut_lines, last.total_lines, last.next_offset) == ((1,), 2, None)
    assert page_of(tmp_path, b"x" * 10_000).cut_lines == ()
    assert page_of(tmp_path, b"x" * 10_000 + b"\n").cut_lines == ()
    assert page_of(tmp_path, b"x" * 10_001).cut_lines == (0,)
    assert page_of(tmp_path, "🙂".encode() * 10_001).cut_lines == (0,)


@UNIX
@pytest.mark.parametrize("content", [b"a\xffb\n", b"a\xffb", b"a\n\xe2\x82", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_replaced_and_told(tmp_path: Path, content: bytes) -> None:
    page = page_of(tmp_path, content)

    assert page.encoding_errors
    assert page.text == content.decode("utf-8", "replace")


@UNIX
def test_a_sparse_file_is_read_by_its_beginning_up_to_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"first\n")
    os.truncate(tmp_path / "a.py", 50_000_000)

    page = ScriptStore(tmp_path).read("a.py", limit=1)
    assert (page.text, page.next_offset, page.total_lines) == ("first\n", 1, 2)
    os.truncate(tmp_path / "a.py", 10**12)
    with pytest.raises(InvalidArgumentError, match=r"has 1,000,000,000,000 bytes.*execute_code"):
        ScriptStore(tmp_path).read("a.py", limit=1)
