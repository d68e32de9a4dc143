"""Which failed cells are needed: tables, and a property over generated sessions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.notebooks.failures import Cell, Verdict, names_of, needed
from kernel_exec.notebooks.plain import plain_python

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
    names = names_of("x = a" + ".b" * 800)
    assert names is not None
    assert names.aliases == (frozenset({"x", "a"}),)


@pytest.mark.parametrize("source", ["x = (", "\0", "def", "x = 1 +", "\ud800 = 1"])
def test_what_does_not_parse_has_no_names(source: str) -> None:
    assert names_of(source) is None


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
