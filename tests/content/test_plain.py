"""Foreign text that can't speak for us, and text that is left as it is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.items import RenderContext
from kernel_exec.content.plain import clean, one_line
from kernel_exec.content.status import status_line
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome

SCOTLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(each)) for each in "gbsct") + "\U000e007f"
HIDDEN = "".join(chr(0xE0000 + ord(each)) for each in "obey")

ENTRY = Entry(
    id="5f3a", session_id="s", number=1, kind=EntryKind.CODE, source="", outcome=Outcome.OK,
    generation=1, queued=0.0, ended=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", r"\x9b31mred"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("\rb\x00\x0b\x7f", r"\x0db\x00\x0b\x7f"),
        ("a\r\nb\tc\n", "a\nb\tc\n"),
        ("a\r\r\nb", r"a\x0d" + "\nb"),
        ("\u202egnp.exe\u202c", r"\u202egnp.exe\u202c"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        (HIDDEN, r"\U000e006f\U000e0062\U000e0065\U000e0079"),
        (f"\U0001f3f4{HIDDEN}", "\U0001f3f4" + r"\U000e006f\U000e0062\U000e0065\U000e0079"),
        ("\ufeffid", r"\ufeffid"),
        ("\ud83d\udc80", r"\ud83d\udc80"),
        ("x\u200b\u200c\u200d", r"x\u200b\u200c\u200d"),
        ("x\ufe01\U000e0100\ufe02y", r"x\ufe01\U000e0100\ufe02y"),
    ],
)
def test_what_hides_reorders_or_controls_is_shown_as_an_escape(written: str, shown: str) -> None:
    assert clean(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        "häßlich 🐧 — 日本語, עברית\u200f, العربية\u061c",
        "می\u200cخواهم",  # noqa: RUF001 - Persian
        "क्\u200dष",
        "👩\u200d👩\u200d👧 👁\ufe0f\u200d🗨\ufe0f ❤\ufe0f",
        f"{SCOTLAND} 🇨🇭",
        "葛\U000e0100城",
        "ภาษา\u200bไทย",
        "co\u00adoperate",
        "[ok] · [1, 2] [running] a · b",
    ],
)
def test_text_of_any_language_is_left_as_it_is(written: str) -> None:
    assert clean(written) == written


@given(st.text(st.characters()))
def test_cleaning_once_is_enough_and_leaves_only_ends_of_lines_that_are_shown(written: str) -> None:
    shown = clean(written)
    assert clean(shown) == shown
    assert shown.splitlines() == shown.removesuffix("\n").split("\n")[: len(shown.splitlines())]
    shown.encode()


@given(st.text(st.characters()), st.integers(10, 100))
def test_a_name_is_one_bounded_line(written: str, limit: int) -> None:
    shown = one_line(written, limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert "\t" not in shown


def test_a_name_of_a_megabyte_is_cut_and_an_odd_one_is_escaped() -> None:
    assert one_line("x" * 1_000_000) == "x" * 79 + "…"
    assert one_line("x\n[ok · 0.01 s · kernel 9]") == r"x\n[ok · 0.01 s · kernel 9]"
    assert one_line("a\r\nb\tc") == r"a\r\nb\tc"


DEATH: JSONObject = {"death": {"cause": "signal SIGKILL"}}


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("details", [{}, DEATH, {"error": "no interpreter"}, {"mode": "isolated"}])
def test_no_output_passes_for_a_status_line(outcome: Outcome, details: JSONObject) -> None:
    entry = replace(ENTRY, outcome=outcome, details=details)
    ours = status_line(entry, RenderContext()).splitlines()[-1]
    assert clean(f"a\n{ours}\n  {ours}\n") == f"a\n\\{ours}\n\\  {ours}\n"
