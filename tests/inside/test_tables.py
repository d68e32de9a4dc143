"""Frames and Series as a model sees them."""

import csv
import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pd: Any = importlib.import_module("pandas")  # it has no types of its own

tables = importlib.import_module("kernel_exec.inside.tables")
NOTE = "; floats to 10 digits"
LONG = f",{'x' * 60}…"

FRAMES: dict[str, tuple[Any, list[str]]] = {
    "whole numbers beside a missing value": (
        pd.DataFrame({"a": [2000001, None]}),
        [
            "DataFrame 2x1", ",a <1 null>", "0,2000001.0", "1,NaN",
        ],
    ),
    "large and small floats": (
        pd.DataFrame({"a": [1234567.89, 20210315.0], "b": [1.5e-7, 52.520008]}),
        ["0,1234567.89,1.5e-07", "1,20210315.0,52.520008"],
    ),
    "a mean": (pd.DataFrame({"a": [13270.42] * 3}).describe(), ["mean,13270.42"]),
    "digits that are left out": (
        pd.DataFrame({"a": [1 / 3]}), [f"DataFrame 1x1{NOTE}", "0,0.3333333333"]
    ),
    "missing values of all kinds": (
        pd.DataFrame(
            {
                "i": pd.array([None], "Int64"),
                "t": pd.to_datetime([None]),
                "o": pd.Series([None], dtype=object),
                "e": pd.Series([""], dtype=object),
            }
        ),
        [
            ",i <Int64, 1 null>,t <datetime64, 1 null>,o <text, 1 null>,e",
            "0,<NA>,NaT,None,\"\"",
        ],
    ),
    "dates": (
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01", "2024-02-01"])}),
        ["0,2024-01-01", "1,2024-02-01"],
    ),
    "times of which some are midnight": (
        pd.DataFrame({"t": [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01 10:00:00.5")]}),
        ["0,2024-01-01 00:00:00", "1,2024-01-01 10:00:00.500000"],
    ),
    "times of which those that are shown are midnight": (
        pd.Series([*pd.date_range("2024", periods=59), pd.Timestamp("2024-02-29 10:00"),
                   *pd.date_range("2025", periods=2)]),
        ["0,2024-01-01 00:00:00", "… 54 rows …", "61,2025-01-02 00:00:00"],
    ),
    "times with a zone": (
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01"]).tz_localize("Europe/Berlin")}),
        [",t <datetime64[us, Europe/Berlin]>", "0,2024-01-01 00:00:00+01:00"],
    ),
    "levels": (
        pd.DataFrame(
            {("a", "x"): [0.5]},
            index=pd.MultiIndex.from_tuples([("u", 1234567.891)], names=["k", None]),
        ).rename_axis(columns=["p", "q"]),
        ["DataFrame 1x1; columns: p, q", 'k,,("a", "x")', "u,1234567.891,0.5"],
    ),
    "a pivot table": (
        pd.DataFrame({"k": ["a"], "y": [2020], "v": [1.0]}).pivot_table("v", "k", "y"),
        ["DataFrame 1x1; columns: y", "k,2020", "a,1.0"],
    ),
    "columns of one name": (
        pd.DataFrame([[1, 2.5]], columns=["a", "a"]),
        [",a,a", "0,1,2.5"],
    ),
    "columns whose names look alike": (
        pd.DataFrame({1: [0], "1": [0], None: [0], "a,b": [0]}),
        [',1,"1",None,"a,b"'],
    ),
    "an index of floats": (pd.Series([1], index=[0.25]), ["0.25,1"]),
    "nothing": (pd.DataFrame(), ["DataFrame 0x0"]),
    "rows that all are shown": (pd.DataFrame({"a": range(30)}), ["5,5", "6,6", "27,27"]),
    "rows that are left out": (
        pd.DataFrame({"a": range(31)}), ["5,5", "… 23 rows …", "29,29", "30,30"]
    ),
    "rows that would not fit": (
        pd.DataFrame({c: ["x" * 99] * 30 for c in "abcd"}),
        ["DataFrame 30x4", "11" + 4 * LONG, "… 15 rows …", "28" + 4 * LONG],
    ),
    "few rows that would not fit": (
        pd.DataFrame([["x" * 60] * 30] * 40), [",".join(["0", *["x" * 60] * 30]), "… 38 rows …"]
    ),
    "columns that are left out": (
        pd.DataFrame([range(40)]),
        [
            f",{','.join(map(str, range(15)))},… 20 columns …,35,36,37,38,39",
            f"0,{','.join(map(str, range(15)))},…,35,36,37,38,39",
        ],
    ),
    "a type that all columns have": (
        pd.DataFrame({"a": [1], "b": [2]}, dtype="int8"), ["DataFrame 1x2 int8", ",a,b"]
    ),
    "rows that are columns": (
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).T,
        ["DataFrame 2x2 object", ",0,1", "a,1,2", "b,x,y"],
    ),
    "one type that shows itself": (
        pd.DataFrame({"a": ["x"], "b": ["y"]}), ["DataFrame 1x2", ",a,b"]
    ),
    "types that values do not show": (
        pd.DataFrame({
            "date": ["2024-01-01"], "zip": pd.Series(["0"], dtype=object), "name": ["Ann"],
            "grade": pd.Categorical(["1"]), "mixed": pd.Series([("a",)], dtype=object),
            "n": pd.Series([1], dtype="float32"),
        }),
        [
            ",date <text>,zip <text>,name,grade <category>,mixed <object>,n <float32>",
            '0,2024-01-01,0,Ann,"1",("a"),1.0',
        ],
    ),
    "types of what holds nothing": (
        pd.DataFrame({"a": pd.Series(dtype="int64"), "b": pd.Series([], dtype="str")}),
        ["DataFrame 0x2", ",a <int64>,b <text>"],
    ),
    "a name that looks like a type": (pd.DataFrame({"a <int8>": [1]}), [',"a <int8>"']),
    "an index of text": (pd.Series([1], index=["2024"]), ["<text>,", "2024,1"]),
    "a Series": (
        pd.Series([1.5, 2000001, None], name="s", index=pd.Index(list("abc"), name="k")),
        ["Series 3", "k,s <1 null>", "a,1.5", "b,2000001.0", "c,NaN"],
    ),
    "a Series whose index has no name": (
        pd.Series([1.5, None], name="s"), ["Series 2: s <1 null>", "0,1.5"]
    ),
    "a Series of nothing": (pd.Series(dtype="float64"), ["Series 0: <float64>"]),
    "counts": (pd.Series(["x", "x", "y"]).value_counts(), ["Series 2: count", "x,2"]),
    "a categorical": (pd.Series([0.1, 0.1], dtype="category"), ["0,0.1"]),
}  # fmt: skip


def described(value: Any) -> str:
    describe = tables.describe_frame if isinstance(value, pd.DataFrame) else tables.describe_series
    return str(describe(value))


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_shows_what_it_holds(name: str) -> None:
    value, lines = FRAMES[name]
    shown = described(value)
    for line in lines:
        assert line in shown.split("\n"), shown
    assert (NOTE in shown) == any(NOTE in line for line in lines)
    assert len(shown) < 6_000


@given(st.lists(st.tuples(st.floats(), st.floats(), st.text(max_size=5)), min_size=1, max_size=10))
def test_numbers_read_back_to_ten_digits_or_the_text_says_so(
    rows: list[tuple[float, float, str]],
) -> None:
    shown = described(pd.DataFrame(rows, columns=list("abc")).astype({"c": object})).split("\n")
    read = list(csv.reader(shown[2 : 2 + len(rows)], escapechar="\\", doublequote=False))
    exact = not shown[0].endswith(NOTE)
    for row, (_, a, b, *_) in zip(rows, read, strict=True):
        for value, cell in zip(row[:2], (a, b), strict=True):
            assert float(cell) == pytest.approx(
                value, rel=0 if exact else 5.1e-10, abs=5e-324, nan_ok=True
            )


def test_what_can_not_be_described_keeps_its_own_text() -> None:
    odd = type("Odd", (pd.DataFrame,), {"shape": None})
    assert tables.describe_frame(odd({"a": [1]})) is None


OPTIONS: dict[str, tuple[dict[str, object], str | None]] = {
    "precision": (
        {"precision": 2},
        "x40; floats as display.precision = 2 shows them\n",
    ),
    "float_format": ({"float_format": "{:.2f}".format}, "0  0.33"),
    "chop_threshold": ({"chop_threshold": 0.5}, "0  0.0"),
    "all rows": ({"max_rows": None}, "99,0.3333333333"),
    "more rows than there are": ({"max_rows": 100}, "60,0.3333333333"),
    "fewer rows": ({"max_rows": 4}, "… 96 rows …"),
    "one row": ({"max_rows": 1}, "… 99 rows …"),
    "more rows of a long frame": ({"min_rows": 99, "max_rows": 99}, "… 1 row …"),
    "few rows of a long frame": ({"min_rows": 40}, "… 60 rows …"),
    "max_columns": ({"max_columns": None}, ",38,39"),
    "max_colwidth": ({"max_colwidth": None}, "x" * 500),
    "less width": ({"max_colwidth": 20}, "0,xxxxxxxxxxxxxxxxxxxx…,"),
    "what has no meaning here": ({"width": 20, "show_dimensions": True}, "… 92 rows …"),
    "info": ({"large_repr": "info"}, None),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_of_pandas_are_obeyed(name: str) -> None:
    options, expected = OPTIONS[name]
    chosen = [each for key, value in options.items() for each in (f"display.{key}", value)]
    with pd.option_context(*chosen):
        numbers = tables.describe_frame(pd.DataFrame(np.full((100, 40), 1 / 3)))
        words = tables.describe_frame(pd.DataFrame({"a": ["x" * 500], "b": [1 / 3]}))
    shown = numbers and f"{numbers}\n{words}"
    assert shown is expected is None or expected in shown


@pytest.fixture
def polars() -> Iterator[Any]:
    module = pytest.importorskip("polars")
    yield module
    module.Config.restore_defaults()


POLARS: dict[str, tuple[str, list[str]]] = {
    "floats": ("{'a': [1.5e-7, 1234567.891, None]}", ["1.5e-07", "1234567.891", "null"]),
    "32 bits": (
        "pl.Series('a', [0.1, 16777217], dtype=pl.Float32).to_frame()", ["0.1", "16777216.0"]
    ),
    "not a number": ("{'a': [float('nan')]}", ["NaN"]),
    "text": ("{'a': ['', 'null', 'x,y']}", ['""', '"null"', '"x,y"']),
    "nanoseconds": (
        "pl.Series('a', [1]).cast(pl.Datetime('ns')).to_frame()", ["1970-01-01 00:00:00.000000001"]
    ),
    "a span": ("pl.Series('a', [1]).cast(pl.Duration('ns')).to_frame()", ["1ns"]),
    "whole seconds, and types that values do not show": (
        "{'t': pl.Series([0, 60_000]).cast(pl.Datetime('ms')), 'd': ['2024-01-01'] * 2,"
        " 'i': pl.Series([1, 2], dtype=pl.Int8)}",
        ["t,d <text>,i <Int8>", "1970-01-01 00:00:00,2024-01-01,1"],
    ),
    "nested": ("{'a': [[0.25]], 'b': [{'x': 1}]}", ['[0.25],{"x": 1}']),
    "many rows": ("{'a': range(100)}", ["polars DataFrame 100x1", "… 92 rows …", "99"]),
}  # fmt: skip


@pytest.mark.parametrize("name", POLARS)
def test_a_frame_of_polars_shows_what_it_holds(polars: Any, name: str) -> None:
    source, lines = POLARS[name]
    shown = tables.describe_polars(polars.DataFrame(eval(source, {"pl": polars})))
    for line in lines:
        assert line in shown.split("\n"), shown


def test_a_series_of_polars_shows_what_it_holds(polars: Any) -> None:
    shown = tables.describe_polars_series(polars.Series("s", [1234567.891, None]))
    assert shown == "polars Series 2: s <1 null>\n1234567.891\nnull"


def test_the_options_of_polars_are_obeyed(polars: Any) -> None:
    frame = polars.DataFrame({"a": [1 / 3] * 100})
    with polars.Config(tbl_rows=50):
        assert "… 50 rows …" in tables.describe_polars(frame)
    with polars.Config(tbl_rows=-1):
        assert " rows …" not in tables.describe_polars(frame)
    with polars.Config(float_precision=2):
        shown = tables.describe_polars(frame)
    assert "0.33" in shown
    assert "0.333" not in shown
    assert "; values as polars.Config shows them (set_float_precision)\n" in shown
