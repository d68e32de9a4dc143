"""Which calls leave what they are given as it is."""

import ast

import pytest

from kernel_exec.notebooks.harmless import Known, is_calm, is_harmless, modules

KNOWN = Known(
    kinds={
        "df": "DataFrame", "s": "str", "l": "list", "d": "dict", "i": "generator", "o": "Odd",
        "n": "int", "a": "ndarray", "p": "PosixPath", "t": "tuple",
        "K": "type",
    },
    modules={
        "pd": "pandas", "np": "numpy", "plt": "matplotlib.pyplot", "Path": "pathlib.Path",
        "os": "os", "json": "json", "random": "random", "read": "pandas.read_csv",
    },
)  # fmt: skip


def expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


HARMLESS = [
    "len(i)", "sorted(l)", "ValueError(l)", "df.head()", "df.a.mean()", "df[df.a > 1].groupby('a')",
    "df.groupby('a').b.agg('sum').sort_values()", "s.join(l)", "', '.join(l)", "f'{n}'.center(9)",
    "n.bit_length()", "p.read_text()", "l.index(1)", "d.get('a').upper()", "o.strip()", "d.items()",
    "pd.read_csv(p).dropna()", "read(p)", "read(p).head()", "np.mean(a)", "np.linalg.inv(a)",
    "plt.plot(l)", "Path('a')", "os.path.join(s, s)", "os.environ.get('A')", "json.loads(s)",
    "a.reshape(2).sum()",
]  # fmt: skip
CHANGES = [
    "f(l)", "l.append(1)", "l[0].append(1)", "d['a'].get('b')", "df.insert(0)", "df.pop('a')",
    "df.fillna(0, inplace=True)", "df.a.fillna(0, inplace=True).mean()", "df.mean(**d)",
    "df.values.sort()", "df.apply(f)", "np.random.seed(1)", "np.put(a, 1, 2)",
    "np.add(a, a, out=a)", "K.total.append(1)",
    "os.chdir('a')", "os.environ.update(d)", "random.random()", "plt.rcdefaults()", "o.read()",
    "i.send(1)", "next(i)", "(f or g)(l)", "(f or g).m(l)", "f(1).sort()", "[l].append(1)",
    "o.m().mean()", "t.other()", "Path('a').unlink()", "pd.set_option('a', 1)",
]  # fmt: skip
CALM = [
    "1", "f'{i}'", "i > i", "l + l", "-n", "s", "l", "df.a", "df['a'].b", "s[1:]", "[l, 1]",
    "(s, n)",
    "{'a': l}", "{**d}", "{s}", "range(n)", "sorted(l)", "d.items()", "zip(l, s)", "df.iterrows()",
    "pd.concat([df, df])", "enumerate(l, start=n)", "read(p)",
]  # fmt: skip
RESTLESS = [
    "i", "o", "unknown", "l[0]", "d['a']", "o.a", "[i]", "{'a': i}", "f(l)", "zip(l, i)", "max(l)",
    "d.get('a')", "lambda: 1", "i if n else l", "f(1).a",
]  # fmt: skip


@pytest.mark.parametrize("source", HARMLESS)
def test_a_call_leaves_all_as_it_is(source: str) -> None:
    call = expression(source)
    assert isinstance(call, ast.Call)
    assert is_harmless(call, KNOWN)


@pytest.mark.parametrize("source", CHANGES)
def test_a_call_may_change_something(source: str) -> None:
    call = expression(source)
    assert isinstance(call, ast.Call)
    assert not is_harmless(call, KNOWN)


@pytest.mark.parametrize("source", CALM)
def test_reading_it_leaves_it_as_it_is(source: str) -> None:
    assert is_calm(expression(source), KNOWN)


@pytest.mark.parametrize("source", RESTLESS)
def test_reading_it_may_drain_it(source: str) -> None:
    assert not is_calm(expression(source), KNOWN)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pandas as pd", {"pd": "pandas"}),
        ("import os.path", {"os": "os"}),
        ("import matplotlib.pyplot as plt", {"plt": "matplotlib.pyplot"}),
        ("from pathlib import Path as P", {"P": "pathlib.Path"}),
        ("from . import a", {}),
        ("import a as x\nimport b as x", {}),
        ("import a\na = 1", {}),
        ("import a\ndel a", {}),
        ("import a\ndef f(a): pass", {}),
        ("import a\ndef a(): pass", {}),
        ("import a\nclass a: pass", {}),
        ("import a\ntry: pass\nexcept E as a: pass", {}),
    ],
)
def test_what_names_were_imported_as(source: str, found: dict[str, str]) -> None:
    assert modules(ast.walk(ast.parse(source))) == found
