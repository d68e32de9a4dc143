"""Which outputs a result shows."""

from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.content.items import RenderContext
from kernel_exec.content.lines import Texts
from kernel_exec.content.news import marks, new, once
from kernel_exec.content.render import render
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream
from tests.notebooks.steps import entry

RUNNING = replace(entry("x", id="5f3a"), outcome=Outcome.RUNNING, ended=None, execution_count=1)
WARNING = "/a.py:3: UserWarning: careful\n  warnings.warn('careful')\n"


def out(text: str, path: str | None = None) -> Stream:
    return Stream(name="stdout", text=text, path=path)


def err(text: str) -> Stream:
    return Stream(name="stderr", text=text)


def shows(text: str) -> DisplayData:
    return DisplayData(data={"text/plain": text}, metadata={})


def polled(before: list[Output], after: list[Output]) -> str:
    """What a second look shows, without its status line."""
    seen = render(RUNNING, before, RenderContext()).seen
    shown = render(RUNNING, after, RenderContext(seen=seen, followed=True)).texts
    return "".join(shown[:-1])


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ([], [out("a\n")], "a\n"),
        ([out("a\n")], [out("a\n")], ""),
        ([out("a\nb\n")], [out("a\nb\nc\n")], "[continued from line 3]\nc\n"),
        (
            [out("a\nb")],  # a line that goes on is shown again
            [out("a\nb c\n")],
            "[continued from line 2]\nb c\n",
        ),
        ([out("10 %")], [out("99 %")], "99 %\n"),
        (
            [out("a\n"), shows("x")],
            [out("a\n"), shows("x"), out("b\n")],
            "[continued from line 4]\nb\n",
        ),
        ([shows("x"), out("a\n")], [shows("y"), out("a\n")], "y\n"),  # changed in its place
        ([out("a\nb\n"), shows("x")], [out("c\n")], "c\n"),  # cleared
        (
            [err("10 %"), out("a\n")],
            [err("20 %"), out("a\nb\n")],
            "[stderr]\n20 %\n[stdout]\nb\n",
        ),
    ],
)
def test_a_second_look_shows_what_is_new(
    before: list[Output], after: list[Output], shown: str
) -> None:
    assert polled(before, after) == shown


def test_a_second_look_at_a_text_that_goes_on_in_a_file_shows_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "spilled"
    path.write_text("a\nb\n")
    seen = marks([out("a\n", str(path))], Texts())
    assert not new([out("a\n", str(path))], seen, Texts())
    path.write_text("a\nb\nc\n")
    after: list[Output] = [out("a\n", str(path))]
    shown = render(RUNNING, after, RenderContext(seen=seen, followed=True)).texts[0]
    assert "c\n" in shown
    assert "offset=1)" in shown


def test_the_end_shows_the_rest_and_all_of_it_in_the_fields() -> None:
    seen = render(RUNNING, [out("a\n")], RenderContext()).seen
    ended = replace(RUNNING, outcome=Outcome.OK, ended=2.0)
    rendered = render(ended, [out("a\nb\n")], RenderContext(seen=seen, followed=True))
    assert rendered.texts[0] == "[continued from line 2]\nb\n"
    assert rendered.meta["output"] == "a\nb\n"
    assert rendered.seen == ()


def test_a_second_look_without_news_is_one_line() -> None:
    seen = render(RUNNING, [out("a\n")], RenderContext(now=10.0)).seen
    rendered = render(RUNNING, [out("a\n")], RenderContext(seen=seen, followed=True, now=11.0))
    (line,) = rendered.texts
    assert line == "[running for 10 s · nothing new · step 1 · id 5f3a]\n"


def test_a_picture_is_shown_at_the_first_look_that_finds_it() -> None:
    plots = [DisplayData(data={"image/png": name}, metadata={}) for name in "abc"]
    first = render(RUNNING, plots[:1], RenderContext())
    second = render(RUNNING, plots[:2], RenderContext(seen=first.seen, followed=True))
    assert [each.data for each in second.pictures] == ["b"]
    assert "[picture 2 of 2]\n" in second.texts[0]
    assert second.meta["images"] == {"shown": 1, "total": 2}


# Repetitions


def body(*outputs: Output) -> str:
    return "".join(render(RUNNING, outputs, RenderContext()).texts[:-1])


