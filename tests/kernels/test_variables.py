"""Descriptions of variables, of hostile ones too."""

import importlib
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inside import part

pd: Any = importlib.import_module("pandas")  # it has no types of its own

variables = part("variables")
names = part("names")
cells = part("cells")

HOSTILE = """
class Sized(list):
    def __len__(self): raise SystemExit("asked")
    def __iter__(self): raise SystemExit("asked")
    def __getitem__(self, at): raise SystemExit("asked")
    def __sizeof__(self): raise SystemExit("asked")
    def __repr__(self): raise SystemExit("asked")
class Mapping(dict):
    __len__ = __iter__ = items = keys = __getitem__ = None
class Lazy:
    def __getattr__(self, name): raise SystemExit("asked")
    def __getattribute__(self, name): raise SystemExit("asked")
    def __eq__(self, other): raise SystemExit("asked")
    def __hash__(self): raise SystemExit("asked")
    def __repr__(self): raise SystemExit("asked")
class Liar:
    @property
    def __class__(self): raise SystemExit("asked")
    @property
    def __dict__(self): raise SystemExit("asked")
class Meta(type):
    __mro__ = __name__ = __module__ = __dict__ = __flags__ = property(lambda kind: 1 / 0)
    def __eq__(kind, other): raise SystemExit("asked")
    def __hash__(kind): raise SystemExit("asked")
    def __instancecheck__(kind, value): raise SystemExit("asked")
    def __subclasscheck__(kind, value): raise SystemExit("asked")
class Odd(metaclass=Meta): pass
class Frame(pd.DataFrame):
    @property
    def shape(self): raise SystemExit("asked")
    def memory_usage(self, *args, **kwargs): raise SystemExit("asked")
class Number(int):
    def __repr__(self): raise SystemExit("asked")
    def bit_length(self): raise SystemExit("asked")
class Text(str):
    def __repr__(self): raise SystemExit("asked")
    def __getitem__(self, at): raise SystemExit("asked")
values = {
    "a list that exits": Sized([1, 2]),
    "a dictionary without methods": Mapping(a=1),
    "an object that exits": Lazy(),
    "a liar": Liar(),
    "a metaclass that exits": Odd(),
    "a class that exits": Odd,
    "a frame that exits": Frame({"a": [1]}),
    "a number that exits": Number(5),
    "text that exits": Text("word"),
    "no module": type("X", (), {"__module__": None})(),
    "a class with a long name": type("Z" * 1_000_000, (), {})(),
    "a class with a broken name": type("a\\nb\\x1b[31m", (), {})(),
    "a number of many digits": 10 ** 5000,
}
values["a list that holds itself"] = loop = []
loop.append(loop)
values["all in a list"] = list(values.values())
"""
NAMESPACE: dict[str, Any] = {"pd": pd}
exec(HOSTILE, NAMESPACE)
VALUES: dict[str, Any] = NAMESPACE["values"]


@pytest.mark.parametrize("name", VALUES)
def test_no_code_of_a_value_runs_when_it_is_described(name: str) -> None:
    value = VALUES[name]
    described = variables.describe_variable("x", value)
    brief = variables.describe_briefly(value)
    assert "note" not in described
    assert len(brief) < 250
    assert brief.isascii()
    assert brief.isprintable()


@pytest.mark.parametrize("name", VALUES)
def test_no_code_of_a_value_runs_when_names_are_compared(name: str) -> None:
    shell = types.SimpleNamespace(user_ns={"x": VALUES[name]}, user_ns_hidden={})
    seen = names.Names()
    assert "unknown" not in seen.changes(shell)
    assert seen.changes(shell) == {"names": {}, "gone": []}


DESCRIBED: dict[str, tuple[Any, dict[str, Any]]] = {
    "a list": ([1, 2], {"type": "list", "length": 2}),
    "a subclass of list": (VALUES["a list that exits"], {"type": "Sized", "length": 2}),
    "text": ("it's", {"type": "str", "length": 4, "preview": '"it\'s"'}),
    "a float": (0.1 + 0.2, {"preview": "0.30000000000000004"}),
    "a float of NumPy": (np.float64(1.5), {"shape": [], "preview": "1.5"}),
    "an array": (np.zeros((2, 3)), {"type": "ndarray", "shape": [2, 3], "size": 48}),
    "a frame": (pd.DataFrame({"a": [1, 2]}), {"type": "DataFrame", "shape": [2, 1]}),
    "an own number": (VALUES["a number that exits"], {"type": "Number", "preview": "5"}),
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_variable_is_described(name: str) -> None:
    value, expected = DESCRIBED[name]
    described = variables.describe_variable("x", value)
    assert expected.items() <= described.items()


@given(st.text())
def test_any_name_is_one_short_line(name: str) -> None:
    shown = variables.bounded(name)
    assert shown.isprintable()
    assert len(shown) < 1100
    shown.encode()
    assert shown == name or not name.isprintable() or len(name) > 100


def test_a_size_that_is_not_known_is_not_told() -> None:
    kind = type("Array", (), {"__module__": "numpy", "shape": (3, None)})
    assert variables.describe_briefly(kind()) == "Array 3x?"
