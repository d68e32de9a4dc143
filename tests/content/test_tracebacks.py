"""Tracebacks as IPython 7 to 9 print them, in the few lines that a model needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.tracebacks import summarise
from kernel_exec.kernels.outputs import ErrorOutput

RULE = "-" * 75
FULL = 'get_execution(execution_id="1", stream="error")'

LIBRARY = """
File /usr/lib/python3.12/json/__init__.py:346, in loads(s, cls, **kw)
    344     s = s.decode(detect_encoding(s), 'surrogatepass')
--> 346     return _default_decoder.decode(s)
    347 if cls is None:
"""
CALLED = f"""{RULE}
JSONDecodeError                           Traceback (most recent call last)
File /data/code_1a2b3c4d.py:4
      1 import json
      2 def f(x):
      3     return json.loads(x)
----> 4 f('{{')

File /data/code_1a2b3c4d.py:3, in f(x)
      2 def f(x):
----> 3     return json.loads(x)
{LIBRARY}
JSONDecodeError: Expecting value"""

CHAINED = f"""{RULE}
ZeroDivisionError                         Traceback (most recent call last)
File /data/code_1a2b3c4d.py:2
      1 try:
----> 2     1/0

ZeroDivisionError: division by zero

The above exception was the direct cause of the following exception:

ValueError                                Traceback (most recent call last)
File /data/code_1a2b3c4d.py:4
----> 4     raise ValueError('bad') from error

