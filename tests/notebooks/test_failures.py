"""Which failed cells are needed: tables, and a property over generated sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.notebooks.failures import names_of, needed, plain_python

F, K = True, False  # failed, kept well

SESSIONS: dict[str, tuple[list[tuple[str, bool]], list[bool]]] = {
    "nothing fails": ([("x = 1", K), ("x", K)], [True, True]),
    "nobody needs it": ([("1 / 0", F), ("x = 1", K)], [False, True]),
    "a name it had assigned": ([("x = 1\n1 / 0", F), ("x", K)], [True, True]),
    "a name that was assigned again, to be safe": (
        [("x = 1\n1 / 0", F), ("x = 2\nx", K)],
        [True, True],
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
    "a syntax error": ([("x = (", F), ("x = 1", K), ("x", K)], [False, True, True]),
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
    assert needed([source for source, _ in cells], [failed for _, failed in cells]) == expected


@pytest.mark.parametrize("source", ["x = (", "\0", "def", "x = 1 +", "\ud800 = 1"])
def test_what_does_not_parse_has_no_names(source: str) -> None:
    assert names_of(source) is None


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("x?", "pass"),
        ("  ?x", "  pass"),
        ("a, b = %sx ls", "a, b = None"),
        ("%%capture out\nx = 1", "\nx = 1"),
        ("%%html\n<b>", ""),
        ("x = 'a?'", "x = 'a?'"),
    ],
)
def test_ipython_syntax_becomes_python(source: str, plain: str) -> None:
    assert plain_python(source) == plain


NAMES = st.sampled_from("abc")
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, st.integers(0, 9)),
    st.builds("{} = {} + 1".format, NAMES, NAMES),
    st.builds("{} += 1".format, NAMES),
    st.builds("l.append({})".format, NAMES),
    st.builds("def {}f(): return {}".format, NAMES, NAMES),
    st.builds("{} = {}f()".format, NAMES, NAMES),
    st.just("1 / 0"),
)
CELLS = st.lists(st.lists(STATEMENTS, min_size=1, max_size=4).map("\n".join), max_size=8)


def run(sources: list[str]) -> tuple[dict[str, object], list[bool]]:
    """The variables after running `sources`, and which of them failed."""
    variables: dict[str, object] = {"l": []}
    failed = []
    for source in sources:
        try:
            exec(source, variables)
        except (ZeroDivisionError, NameError, TypeError):
            failed.append(True)
        else:
            failed.append(False)
    return variables, failed


@given(CELLS)
def test_what_did_not_fail_runs_again_without_the_cells_that_are_left_out(
    sources: list[str],
) -> None:
    _, failed = run(sources)
    kept = needed(sources, failed)
    body = [source for source, keep in zip(sources, kept, strict=True) if keep]
    _, failed_again = run(body)
    before = [fail for fail, keep in zip(failed, kept, strict=True) if keep]
    assert failed_again == before
