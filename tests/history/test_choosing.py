"""Which session and which step a person means."""

import pytest

from kernel_exec.errors import InvalidArgumentError, NotFoundError
from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    SessionRecord,
    choose,
    choose_step,
)
from kernel_exec.kernels.outcomes import Outcome


def record(id_: str, name: str) -> SessionRecord:
    return SessionRecord(id=id_, name=name, environment="e", created=0.0)


LIVE = [record("aa1", "main"), record("aa2", "main"), record("ab3", "analysis"),
        record("cc4", "an")]  # fmt: skip
PAST = [record("dd5", "main"), record("dd6", "old"), record("ab7", "old"), record("ee8", "anew")]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("analysis", "ab3"),
        ("ana", "ab3"),
        ("an", "cc4"),  # its whole name, though others begin so
        ("aa2", "aa2"),
        ("dd5", "dd5"),
        ("old", "ab7"),  # the last of that name
        ("o", "ab7"),
        ("ee", "ee8"),
        ("c", "cc4"),
    ],
)
def test_a_session_is_meant_by_its_name_its_id_or_a_beginning(wanted: str, found: str) -> None:
    assert choose(wanted, live=LIVE, past=[*PAST, *LIVE]).id == found


@pytest.mark.parametrize("wanted", ["main", "m", "a", "aa", "dd"])
def test_several_that_are_meant_are_named(wanted: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^'{wanted}' may be any of .*, "):
        choose(wanted, live=LIVE, past=PAST)


@pytest.mark.parametrize("wanted", ["", "x", "mainx", "aa1 "])
def test_what_no_session_has_is_answered_with_all_of_them(wanted: str) -> None:
    there = r"main \(aa1\), .*, an \(cc4\), anew \(ee8\), old \(ab7\), old \(dd6\), main \(dd5\)$"
    with pytest.raises(NotFoundError, match=there):
        choose(wanted, live=LIVE, past=[*PAST, *LIVE])
    with pytest.raises(NotFoundError, match=r"there is none$"):
        choose(wanted, live=[], past=[])


def step(number: int, id_: str) -> Entry:
    return Entry(id=id_, session_id="s", number=number, kind=EntryKind.CODE, source="1",
                 outcome=Outcome.OK, queued=0.0)  # fmt: skip


STEPS = [step(1, "2b7d"), step(2, "759d"), step(3, "0417"), step(4, "75ff"), step(5, "ab12")]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [("1", 1), ("step 1", 1), ("2", 2), ("2b", 1), ("759", None), ("759d", 2), ("7", None),
     ("0417", 3), ("04", None), ("a", 5), ("75f", 4), ("6", None), ("x", None)],
)  # fmt: skip
def test_a_step_is_meant_by_its_number_its_id_or_the_beginning_of_its_id(
    wanted: str, number: int | None
) -> None:
    if number is not None:
        assert choose_step(wanted, STEPS).number == number
        return
    with pytest.raises(
        NotFoundError, match=f"^no single step is '{wanted}' .*; the last is step 5"
    ):
        choose_step(wanted, STEPS)


@pytest.mark.parametrize("wanted", ["step ", "", "-1", "0"])
def test_nothing_and_what_is_no_number_mean_no_step_even_where_there_is_one(wanted: str) -> None:
    with pytest.raises(NotFoundError, match=r"the last is step 1$"):
        choose_step(wanted, STEPS[:1])
    with pytest.raises(NotFoundError, match=r"it has none$"):
        choose_step(wanted, [])
