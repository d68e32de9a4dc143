"""What tools report of files, packages, variables and restarts, in lines that a model reads."""

from pathlib import Path

import pytest

from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.kernel import Variable
from kernel_exec.packages.inventory import PackageStatus
from kernel_exec.scripts.pages import ScriptPage
from kernel_exec.server.replaying import restarted
from kernel_exec.server.tools_environment import package_line
from kernel_exec.server.tools_files import page_lines
from kernel_exec.server.tools_run import describe
from kernel_exec.server.verifying import verdict_lines


def page(text: str, *, offset: int = 0, total: int, following: int | None = None) -> ScriptPage:
    return ScriptPage(
        path=Path("a.py"), text=text, offset=offset, next_offset=following, total_lines=total,
        cut_lines=(), encoding_errors="\ufffd" in text,
    )  # fmt: skip


PAGES = {
    "a whole file": (page("a\n\nb\n", total=3), ["1\ta", "2\t", "3\tb"]),
    "without an end of its last line": (page("a\nb", total=2), ["1\ta", "2\tb"]),
    "with two characters as line ends": (page("a\r\nb\r\n", total=2), ["1\ta", "2\tb"]),
    "a page": (
        page("c\nd\n", offset=2, total=1200, following=4),
        ["3\tc", "4\td", "[lines 3-4 of 1,200; next: offset=4]"],
    ),
    "the last line": (page("c\n", offset=2, total=3), ["3\tc", "[line 3 of 3]"]),
    "behind the end": (
        page("", offset=5, total=1),
        ["[no line has the offset 5; the file has 1 line]"],
    ),
    "nothing": (page("", total=0), ["[the file is empty]"]),
    "what hides": (page("x\u202e\x1b[1m\x0c\n", total=1), ["1\tx\\u202e\\x1b[1m\\x0c"]),
    "no text": (
        page("\ufffd\n", total=1),
        ["1\t\ufffd", "[bytes that are not in the file's encoding are shown as U+FFFD]"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PAGES)
def test_a_file_is_shown_with_the_numbers_of_its_lines(case: str) -> None:
    shown, lines = PAGES[case]
    assert list(page_lines(shown)) == lines


def package(requested: str, name: str, *modules: str, version: str = "1.0") -> PackageStatus:
    return PackageStatus(
        requested=requested, name=requested.partition("<")[0], distribution=name or None,
        version=version if name else None, location="/lib", import_names=modules,
        satisfied="<" not in requested, applies="win32" not in requested,
    )  # fmt: skip


PACKAGES = {
    "six 1.0": package("six", "six", "six"),
    "scikit-learn 1.0 (import sklearn)": package("scikit-learn", "scikit-learn", "sklearn"),
    "scikit-learn 1.0": package("sklearn", "scikit-learn", "sklearn"),
    "PyYAML 1.0 (import yaml)": package("PyYAML", "PyYAML", "_yaml", "yaml"),
    "Markdown-It 1.0": package("Markdown-It", "Markdown-It", "markdown_it"),
    "many 1.0 (import a, b, c)": package("many", "many", "a", "b", "c", "d"),
    "six 1.0 does not satisfy six<1": package("six<1", "six", "six"),
    "gone: not installed": package("gone", ""),
    "x; win32: not needed, its marker excludes this environment": package("x; win32", ""),
}


@pytest.mark.parametrize("line", PACKAGES)
def test_a_package_is_one_line(line: str) -> None:
    assert package_line(PACKAGES[line]) == line


VARIABLES = {
    "int = 42": Variable(name="n", type="int", size=28, preview="42"),
    "list 3": Variable(name="n", type="list", length=3, size=9_999),
    "list 3000 24.1 KB": Variable(name="n", type="list", length=3000, size=24_056),
    "str 2 = 'ab'": Variable(name="n", type="str", length=2, size=51, preview="'ab'"),
    "DataFrame 5x2 1.2 GB": Variable(name="n", type="DataFrame", shape=(5, 2), size=1_200_000_000),
    "LazyFrame ?x2": Variable(name="n", type="LazyFrame", shape=(None, 2)),
    "ndarray": Variable(name="n", type="ndarray", shape=(), size=8),
    "Odd (its description failed)": Variable(
        name="n", type="Odd", note="its description failed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", VARIABLES)
def test_a_variable_is_described_by_what_matters(what: str) -> None:
    assert describe(VARIABLES[what]) == what


def test_a_restart_names_the_data_that_went_with_the_kernel() -> None:
    lost = {"np": "module", "x": "int", "f": "function", "table": "DataFrame 5x2 80 B"}
    assert restarted(2, lost) == [
        "kernel 2 started",
        "variables of the earlier kernel: x int, table DataFrame 5x2 80 B",
    ]
    assert restarted(3, {"np": "module"}, "; 1 step replayed") == [
        "kernel 3 started; 1 step replayed"
    ]


def test_a_verdict_lists_what_differs() -> None:
    verdict: JSONObject = {
        "verdict": "different",
        "counts": {"same": 2, "different": 1},
        "differences": [
            {"step": 3, "title": "Draw", "verdict": "different", "difference": "line 1\n - 1\n + 2"}
        ],
        "reused": "this is the verdict of before",
    }
    assert list(verdict_lines(verdict)) == [
        "verified: different (2 same, 1 different)",
        "step 3 (Draw) different: line 1\n - 1\n + 2",
        "this is the verdict of before",
    ]
    stopped: JSONObject = {"verdict": "failed", "reason": "the kernel died", "counts": {}}
    assert list(verdict_lines(stopped)) == ["verified: failed, the kernel died (nothing to run)"]
