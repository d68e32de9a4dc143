"""Cursors that move: what is left when a terminal has carried it out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.terminal import carry_out, strip_ansi

MOVED = {
    "up and over": ("a\nb\x1b[A\rc", "c\nb"),
    "up keeps the column": ("abc\nd\x1b[Ax", "axc\nd"),
    "up beyond the top": ("a\x1b[9A\rb", "b"),
    "down makes one line": ("a\x1b[9Bb", "a\n b"),
    "down to a line that is there": ("a\nb\nc\x1b[9A\x1b[2Bd", "a\nb\ncd"),
    "to the line above, at its start": ("abc\nd\x1b[Fx", "xbc\nd"),
    "to the line below, at its start": ("abc\x1b[Ex", "abc\nx"),
    "right beyond the end": ("a\x1b[3Cb", "a   b"),
    "left": ("abc\x1b[2Dx", "axc"),
    "to a column": ("abcd\x1b[2Gx", "axcd"),
    "erase all below": ("a\nb\nc\x1b[2A\r\x1b[Jd", "d"),
    "colours stay with their lines": (
        "\x1b[31ma\nb\x1b[0m\x1b[A\rc",
        "c\n\x1b[31mb\x1b[0m",
    ),
    "bars that are wiped out leave no lines": ("bar\n\rin\x1b[A\n\r  \r\x1b[A", "bar\n"),
    "an erased screen is not moved in": ("a\x1b[2Jb", "a\x1b[2Jb"),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_cursor_goes(name: str) -> None:
    written, left = MOVED[name]
    assert carry_out(written) == left


def test_many_bars_are_left_as_they_ended() -> None:
    frames = "".join(
        "\n" * bar + f"\r{bar}: {done:3}/100" + "\x1b[A" * bar
        for done in range(101)
        for bar in range(5)
    )
    assert carry_out(frames) == "\n".join(f"{bar}: 100/100" for bar in range(5))


def test_a_cursor_does_not_reach_what_has_left_the_screen() -> None:
    left = carry_out("first\n" + "line\n" * 1000 + "\x1b[999Ax").split("\n")
    assert left[0] == "first"
    assert len(left) == 1002
    assert left.count("xine") == 1


def test_a_short_sequence_does_not_become_much_text() -> None:
    assert len(carry_out("\x1b[99B" * 10_000)) <= 10_000
    assert len(carry_out("\x1b[B\x1b[9999Cx" * 1_000)) < 400_000


moves = st.lists(
    st.sampled_from(
        ["a", "日", " ", "\n", "\r", "\b", *(f"\x1b[{n}{how}" for n in "13" for how in "ABCDEFGJ")]
    )
    | st.sampled_from(["\x1b[K", "\x1b[2K", "\x1b[J", "\x1b[31m", "\x1b[0m"]),
    max_size=40,
)


@given(moves)
def test_what_is_left_has_no_moves_and_no_more_characters_than_were_written(
    written: list[str],
) -> None:
    left = carry_out("\x1b[A" + "".join(written))
    assert carry_out(left) == left
    plain = strip_ansi(left)
    assert "\x1b[A" not in left
    assert plain.count("a") <= written.count("a")
    assert plain.count("日") <= written.count("日")
