"""Which values have a text for a model."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# these have no types of their own
pd: Any = importlib.import_module("pandas")
xarray: Any = importlib.import_module("xarray")
describe: Any = importlib.import_module("kernel_exec.inside.forms").describe

IN_A_LIBRARY = """
class Bunch(dict):
    def __getattr__(self, name): raise AssertionError(name)
    keys = items = __iter__ = __len__ = None
class Graph:
    def __str__(self): return "Graph with 2 nodes"
class Long:
    def __str__(self): return "x" * 1000
class Named(Graph):
    def __repr__(self): return "Named()"
class Silent: pass
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "with_words.py").write_text(IN_A_LIBRARY)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("with_words")
    del sys.modules["with_words"]


def test_an_object_that_has_only_words_for_print_is_shown_by_them(library: Any) -> None:
    assert describe(library.Graph()) == "<Graph: Graph with 2 nodes>"
    for kind in (library.Long, library.Named, library.Silent):
        assert describe(kind()) is None
    own = type("Own", (), {"__str__": lambda self: "x"})
    assert describe(own()) is None


def test_a_dict_of_another_class_is_shown_as_a_dict(library: Any) -> None:
    bunch = library.Bunch(a=np.arange(3), b="x" * 3000)
    assert describe(bunch) == f"{{'a': array([0, 1, 2]), 'b': '{'x' * 60}'…}}"
    assert describe(library.Bunch({1: "x" * 3000})) is None


def test_an_array_of_xarray_with_many_values_shows_some_of_them() -> None:
    assert describe(xarray.DataArray([1, 2])) is None
    shown = describe(xarray.DataArray(np.zeros((100, 200)), dims=("t", "x"), name="heat"))
    assert shown.startswith("<xarray.DataArray 'heat' (t: 100, x: 200)>")
    assert len(shown) < 200


def test_a_form_is_known_by_its_class_or_one_that_it_inherits_from() -> None:
    class Frame(pd.DataFrame):  # type: ignore[misc]
        pass

    class Told(Frame):
        def _repr_llm_(self) -> str:
            return "told"

    assert describe(Frame({"a": [1]})) == "Frame 1x1\n,a\n0,1"
    assert describe(Told({"a": [1]})) == "told"
    assert describe(np.int64(3)) == "3"
    assert describe("text") is None
    assert describe(object()) is None
    assert describe(type) is None
