"""How one value is written in a table."""

import importlib
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pd: Any = importlib.import_module("pandas")  # it has no types of its own

Cells = importlib.import_module("kernel_exec.inside.cells").Cells


def written(value: object, kind: str = "") -> str:
    return str(Cells().cell(value, kind))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_to_ten_digits_and_a_rounding_is_noted(value: float) -> None:
    cells = Cells()
    shown = float(cells.cell(value))
    assert shown == value or cells.rounded
    assert math.isclose(shown, value, rel_tol=5.1e-10, abs_tol=5e-324)


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_a_whole_float_is_whole(value: int) -> None:
    cells = Cells()
    assert cells.cell(float(value)) == f"{value}.0"
    assert not cells.rounded


@given(st.floats(1e9, 1e15))
def test_no_digit_before_the_point_is_lost(value: float) -> None:
    assert abs(float(written(value)) - value) < 1


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_of_32_bits_reads_back_as_it_was(value: float) -> None:
    cells = Cells()
    assert np.float32(cells.cell(np.float32(value))) == np.float32(value)
    assert np.float32(cells.cell(value, "Float32")) == np.float32(value)
    assert not cells.rounded


@given(st.text(max_size=60) | st.text('0123456789.e-+nNaAulL<> "\\,\n\t', max_size=8))
def test_text_reads_back_as_it_was(text: str) -> None:
    shown = written(text, "object")
    quoted = shown.startswith('"')
    assert (json.loads(shown) if quoted else shown) == text
    assert shown.isprintable()
    assert quoted or "," not in shown


@given(st.lists(st.integers() | st.text() | st.floats() | st.none() | st.lists(st.integers())))
def test_whatever_a_list_holds_is_written_in_one_line(values: list[object]) -> None:
    shown = written(values)
    assert shown.isprintable()
    assert len(shown) < 2500


DIFFERENT: list[object] = [
    None, math.nan, pd.NaT, pd.NA, math.inf, "", "NaN", "None", "NaT", "<NA>", " ", 1, "1", 1.0,
    "1.0", True, "True", b"a", "a", "'a'", '"a"', [1], ["1"], (1,), {1}, {1: 1}, "[1, 2",
    Decimal("1.10"),
]  # fmt: skip


def test_values_that_differ_are_written_differently() -> None:
    shown = [written(value, "object") for value in DIFFERENT]
    assert len(set(shown)) == len(shown), shown


WRITTEN: dict[str, tuple[Any, str]] = {
    "a number with many digits": (10**400, "… (401 characters)"),
    "a number that Python refuses to write": (10**10000, "<int of 33,220 bits>"),
    "a complex number": (complex(0.1, -2), "0.1-2.0j"),
    "a complex number of NumPy": (np.complex128(1.5 + 2j), "1.5+2.0j"),
    "a Decimal": (Decimal("1.10"), "1.10"),
    "a time": (pd.Timestamp("2024-01-01 00:00:00.000000123"), "2024-01-01 00:00:00.000000123"),
    "a span": (pd.Timedelta(5, "ns"), "0 days 00:00:00.000000005"),
    "a small array": (np.array([0.1, 2.0]), "[0.1, 2.0]"),
    "a frame": (pd.DataFrame({"a": [1, 2]}), "<DataFrame 2x1"),
    "long text": ("x" * 1000, "xxxx…"),
    "a long list": (list(range(100)), "[0, 1, 2, "),
    "a deep list": ([[[[[[1]]]]]], "[[[[<list 1>]]]]"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_other_values(name: str) -> None:
    value, expected = WRITTEN[name]
    assert expected in written(value)


@dataclass
class _Unwilling:
    error: BaseException

    def __str__(self) -> str:
        raise self.error


def test_a_value_that_can_not_be_written_is_named_by_its_type() -> None:
    assert written(_Unwilling(ValueError("no"))) == "<_Unwilling: ValueError>"
