"""Any session's notebook runs again to the same variables: generated sessions, run in IPython.

Cells run in a shell of this process, and what the kernel tells of them is told as it does it:
which names have changed, by the kernel's own code, and the line that raised.
"""

import atexit
import inspect
import json
import linecache
import re
import string
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.outputs import ErrorOutput
from kernel_exec.notebooks.build import build
from kernel_exec.notebooks.cells import Step
from kernel_exec.sessions.history import Entry, EntryKind, KernelRecord, SessionRecord

NAMES = {
    "i": "abc",  # numbers, to begin with; any name may come to hold anything
    "l": "lmn",
    "d": "de",
    "f": "fgh",
    "o": "op",
    "x": "xy",
    "k": "0123",
}

STATEMENTS = [
    "{i} = {k}", "{i} = {i} + {i}", "{i} += {k}", "{i}, {i} = {i}, {k}", "{i} = len({l})",
    "del {i}", "({i} := {k})", "{i} = -{k}.5", "{i} = str({i})", "{i} = {i}.upper()",
    "{i} += 1000; {i} += 1000", "{i} = None; {i} = [{k}]", "{i}: int = {k}", "{i} = {i} = {l}",

    "{l} = [{i}, {k}]", "{l} = []", "{l} = {l}", "{l} = [{l}, {l}]", "{l} = {l}[:]", "{l}[:] = []",
    "{l}.append({i})", "{l}.append({l})", "{l}.extend([{k}])", "{l} += [{i}]", "{l}[0] = {i}",
    "{l}[0].append({k})", "{l}.sort()", "{l}.pop()", "del {l}[0]", "{l} = sorted({l})",
    "{l} = list({l})", "{l} = {l}.copy()", "{l} = [{x} for {x} in {l}]", "{l}.index({k})",
    "[{x}.append({k}) for {x} in {l}[:3]]", "{l} = [({i} := {x}) for {x} in {l}]",
    "{l} = {l} + {l}",
    "{i} = {l}.count({k})", "{i} = sum({l})", "{i} = max({l})", "{x}, *{l} = {l}",

    "{x} = iter({l})", "next({x})", "{l} = list({x})", "{l} = [*{x}]", "{i} = {k} in {x}",
    "{x} = ({x} for {x} in {l})", "{i}, {i} = {x}", "{x} = zip({l}, {l})", "print(*{x})",
    "{x} = map(str, {l})", "{i} = sorted({x})", "{d}['a'] = {x}",

    "{d} = {{'a': {i}, 'b': {l}}}", "{d}['a'] = {i}", "{d}.setdefault('c', []).append({i})",
    "{d}.get('b').append({k})", "{d}.update(b={l})", "{i} = {d}['a']", "{l} = {d}['b']",
    "{d}.pop('a')", "{d} |= {{'z': {i}}}", "{l} = list({d}.values())", "{d} = {d}",
    "{d} = dict({d})", "{i} = {d}.get('b')", "{d}['a'].append({k})",
    "for {x} in {d}.values(): {x}.append({k})",

    "def {f}({x}=0):\n    return {i}", "def {f}():\n    global {i}\n    {i} = {k}",
    "def {f}({x}):\n    {x}.append({k})\n    return {x}", "{f}({l})", "{l} = {f}({l})", "{f}()",
    "{i} = {f}()", "{f} = lambda: {l}.append({k})", "{f} = {l}.append", "{f}({k})",
    "def {f}():\n    {x} = [0]\n    def inner():\n        {x}[0] += 1\n        return {x}[0]\n"
    "    return inner\n{f} = {f}()",
    "def {f}():\n    yield from {l}\n{l} = list({f}())", "def {f}():\n    return {f}()",
    "{f} = [{f}, {l}]", "{l}.append({f})", "{f} = {f}", "def {f}({x}={l}):\n    {x}.append(1)",
    "@{f}\ndef {f}({x}):\n    return {i}",

    "class K:\n    total = []\n    def __init__(self):\n        self.v = {i}\n"
    "    def add(self, x):\n        self.total.append(x)\n        return self",
    "{o} = K()", "{o}.add({i})", "{o}.v = {k}", "{i} = {o}.v", "{l} = {o}.total", "K.total = {l}",
    "K.total.append({k})", "{i} = len(K.total)",
    "{o}.v.append({k})", "{o} = {o}", "{l} = [{o}]", "K.w = {f}", "{o}.w()", "{f} = {o}.add",
    "class K:\n    {i} = {l}.append({k})",

    "if {i}: {l}.append({k})", "for {x} in {l}[:3]:\n    {l}.append({x})\n    {i} += 1",
    "for {i} in [3, 2, 1, 0]:\n    {l}.append({k} / {i})",
    "try:\n    {i} = {k} / 0\nexcept ZeroDivisionError as {x}:\n    {l}.append('caught')",
    "try:\n    {l}.append({i} / {k})\nfinally:\n    {i} = 9",
    "match {l}:\n    case [{x}, *_]:\n        {x}.append({k})",
    "match {d}:\n    case {{'a': {i}, **{x}}}:\n        pass",
    "with memoryview(b'ab') as {x}:\n    {i} = {x}[{k}]",

    "1 / 0", "raise ValueError({l})", "no_such_name", "{l}.no_such", "assert {i} == {k}",
    "int('x')", "{i} = 1 / 0", "{l}.append(1 / 0)", "{l}.append({k}) or 1 / 0", "{i} = [1, 0][{k}]",

    "import math", "{i} = math.floor({k}.5)", "import random\nrandom.seed({k})",
    "{i} = random.random()", "from math import pi as {i}", "import math as {i}", "{i}.nothing",
    "import types\ntypes.kept = {k}", "{i} = types.kept", "{i} = globals()['{i}']",
    "exec('{i} = {k}')", "{i} = eval('{i}')", "globals()['{i}'] = {k}", "del globals()['{i}']",

    "%time {i} = {k}", "%time {l}.append({k})", "%timeit -n1 -r1 {l}.append({k})",
    "{i} = %time {k}",
]  # fmt: skip
WHOLE = ["%%time\n{}", "%%capture {x}\n{}", "\n\n  \n{}", "# note\n{}", "if True:\n    pass\n{}"]


