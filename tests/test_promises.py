"""`promises.md` names a test for every promise, and every test of `promises/` keeps one."""

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # collects the tests of whole folders

TESTS = Path(__file__).parent
LINE = re.compile(r"\| .+? \| (?P<rows>(V?\d+(, )?)+|-) \| (?P<test>.+?) \|")

FAULTS = {str(number) for number in range(1, 87)}
"""The rows of the table of faults."""

SEED = {f"V{number}" for number in range(1, 27)}
"""The defects of the server that this one takes the place of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The rows it answers, and the test that holds us to it, or why there is none."""

    rows: frozenset[str]
    test: str

    @property
    def is_none(self) -> bool:
        """True where no test is needed."""
        return self.test.startswith("none: ")

    def kept_by(self, test: str) -> bool:
        """True for its test; without a parameter, all of a test's are meant."""
        return self.test in {test, test.partition("[")[0]}


@pytest.fixture(scope="module")
def promises() -> list[Promise]:
    lines = [line for line in (TESTS / "promises.md").read_text().splitlines() if line[:2] == "| "]
    read = [LINE.fullmatch(line) for line in lines if not line.startswith("| promise ")]
    assert None not in read, f"not a promise: {lines[1 + read.index(None)]}"
    return [
        Promise(rows=frozenset(each["rows"].split(", ")), test=each["test"])
        for each in read
        if each is not None
    ]


@pytest.fixture(scope="module")
def tests(promises: list[Promise]) -> set[str]:
    """The ids of the tests in `promises/` and in the files that promises name."""
    files = {
        f"tests/{promise.test.partition('::')[0]}" for promise in promises if not promise.is_none
    }
    collect = ["--collect-only", "-q", "-n0", "-p", "no:cacheprovider", "tests/promises"]
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", *collect, *sorted(files)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {line.removeprefix("tests/") for line in listing.splitlines() if "::" in line}


def test_every_row_is_promised_or_decided_otherwise(promises: list[Promise]) -> None:
    rows = frozenset[str]().union(*(promise.rows for promise in promises)) - {"-"}
    assert rows == FAULTS | SEED


def test_every_promise_has_its_test(promises: list[Promise], tests: set[str]) -> None:
    wanted = [promise for promise in promises if not promise.is_none]
    missing = [promise.test for promise in wanted if not any(map(promise.kept_by, tests))]
    assert not missing


def test_every_test_keeps_a_promise(promises: list[Promise], tests: set[str]) -> None:
    def kept(test: str) -> Iterable[bool]:
        return (promise.kept_by(test) for promise in promises)

    without = {test for test in tests if test.startswith("promises/") and not any(kept(test))}
    assert not without
