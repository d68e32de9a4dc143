"""Which names a cell has changed, by a look at their objects."""

import importlib
import itertools
import types
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest

names = importlib.import_module("kernel_exec.inside.names")


@dataclass
class Shell:
    user_ns: dict[Any, Any]
    user_ns_hidden: dict[str, Any] = field(default_factory=dict)


START = """
import collections, types
import numpy as np, pandas as pd
class Thing: pass
class Kept(list): pass
one = [1]; alias = one; two = [[1], [2]]; long = list(range(10_000))
d = {"a": [1]}; s = {1}; q = collections.deque([1, 2]); counts = collections.Counter("a")
b = bytearray(b"abc"); kept = Kept([1]); pair = (1, [2])
thing = Thing(); thing.parts = []
space = types.SimpleNamespace(x=1)
array = np.arange(5.0); big = np.arange(100_000)[::-1].copy(); matrix = np.zeros((3, 3)).T
objects = np.array([1, "a"], dtype=object)
series = pd.Series([1.5, 2.5]); frame = pd.DataFrame({"a": [3, 1, 2], "b": ["x", "y", "z"]})
dated = pd.DataFrame({"t": pd.date_range("2024", periods=3)})
wide = pd.DataFrame(np.zeros((2, 100))); deep = pd.DataFrame(np.zeros((100_000, 9)))
def grow(values): values.append(0)
x = 5000.5; text = "a" * 1_000_000; number = 10 ** 1000
"""

CHANGES = {
    "one.append(2)": {"one", "alias"},
    "alias[0] = 5": {"one", "alias"},
    "grow(one)": {"one", "alias"},
    "two[1].append(3)": {"two"},
    "long.sort(reverse=True)": {"long"},
    "d['b'] = 1": {"d"},
    "d['a'].append(2)": {"d"},
    "s.add(2)": {"s"},
    "q.rotate()": {"q"},
    "counts.update('a')": {"counts"},
    "b[0] = 0": {"b"},
    "kept.append(1)": {"kept"},
    "pair[1].append(1)": {"pair"},
    "thing.x = 1": {"thing"},
    "thing.parts.append(1)": {"thing"},
    "del space.x": {"space"},
    "array[0] = 9": {"array"},
    "big.sort()": {"big"},
    "matrix[0, 2] = 1": {"matrix"},
    "objects[1] = 'b'": {"objects"},
    "series[0] = 0": {"series"},
    "frame['new'] = 1": {"frame"},
    "frame.loc[1, 'a'] = 7": {"frame"},
    "frame.loc[1, 'b'] = 'w'": {"frame"},
    "frame.sort_values('a', inplace=True)": {"frame"},
    "frame.drop(columns='b', inplace=True)": {"frame"},
    "frame.rename(columns={'a': 'c'}, inplace=True)": {"frame"},
    "frame.index = list('uvw')": {"frame"},
    "frame['a'] = frame['a'].astype(float)": {"frame"},
    "dated.loc[0, 't'] = pd.Timestamp('2025')": {"dated"},
    "wide.loc[0, 99] = 1": {"wide"},
    "deep.iloc[0, 4] = 1": {"deep"},
    "deep.iloc[-1, 4] = 1": {"deep"},
    "for _ in range(2): x = x + 1.0": {"x"},
    "text = None; text = 'b' * 1_000_000": {"text"},
    "number = None; number = 10 ** 1000 + 1": {"number"},
    "one.clear(); one.append(1)": set(),
    # looking changes nothing
    "[len(one), sorted(two), d.get('a'), thing.parts, array.sum(), repr(frame)]": set(),
    "[frame.describe(), frame.copy(), frame.sum(), frame.T, frame.values, frame.a]": set(),
    "[frame.groupby('b').a.mean(), frame.query('a > 1'), series.unique(), wide.mean()]": set(),
    "np.linalg; pd.io; types.FunctionType": set(),
}  # fmt: skip


