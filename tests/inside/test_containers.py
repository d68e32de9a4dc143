"""Lists, dicts and other containers as a model sees them."""

import collections
import datetime as dt
import importlib
import math
import reprlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pd: Any = importlib.import_module("pandas")  # it has no types of its own

containers = importlib.import_module("kernel_exec.inside.containers")
Line2D: Any = importlib.import_module("matplotlib.lines").Line2D
LONG = "x" * 60
FRAME = pd.DataFrame({"a": [1, 2]})
ITSELF: list[object] = ["a" * 99]
ITSELF.append(ITSELF)

WRITTEN: dict[str, tuple[Any, str | None]] = {
    "what IPython writes as shortly": ({"a": [1, None]}, None),
    "numbers of NumPy": ((np.float64(0.5214), np.int64(89), np.str_("a")), "(0.5214, 89, 'a')"),
    "numbers in a line": (list(range(70)), str(list(range(70)))),
    "more numbers": (
        list(range(1000)),
        f"{str(list(range(23)))[:-1]}, … 970 more …, {str(list(range(993, 1000)))[1:]}",
    ),
    "floats in full": ({"a": 1 / 3, "b": np.float64(1)}, "{'a': 0.3333333333333333, 'b': 1.0}"),
    "many floats": (
        [1 / 3] * 20, f"[{', '.join(['0.3333333333'] * 20)}]\n[floats to 10 digits]"
    ),
    "long texts": (["x" * 900] * 4, "[{}]".format(",\n".join([f"'{LONG}'…"] * 4))),
    "a long dict": (
        dict.fromkeys(range(1000), "x" * 20), "22: 'xxxxxxxxxxxxxxxxxxxx', … 970 more …, 993: 'xxx"
    ),
    "a set in order": (set(range(300)), "{0, 1, 2, "),
    "most frequent first": (collections.Counter("abb" * 3000 + "c"), None),
    "an array within": ({"a": {"b": np.array([1.5, 2])}}, "{'a': {'b': array([1.5, 2.0])}}"),
    "a frame within": ({"a": {"b": FRAME}}, "{'a': {'b': <DataFrame 2x1 "),
    "frames": ((FRAME, 5), "tuple of 2:\nDataFrame 2x1\n,a\n0,1\n1,2\n5"),
    "arrays": ((np.arange(2), np.arange(3)), "tuple of 2:\narray 2: 0,1\narray 3: 0,1,2"),
    "texts of NumPy": ({"a": {"b": np.array(["x"])}}, "{'a': {'b': array(['x'])}}"),
    "what was drawn": ([Line2D([0], [1])], "[<Line2D>]"),
    "times": (
        [dt.date(2024, 1, 1), pd.Timestamp("2024-01-02"), pd.NaT],
        "[2024-01-01, 2024-01-02 00:00:00, NaT]",
    ),
    "a container within itself": (ITSELF, "<list 2>]]"),
    "an object of somebody's": ([Decimal("1.10"), object()] * 100, None),
    "a class of somebody's": (type("Own", (list,), {})([1] * 100), None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_container_shows_what_it_holds(name: str) -> None:
    value, expected = WRITTEN[name]
    shown = containers.describe_container(value)
    assert shown is expected is None or expected in shown


RECORDS: dict[str, tuple[Any, str]] = {
    "texts that look like dates": (
        [{"a": i, "when": "2024-01-01", "who": "x, y", "n": None} for i in range(3)],
        "list of 3 dicts\na,when <text>,who,n\n0,2024-01-01,\"x, y\",None\n",
    ),
    "many": ([{"a": i} for i in range(100)], "\n4\n5\n… 92 rows …\n98\n99"),
    "values of several kinds": ([{"a": "1"}, {"a": 1}, {"a": [1]}], '\na\n"1"\n1\n[1]'),
    "other keys": ([{"a": 1}] * 30 + [{"b": 1}], "[{'a': 1}, "),
    "values that would be cut": ([{"a": list(range(30))}] * 3, "[{'a': [0, 1, 2, "),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_a_table_when_that_shows_all_of_them(name: str) -> None:
    value, expected = RECORDS[name]
    assert expected in containers.describe_container(value)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=50)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.lists(st.fixed_dictionaries({"a": inner, "b c": inner}))
    ),
    max_leaves=100,
)


@given(st.lists(VALUES) | st.dictionaries(st.integers() | st.text(), VALUES))
def test_no_container_costs_more_than_a_result_has_room_for(value: Any) -> None:
    shown = containers.describe_container(value)
    assert shown is None or len(shown) < 4_500


@given(st.lists(st.integers() | st.text(max_size=9), max_size=40))
def test_a_short_list_reads_back_as_it_was(value: list[object]) -> None:
    shown = containers.describe_container(value)
    assert shown is None or "…" in shown or eval(shown) == value


HEARD: list[str] = []


class _Louder(type):
    """Its classes are not to be compared."""

    def __eq__(cls, other: object) -> bool:
        HEARD.append("a metaclass")
        return False

    __hash__ = type.__hash__


class _Loud(metaclass=_Louder):
    """Its own code would be heard."""

    def _cry(self, *_: object) -> Any:
        HEARD.append("a method")
        raise AssertionError

    __repr__ = __str__ = __len__ = __getattr__ = __eq__ = _cry
    __hash__ = object.__hash__
    __class__ = property(_cry)


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "a list": lambda own: [own] * 50,
    "a key": lambda own: {own: 1},
    "records": lambda own: [{"a": own}] * 3,
    "keys of records": lambda own: [{own: 1}] * 3,
    "a set": lambda own: {own, 1},
    "a counter": lambda own: collections.Counter({1: own, 2: own}),
    "depth": lambda own: {"a": [(own,)]},
}


@pytest.mark.parametrize("name", HOLDERS)
def test_no_code_of_the_users_runs(name: str) -> None:
    holder = HOLDERS[name](_Loud())
    HEARD.clear()
    assert containers.describe_container(holder) is None
    assert not HEARD


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float64(1 / 3), "0.3333333333333333"),
        (np.float32(0.1), "0.1"),
        (np.int8(5), "5"),
        (np.str_("5"), "'5'"),
        (np.bool_(True), "True"),
        (np.datetime64("2024-01-01"), "2024-01-01"),
        (np.float64(math.nan), "nan"),
        (np.void(b"a"), "b'a'"),
    ],
    ids=reprlib.repr,
)
def test_a_number_of_numpy_is_the_number(value: Any, shown: str | None) -> None:
    assert containers.describe_scalar(value) == shown
