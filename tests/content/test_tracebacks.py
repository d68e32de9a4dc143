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


def told(name: str, message: str, traceback: str, own: tuple[str, ...] = ("/data",)) -> list[str]:
    error = ErrorOutput(ename=name, evalue=message, traceback=(traceback,))
    return summarise(error, own=own, home="/home/me", full=FULL).split("\n")


def test_the_error_comes_first_then_the_line_of_the_user_then_the_callers() -> None:
    assert told("JSONDecodeError", "Expecting value", CALLED) == [
        "JSONDecodeError: Expecting value",
        "  code_1a2b3c4d.py, line 3, in f: return json.loads(x)",
        "called from",
        "  code_1a2b3c4d.py, line 4: f('{')",
        f"(1 more frames, most of libraries: {FULL})",
    ]


def test_an_exception_with_a_cause_names_it_and_its_notes() -> None:
    assert told("ValueError", "bad", CHAINED) == [
        "ValueError: bad",
        "  code_1a2b3c4d.py, line 4: raise ValueError('bad') from error",
        "note: tried once",
        "note: tried twice",
        "caused by ZeroDivisionError: division by zero in code_1a2b3c4d.py, line 2: 1/0",
    ]


def test_a_recursion_is_told_by_its_ends() -> None:
    lines = told("RecursionError", "maximum recursion depth exceeded", RECURSION)
    assert len(lines) == 9
    assert lines[1] == "  code_1a2b3c4d.py, line 1000, in f: return f(n + 1)"
    assert lines[-2] == "  code_1a2b3c4d.py, line 1, in f: return f(n + 1)"
    assert lines[-1].startswith("(994 more frames")


def test_a_syntax_error_keeps_its_arrow() -> None:
    assert told("SyntaxError", "invalid syntax (code_1a2b3c4d.py, line 2)", SYNTAX) == [
        "SyntaxError: invalid syntax (code_1a2b3c4d.py, line 2)",
        "    File /data/code_1a2b3c4d.py:2",
        "      def (:",
        "          ^",
        "  SyntaxError: invalid syntax",
    ]


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
    head, *_ = told("E", "x" * 5000, "")
    assert head.endswith("[… 5,000 characters in all]")
    assert len(head) < 1600


@given(st.text(max_size=300), st.text(max_size=50), st.text(max_size=50))
def test_whatever_a_traceback_is_there_is_a_summary(text: str, name: str, message: str) -> None:
    assert told(name, message, text)


@given(st.lists(st.sampled_from(CALLED.split("\n") + CHAINED.split("\n")), max_size=30))
def test_parts_of_tracebacks_in_any_order_give_a_short_summary(lines: list[str]) -> None:
    assert len(told("E", "v", "\n".join(lines))) <= 40