@st.composite
def statements(draw: st.DrawFn) -> str:
    template = draw(st.sampled_from(STATEMENTS))
    parts = []
    for text, slot, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if slot is not None:
            parts.append(draw(st.sampled_from(NAMES[slot])))
    return "".join(parts)


@st.composite
def sources(draw: st.DrawFn) -> str:
    lines = "\n".join(draw(st.lists(statements(), min_size=1, max_size=4)))
    whole = draw(st.sampled_from(["{}"] * 8 + WHOLE))
    return whole.replace("{x}", "x").replace("{}", lines)


SESSION = st.lists(sources(), min_size=2, max_size=8)


_ALL = [name for group, names in NAMES.items() if group != "k" for name in names]

BEGIN = """
a, b, c = 1, 2.5, "c"
l, m, n = [], [3, 1, 2], [[4]]
d, e = {}, {"a": 5, "b": m}
class K:
    total = []
    def __init__(self):
        self.v = [a]
    def add(self, x):
        self.total.append(x)
        return self
o, p = K(), K()
def f(): return a
def g(v): v.append(0)
h = lambda: l.append(6)
x, y = iter(m), [l, n]
"""
"""A cell that binds all variables."""

_SESSION = SessionRecord(id="s" * 32, name="main", environment="venv:/e", created=0.0)
_KERNEL = KernelRecord(
    session_id=_SESSION.id,
    generation=1,
    started=1.0,
    executable="/e/bin/python",
    python_version="3.12.1",
    support="own",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    source: str
    error: ErrorOutput | None
    names: dict[str, Any]


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    config = Config()
    config.HistoryManager.enabled = False
    # in a module of its own, as this process has its own `__main__`
    make: Any = InteractiveShell
    shell = make(config=config, user_module=types.ModuleType("of_the_shell"))
    shell.showtraceback = lambda *_, **__: None
    # most of the time of a cell, and of a reset
    shell.InteractiveTB.structured_traceback = lambda *_, **__: []
    shell.displayhook.flush = lambda: None
    shell.compile.get_code_name = lambda _raw, _code, number: f"/code_{number}.py"
    yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)


def run(shell: Any, cells: Sequence[str]) -> list[Ran]:
    """Run them in a shell that knows nothing yet."""
    shell.reset(new_session=True)
    vars(types).pop("kept", None)
    there = identities(shell)
    ran = []
    for source in cells:
        own = f"/code_{shell.execution_count}.py"
        result = shell.run_cell(source, store_history=True)
        error = result.error_in_exec or result.error_before_exec
        now = identities(shell)
        told = {
            "added": {name: kind(shell, name) for name in now if name not in there},
            "changed": {
                name: kind(shell, name) for name in now if there.get(name, now[name]) != now[name]
            },
            "gone": [name for name in there if name not in now],
        }
        there = now
        ran.append(
            Ran(source=source, error=None if error is None else shown(error, own), names=told)
        )
    return ran


def identities(shell: Any) -> dict[str, int]:
    """As the kernel compares names: by the addresses of their objects."""
    return {
        name: id(value)
        for name, value in shell.user_ns.items()
        if name[:1] != "_" and name not in shell.user_ns_hidden
    }


def kind(shell: Any, name: str) -> str:
    return f"{type(shell.user_ns[name]).__name__} 7"