ValueError: bad
tried once
tried twice"""

RECURSION = f"{RULE}\nRecursionError      Traceback (most recent call last)\n" + "".join(
    f"File /data/code_1a2b3c4d.py:{line}, in f(n)\n----> {line}     return f(n + 1)\n\n"
    for line in range(1, 1001)
)

SYNTAX = """  File /data/code_1a2b3c4d.py:2
    def (:
        ^
SyntaxError: invalid syntax"""

OLD = f"""{RULE}
NameError                                 Traceback (most recent call last)
/data/code_1a2b3c4d.py in f(x)
      1 def f(x):
----> 2     return y

NameError: name 'y' is not defined"""

CELL = f"""{RULE}
NameError                                 Traceback (most recent call last)
Cell In[2], line 1
----> 1 x

NameError: name 'x' is not defined"""


IMPORTED = """Traceback (most recent call last):

  File /usr/lib/python3.12/site-packages/IPython/core/interactiveshell.py:3823 in run_code
    exec(code_obj, self.user_global_ns, self.user_ns)

  File /data/code_1a2b3c4d.py:1
    import a

  File /data/a.py:1
    import b

  File /data/b.py:2
    def f(:
          ^
SyntaxError: invalid syntax"""

REMOTE = """RemoteTraceback                           Traceback (most recent call last)
RemoteTraceback:
\"\"\"
Traceback (most recent call last):
  File "/usr/lib/python3.12/multiprocessing/pool.py", line 125, in worker
    result = (True, func(*args, **kwds))
                    ^^^^^^^^^^^^^^^^^^^
  File "/data/code_1a2b3c4d.py", line 2, in work
    def work(x): return 1 / x
                        ~~^~~
ZeroDivisionError: division by zero
\"\"\"

The above exception was the direct cause of the following exception:

ZeroDivisionError                         Traceback (most recent call last)
File /data/code_1a2b3c4d.py:3
----> 3 pool.map(work, [1, 0])

File /usr/lib/python3.12/multiprocessing/pool.py:367, in Pool.map(self, func)
--> 367     return self._map_async(func).get()

ZeroDivisionError: division by zero"""

GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/data/code_1a2b3c4d.py", line 5, in <module>
  |     async with TaskGroup() as group:
  |   File "/usr/lib/python3.12/asyncio/taskgroups.py", line 145, in __aexit__
  |     raise me from None
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/data/code_1a2b3c4d.py", line 4, in bad
    |     raise ValueError(1)
    | ValueError: 1
    +---------------- 2 ----------------
    | KeyError: 'k'
    +------------------------------------"""


def told(name: str, message: str, traceback: str, own: tuple[str, ...] = ("/data",)) -> list[str]:
    error = ErrorOutput(ename=name, evalue=message, traceback=(traceback,))
    return summarise(error, own=own, home="/home/me", full=FULL).split("\n")


def test_the_error_comes_first_then_the_line_of_the_user_then_the_callers() -> None:
    assert told("JSONDecodeError", "Expecting value", CALLED) == [
        "JSONDecodeError: Expecting value",
        "  code_1a2b3c4d.py, line 3, in f: return json.loads(x)",
        "called from",
        "  code_1a2b3c4d.py, line 4: f('{')",
        f"(1 more frame: {FULL})",
    ]


def test_an_exception_with_a_cause_names_it_and_its_notes() -> None:
    assert told("ValueError", "bad", CHAINED) == [
        "ValueError: bad",
        "  code_1a2b3c4d.py, line 4: raise ValueError('bad') from error",
        "note: tried once",
        "note: tried twice",
        "caused by ZeroDivisionError: division by zero in code_1a2b3c4d.py, line 2: 1/0",
    ]


def test_causes_that_say_the_same_are_told_once() -> None:
    because = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    again = CHAINED.partition(because.strip())[0].rstrip() + because + CHAINED
    assert told("ValueError", "bad", again) == told("ValueError", "bad", CHAINED)


def test_a_recursion_is_told_by_its_ends() -> None:
    lines = told("RecursionError", "maximum recursion depth exceeded", RECURSION)
    assert len(lines) == 10
    assert lines[1] == "  code_1a2b3c4d.py, line 1000, in f: return f(n + 1)"
    assert lines[-4:-1] == [
        "  …",
        "  code_1a2b3c4d.py, line 2, in f: return f(n + 1)",
        "  code_1a2b3c4d.py, line 1, in f: return f(n + 1)",
    ]
    assert lines[-1] == f"(994 more frames: {FULL})"


def test_a_syntax_error_keeps_its_arrow() -> None:
    message = "invalid syntax (code_1a2b3c4d.py, line 2)"
    assert told("SyntaxError", message, SYNTAX) == [
        f"SyntaxError: {message}",
        "  def (:",
        "      ^",
    ]


def test_a_syntax_error_in_a_module_shows_who_imports_it() -> None:
    lines = IMPORTED.splitlines()
    assert told("SyntaxError", "invalid syntax (b.py, line 2)", "\n".join(lines)) == [
        "SyntaxError: invalid syntax (b.py, line 2)",
        "  def f(:",
        "        ^",
        "called from",
        "  a.py, line 1: import b",
        "  code_1a2b3c4d.py, line 1: import a",
        f"(1 more frame: {FULL})",
    ]


def test_an_error_of_another_process_names_the_line_there() -> None:
    assert told("ZeroDivisionError", "division by zero", REMOTE) == [
        "ZeroDivisionError: division by zero",
        "  code_1a2b3c4d.py, line 3: pool.map(work, [1, 0])",
        "in another process: code_1a2b3c4d.py, line 2, in work: def work(x): return 1 / x",
        f"(1 more frame: {FULL})",
    ]


def test_a_group_shows_each_of_its_exceptions_with_own_frames() -> None:
    assert told("ExceptionGroup", "two (2 sub-exceptions)", GROUP) == [
        "ExceptionGroup: two (2 sub-exceptions)",
        "  | code_1a2b3c4d.py, line 5: async with TaskGroup() as group:",
        "  +-+---------------- 1 ----------------",
        "    | code_1a2b3c4d.py, line 4, in bad: raise ValueError(1)",
        "    | ValueError: 1",
        "    +---------------- 2 ----------------",
        "    | KeyError: 'k'",
        f"(1 more frame: {FULL})",
    ]


def test_a_group_as_a_cause_is_named() -> None:
    because = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    assert told("NameError", "name 'x' is not defined", GROUP + because + CELL)[2] == (
        "caused by ExceptionGroup: two (2 sub-exceptions)"
        " in code_1a2b3c4d.py, line 4, in bad: raise ValueError(1)"
    )


def test_code_that_code_has_made_is_the_users() -> None:
    made = """File <string>:2, in g()
      1 'Could not get source, probably due dynamically evaluated source code.'
ZeroDivisionError: division by zero"""
    assert told("ZeroDivisionError", "division by zero", CELL.partition("\n\n")[0] + f"\n\n{made}")[
        1:4
    ] == [
        "  <string>, line 2, in g",
        "called from",
        "  In[2], line 1: x",
    ]


def test_frames_that_ipython_left_out_are_counted() -> None:
    skipped = "\n    [... skipping similar frames: f at line 1 (970 times)]\n\n"
    assert told("E", "v", CELL + skipped + CALLED)[-1] == f"(971 more frames: {FULL})"


def test_a_cause_that_says_the_same_is_left_out() -> None:
    library = f"KeyError      Traceback (most recent call last){LIBRARY}\nKeyError: 'b'\n\n"
    because = "The above exception was the direct cause of the following exception:\n\n"
    text = library + because + CELL
    assert told("KeyError", "'b'", text) == ["KeyError: 'b'", "  In[2], line 1: x"]


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        (OLD, "  code_1a2b3c4d.py, line 2, in f: return y"),
        (CELL, "  In[2], line 1: x"),
    ],
    ids=["IPython 7", "a cell without a file"],
)
def test_other_forms_of_frames_are_known(traceback: str, line: str) -> None:
    assert told("NameError", "name is not defined", traceback)[1] == line


