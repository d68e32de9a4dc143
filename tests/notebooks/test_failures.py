"""Which failed cells are needed: tables, and a property over generated sessions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.notebooks.failures import Cell, Told, Verdict, needed
from kernel_exec.notebooks.names import counts_cells, names_of
from kernel_exec.notebooks.plain import parsed, plain_python

F, K = True, False  # failed, kept well

SESSIONS: dict[str, tuple[list[tuple[str, bool]], list[bool]]] = {
    "nothing fails": ([("x = 1", K), ("x", K)], [True, True]),
    "nobody needs it": ([("1 / 0", F), ("x = 1", K)], [False, True]),
    "a name it had assigned": ([("x = 1\n1 / 0", F), ("x", K)], [True, True]),
    "a name that is bound again before it is read": (
        [("x = 1\n1 / 0", F), ("x, y = 2, 3\nx", K)],
        [False, True],
    ),
    "a name that is read before it is bound again": (
        [("x = 1\n1 / 0", F), ("x = x + 1", K)],
        [True, True],
    ),
    "a name that may be bound again": (
        [("x = 1\n1 / 0", F), ("if y: x = 2", K), ("x", K)],
        [True, True, True],
    ),
    "a name that only a failure binds again": (
        [("x = 1\n1 / 0", F), ("y = 1 / 0\nx = 2", F), ("x, y", K)],
        [True, True, True],
    ),
    "an import that is done again": (
        [("import json\n1 / 0", F), ("import json\njson", K)],
        [False, True],
    ),
    "a module that is imported again but was changed": (
        [("import random\nrandom.seed(1)\n1 / 0", F), ("import random\nrandom.random()", K)],
        [True, True],
    ),
    "a submodule of a package that is imported again": (
        [("import os.path\n1 / 0", F), ("import os\nos.path.sep", K)],
        [True, True],
    ),
    "an annotated name that is bound again": (
        [("x = 1\n1 / 0", F), ("x: int = 2\nx", K)],
        [False, True],
    ),
    "read-only calls": ([("print(x.no, len(x))", F), ("x", K)], [False, True]),
    "a keyword argument that may be changed": (
        [("fill(into=rows)\n1 / 0", F), ("rows", K)],
        [True, True],
    ),
    "an argument inside a list": ([("fill([rows])\n1 / 0", F), ("rows", K)], [True, True]),
    "a loop over what it changes": (
        [("for row in rows: row['x'] = 1 / row['y']", F), ("rows", K)],
        [True, True],
    ),
    "another name for what it changes": (
        [("a = b = []", K), ("a.append(1)\n1 / 0", F), ("b", K)],
        [True, True, True],
    ),
    "a part of what it changes": (
        [("rows = data['rows']", K), ("rows[0] = 1\n1 / 0", F), ("data", K)],
        [True, True, True],
    ),
    "a function that reads it": (
        [("def f(): return x", K), ("x = 1\n1 / 0", F), ("f()", K)],
        [True, True, True],
    ),
    "a function that changes it": (
        [("def f():\n    global x\n    x = 1", K), ("f()\n1 / 0", F), ("x", K)],
        [True, True, True],
    ),
    "an object whose class reads it": (
        [("class C:\n    def m(self): return x\no = C()", K), ("x = 1\n1 / 0", F), ("o.m()", K)],
        [True, True, True],
    ),
    "a lambda that reads it": (
        [("f = lambda: x", K), ("x = 1\n1 / 0", F), ("f()", K)],
        [True, True, True],
    ),
    "another name by annotation": (
        [("a = []\nb: list = a", K), ("b.append(1)\n1 / 0", F), ("a", K)],
        [True, True, True],
    ),
    "an object that another one was given": (
        [("outer.append(l)", K), ("l.append(1)\n1 / 0", F), ("outer", K)],
        [True, True, True],
    ),
    "an object that another one was extended by": (
        [("b += [a]", K), ("a.append(1)\n1 / 0", F), ("b", K)],
        [True, True, True],
    ),
    "a part that a pattern took": (
        [("match a:\n    case [b]: pass", K), ("b.append(1)\n1 / 0", F), ("a", K)],
        [True, True, True],
    ),
    "a generator that was drained": (
        [("g = (i for i in y)", K), ("[*g]\n1 / 0", F), ("list(g)", K)],
        [True, True, True],
    ),
    "an annotated lambda that reads it": (
        [("f: F = lambda: x", K), ("x = 1\n1 / 0", F), ("f()", K)],
        [True, True, True],
    ),
    "a query that names it": ([("x = 1\n1 / 0", F), ("d.query('a > @x')", K)], [True, True]),
    "SQL that names it": ([("x = 1\n1 / 0", F), ("sql(query='from x')", K)], [True, True]),
    "words that are only printed": ([("x = 1\n1 / 0", F), ("print('x')", K)], [False, True]),
    "all names at once, and a change through a function": (
        [("l = []\ndef h(): l.append(1)", K), ("h()\n1 / 0", F), ("globals()['l']", K)],
        [True, True, True],
    ),
    "all names at once": ([("x = 1\n1 / 0", F), ("globals()['x']", K)], [True, True]),
    "the list of names": ([("x = 1\n1 / 0", F), ("dir()", K)], [True, True]),
    "a list of another's names": ([("x = 1\n1 / 0", F), ("dir(y)", K)], [False, True]),
    "code in quotes with an odd escape": (
        [("x = '\\d'\n1 / 0", F), ("x", K)],
        [True, True],
    ),
    "exec": ([("exec('x = 1')\n1 / 0", F), ("x", K)], [True, True]),
    "a capture in a pattern": (
        [("match p:\n    case {'a': 1, **rest}: 1 / 0", F), ("rest", K)],
        [True, True],
    ),
    "a timed statement": ([("%time x = 1\n1 / 0", F), ("x", K)], [True, True]),
    "a name in a magic": ([("x = 1\n1 / 0", F), ("%timeit x", K)], [True, True]),
    "a name in a command": ([("x = 1\n1 / 0", F), ("!echo {x}", K)], [True, True]),
    "a magic that runs a file": ([("%run a.py\n1 / 0", F), ("x", K)], [True, True]),
    "what may have failed unseen": (
        [("x = y = 1\n1 / 0", F), ("%%capture y\nx = y.no", K), ("x", K)],
        [True, True, True],
    ),
    "what it captured": ([("%%capture out\n1 / 0", F), ("out.show()", K)], [True, True]),
    "a remainder at the start of a line": (
        [("x = (a\n    % b)\n1 / 0", F), ("x", K)],
        [True, True],
    ),
    "the same below a magic": ([("%pwd\nx = (a\n  % b)\n1 / 0", F), ("x", K)], [True, True]),
    "a magic in a string": ([('x = """\n%d\n!s"""\n1 / 0', F), ("x", K)], [True, True]),
    "later code that does not parse here": (
        [("x = 1\n1 / 0", F), ("y = 1\n1 / 0", F), ("type X = = x", K)],
        [True, False, True],
    ),
    "an import": ([("import numpy as np\nnp.no", F), ("np.zeros(1)", K)], [True, True]),
    "a submodule": ([("import os.path\n1 / 0", F), ("os.sep", K)], [True, True]),
    "a function": ([("def f(): pass\n1 / 0", F), ("f()", K)], [True, True]),
    "an item": ([("d['a'] = 1\n1 / 0", F), ("d", K)], [True, True]),
    "an attribute": ([("a.b.c = 1\n1 / 0", F), ("a", K)], [True, True]),
    "a method that may change": ([("rows.append(1)\n1 / 0", F), ("rows", K)], [True, True]),
    "an argument that may be changed": ([("fill(rows)\n1 / 0", F), ("rows", K)], [True, True]),
    "an augmented assignment": ([("n += 1\n1 / 0", F), ("n", K)], [True, True]),
    "an augmented assignment later": ([("n = 1\n1 / 0", F), ("n += 1", K)], [True, True]),
    "a deletion": ([("del x\n1 / 0", F), ("x", K)], [True, True]),
    "a star": ([("from math import *\n1 / 0", F), ("pi", K)], [True, True]),
    "a walrus": ([("(y := 1) / 0", F), ("y", K)], [True, True]),
    "a loop variable": ([("for i in range(3): 1 / 0", F), ("i", K)], [True, True]),
    "with ... as": ([("with open('f') as g: 1 / 0", F), ("g", K)], [True, True]),
    "through another failure": (
        [("x = 1\n1 / 0", F), ("y = x\n1 / 0", F), ("y", K)],
        [True, True, True],
    ),
    "only for a failure that nobody needs": (
        [("x = 1\n1 / 0", F), ("x / 0", F)],
        [False, False],
    ),
    "code that only a newer Python reads": ([("x: = 1\n1 / 0", F), ("x", K)], [True, True]),
    "a function that only a newer Python reads": (
        [("def f: = x", K), ("x = 1\n1 / 0", F), ("f()", K)],
        [True, True, True],
    ),
    "code as a prompt shows it": ([(">>> x = 1\n>>> 1 / 0", F), ("x", K)], [True, True]),
    "before, not after": ([("x", K), ("x = 1\n1 / 0", F)], [True, False]),
    "magics around": (
        [("%matplotlib inline\n!ls\nx = 1\n1 / 0", F), ("%%time\nx", K)],
        [True, True],
    ),
    "an assignment by magic": ([("files = !ls\n1 / 0", F), ("files", K)], [True, True]),
    "top-level await": ([("x = await f()\n1 / 0", F), ("x", K)], [True, True]),
    "another language": ([("%%bash\nx=1; false", F), ("x = 2", K)], [False, True]),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_what_is_needed(name: str) -> None:
    cells, expected = SESSIONS[name]
    verdicts = needed([Cell(source=source, failed=failed) for source, failed in cells])
    assert [verdict.keep for verdict in verdicts] == expected


def told(**kinds: str) -> Told:
    return Told(kinds=kinds)


PANDAS = "import pandas as pd, numpy as np\ndf, t = make()"
FRAME = told(pd="module", np="module", df="DataFrame", t="Series")

TOLD: dict[str, tuple[list[tuple[str, bool, Told | None]], list[bool]]] = {
    "a name that was not bound after all": (
        [("y = 1", K, told(y="int")), ("x = f(1)", F, told()), ("x", K, told())],
        [True, False, True],
    ),
    "a name that was bound to what it stood for": (
        [("x = 1", K, told(x="int")), ("x = f(1)", F, told()), ("x", K, told())],
        [True, False, True],
    ),
    "a name that was bound to a list that may have changed": (
        [("x = [1]", K, told(x="list")), ("x = f(1)", F, told()), ("x", K, told())],
        [True, True, True],
    ),
    "a module that was imported again": (
        [("import m", K, told(m="module")), ("import m\n1 / 0", F, told()), ("m", K, told())],
        [True, False, True],
    ),
    "a list that the kernel saw change": (
        [("x = [1]", K, told(x="list")), ("f()", F, told(x="list")), ("x", K, told())],
        [True, True, True],
    ),
    "a name that may stand for another object at the same address": (
        [("x = 1", K, told(x="int")), ("x = f(1); x = f(2)", F, told()), ("x", K, told())],
        [True, True, True],
    ),
    "names that no kernel tells of": (
        [("y = 1", K, told(y="int")), ("_x = f(1)", F, told()), ("_x", K, told())],
        [True, True, True],
    ),
    "a name that only the kernel saw": (
        [("y = 1", K, told(y="int")), ("f(1)", F, told(x="int")), ("x", K, told())],
        [True, True, True],
    ),
    "a kernel that tells nothing": (
        [("y = 1", K, None), ("x = f(1)", F, None), ("x", K, None)],
        [True, True, True],
    ),
    "a column that is not there": (
        [(PANDAS, K, FRAME), ("df.groupby('no').a.mean()[t > 1]", F, told()), ("df, t", K, None)],
        [True, False, True],
    ),
    "a method that changes its frame": (
        [(PANDAS, K, FRAME), ("df.insert(0, 'a', t)", F, told()), ("df", K, None)],
        [True, True, True],
    ),
    "a method that is asked to change its frame": (
        [(PANDAS, K, FRAME), ("df.a.fillna(0, inplace=True)", F, told()), ("df", K, None)],
        [True, True, True],
    ),
    "a frame's part that is changed": (
        [(PANDAS, K, FRAME), ("df.a.values.sort()", F, told()), ("df", K, None)],
        [True, True, True],
    ),
    "a function of pandas": (
        [(PANDAS, K, FRAME), ("pd.concat([df, t.head()]).no", F, told()), ("pd, df", K, None)],
        [True, False, True],
    ),
    "an option of pandas": (
        [(PANDAS, K, FRAME), ("pd.set_option('no', 1)", F, told()), ("pd", K, None)],
        [True, True, True],
    ),
    "a function that draws numbers": (
        [(PANDAS, K, FRAME), ("np.random.rand(3)[7]", F, told()), ("np.random.rand()", K, None)],
        [True, True, True],
    ),
    "an iterator that pandas read": (
        [
            (PANDAS, K, FRAME),
            ("i = iter(t)", K, told(i="generator")),
            ("pd.Series(i).no", F, told()),
            ("list(i)", K, None),
        ],
        [True, True, True, True],
    ),
    "a frame that went through a function of the session": (
        [
            ("def make():\n    return x\ndf = make()", K, told(df="DataFrame")),
            ("df['no']", F, told()),
            ("df", K, None),
        ],
        [True, False, True],
    ),
    "a class of the session with a known name": (
        [
            ("class Series: pass\ns = Series()", K, told(s="Series")),
            ("s.head()", F, told()),
            ("s", K, None),
        ],
        [True, True, True],
    ),
    "a list that is read": (
        [("l = []", K, told(l="list")), ("l.index(len(l))", F, told()), ("l", K, None)],
        [True, False, True],
    ),
    "what a list holds": (
        [("l = []", K, told(l="list")), ("l[0].append(1 / 0)", F, told()), ("l", K, None)],
        [True, True, True],
    ),
    "what a dictionary hands out": (
        [("d = {}", K, told(d="dict")), ("for x in d.get('a'): x.no", F, told()), ("d", K, None)],
        [True, True, True],
    ),
    "an argument of the same name": (
        [("s = ''", K, told(s="str")), ("f(lambda s: s.grow())", F, told()), ("s", K, None)],
        [True, True, True],
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_the_kernel_told_is_heeded(name: str) -> None:
    cells, expected = TOLD[name]
    verdicts = needed(
        [Cell(source=source, failed=failed, told=told) for source, failed, told in cells]
    )
    assert [verdict.keep for verdict in verdicts] == expected


def test_nothing_below_the_line_that_raised_has_run() -> None:
    failed = Cell(source="x = 1\n1 / 0; y = 1\nz = 1", failed=True, line=2)
    assert needed([failed, Cell(source="z")])[0] == Verdict(keep=False)
    assert needed([failed, Cell(source="y, z")])[0] == Verdict(keep=True, names=("y",))


@pytest.mark.parametrize("source", ["Out[2]", "_2", "In[1]", "print(_i2)", "a b _2"])
def test_who_counts_cells_needs_them_all(source: str) -> None:
    cells = [Cell(source="1 / 0", failed=True), Cell(source=source)]
    assert needed(cells)[0].keep
    assert counts_cells(source)


@pytest.mark.parametrize("source", ["print('In the end')", "_", "x_2"])
def test_words_are_no_counts(source: str) -> None:
    assert not counts_cells(source)
    assert not needed([Cell(source="1 / 0", failed=True), Cell(source=source)])[0].keep


def test_who_works_elsewhere_is_needed_by_all_that_follow() -> None:
    moved = Cell(source="import os\nos.chdir('a')\n1 / 0", failed=True, moved=True)
    assert needed([moved, Cell(source="1")])[0].keep
    assert not needed([moved])[0].keep


def test_a_path_for_imports_is_needed_by_imports() -> None:
    failed = Cell(source="import sys\nsys.path.append('a')\nimport no", failed=True)
    assert needed([failed, Cell(source="import ours")])[0].keep
    assert not needed([Cell(source="import sys\nno", failed=True), Cell(source="import ours")])[
        0
    ].keep


LOADED = (
    "import time\n# Load\nrows = [1]\nfor row in rows:\n    total = row\n    time.sleep(9)\nx = 1"
)


@pytest.mark.parametrize(
    ("line", "later", "verdict"),
    [
        (6, "rows", Verdict(keep=False, ended="import time\n# Load\nrows = [1]")),
        (6, "rows, total", Verdict(
            keep=False, names=("total",), ended="import time\n# Load\nrows = [1]"
        )),
        (6, "total", Verdict(keep=False, names=("total",))),
        (6, "x", Verdict(keep=False)),
        (1, "rows", Verdict(keep=False)),
        (0, "rows, x", Verdict(keep=False, names=("rows", "x"))),
    ],
)  # fmt: skip
def test_what_had_ended_of_what_was_stopped_runs_again_where_it_is_needed(
    line: int, later: str, verdict: Verdict
) -> None:
    ran = told(time="module", rows="list", row="int", total="int") if line == 6 else None
    stopped = Cell(source=LOADED, stopped=True, line=line, told=ran)
    assert needed([stopped, Cell(source=later)])[0] == verdict


def test_what_runs_again_of_a_stopped_cell_needs_what_it_needed() -> None:
    cells = [
        Cell(source="a = 1\n1 / 0", failed=True, line=2),
        Cell(source="@f\ndef g(): pass\nb = a\n@h\ndef wait(): pass", stopped=True, line=4),
        Cell(source="b"),
    ]
    first, second, _ = needed(cells)
    assert first.keep
    assert second.ended == "@f\ndef g(): pass\nb = a"


def test_a_list_that_the_part_that_runs_again_changed_is_not_missed() -> None:
    cells = [
        Cell(source="l = []", told=told(l="list")),
        Cell(source="l.append(1)\nwait()", stopped=True, line=2, told=told(l="list")),
        Cell(source="l"),
    ]
    assert needed(cells)[1] == Verdict(keep=False, ended="l.append(1)")


def test_lines_that_a_magic_takes_are_not_counted() -> None:
    stopped = Cell(source="!a \\\n  b\nx = 1\nwait()", stopped=True, line=3)
    assert needed([stopped, Cell(source="x")])[0] == Verdict(keep=False, names=("x",))


def test_what_was_stopped_is_left_out_and_the_names_that_are_missed_are_told() -> None:
    stopped = Cell(source="a = b = 1\nl.append(1)\nwhile True: pass", stopped=True)
    assert needed([stopped, Cell(source="print(a, l)")]) == [
        Verdict(keep=False, names=("a", "l")),
        Verdict(keep=True),
    ]


def test_what_the_kernel_could_not_parse_has_done_nothing() -> None:
    broken = Cell(source="x = (", failed=True, broken=True)
    assert needed([broken, Cell(source="x")]) == [Verdict(keep=False), Verdict(keep=True)]


def test_what_raised_a_syntax_error_later_counts_as_any_failure() -> None:
    broken = Cell(source="x = 1\neval('(')", failed=True, broken=True)
    assert needed([broken, Cell(source="x")])[0].keep


def test_a_long_run_of_blanks_is_read_in_linear_time() -> None:
    assert plain_python("a" + " " * 1_000_000 + "\n%pwd").endswith("\n_(pwd)")


def test_a_deep_expression_is_read() -> None:
    tree = parsed("x = a" + ".b" * 800)
    assert tree is not None
    assert names_of(tree.body).aliases == (frozenset({"x", "a"}),)


@pytest.mark.parametrize("source", ["x = (", "\0", "def", "x = 1 +", "\ud800 = 1"])
def test_what_does_not_parse_has_no_names(source: str) -> None:
    assert parsed(source) is None


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("x.y??", "_(x, y)"),
        ("  ?x", "  _(x)"),
        ("a, b = %sx ls", "a, b = _(ls, sx)"),
        ("files = !ls {folder}", "files = _(folder, ls)"),
        ("!ls \\\n  -a", "_(a, ls)"),
        ("%time", "pass"),
        ("%time f(x)", "f(x)"),
        ("    %run a.py", "    from _ import *"),
        ("%%capture out\nx = 1", "out = None\nx = 1"),
        ("%%capture --no-stderr out\nx = 1", "out = None\nx = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("\n%%html\n<b>", "_(b, html)"),
        ("%%", "_()"),
        ("x = 'a?'", "x = 'a?'"),
        ("!= b", "!= b"),
        ("", ""),
    ],
)
def test_ipython_syntax_becomes_python(source: str, plain: str) -> None:
    assert plain_python(source) == plain


NAMES = st.sampled_from("abc")
LISTS = st.sampled_from(["l", "m", "n"])
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, st.integers(0, 9)),
    st.builds("{} = {} + 1".format, NAMES, NAMES),
    st.builds("{} += 1".format, NAMES),
    st.builds("{}.append({})".format, LISTS, NAMES),
    st.builds("{} = {}".format, LISTS, LISTS),
    st.builds("{} = [{}]".format, LISTS, LISTS),
    st.builds("{} = len({})".format, NAMES, LISTS),
    st.builds("{}.append({})".format, LISTS, LISTS),
    st.builds("{} += [{}]".format, LISTS, LISTS),
    st.builds("{}: list = {}".format, LISTS, LISTS),
    st.builds("{} = (i for i in {})".format, NAMES, LISTS),
    st.builds("{} = [*{}]".format, LISTS, NAMES),
    st.builds("match {}:\n    case [{}, *_]: pass".format, LISTS, LISTS),
    st.builds("{} = eval('{}')".format, NAMES, NAMES),
    st.builds("{} = globals()['{}']".format, NAMES, NAMES),
    st.builds("{}[0].append({})".format, LISTS, NAMES),
    st.builds("{} += [1]".format, LISTS),
    st.builds("del {}".format, NAMES),
    st.builds("def {}f(): return {}".format, NAMES, NAMES),
    st.builds("def {0}f():\n    global {1}\n    {1} = {2}".format, NAMES, NAMES, NAMES),
    st.builds("def {}f(): return {}.append(0)".format, NAMES, LISTS),
    st.builds("def {}f(): return {}f".format, NAMES, NAMES),
    st.builds("{} = lambda: {}.append({})".format, NAMES, LISTS, NAMES),
    st.builds("{} = {}f()".format, NAMES, NAMES),
    st.builds("{}()".format, NAMES),
    st.builds("if {}: {} = 5".format, NAMES, NAMES),
    st.builds("for {} in {}: 1 / 0".format, NAMES, LISTS),
    st.builds("for {0} in {1}: {0}.append(1)".format, LISTS, LISTS),
    st.just("1 / 0"),
)
SESSION = st.lists(st.lists(STATEMENTS, min_size=1, max_size=4).map("\n".join), max_size=8)


def run(sources: list[str]) -> list[tuple[bool, dict[str, str]]]:
    """For each cell, whether it failed and the variables it names as they are after it."""
    variables: dict[str, object] = {"l": [], "m": [[]], "n": []}
    seen = []
    for source in sources:
        try:
            exec(source, variables)
            failed = False
        except (ZeroDivisionError, NameError, TypeError, LookupError, AttributeError):
            failed = True
        known = {name: variables[name] for name in "abclmn" if name in variables}
        words = set(re.findall(r"[a-z]+", source))
        seen.append((failed, {name: shown(known[name]) for name in words & known.keys()}))
    return seen


def shown(value: object) -> str:
    return (
        "function"
        if callable(value)
        else re.sub(r"<(function|generator) .*? at 0x\w+>", r"\1", repr(value))
    )


@given(SESSION)
def test_cells_that_ended_well_see_the_same_without_the_cells_that_are_left_out(
    sources: list[str],
) -> None:
    first = run(sources)
    cells = [
        Cell(source=source, failed=failed)
        for source, (failed, _) in zip(sources, first, strict=True)
    ]
    body = [index for index, verdict in enumerate(needed(cells)) if verdict.keep]
    again = run([sources[index] for index in body])
    for index, seen in zip(body, again, strict=True):
        assert seen[0] == first[index][0]
        if not seen[0]:
            assert seen == first[index]
