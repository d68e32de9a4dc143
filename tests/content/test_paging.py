"""Pages of lines."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec import processes
from kernel_exec.content import searching
from kernel_exec.content.lines import Lines, Size, Source, Texts
from kernel_exec.content.paging import Asked, Page, found, numbered, page, sources_of
from kernel_exec.content.plain import clean
from kernel_exec.content.searching import Searches
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    fold,
)

NUMBERS = [str(number) for number in range(1000)]
LONG = "".join(f"{number:,} " for number in range(20_000))
"""A line of many rows."""


def text(*lines: str) -> list[Source]:
    return [Source(text="\n".join(lines))]


def followed(sources: list[Source], *, limit: int = 200) -> str:
    """What all pages say, one after the other."""
    texts, offset = Texts(), 0
    said = ""
    while True:
        shown = page(texts, sources, Asked(offset=offset, limit=limit))
        said += shown.text + ("" if shown.goes_on else "\n")
        assert len(shown.text) <= 9000
        if shown.next_offset is None:
            return said
        assert shown.next_offset > offset
        offset = shown.next_offset


@pytest.mark.parametrize(
    ("asked", "first", "last", "following"),
    [
        ({}, 0, 199, 200),
        ({"offset": 200}, 200, 399, 400),
        ({"offset": 900}, 900, 999, None),
        ({"offset": 999}, 999, 999, None),
        ({"limit": 1}, 0, 0, 1),
        ({"limit": 5000}, 0, 999, None),
        ({"tail": 3}, 997, 999, None),
        ({"tail": 5000}, 0, 999, None),
        ({"tail": 3, "offset": 5, "limit": 1}, 997, 999, None),
    ],
)
def test_a_page_tells_where_it_is_and_where_the_next_begins(
    asked: dict[str, int], first: int, last: int, following: int | None
) -> None:
    found = page(Texts(), text(*NUMBERS), Asked(**asked))
    assert found.text.split("\n") == NUMBERS[first : last + 1]
    assert (found.first, found.shown) == (first, last - first + 1)
    assert found.total == Size(rows=1000, characters=3889)
    assert found.next_offset == following


@pytest.mark.parametrize("offset", [1000, 10**30])
def test_a_page_beyond_the_end_is_empty(offset: int) -> None:
    found = page(Texts(), text(*NUMBERS), Asked(offset=offset))
    assert (found.text, found.shown, found.next_offset) == ("", 0, None)
    assert found.total.rows == 1000


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r")), min_size=1, max_size=30),
    st.integers(1, 7),
)
def test_pages_one_after_the_other_are_all_lines(lines: list[str], limit: int) -> None:
    written = clean("\n".join(lines)).removesuffix("\n")
    assert followed(text("\n".join(lines)), limit=limit) == f"{written}\n"


def test_every_character_of_a_long_line_is_reached_by_its_pages(tmp_path: Path) -> None:
    written = f"before\n{LONG}\nafter\n{LONG}\n"
    assert followed([Source(text=written)]) == written
    spilled = tmp_path / "spilled"
    for content in (written, written * 2, "é" * 600_000, f"{LONG * 12}\nlast\n"):
        spilled.write_text(content, "utf-8")
        assert followed([Source(text="", path=str(spilled))]) == content.removesuffix("\n") + "\n"


def test_a_page_is_small_whatever_the_lines_are() -> None:
    lines = ["x" * 1900] * 50
    shown = page(Texts(), text(*lines), Asked())
    assert len(shown.text) <= 9000
    assert shown.next_offset == shown.shown
    tail = page(Texts(), text(*lines), Asked(tail=50))
    assert len(tail.text) <= 9000
    assert tail.first == 50 - tail.shown


def test_a_tail_of_a_long_line_is_its_end() -> None:
    shown = page(Texts(), text("first", LONG), Asked(tail=1))
    assert LONG.endswith(shown.text)
    assert (shown.first, shown.next_offset) == (shown.total.rows - 1, None)


def test_a_file_that_grows_is_read_on_and_one_that_is_another_is_read_anew(tmp_path: Path) -> None:
    texts, path = Texts(), tmp_path / "spilled"
    source = Source(text="", path=str(path))
    path.write_text("".join(f"{line}\n" for line in range(200_000)))
    assert texts.size(source).rows == 200_000
    with path.open("a") as file:
        file.write("200000\nunfinished")
    assert texts.size(source).rows == 200_002
    assert page(texts, [source], Asked(offset=200_000)).text == "200000\nunfinished"
    assert page(texts, [source], Asked(offset=123_456, limit=1)).text == "123456"
    assert page(texts, [source], Asked(tail=2)).text == "200000\nunfinished"
    other = tmp_path / "other"
    other.write_text("one\n")
    other.replace(path)
    assert texts.size(source) == Size(rows=1, characters=4)


def test_a_page_near_the_end_of_a_large_file_reads_little_of_it(tmp_path: Path) -> None:
    texts, path = Texts(), tmp_path / "spilled"
    source = Source(text="", path=str(path))
    path.write_text("".join(f"line {line}\n" for line in range(1_000_000)))
    texts.size(source)
    os.truncate(path, 0)
    path.write_text("\0" * 12_000_000)  # whoever reads from the start counts other lines
    assert next(iter(texts.lines(source, 999_990))).number > 900_000


def test_a_file_that_is_gone_leaves_its_beginning(tmp_path: Path) -> None:
    shown = page(Texts(), [Source(text="begun\n", path=str(tmp_path / "gone"))], Asked())
    assert shown.text.endswith("only its beginning is left]\nbegun")


WRITTEN = {
    "colours": "\x1b[31mERROR\x1b[0m one\nERROR two\n",
    "a progress bar": "10 %\r50 %\rERROR\nERROR done\n",
    "a bar that goes up": "one\ntwo\n\x1b[2AERROR\nERROR\n",
    "line ends of Windows": "ERROR one\r\nERROR two\r\n",
    "control characters": "ERROR \x07\nERROR \x9b31m\n",
    "no line end": "ERROR\nERROR",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_shows_what_the_page_of_a_short_text_shows(name: str, tmp_path: Path) -> None:
    written = WRITTEN[name]
    path = tmp_path / "spilled"
    path.write_bytes(written.encode())
    spilled = [Source(text="", path=str(path))]
    short = list(sources_of(fold([Stream(name="stdout", text=written)]), "all"))
    assert followed(spilled) == followed(short)
    assert looked_up("^ERROR", spilled) == looked_up("^ERROR", short)
    assert looked_up("^ERROR", spilled).matches == 2


def looked_up(search: str, sources: list[Source], asked: Asked | None = None) -> Page:
    """What a search finds, in this process."""

    def finds(line: str) -> int | None:
        match = re.search(search, line)
        return match.start() if match else None

    return found(numbered(Texts(), sources), finds, asked or Asked())


def test_a_search_counts_and_numbers_what_it_finds() -> None:
    shown = looked_up("7$", text(*NUMBERS), Asked(offset=2, limit=2))
    assert shown.text == "27: 27\n37: 37"
    assert (shown.matches, shown.next_offset) == (100, 4)
    assert looked_up("7$", text(*NUMBERS), Asked(tail=2)).text == "987: 987\n997: 997"
    assert looked_up("nowhere", text(*NUMBERS)).matches == 0


def test_a_match_has_the_offset_at_which_its_page_begins() -> None:
    sources = text("one", LONG, "two", LONG)
    shown = looked_up("19,997", sources)
    offsets = [int(line.partition(":")[0]) for line in shown.text.split("\n")]
    assert len(offsets) == 2
    for offset in offsets:
        assert "19,997" in page(Texts(), sources, Asked(offset=offset, limit=1)).text
    assert len(shown.text) < 2 * 1100


async def searched(search: str, sources: list[Source]) -> Page:
    """What a search finds, as the server carries it out."""
    return await Searches(os.environ).search(search, sources, Asked(limit=5))


async def test_a_search_runs_elsewhere_and_finds_the_same() -> None:
    sources = [*text(*NUMBERS), Source(text="half \udc80\n")]
    for search in ("7$", "nowhere", r"\\udc80"):
        assert await searched(search, sources) == looked_up(search, sources, Asked(limit=5))


async def test_a_search_has_no_file_that_code_could_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    run = processes.run

    async def looking(*arguments: Any, **options: Any) -> processes.Finished:
        seen.extend(tmp_path.iterdir())
        return await run(*arguments, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(searching, "run", looking)

    assert (await searched("7$", text(*NUMBERS))).text
    assert seen == []


async def test_a_wrong_search_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="not a regular expression: missing"):
        await searched("(", text(*NUMBERS))


OUTPUTS: list[Output] = [
    Stream(name="stdout", text="one\ntwo\n"),
    Stream(name="stderr", text="\x1b[31mcareful\x1b[0m"),
    DisplayData(data={"image/png": "aGk=", "text/plain": "<Figure>"}, metadata={}),
    ExecuteResult(data={"application/json": {"a": 1}}, metadata={}, execution_count=1),
    ErrorOutput(ename="E", evalue="v", traceback=("top\nmiddle", "\x1b[0mE: v")),
    ErrorOutput(ename="E", evalue="no traceback", traceback=()),
]


def said(stream: str) -> list[str]:
    parts: list[Lines] = list(numbered(Texts(), sources_of(OUTPUTS, stream)))
    return [line for part in parts for line in part.lines]


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        ("stdout", ["one", "two"]),
        ("stderr", ["careful"]),
        ("result", ["[text/plain]", "<Figure>", "[application/json]", '{"a": 1}']),
        ("error", ["top", "middle", "E: v", "E: no traceback"]),
    ],
)
def test_lines_are_those_of_one_kind_of_output(stream: str, lines: list[str]) -> None:
    assert said(stream) == lines


def test_all_lines_are_in_the_order_of_the_outputs() -> None:
    lines = said("all")
    assert lines[:4] == ["one", "two", "careful", "[text/plain]"]
    assert lines[-1] == "E: no traceback"
    assert "aGk=" not in lines