def shown(error: BaseException, own: str) -> ErrorOutput:
    """As IPython shows it, as far as the cell's own frames go."""
    blocks = []
    entry = error.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        if code.co_filename == own:
            within = "" if code.co_name == "<module>" else f", in {code.co_name}()"
            line = entry.tb_lineno
            text = linecache.getline(own, line).rstrip("\n")
            blocks.append(f"File {own}:{line}{within}\n----> {line} {text}\n")
        entry = entry.tb_next
    return ErrorOutput(ename=type(error).__name__, evalue="", traceback=tuple(blocks))


def exported(ran: Sequence[Ran]) -> dict[str, Any]:
    steps = []
    for number, each in enumerate(ran, start=1):
        entry = Entry(
            id=f"{number:016x}",
            session_id=_SESSION.id,
            number=number,
            kind=EntryKind.CODE,
            source=each.source,
            outcome=Outcome.OK if each.error is None else Outcome.EXCEPTION,
            generation=1,
            execution_count=number,
            queued=1.0,
            started=1.0,
            ended=2.0,
            file_path=f"/code_{number}.py",
            details={"names": each.names},
        )
        steps.append(Step(entry=entry, outputs=() if each.error is None else (each.error,)))
    notebook = build(session=_SESSION, kernels=[_KERNEL], steps=steps)
    return json.loads(json.dumps(notebook))  # type: ignore[no-any-return] # what a file would hold


def structure(variables: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    """Their values, and which parts are one object; without what differs from run to run."""
    seen: dict[int, int] = {}

    def of(value: object) -> object:
        if value is None or isinstance(value, bool | int | float | str):
            return re.sub(r"0x\w+", "", repr(value))
        if id(value) in seen:
            return f"the same as {seen[id(value)]}"
        seen[id(value)] = len(seen)
        match value:
            case list() | tuple():
                return [type(value).__name__, *map(of, value)]
            case dict():
                return {str(key): of(each) for key, each in value.items()}
            case types.FunctionType():
                cells = [cell.cell_contents for cell in value.__closure__ or ()]
                return [value.__name__, of(value.__defaults__), *map(of, cells)]
            case types.ModuleType():
                return [value.__name__, of(vars(value).get("kept"))]
            case types.MethodType():
                return [value.__name__, of(value.__self__)]
            case types.BuiltinMethodType():
                return [value.__name__, type(value.__self__).__name__]
            case _:
                pass
        if type(value).__name__ == "K":
            return ["K", of(vars(value)), of(vars(type(value)).get("total"))]
        return type(value).__name__

    return {name: of(variables[name]) for name in sorted(names) if name in variables}


def looks(names: Iterable[str]) -> str:
    """A cell that uses variables, of which each may be gone."""
    return "\n".join(f"try: {name}\nexcept NameError: pass" for name in names)


@example(["x = iter(m)", "3 in x\n1 / 0"], {"x"})
@example(["%%capture x\na = 0", "l = [l, l]\n1 / 0", "%%capture x\nl = [*x]"], {"l"})
@example(["b = 5000", "b = b + 1000; b = b + 1000\n1 / 0"], {"b"})
@given(SESSION, st.sets(st.sampled_from(_ALL), min_size=1))
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
def test_the_notebook_of_any_session_leaves_the_same_variables(
    shell: Any, cells: list[str], used: set[str]
) -> None:
    first = run(shell, [BEGIN, *cells, looks(sorted(used))])
    variables = structure(shell.user_ns, used)
    code = [cell for cell in exported(first)["cells"] if cell["cell_type"] == "code"]
    again = run(shell, [cell["source"] for cell in code])
    assert [each.source for each in again if each.error is not None] == may_raise(code)
    assert structure(shell.user_ns, used) == variables


def may_raise(code: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        cell["source"] for cell in code if "raises-exception" in cell["metadata"].get("tags", [])
    ]


@pytest.mark.kernel
@given(SESSION)
@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=3,
    phases=[Phase.generate],
)
def test_nbclient_leaves_the_same_variables(shell: Any, cells: list[str]) -> None:
    first = run(shell, [BEGIN, *cells, looks(_ALL)])
    variables = structure(shell.user_ns, _ALL)
    writer: Any = nbformat
    notebook = writer.from_dict(exported(first))
    tell = f"import json, re, types\n{inspect.getsource(structure)}\n"
    tell += f"print(json.dumps(structure(globals(), {_ALL})))"
    notebook.cells.append(
        writer.v4.new_code_cell(
            tell.replace("Mapping[str, object]", "dict").replace("Iterable[str]", "list")
        )
    )
    NotebookClient(notebook, timeout=60).execute()
    assert json.loads(notebook.cells[-1].outputs[-1].text) == variables