@pytest.mark.parametrize(
    ("file", "own", "shown"),
    [
        ("/data/a.py", ("/data/a.py",), True),
        ("/data/a.py", ("/data/",), True),
        ("/data.old/a.py", ("/data",), False),
        ("~/a.py", ("/home/me",), True),
        ("/data/.kernel_exec/environment/lib/python3.12/site-packages/a.py", ("/data",), False),
        ("/data/a.py", ("",), False),
    ],
)
def test_own_frames_are_those_of_scripts_below_the_storage_root(
    file: str, own: tuple[str, ...], shown: bool
) -> None:
    frames = [f"File {file}:7\n----> 7 inner()", "File /usr/lib/x.py:9\n----> 9 library()"]
    lines = told("E", "v", "\n\n".join(frames), own=own)
    assert ("inner()" in lines[1]) is shown


def test_where_no_frame_is_the_users_the_last_one_is_shown() -> None:
    assert (
        told("E", "v", LIBRARY)[1]
        == "  __init__.py, line 346, in loads: return _default_decoder.decode(s)"
    )


@pytest.mark.parametrize(
    ("name", "message", "line"),
    [
        (
            "SystemExit",
            "3",
            "the code ended with SystemExit(3); the kernel and its variables are kept",
        ),
        ("StdinNotImplementedError", "input(''): no", "StdinNotImplementedError: input(''): no"),
        ("KeyboardInterrupt", "", "KeyboardInterrupt"),
        ("E", "\x1b[31mred\x1b[0m", "E: red"),
    ],
)
def test_some_errors_need_one_line(name: str, message: str, line: str) -> None:
    assert told(name, message, "") == [line]


def test_a_long_message_is_cut_with_its_length() -> None:
    head, *_ = told("E", "x" * 5000 + "end", "")
    assert "xx [… 5,003 characters in total] xx" in head
    assert head.endswith("xend")
    assert len(head) < 1600


@given(st.text(max_size=300), st.text(max_size=50), st.text(max_size=50))
def test_whatever_a_traceback_is_there_is_a_summary(text: str, name: str, message: str) -> None:
    assert told(name, message, text)


@given(st.lists(st.sampled_from(CALLED.split("\n") + CHAINED.split("\n")), max_size=30))
def test_parts_of_tracebacks_in_any_order_give_a_short_summary(lines: list[str]) -> None:
    assert len(told("E", "v", "\n".join(lines))) <= 40
