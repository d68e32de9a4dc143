"""Arrays and indexes as a model sees them."""

import importlib
from typing import Any

import numpy as np
import pytest

pd: Any = importlib.import_module("pandas")  # it has no types of its own

arrays = importlib.import_module("kernel_exec.inside.arrays")

ARRAYS: dict[str, tuple[Any, str | None]] = {
    "numbers": (np.array([1.5, 2, np.nan]), "array 3: 1.5,2.0,NaN"),
    "many numbers": (
        np.arange(1000),
        "array 1000: 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,… 980 more …,996,997,998,999",
    ),
    "a rounding": (np.array([1 / 3]), "array 1; floats to 10 digits: 0.3333333333"),
    "another type": (np.array([1], "int8"), "array 1 <int8>: 1"),
    "nothing": (np.array([]), "array 0 <float64>: "),
    "texts": (np.array(["a", "b,c"], object), 'array 2: a,"b,c"'),
    "texts that look like numbers": (np.array(["1"]), "array 1 <text>: 1"),
    "objects": (np.array([1, "a"], object), None),
    "two dimensions": (np.array([[1, 2], [3, 4]]), "array 2x2\n1,2\n3,4"),
    "many rows and columns": (
        np.arange(10_000).reshape(100, 100),
        "array 100x100\n0,1,2,…,98,99\n100,101,102,…,198,199\n200,201,202,…,298,299\n"
        "… 95 rows …\n9800,9801,9802,…,9898,9899\n9900,9901,9902,…,9998,9999",
    ),
    "three dimensions": (np.arange(8).reshape(2, 2, 2), "array 2x2x2: 0,1,2,3,4,5,6,7"),
    "a picture": (
        np.zeros((200, 300, 4), "uint8"),
        f"array 200x300x4 <uint8>: {'0,' * 16}… 239,980 more …,0,0,0,0",
    ),
    "no dimension": (np.array(1.5), None),
    "records": (np.array([(1, 2)], "i4,i4"), None),
    "another class": (np.ma.array([1], mask=[True]), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_shows_what_it_holds(name: str) -> None:
    value, expected = ARRAYS[name]
    assert arrays.describe_array(value) == expected


def test_the_options_of_numpy_are_obeyed() -> None:
    with np.printoptions(precision=2):
        assert arrays.describe_array(np.array([1 / 3])) is None


class Tensor:
    """What libraries of tensors have in common."""

    def __init__(self, values: Any, device: str = "cpu", *, requires_grad: bool = False) -> None:
        self.values = np.asarray(values, "float32")
        self.shape = self.values.shape
        self.device = device
        self.requires_grad = requires_grad

    def detach(self) -> "Tensor":
        return Tensor(self.values, self.device)

    def cpu(self) -> "Tensor":
        return Tensor(self.values, requires_grad=self.requires_grad)

    def __array__(self, *_: object, **__: object) -> Any:
        if self.requires_grad or self.device != "cpu":
            raise TypeError
        return self.values


TENSORS: dict[str, tuple[Tensor, str | None]] = {
    "numbers": (Tensor([[1, 2], [3, 4]]), "Tensor 2x2 <float32>\n1.0,2.0\n3.0,4.0"),
    "another device": (Tensor([1], "cuda:0"), "Tensor (cuda:0) 1 <float32>: 1.0"),
    "one that is trained": (
        Tensor([1, 2], requires_grad=True),
        "Tensor (requires grad) 2 <float32>: 1.0,2.0",
    ),
    "a large one": (Tensor(np.zeros((400, 400))), None),
    "a number": (Tensor(1), None),
    "nothing": (Tensor([]), None),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_shows_what_it_holds_and_where(name: str) -> None:
    tensor, expected = TENSORS[name]
    assert arrays.describe_tensor(tensor) == expected


INDEXES: dict[str, tuple[Any, str | None]] = {
    "names": (pd.Index(["a", "b c", "d,e"]), 'Index 3: a,b c,"d,e"'),
    "a name of its own": (pd.Index([1, 2], name="k"), "Index 2: k: 1,2"),
    "texts that look like numbers": (pd.Index(["1"], name="k"), "Index 1: k <text>: 1"),
    "days": (pd.date_range("2024", periods=2), "DatetimeIndex 2: 2024-01-01,2024-01-02"),
    "levels": (
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"]),
        "MultiIndex 2\nk,n\na,1\nb,2",
    ),
    "a range": (pd.RangeIndex(5), None),
    "long names": (pd.Index([f"{i} {'x' * 60}" for i in range(99)]), "… 79 more …"),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_shows_what_it_holds(name: str) -> None:
    value, expected = INDEXES[name]
    shown = arrays.describe_index(value)
    assert shown is expected is None or expected in shown


def test_unique_values_are_a_line() -> None:
    values = pd.Series(["a", "b", "a"], dtype="str").unique()
    assert arrays.describe_extension(values).endswith(" 2: a,b")
    assert arrays.describe_extension(pd.array([1, None])) == "IntegerArray 2: 1,<NA>"
