"""Pages of lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.paging import lines_of, page
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream

NUMBERS = [str(number) for number in range(1000)]


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
    found = page(NUMBERS, **asked)  # type: ignore[arg-type]  # only numbers
    assert found.text.split("\n") == NUMBERS[first : last + 1]
    assert (found.first, found.shown) == (first, last - first + 1)
    assert (found.total_lines, found.next_offset) == (1000, following)


@pytest.mark.parametrize("offset", [1000, 10**30])
def test_a_page_beyond_the_end_is_empty(offset: int) -> None:
    found = page(NUMBERS, offset=offset)
    assert (found.text, found.shown, found.next_offset) == ("", 0, None)
    assert found.total_lines == 1000


@given(
    st.lists(st.text(st.characters(exclude_characters="\n")), max_size=30),
    st.integers(1, 7),
)
def test_pages_one_after_the_other_are_all_lines(lines: list[str], limit: int) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        found = page(lines, offset=offset, limit=limit)
        seen += found.text.split("\n") if found.shown else []
        offset = found.next_offset
    assert seen == lines


def test_a_page_is_small_whatever_the_lines_are() -> None:
    lines = ["x" * 1900] * 50
    found = page(lines)
    assert len(found.text) <= 9000
    assert found.next_offset == found.shown
    assert len(page(lines, tail=50).text) <= 9000
    assert page(lines, tail=50).first == 50 - page(lines, tail=50).shown


def test_a_long_line_is_shown_as_head_and_tail_with_its_length() -> None:
    shown = page(["a" * 5000 + "b" * 5000]).text
    assert len(shown) < 2000
    assert shown.startswith("aaa")
    assert shown.endswith("bbb")
    assert "10,000 characters in this line" in shown


def test_a_search_counts_and_numbers_what_it_finds() -> None:
    found = page(NUMBERS, search="7$", offset=2, limit=2)
    assert found.text == "27: 27\n37: 37"
    assert (found.matches, found.next_offset) == (100, 4)
    assert page(NUMBERS, search="7$", tail=2).text == "987: 987\n997: 997"
    assert page(NUMBERS, search="nowhere").matches == 0


def test_a_wrong_search_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="not a regular expression"):
        page(NUMBERS, search="(")


OUTPUTS: list[Output] = [
    Stream(name="stdout", text="one\ntwo\n"),
    Stream(name="stderr", text="\x1b[31mcareful\x1b[0m"),
    DisplayData(data={"image/png": "aGk=", "text/plain": "<Figure>"}, metadata={}),
    ExecuteResult(data={"application/json": {"a": 1}}, metadata={}, execution_count=1),
    ErrorOutput(ename="E", evalue="v", traceback=("top\nmiddle", "\x1b[0mE: v")),
    ErrorOutput(ename="E", evalue="no traceback", traceback=()),
]


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
    assert list(lines_of(OUTPUTS, stream)) == lines


def test_all_lines_are_in_the_order_of_the_outputs() -> None:
    lines = list(lines_of(OUTPUTS, "all"))
    assert lines[:4] == ["one", "two", "careful", "[text/plain]"]
    assert lines[-1] == "E: no traceback"
    assert "aGk=" not in lines
