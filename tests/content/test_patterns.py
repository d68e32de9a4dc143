"""Expressions that find what they should, and expressions that must not hold the server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.patterns import Search
from kernel_exec.errors import InvalidArgumentError

LINE = "INFO epoch 12 loss = 3.25 (10.0.0.1) took 5 ms"


@pytest.mark.parametrize(
    "written",
    [
        "epoch",
        "^INFO",
        r"ms$",
        r"(?i)info",
        r"epoch\s+\d+.*loss\s*=\s*\d+",
        "error|took",
        ".*loss.*",
        r"(\d{1,3}\.){3}\d{1,3}",
        r"(INFO|WARN).*took \d+",
        r"(?P<digit>\d)(?P=digit)|1",
        r"loss(?= =)",
        r"(?<!x)took",
        r"\((?:[0-9]+\.)",
        r"[(+*]1",
        r"(?:epoch|step)?\s12",
        r"(?:ti|too)k",
    ],
)
def test_ordinary_searches_find(written: str) -> None:
    search = Search(written)
    assert search.finds(LINE)
    assert not search.finds("something else")


@pytest.mark.parametrize("written", ["(", "[", "*", "a{99999999999}", "(" * 150, "(?P<n>", "\\"])
def test_what_is_no_expression_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a regular expression"):
        Search(written)


def test_a_long_expression_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="longer than 200 characters"):
        Search("x" * 201)


@pytest.mark.parametrize(
    "written",
    [
        "(a+)+$",
        "(a*)*b",
        r"(\w+\s?)*x",
        "(a|a)*b",
        "(?:a|aa)+$",
        "(a{1,3})+b",
        "(a?)*b",
        "((a?){9}){9}b",
        "(a+){2,}b",
        "(.*a){12}",
        "a?" * 30 + "a" * 30,
        "(a|a)" * 20 + "b",
        "(?P<x>a+)+b",
        "(?=(a+)+b)",
    ],
)
def test_an_expression_that_could_take_for_ever_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"repeats (what|or)"):
        Search(written)


@pytest.mark.parametrize("written", ["((?#x)a+)+b", "(a+)(?#x)+b", "(?x)(a+) +b", "(?mx:a)"])
def test_an_expression_with_comments_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgumentError, match="comments are not allowed"):
        Search(written)


@pytest.mark.parametrize("written", ["a*a*a*a*a*b", ".*.*.*.*b", "(.*a){8}b"])
def test_an_expression_that_turns_out_slow_is_given_up(written: str) -> None:
    search = Search(written)
    assert not search.finds("short")
    with pytest.raises(InvalidArgumentError, match="takes too long"):
        search.finds("a" * 2000)


def test_one_repetition_is_given_up_on_a_line_of_megabytes() -> None:
    assert Search("x").finds("a" * 5_000_000 + "x")
    with pytest.raises(InvalidArgumentError, match="takes too long"):
        Search("a*b").finds("a" * 5_000_000)


atoms = st.sampled_from(["a", "b", ".", r"\w", "[ab]", "|", "^", "$"])
quantifiers = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])
expressions = st.recursive(
    st.builds("{}{}".format, atoms, quantifiers),
    lambda inner: (
        st.builds("{}{}".format, inner, inner)
        | st.builds("({}){}".format, inner, quantifiers)
        | st.builds("(?:{}|{}){}".format, inner, inner, quantifiers)
    ),
    max_leaves=12,
)


@given(expressions)
def test_every_expression_is_refused_or_comes_to_an_end(written: str) -> None:
    try:
        search = Search(written)
        search.finds("a" * 2000)
        search.finds("ab" * 1000)
    except InvalidArgumentError:
        pass
