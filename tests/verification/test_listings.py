"""Listings of folders: which code surely only lists, and which differences are then trivial."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.verification.compare import compare
from kernel_exec.verification.listings import growth, only_lists

LISTS = [
    "import os\nos.listdir('.')  # what is here",
    "sorted(os.listdir(DATA))",
    "!ls",
    "!ls -la",
    "%ls -l data",
    "import os\nprint(os.getcwd())\n!ls -lh *.csv",
    "print('Files:', os.listdir('.'))",
    "from pathlib import Path\nlist(Path('.').glob('*.csv'))",
    "[p.name for p in sorted(Path('.').iterdir()) if p.is_file() and p.suffix != '.py']",
    "for f in sorted(os.listdir('.')):\n    print(f, os.path.getsize(f))",
    "for p in Path('.').rglob('*'):\n    print(f'{p.name:30} {p.stat().st_size}')",
    "for root, dirs, files in os.walk('.'):\n    for f in files:\n"
    "        print(os.path.join(root, f))",
    "files = glob.glob('*.csv')\nfiles",
    "print('\\n'.join(str(p) for p in Path('.').iterdir()))",
]

OTHERS = [
    "",
    "x = 1",
    "broken(",
    "!ls | wc -l",
    "!ls > names",
    "!ls $(touch x)",
    "!ls a b",
    "!ls -R",
    "!ls --recursive",
    "!cat names",
    "!ls\nprint(result)",
    "!ls\nos.listdir()",
    "os.listdir('a') + os.listdir('b')",
    "len(os.listdir())",
    "print(os.listdir(), results)",
    "print(os.listdir(), df.columns)",
    "os.listdir(fit())",
    "print(os.environ, os.listdir())",
    "import sys\nprint(sys.path, os.listdir())",
    "for f in glob.glob('*'):\n    process(f)",
    "for f in glob.glob('*'):\n    print(open(f).read())",
    "[(f, os.path.getsize(f)) for f in os.listdir()]",
    "{f: 1 for f in os.listdir()}",
    "[f for f in os.listdir() if f in wanted]",
    "sorted(os.listdir(), key=score)",
    f"os.listdir()\n{'# a comment' * 200}",
    "def shown():\n    return os.listdir()\nshown()",
]


@pytest.mark.parametrize("source", LISTS)
def test_code_that_only_lists_is_known(source: str) -> None:
    assert only_lists(source)


@pytest.mark.parametrize("source", OTHERS)
def test_all_other_code_may_make_a_real_difference(source: str) -> None:
    assert not only_lists(source)


ROW = "-rw-r--r-- 1 me us 12 Nov  2 10:00 a"

TRIVIAL = {
    "one more": ("['a']", "['a', \"b's\"]", '1 more than there were: "b\'s"'),
    "the first": ("[]", "['b']", "1 more"),
    "in words": ("Files: ['a']", "Files: ['a', 'b']", "1 more"),
    "paths": ("[PosixPath('a')]", "[PosixPath('a'),\n PosixPath('b')]", "1 more than there"),
    "lines": ("a 12", "a 12\nb 3", "1 more than there were: b 3"),
    "many": ("", "\n".join("abcdefg"), "7 more than there were: a, b, c, d, e, …"),
    "another order": ("b\na", "a\nb", "only the order or times"),
    "another time": (f"total 4\n{ROW}", f"total 8\n{ROW.replace('Nov  2 10:00', 'Jan 12  2027')}",
                     "only the order or times"),
    "a larger folder": (f"d{ROW[1:]}", f"d{ROW[1:].replace(' 12 ', ' 130 ')}", "only the order"),
    "a new row": (ROW, f"{ROW}\n{ROW}b", "1 more than there were: ab (-rw-r--r-- me us 12)"),
}  # fmt: skip

REAL = {
    "another name": ("['a']", "['b']"),
    "a name that is gone": ("['a', 'b']", "['a']"),
    "the last name that is gone": ("['a']", "[]"),
    "a line that is gone": ("a\nb", "b"),
    "another size": (ROW, ROW.replace(" 12 ", " 13 ")),
    "another size beside a new file of the old one": ("a 12", "a 13\nc 12"),
    "other rights": (ROW, ROW.replace("rw-r", "rwxr")),
    "another owner": (ROW, ROW.replace("me", "you")),
    "a count": ("3 ['a']", "4 ['a', 'b']"),
    "a name that moved": ("['a'] ['b']", "['a', 'b'] []"),
    "an error": ("a", "ls: cannot access 'a'"),
}


@pytest.mark.parametrize("name", TRIVIAL)
def test_what_was_added_and_times_are_trivial_where_code_only_lists(name: str) -> None:
    before, after, told = TRIVIAL[name]
    assert told in growth(before, after)
    outputs = [[{"output_type": "stream", "text": text}] for text in (before, after)]
    found = compare(*outputs, source="!ls")
    assert (found.verdict, "folder's listing" in found.difference) == ("close", True)
    assert compare(*outputs, source="print(x)").verdict == "different"


@pytest.mark.parametrize("name", REAL)
def test_all_else_in_a_listing_is_a_real_difference(name: str) -> None:
    before, after = REAL[name]
    assert growth(before, after) == ""


LINES = st.lists(st.text("ab.12 -", min_size=1, max_size=3).map(str.strip), max_size=6)


@given(LINES, LINES)
def test_a_listing_that_lost_a_line_is_never_trivial(before: list[str], after: list[str]) -> None:
    lost = Counter(filter(None, before)) - Counter(after)
    assert bool(growth("\n".join(before), "\n".join(after))) == (not lost)


def test_times_and_the_number_of_a_files_place_are_trivial() -> None:
    stat = "os.stat_result(st_mode=33188, st_ino={}, st_size={}, st_atime={}, st_mtime=1764383890)"
    before, after, longer = (stat.format(*each) for each in ((1, 5, 7), (2, 5, 8), (1, 6, 7)))
    outputs = [[{"output_type": "stream", "text": text}] for text in (before, after, longer)]
    assert compare(outputs[0], outputs[1]).verdict == "close"
    assert compare(outputs[0], outputs[2]).verdict == "different"
