"""What a kernel advises after a mistake; `tests/promises/test_help.py` has it from outside."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

# runs in kernels of any Python, so it has no types
hints: Any = importlib.import_module("kernel_exec.inside.hints")
near: Any = importlib.import_module("kernel_exec.inside.suggestions").near


def advice(code: str) -> str:
    """What is said of the error that `code` raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any
        exec(code, {})
    return "; ".join(filter(None, hints.of_error(raised.value)))


FRAME = "import pandas as pd; df = pd.DataFrame({'Sales': [1], 'region': ['a'], 'Other one': 1})\n"
DICT = "a = {'price': 1, 'tax': {'net': 2}, 3: 4}\n"
POLARS = "import polars as pl; pf = pl.DataFrame({'Sales': [1], 'region': ['a']})\n"
MEANT = {
    "total = 1; totl": "did you mean `total`?",
    "pritn(1)": "did you mean `print`?",
    "def f(value):\n    return valeu\nf(1)": "did you mean `value`?",
    "class A:\n    x1 = 1\n    def f(self): return x1\nA().f()": "did you mean `self.x1`?",
    "math.pi": "did you forget `import math`?",
    "np.array": "did you forget `import numpy as np`?",
    "unheard_of": "",
    "raise NameError('totl')": "",
    "import math; math.squrt": "did you mean `sqrt`?",
    "'a'.uper": "did you mean `upper`?",
    "class A:\n    def __init__(self): self.alpha = 1\nA().alhpa": "did you mean `alpha`?",
    "class A:\n    __slots__ = ('alpha',)\nA().alhpa": "did you mean `alpha`?",
    "class A:\n    _alpha = 1\nA.lpha": "",
    "None.head": "",
    "from math import squrt": "did you mean `sqrt`?",
    "from json import decodr": "did you mean `decoder`?",
    "import numpi": "did you mean `numpy`?",
    "import xml.etre": "did you mean `xml.etree`?",
    "import xml.foo_bar": "`xml` is installed, but has no module `xml.foo_bar`",
    "import unheard_of_at_all": "",
    "import math.foo": "",
    "def f(colour): 0\nf(color=1)": "did you mean `colour`?",
    "class A:\n    def f(self, *, colour): 0\nA().f(color=1)": "did you mean `colour`?",
    "def f(colour): 0\nf(size=1)": "",
    "def f(**more): more['a']()\nf(colour=1)": "keys: 'colour'",
    "import matplotlib.lines as m; m.Line2D([0], [0], colr='red')": "did you mean `color`?",
    "import matplotlib.figure as m; m.Figure().set(figsze=1)": "",
    "raise AttributeError(\"A.f() got an unexpected keyword argument 'colr'\")": "",
    "import pandas as pd; pd.read_csv('x', delimeter=',')": "did you mean `delimiter`?",
    f"{FRAME}df['sales']": "did you mean the column 'Sales'?",
    f"{FRAME}df[['sales', 'region']]": "did you mean the column 'Sales'?",
    f"{FRAME}df[['sales']]": "did you mean the column 'Sales'?",
    f"{FRAME}df.groupby('Region')": "did you mean the column 'region'?",
    f"{FRAME}df.groupby('region')['sales']": "did you mean the column 'Sales'?",
    f"{FRAME}df.sort_values('sale')": "did you mean the column 'Sales'?",
    f"{FRAME}df.merge(df, on='regio')": "did you mean the column 'region'?",
    f"{FRAME}df.drop(columns=['sale'])": "did you mean the column 'Sales'?",
    f"{FRAME}df.set_index('sales')": "did you mean the column 'Sales'?",
    f"{FRAME}df.query('sales > 1')": "did you mean the column 'Sales'?",
    f"{FRAME}df.Region": "did you mean `region`?",
    f"{FRAME}df['xyz']": "columns: 'Sales', 'region', 'Other one'",
    f"{FRAME}df.loc[0, 'other one']": "did you mean the column 'Other one'?",
    f"{FRAME}df.loc['sales']": "",
    f"{FRAME}df.loc[:, ['sales']]": "did you mean the label 'Sales'?",
    f"{FRAME}df.iloc[0]['sales']": "did you mean the label 'Sales'?",
    f"{FRAME}df.describe().loc['mode']": "labels: 'count', 'mean', 'std', 'min', '25%', '50%', "
    "'75%', 'max'",
    f"{FRAME}df.pivot(index='region', columns='sales')": "did you mean the column 'Sales'?",
    f"{DICT}a['pric']": "did you mean the key 'price'?",
    f"{DICT}a['tax']['nett']": "did you mean the key 'net'?",
    f"{DICT}a['far']": "",
    f"{DICT}def f(one): return one['pric']\nf(a)": "did you mean the key 'price'?",
    f"{DICT}[each['pric'] for each in [a]]": "did you mean the key 'price'?",
    f"{DICT}class A:\n    def f(self): self.of = a; return self.of['pric']\nA().f()": (
        "did you mean the key 'price'?"
    ),
    f"{DICT}with open('/dev/null'):\n    1\n    a['pric']": "did you mean the key 'price'?",
    f"{DICT}pric = {{'prica': 1}}\na['pric']": "did you mean the key 'price'?",
    f"{DICT}b = {{'prica': 1}}\na['pric']": "did you mean the key 'price'?",
    f"{DICT}a['tax']['x']": "",
    "a = {'x1': 1, 'x10': 2}; b = {'y': 1}; k = 'x1'; a[k] + b[k]": "keys: 'y'",
    "a = dict.fromkeys(map(str, range(100000))); a['100001']": "",
    "a = {'north': 1, 'total amount': 2}; a['south']": "keys: 'north', 'total amount'",
    "a = {'north': 1, 'The Amount': 2}; a['the_amount']": "did you mean the key 'The Amount'?",
    f"{FRAME}df.groupby('region').get_group('b')": "",
    f"{DICT}a['tax'].net": "did you mean `['net']`?",
    f"{DICT}raise KeyError('pric')": "",
    "import os; os.environ['HOEM']": "",
    "{}['a']": "",
    f"{FRAME}df.Sales['region']": "",
    f"{FRAME}{{'a': df}}['df']": "",
    f"{POLARS}pf['sales']": "did you mean the column 'Sales'?",
    f"{POLARS}pf.groupby": "did you mean `group_by`?",
}