def test_a_figure_that_is_shown_and_returned_is_one_picture() -> None:
    returned = ExecuteResult(data={"image/png": "a"}, metadata={}, execution_count=1)
    rendered = render(
        RUNNING, [returned, DisplayData(data={"image/png": "a"}, metadata={})], RenderContext()
    )
    assert len(rendered.pictures) == 1
    assert rendered.texts[0] == "[picture 1 of 1]\n"


def test_a_warning_between_prints_is_shown_once_with_its_count() -> None:
    turns = [each for _ in range(40) for each in (err(WARNING), out("retrying\n"))]
    assert body(*turns) == (
        "[stderr]\na.py:3: UserWarning: careful [40 times]\n  warnings.warn('careful')\n"
        "[stdout]\nretrying [40 times]\n"
    )


def test_a_warning_of_several_lines_is_shown_once() -> None:
    message = "/a.py:3: ConvergenceWarning: no end\nSTOP: limit\n\nRead:\n    https://a\n"
    warning = f"{message}  n = check()\n"
    assert body(err(warning * 3)) == (
        "[stderr]\na.py:3: ConvergenceWarning: no end [3 times]\nSTOP: limit\n\nRead:\n"
        "    https://a\n  n = check()\n"
    )
    other = warning.replace("limit", "time")
    assert body(err(warning + other)) == f"[stderr]\n{(warning + other).replace('/a.py', 'a.py')}"


def test_what_follows_a_warning_without_its_code_is_kept() -> None:
    said = "/a.py:3: UserWarning: careful\nmore\n" * 2 + "a\nb\n"
    assert body(err(said)) == "[stderr]\na.py:3: UserWarning: careful [2 times]\nmore\nmore\na\nb\n"


def test_a_warning_names_its_file_without_the_folder() -> None:
    library = "/v/lib/python3/site-packages/lib/mod.py:46: FutureWarning: soon\n"
    said = f"/data/cells/code_1.py:3: UserWarning: /a/b:1: careful\n{library}/a/b: no warning\n"
    assert body(err(said)) == (
        "[stderr]\ncode_1.py:3: UserWarning: /a/b:1: careful\n"
        "lib/mod.py:46: FutureWarning: soon\n/a/b: no warning\n"
    )
    assert body(out(library)) == library


def test_a_text_that_goes_on_in_a_file_is_not_joined_to_another(tmp_path: Path) -> None:
    path = tmp_path / "spilled"
    path.write_text("a\nz\n")
    shown = body(err(WARNING), out("1\n"), err(WARNING), out("a\n", str(path)))
    assert str(path) in shown
    assert shown.endswith("\nz\n")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("retrying\n" * 3, "retrying [3 times]\n"),
        ("0\n0\n1\n", "0\n0\n1\n"),  # the count would be longer
        ("a b c d e f g\nx\n" * 2, "a b c d e f g\nx\n" * 2),
        ("a\n" + "\n" * 40 + "b\n", "a\n" + "\n" * 40 + "b\n"),
    ],
)
def test_a_line_that_is_repeated_at_once_is_counted(written: str, shown: str) -> None:
    assert body(out(written)) == shown


TRACEBACK = 'Traceback (most recent call last):\n  File "/a.py", line 3, in f\n    g()\n{}\n'


def test_a_traceback_is_shown_once() -> None:
    logged = TRACEBACK.format("ValueError: no")
    assert body(err(f"first\n{logged}{logged}last\n")) == (
        "[stderr]\nfirst\n" + logged.replace("):", "): [2 times]", 1) + "last\n"
    )
    raised = ErrorOutput(
        ename="ValueError", evalue="no", traceback=("File \x1b[32m/a.py:3\x1b[0m, in f()\n",)
    )
    assert body(err(logged), raised).count("ValueError: no") == 1
    assert body(raised, out("x\n"), replace(raised)).count("ValueError: no") == 1
    elsewhere = replace(raised, traceback=("File /a.py:9, in f()\n",))
    assert body(err(logged), elsewhere).count("ValueError: no") == 2
    assert body(err(TRACEBACK.format("KeyError: 1")), raised).count("Traceback") == 1


def test_what_repeats_nothing_is_left_as_it_is() -> None:
    pieces = new([err(WARNING), out("a\n"), shows("x")], (), Texts())
    assert once(pieces) == pieces
