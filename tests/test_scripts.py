import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.scripts import ScriptStore, checked_source


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
def test_a_script_holds_what_is_run(tmp_path: Path, source: str, kept: str) -> None:
    path = ScriptStore(tmp_path).save(source)

    assert checked_source(source) == kept
    assert path.read_bytes() == kept.encode()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("\0", r"NUL in line 1, column 1: .*'\\x00'"),
        ("a = 1\nb = '\0'", "NUL in line 2, column 6"),
        ("a\r\n\ud800", r"surrogate U\+D800 in line 2, column 1: .*'\\ud800'"),
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
