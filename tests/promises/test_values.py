"""Values as results show them, and what is claimed about variables."""

from collections.abc import Iterator

import pytest

from tests.promises.conftest import Agent
from tests.wire import Server


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Agent]:
    """One kernel for tests that leave it as it is."""
    agent = Agent(server)
    agent.run("import numpy as np, pandas as pd\nfrom decimal import Decimal")
    yield agent
    agent.close()


FRAMES = {
    "whole numbers": ("pd.DataFrame({'a': [2000001, None]})", ["\n0,2000001.0\n1,NaN\n"]),
    "a mean": ("pd.DataFrame({'a': [13270.42] * 4}).describe()", ["\nmean,13270.42\n"]),
    "small numbers": ("pd.Series([1.5e-7, 52.520008])", ["\n0,1.5e-07\n1,52.520008\n"]),
    "a rounding": (
        "pd.DataFrame({'a': [2 / 3]})",
        ["DataFrame 1x1; floats to 10 digits\n,a\n0,0.6666666667\n"],
    ),
    "decimals": ("pd.DataFrame({'a': [Decimal('1.10')]})", ["\n0,1.10\n"]),
    "text that looks like nothing": (
        "pd.DataFrame({'a': ['NaN', '', None, 'x,y\\n']}, dtype=object)",
        ['\n0,"NaN"\n1,""\n2,None\n3,"x,y\\n"\n'],
    ),
    "a format of the user's": (
        "with pd.option_context('display.precision', 1): display(pd.DataFrame({'a': [2 / 3]}))",
        ["0.7", "; floats as display.precision = 1 shows them\n"],
    ),
    "thirty rows whole": ("pd.DataFrame({'a': range(30)})", ["\n15,15\n"]),
    "more rows by their ends": ("pd.DataFrame({'a': range(31)})", ["\n… 23 rows …\n29,29\n"]),
    "records": ("[{'id': i, 'on': '2024-01-01'} for i in range(99)]", ["99 dicts\nid,on <text>\n"]),
    "a long list": ("list(range(1000))", ["[0, 1, 2, ", ", 22, … 970 more …, 993, "]),
    "a list whose usual form is in a file": (
        "['x' * 900 for _ in range(999)]",
        ["'…,\n… 969 more …,\n'xx", "xx'…]\n"],
    ),
    "an array": ("np.arange(1000)", ["array 1000: 0,1,2,", ",15,… 980 more …,996,"]),
    "numbers of NumPy": ("np.float64(0.25), np.int64(3)", ["(0.25, 3)\n"]),
    "a picture as an array": (
        "np.zeros((20, 30, 3), 'uint8')",
        ["array 20x30x3 <uint8>: 0,0,", ",… 1,780 more …,0,0,0,0\n"],
    ),
    "a long value of another kind": (
        "[Exception(n) for n in range(999)]",
        ["\n[… ", "hidden: get_execution(", "Exception(998)]"],
    ),
    "several tables": (
        "pd.DataFrame({'a': [1]}), np.arange(2)",
        ["tuple of 2:\nDataFrame 1x1\n,a\n0,1\narray"],
    ),
    "all rows, to the file that holds them": (
        "with pd.option_context('display.max_rows', None):\n"
        "    display(pd.DataFrame({'a': range(9000)}))",
        ["\n9,9\n", "\n8999,8999\n", "lines"],
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_shows_its_values_or_says_that_it_rounds(shared: Agent, name: str) -> None:
    code, expected = FRAMES[name]
    text = shared.run(code).text
    for each in expected:
        assert each in text


CHANGES = {
    "a column": ("v = pd.DataFrame({'a': [1, 2]})", "v['new'] = 1", "v DataFrame 2x2"),
    "a value": ("v = pd.DataFrame({'a': [1, 2]})", "v.loc[0, 'a'] = 9", "v DataFrame 2x1"),
    "a list": ("v = [1]", "v.append(2)", "v list 2"),
    "a list within a list": ("v = [[1]]", "v[0].append(2)", "v list 1"),
    "a dictionary": ("v = {}", "v['x'] = 1", "v dict 1"),
    "a set": ("v = {1}", "v.add(2)", "v set 2"),
    "an array": ("v = np.arange(3.0)", "v[0] = 1", "v ndarray 3"),
    "an object": ("class V: pass\nv = V()", "v.x = 1", "v V"),
    "by a function": ("v = [1]\ndef grow(x): x.append(1)", "grow(v)", "v list 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_place_is_reported(shared: Agent, name: str) -> None:
    first, second, expected = CHANGES[name]
    shared.run(first)
    shared.run("for _ in range(3): pass")
    assert f"names: ~ {expected}" in shared.run(second).text


def test_a_lost_variable_is_named_as_it_was_last(agent: Agent) -> None:
    agent.run("v = [1]")
    agent.run("v.extend([2, 3])")
    assert "v list 3" in agent.run("import os; os.kill(os.getpid(), 9)").text