@pytest.mark.parametrize("code", MEANT)
def test_the_next_step_follows_from_the_error(code: str) -> None:
    assert advice(code) == MEANT[code]


WRITABLE = "lets code write only in /mine, /tmp"
REFUSED = {
    "import sqlite3; sqlite3.connect('/proc/x.db').execute('select 1')": WRITABLE,
    "import sqlite3; raise sqlite3.OperationalError('attempt to write a readonly database')": (
        WRITABLE
    ),
    "import sqlite3; raise sqlite3.OperationalError('no such table: a')": "",
    "raise OSError(18, 'Invalid cross-device link', '/etc/passwd', None, '/mine/x')": WRITABLE,
    "raise OSError(18, 'Invalid cross-device link', '/mine/x', None, '/srv/x')": WRITABLE,
    "raise OSError(18, 'Invalid cross-device link', '/tmp/x', None, '/mine/x')": "shutil.move",
    "raise OSError(1, 'Operation not permitted', '/mine/x', None, '/tmp/x')": "",
    "raise OSError(2, 'No such file or directory', '/mine/x')": "",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_a_wall_refused_is_told(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"walls": "workspace", "writable": ["/mine", "/tmp"], "shown": []}
    monkeypatch.setattr(hints.walls, "settings", settings)
    told = advice(code)
    assert ("the sandbox (workspace)" in told) == bool(REFUSED[code])
    assert REFUSED[code] in told


def test_a_part_of_a_package_that_was_not_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in_parts").mkdir()
    for name in ("__init__.py", "part.py"):
        (tmp_path / "in_parts" / name).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    told = "`part` is a module of its own: `import in_parts.part`"
    assert advice("import in_parts; in_parts.part") == told
    del sys.modules["in_parts"]


def test_what_polars_says_itself_is_not_said_twice() -> None:
    assert advice(f"{POLARS}pf.select('sales')") == ""


HOSTILE = """
class Trap:
    def __getattr__(self, name):
        if name == "__wrapped__": raise AttributeError(name)
        ran.append(name)
    def __dir__(self): ran.append("dir"); return []
    def __eq__(self, other): ran.append("eq")
    __hash__ = None
class Meta(type):
    def __getattribute__(cls, name): ran.append(name); return type.__getattribute__(cls, name)
class Sub(metaclass=Meta):
    def __getattribute__(self, name):
        ran.append(name)
        raise AttributeError(name, name=name, obj=self)
class Mine(KeyError, metaclass=Meta):
    def __str__(self): ran.append("str"); return "x"
    args = property(lambda self: ran.append("args"))
    __traceback__ = property(lambda self: ran.append("traceback"))
class Dict(dict):
    def keys(self): ran.append("keys"); return []
    __iter__ = __len__ = values = get = keys
class Key:
    def __hash__(self): ran.append("hash"); return 1
    def __eq__(self, other): ran.append("eq")
trap, sub, own = Trap(), Sub(), Dict(b=1)
mine = {"x": trap, Key(): 1}
"""


@pytest.mark.parametrize(
    "code",
    [
        *("trip", "sub.trp", "print(x1=trap)", "raise Mine(trap)", "raise NameError(trap)"),
        *("{}[trap]", "(mine, sub, trap, own)[0]['a']"),
    ],
)
def test_no_code_of_the_users_runs(code: str) -> None:
    ran: list[str] = []
    space: dict[str, Any] = {"ran": ran}
    exec(HOSTILE, space)
    ran.clear()
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any
        exec(code, space)
    before = list(ran)
    hints.of_error(raised.value)
    assert ran == before


def test_files_near_a_missing_one_are_named_with_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    (tmp_path / "data").mkdir()
    for name in ("sales.csv", "data/prices.csv", "code_0123abcd.py"):
        (tmp_path / name).touch()

    told = {
        "sale.csv": f"did you mean 'sales.csv' (working directory {here})?",
        f"{here}/sale.csv": f"did you mean '{here}/sales.csv'?",
        "data/price.csv": f"did you mean 'data/prices.csv' (working directory {here})?",
        "prices.csv": f"did you mean 'data/prices.csv' (working directory {here})?",
        "dat/sales.csv": f"did you mean 'sales.csv' (working directory {here})?",
        "out/more/x": f"the folder 'out' does not exist (working directory {here})",
        "unheard_of.csv": f"working directory {here}; .csv files there: 'sales.csv'",
        "unheard_of.py": f"working directory {here}",
        f"{here}/out/x": f"the folder '{here}/out' does not exist",
        "https://x/y.csv": "",
    }
    for path, expected in told.items():
        assert advice(f"open({path!r})") == expected
    assert advice("import subprocess; subprocess.run(['sale.csv'])") == ""
    assert "'sales.csv'" in advice("import polars; polars.read_csv('sale.csv')")


def test_a_folder_is_not_read_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sales.csv").touch()
    monkeypatch.setattr("kernel_exec.inside.missing._PATIENCE", 0)
    assert advice("open('sale.csv')") == f"working directory {Path.cwd()}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%pip install a 'b>=2' -q", 'use install_dependencies(packages=["a", "b>=2"])'),
        ("x = 1\n  !pip3 install --upgrade a[b]  # c", 'packages=["a[b]"])'),
        ("!{sys.executable} -m pip install a", 'packages=["a"])'),
        ("!pip install -r requirements.txt", "use install_dependencies: "),
        ("!pip install $name", "use install_dependencies: "),
        ("!pip list", ""),
        ("# !pip install a", ""),
        ("s = '!pip install a'", ""),
    ],
)
def test_pip_is_answered_with_the_tool(line: str, told: str) -> None:
    said = hints.pip(line, None)
    assert told in said if told else said == ""


