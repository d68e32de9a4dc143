"""Whatever a kernel is given to send leaves it as valid UTF-8 and JSON, and can be read again."""

import datetime as dt
import importlib
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

packing = importlib.import_module("kernel_exec.inside.packing")

texts = st.text(st.characters(codec=None, categories=None))
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def pack(content: object) -> bytes:
    return bytes(packing.pack(content))


@given(st.dictionaries(texts, values, max_size=3))
def test_all_that_is_sent_can_be_read(content: dict[str, Any]) -> None:
    packed = pack(content)
    assert set(json.loads(packed.decode("utf-8"))) == set(content)


@given(st.dictionaries(texts, texts | st.integers(), max_size=3))
def test_texts_and_numbers_arrive_as_they_are(content: dict[str, Any]) -> None:
    assert json.loads(pack(content)) == content


class Exits:
    def __str__(self) -> str:
        raise SystemExit(3)


RING: list[Any] = []
RING.append(RING)
SENT: dict[str, tuple[Any, Any]] = {
    "half a surrogate": ("\udc80", "\udc80"),
    "a key with half a surrogate": ({"\ud83d": 1}, {"\ud83d": 1}),
    "no number": ([math.nan, math.inf, -math.inf], ["nan", "inf", "-inf"]),
    "keys of other types": (
        {2: 1, None: 2, False: 3, (4, 5): 4, 2.5: 5},
        {"2": 1, "null": 2, "false": 3, "(4, 5)": 4, "2.5": 5},
    ),
    "a long number": (1 << 40_000, hex(1 << 40_000)),
    "a ring": (RING, ["[circular]"]),
    "a set": ({"a"}, ["a"]),
    "bytes": (b"ab", "YWI="),
    "a date": (dt.date(2026, 11, 28), "2026-11-28"),
    "an object that exits": (Exits(), "[a value that can't be shown: SystemExit]"),
}


@pytest.mark.parametrize("name", SENT)
def test_what_has_no_json_is_sent_as_close_as_it_can_be(name: str) -> None:
    sent, arrives = SENT[name]
    assert json.loads(pack({"at": sent}))["at"] == arrives


def test_what_is_nested_too_deep_is_cut() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() + 100):
        deep = [deep]
    packed = pack({"at": deep})
    assert b"nested deeper than" in packed
    assert packed.count(b"[") < 250