def changed(first: str, second: str) -> set[str]:
    shell = Shell(user_ns={})
    seen = names.Names(patience=60)
    exec(first, shell.user_ns)
    seen.changes(shell)
    return run(seen, shell, second)


def run(seen: Any, shell: Shell, code: str) -> set[str]:
    """The names that `code` changes, run as a kernel does."""
    seen.begin(shell, code)
    exec(code, shell.user_ns)
    return set(seen.changes(shell, code)["names"])


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("code", CHANGES)
def test_a_change_in_place_is_seen_and_a_look_is_none(code: str) -> None:
    assert changed(START, code) == CHANGES[code]


def test_a_new_list_at_the_address_of_the_old_one_is_a_change() -> None:
    values = [1]
    shell = Shell(user_ns={"a": values})
    seen = names.Names(patience=60)
    seen.changes(shell)
    values[:] = [2]  # what a rebinding that meets the old address looks like
    assert seen.changes(shell)["names"] == {"a": "list 1"}


def test_names_that_come_and_go_are_told_in_order() -> None:
    shell = Shell(user_ns={"b": 1, "a": [1], "_private": 1, 1: "no name"})
    seen = names.Names(patience=60)
    assert seen.changes(shell) == {"names": {"b": "int", "a": "list 1"}, "gone": []}
    shell.user_ns = {"c": None}
    assert seen.changes(shell) == {"names": {"c": "NoneType"}, "gone": ["b", "a"]}


def test_without_time_to_look_nothing_is_claimed() -> None:
    shell = Shell(user_ns={"a": [1]})
    seen = names.Names(patience=-1)
    seen.changes(shell)
    shell.user_ns["a"].append(2)
    assert seen.changes(shell) == {"names": {}, "gone": []}


def test_what_the_code_mentions_is_looked_at_however_much_there_is() -> None:
    shell = Shell(user_ns={f"n{at}": [at] for at in range(2000)})
    seen = names.Names(patience=60)
    exec("def grow():\n    (lambda: n7.append(0))()", shell.user_ns)
    exec("def call():\n    grow()", shell.user_ns)
    seen.changes(shell)
    assert run(seen, shell, "n0.append(0); n5") == {"n0"}
    assert run(seen, shell, "call()") == {"n7"}
    shell.user_ns["n5"].append(0)
    assert run(seen, shell, "n5") == set()  # it was changed, but not by this cell
    shell.user_ns["n49"] = [49]
    assert run(seen, shell, "") == {"n49"}


def test_a_cell_looks_at_no_more_because_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks are counted by those at the clock."""
    looks = []
    for count in (10, 2000):
        clock = types.SimpleNamespace(perf_counter=itertools.count().__next__)
        monkeypatch.setattr(names, "time", clock)
        shell = Shell(user_ns={f"n{at}": [at] for at in range(count)})
        seen = names.Names(patience=10**9)
        seen.changes(shell)
        before = clock.perf_counter()
        run(seen, shell, "n1.append(0); new = 1")
        looks.append(clock.perf_counter() - before)
    assert looks[0] == looks[1]


def test_more_names_than_are_told_are_unknown() -> None:
    shell = Shell(user_ns={f"n{at}": at for at in range(3000)})
    told = names.Names().changes(shell)
    assert len(told["names"]) == 2000
    assert told["unknown"] is True


def test_a_defect_of_ours_is_no_claim_that_nothing_changed() -> None:
    shell: Any = types.SimpleNamespace(user_ns=None)
    assert names.Names().changes(shell) == {"names": {}, "gone": [], "unknown": True}


def test_no_object_is_kept_alive() -> None:
    class Thing:
        pass

    gone: list[int] = []
    thing = Thing()
    weakref.finalize(thing, gone.append, 1)
    shell = Shell(user_ns={"thing": thing, "many": [thing]})
    seen = names.Names(patience=60)
    seen.changes(shell)
    del thing
    shell.user_ns.clear()
    assert gone == [1]
