"""Descriptions of variables, of hostile ones too."""

import importlib
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pd: Any = importlib.import_module("pandas")  # it has no types of its own

variables = importlib.import_module("kernel_exec.inside.variables")
names = importlib.import_module("kernel_exec.inside.names")
cells = importlib.import_module("kernel_exec.inside.cells")

HOSTILE = """
def asked():
    CALLS.append(1)
    return SystemExit
class Sized(list):
    def __len__(self): raise asked()
    def __iter__(self): raise asked()
    def __getitem__(self, at): raise asked()
    def __sizeof__(self): raise asked()
    def __repr__(self): raise asked()
class Mapping(dict):
    __len__ = __iter__ = items = keys = __getitem__ = None
class Lazy:
    def __getattr__(self, name): raise asked()
    def __getattribute__(self, name): raise asked()
    def __eq__(self, other): raise asked()
    def __hash__(self): raise asked()
    def __repr__(self): raise asked()
class Liar:
    @property
    def __class__(self): raise asked()
    @property
    def __dict__(self): raise asked()
class Meta(type):
    __mro__ = __name__ = __module__ = __dict__ = __flags__ = property(lambda kind: 1 / 0)
    def __eq__(kind, other): raise asked()
    def __hash__(kind): raise asked()
    def __instancecheck__(kind, value): raise asked()
    def __subclasscheck__(kind, value): raise asked()
class Odd(metaclass=Meta): pass
class Frame(pd.DataFrame):
    @property
    def shape(self): raise asked()
    def memory_usage(self, *args, **kwargs): raise asked()
class Number(int):
    def __repr__(self): raise asked()
    def bit_length(self): raise asked()
class Text(str):
    def __repr__(self): raise asked()
    def __getitem__(self, at): raise asked()
class Attributes(dict):
    def __iter__(self): raise asked()
    def __getitem__(self, key): raise asked()
    def keys(self): raise asked()
    def items(self): raise asked()
class Holder: pass
holder = Holder()
holder.__dict__ = Attributes(x=1)
class Poser:
    __module__ = "pandas"
    def __getattr__(self, name): raise asked()
Kind = type("Kind", (pd.api.extensions.ExtensionDtype,), {"name": "kind", "type": int})
Column = type("Column", (pd.api.extensions.ExtensionArray,), {
    "dtype": Kind(), "shape": (1,), "ndim": 1, "copy": lambda self: self,
    "__len__": lambda self: CALLS.append(1) or 1, "nbytes": property(lambda self: asked()),
    "__getitem__": lambda self, at: CALLS.append(1) or self,
})
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
    "attributes that exit": holder,
    "a class that poses as one of pandas": Poser(),
    "a column that counts": pd.DataFrame({"a": Column()}),
    "a series that counts": pd.Series(Column()),
    "no module": type("X", (), {"__module__": None})(),
    "a class with a long name": type("Z" * 1_000_000, (), {})(),
    "a class with a broken name": type("a\\nb\\x1b[31m", (), {})(),
    "a number of many digits": 10 ** 5000,
}
values["a list that holds itself"] = loop = []
loop.append(loop)
values["all in a list"] = list(values.values())
"""
CALLS: list[int] = []
NAMESPACE: dict[str, Any] = {"pd": pd, "CALLS": CALLS}
exec(HOSTILE, NAMESPACE)
VALUES: dict[str, Any] = NAMESPACE["values"]


@pytest.mark.parametrize("name", VALUES)
def test_no_code_of_a_value_runs_when_it_is_described(name: str) -> None:
    value = VALUES[name]
    CALLS.clear()
    described = variables.describe_variable("x", value)
    brief = variables.describe_briefly(value)
    assert "note" not in described
    assert len(brief) < 250
    assert brief.isascii()
    assert brief.isprintable()
    assert CALLS == []


@pytest.mark.parametrize("name", VALUES)
def test_no_code_of_a_value_runs_when_names_are_compared(name: str) -> None:
    shell = types.SimpleNamespace(user_ns={"x": VALUES[name]}, user_ns_hidden={})
    seen = names.Names(patience=60)
    CALLS.clear()
    assert "unknown" not in seen.changes(shell)
    assert seen.changes(shell) == {"names": {}, "gone": []}
    assert CALLS == []


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


def test_a_size_that_is_not_known_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("Array", (), {"__module__": "numpy", "shape": (3, None)})
    assert variables.describe_briefly(kind()) == "Array"  # it only says that it is numpy's
    monkeypatch.setattr(np, "Array", kind, raising=False)
    assert variables.describe_briefly(kind()) == "Array 3x?"