def test_a_pip_of_another_python_is_named(tmp_path: Path) -> None:
    other, own, unknown = (tmp_path / name for name in ("other", "own", "unknown"))
    other.write_text("#!/somewhere/bin/python3\n")
    own.write_text(f"#!{sys.executable}\n")
    unknown.write_text("#!/bin/sh\n")

    for program in (other, unknown):
        assert f"`!pip` is {program}, whose" in hints.pip("!pip install a", str(program))
    for program in (own, tmp_path / "missing"):
        assert "instead of pip" in hints.pip("!pip install a", str(program))


def test_commands_that_failed_are_named_with_their_exit_code() -> None:
    cell = hints.Commands()
    cell.begin("")
    for code in (0, 1, -9, 127, 3):
        cell.ended("cat  x" if code == 1 else "y" * 100, code)
    first, second, _, more, pip = cell.finish()
    assert first == "`!cat x` ended with exit code 1"
    assert second == f"`!{'y' * 59}…` was ended by signal 9"
    assert (more, pip) == ("1 more command failed", "")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path / "written_anew.py"


def test_a_module_that_was_written_again_is_old_until_it_is_reloaded(module: Path) -> None:
    cells = hints.Reloads()

    def said_of(cell: str) -> str:
        cells.begin(cell, str)
        exec(cell, {})
        return "".join(cells.finish())

    module.write_text("x = 1")
    assert said_of("import written_anew") == ""
    assert said_of("import written_anew") == ""
    module.write_text("x = 1")
    assert said_of("import written_anew") == ""
    module.write_text("x = 22")
    assert said_of("1") == ""
    assert "importlib.reload(written_anew)" in said_of("from written_anew import x")
    assert "importlib.reload(written_anew)" in said_of("def f():\n    import written_anew as w")
    assert said_of("import importlib, written_anew\nimportlib.reload(written_anew)") == ""
    assert said_of("import written_anew") == ""
    module.unlink()
    assert said_of("import json, written_anew") == ""
    del sys.modules["written_anew"]


@pytest.mark.parametrize(
    ("wrong", "names", "found"),
    [
        ("colour", ["color", "colours"], "color"),
        ("ID", ["id"], "id"),
        ("tow", ["two", "to_w"], "two"),
        ("pritn", ["paint", "print"], "print"),
        ("ab", ["cd"], None),
        ("x", ["y"], None),
        ("x" * 50, ["x" * 49], None),
        ("same", ["same"], None),
        ("abc", [1, None, "abd"], "abd"),
    ],
)
def test_a_name_is_near_that_needs_few_changes(
    wrong: str, names: list[Any], found: str | None
) -> None:
    assert near(wrong, names) == found
