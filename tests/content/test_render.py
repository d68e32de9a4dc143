"""What a model sees of an entry."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.items import ITEM_BUDGET, RenderContext, cut
from kernel_exec.content.lines import Texts
from kernel_exec.content.paging import Asked, page, sources_of
from kernel_exec.content.plain import clean
from kernel_exec.content.render import RESULT_BUDGET, Rendered, render
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream
from tests.notebooks.steps import entry

ENTRY = entry(
    "x", id="5f3a", generation=2, execution_count=3, queued=0.0, ended=1.5,
    file_path="/data/code_1a2b3c4d.py",
)  # fmt: skip
STATUS = "[ok · step 1]\n"
CALL = re.compile(r'get_execution\(execution_id="5f3a", stream="(\w+)", offset=(\d+)\)')


def out(text: str, **more: str | bool) -> Stream:
    return Stream(name="stdout", text=text, **more)  # type: ignore[arg-type]  # path or late


def display(**data: object) -> DisplayData:
    named = {name.replace("_", "/", 1): value for name, value in data.items()}
    return DisplayData(data=named, metadata={})  # type: ignore[arg-type]  # a table of JSON


def result(text: str) -> ExecuteResult:
    return ExecuteResult(data={"text/plain": text}, metadata={}, execution_count=3)


def shown(*outputs: Output, entry: Entry = ENTRY, now: RenderContext | None = None) -> Rendered:
    return render(entry, outputs, now or RenderContext())


def body(*outputs: Output, entry: Entry = ENTRY, now: RenderContext | None = None) -> str:
    """All text but the status line."""
    return "".join(shown(*outputs, entry=entry, now=now).texts[:-1])


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([], ""),
        ([out("a\n")], "a\n"),
        ([out("a")], "a\n"),
        ([out("a\n"), result("2")], "a\n2\n"),
        ([result(f"[{' A(),'.join([chr(10)] * 9)}]")], "[\n A(), [8 times]\n]\n"),
        ([Stream(name="stderr", text="careful\n")], "[stderr]\ncareful\n"),
        ([out("a\n", late=True)], "[late]\na\n"),
        ([out(" \n")], ""),
        ([out("\x1b[31mred\x1b[0m\r\nnext")], "red\nnext\n"),
        ([out("bell\x07 nul\0 half\ud83d")], "bell\\x07 nul\\x00 half\\ud83d\n"),
        ([display(text_plain="plain", **{"text_llm+plain": "short"})], "short\n"),
        ([display(text_plain="Eq(x, 1)", text_latex="$x = 1$", text_html="<p>x")], "Eq(x, 1)\n"),
        ([display(text_plain="<a.B at 0x7F>", text_latex="$x = 1$")], "$x = 1$\n"),
        ([display(text_plain="<class 'a.B'>", text_html="<p>x", text_latex="$x$")], "x\n"),
        ([display(text_plain="<POINT (1 2)>", **{"image_svg+xml": "<svg/>"})], "<POINT (1 2)>\n"),
        ([display(text_plain="B(<a.C at 0x7F>)", text_html="<b>short</b>")], "short\n"),
        ([display(text_plain=f"B({'x=1, ' * 99})", text_html="<b>short</b>")], "short\n"),
        (
            [display(text_plain="B(<a.C at 0x7F>)", text_html="<p>" + "long " * 9)],
            "B(<a.C at 0x7F>)\n",
        ),
        (
            [display(text_plain="<IPython.core.display.Markdown object>", text_markdown="# T")],
            "# T\n",
        ),
        ([display(text_html="<b>")], ""),
        (
            [display(text_plain="<IPython.core.display.HTML object>", text_html="<b>a</b>")],
            "a\n",
        ),
        ([display(text_plain="<b at 0x1>", text_html="<p>a<p>b")], "a\nb\n"),
        ([display(text_plain="<b at 0x1>", text_html="<b>")], "<b at 0x1>\n"),
        ([display(**{"image_svg+xml": "<svg/>"})], "[drawing, 6 characters of SVG]\n"),
        (
            [display(text_markdown=f"![a](data:image/png;base64,{'QUJD' * 100})")],
            "![a](data:image/png;base64,… (300 bytes))\n[picture 1 of 1]\n",
        ),
        (
            [display(text_html=f'<p>a<img src="data:image/png;base64,{"QUJD" * 100}">')],
            "a[image: image/png, 300 bytes]\n[picture 1 of 1]\n",
        ),
        (
            [
                display(
                    text_html=f'<img src="data:image/png;base64,{"QUJD" * 100}">', text_plain="x"
                )
            ],
            "x\n",
        ),
        ([display(image_png="aGk=", text_plain="x²")], "x²\n[picture 1 of 1]\n"),
        ([display(application_json={"ä": [1, None]})], '{"ä": [1, null]}\n'),
        ([display(application_pdf="QUJD")], "[application/pdf, 3 bytes]\n"),
        ([display(application_javascript="x()")], "[application/javascript, 3 characters]\n"),
        (
            [display(image_png="aGk=", text_plain="<Figure size 640x480>")],
            "[picture 1 of 1]\n",
        ),
        (
            [display(**{"application_vnd.plotly.v1+json": {"data": []}, "text_html": "<div>"})],
            "[Plotly chart: 0 traces]\n",
        ),
        (
            [ErrorOutput(ename="NameError", evalue="no x", traceback=())],
            "NameError: no x\n",
        ),
    ],
)
def test_an_output_is_shown_as_the_text_that_says_most(outputs: list[Output], text: str) -> None:
    assert body(*outputs) == text


def test_the_status_is_a_block_of_its_own_at_the_end() -> None:
    assert shown(out("a\n")).texts == ("a\n", STATUS)
    assert shown().texts == (STATUS,)


def test_new_names_come_after_the_outputs() -> None:
    entry = replace(ENTRY, details={"names": {"added": {"x": "int"}}})
    assert body(out("a\n"), entry=entry) == "a\nnames: + x int\n"


def test_repeated_warnings_are_counted() -> None:
    warning = "a.py:3: UserWarning: careful\n  warnings.warn('careful')\n"
    text = f"first\n{warning * 100}last\n"
    assert body(Stream(name="stderr", text=text)) == (
        "[stderr]\nfirst\n"
        "a.py:3: UserWarning: careful [100 times]\n  warnings.warn('careful')\n"
        "last\n"
    )


NUMBERS = "".join(f"{number}\n" for number in range(3000))


def hidden(text: str) -> tuple[str, int]:
    """The stream and the offset of the call that shows what is hidden."""
    found = CALL.search(text)
    assert found is not None
    return found[1], int(found[2])


def rest_of(outputs: Sequence[Output], stream: str, offset: int) -> str:
    return page(Texts(), list(sources_of(outputs, stream)), Asked(offset=offset)).text


def test_a_long_output_is_cut_in_its_middle_and_names_the_call_for_the_rest() -> None:
    text = body(out(NUMBERS))
    assert len(text) <= ITEM_BUDGET
    lines = text.splitlines()
    at = next(at for at, line in enumerate(lines) if "hidden:" in line)
    assert hidden(text) == ("stdout", at)
    assert lines[:at] == NUMBERS.splitlines()[:at]
    assert lines[at + 1 :] == NUMBERS.splitlines()[-(len(lines) - at - 1) :]
    assert f"[… {3000 - len(lines) + 1:,} lines (" in text
    assert shown(out(NUMBERS)).meta["truncated"] is True


def test_the_call_counts_what_the_stream_said_before() -> None:
    outputs: list[Output] = [
        out("a\nb\n"),
        result("1"),
        Stream(name="stderr", text="e\n"),
        out(NUMBERS),
    ]
    stream, offset = hidden(body(*outputs))
    rest = rest_of(outputs, stream, offset)
    text = body(*outputs)
    last_shown = text[: text.index("[… ")].splitlines()[-1]
    assert int(rest.splitlines()[0]) == int(last_shown) + 1


def test_one_long_line_is_cut_too() -> None:
    text = body(out("x" * 100_000))
    assert len(text) <= ITEM_BUDGET
    assert hidden(text) == ("stdout", 0)


def test_after_counted_warnings_the_call_shows_all_of_the_output() -> None:
    warning = "a.py:3: UserWarning: careful\n"
    assert hidden(body(Stream(name="stderr", text=warning * 2 + NUMBERS))) == ("stderr", 0)


def test_a_long_result_names_its_own_call() -> None:
    text = body(result("[1] " * 10_000))
    assert 'get_execution(execution_id="5f3a", stream="result")' in text
    assert len(text) <= ITEM_BUDGET / 2


def test_a_result_that_is_a_page_of_lines_is_whole() -> None:
    page = "\n".join(f"{at} {'x' * 70}" for at in range(50))
    assert body(result(page)) == f"{page}\n"
    assert body(result(repr("x" * 3_500))) == f"{'x' * 3_500!r}\n"
    shown = body(result("\n".join(f"{at} {'x' * 33}" for at in range(100))))
    assert 'stream="result"' in shown
    assert len(shown) <= ITEM_BUDGET / 2


def test_a_stream_that_went_to_a_file_shows_both_its_ends_and_names_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spilled"
    path.write_text(f"{NUMBERS * 100}10 %\r99 %\nend\n")
    text = body(out(NUMBERS, path=str(path)))
    assert text.startswith("0\n1\n")
    assert text.endswith("]\n" + text.partition("]\n")[2])
    assert text.endswith("\n2999\n99 %\nend\n")
    assert f"[… in total 300,002 lines (1,389,009 characters); all of it is in {path}: " in text
    assert len(text) < ITEM_BUDGET + 300
    assert shown(out(NUMBERS, path=str(path))).meta["truncated"] is True
    following = body(out("x\n", path=str(path)), out(NUMBERS))
    assert int(CALL.findall(following)[1][1]) > 300_002
    path.unlink()
    assert body(out("begun\n", path=str(path))) == "begun\n"


def test_what_is_hidden_is_not_read() -> None:
    """Forty pages of HTML, of which two fit: all of them would take minutes."""
    page = f"<div>{'<p>some words' * 3_000}</div>"
    displays: list[Output] = [display(text_html=page) for _ in range(4_000)]
    text = body(*displays)
    assert "outputs hidden" in text
    assert text.count("some words") > 100


def test_an_output_that_can_not_be_shown_costs_no_other() -> None:
    nested: list[object] = []
    for _ in range(3_000):
        nested = [nested]
    deep = display(application_json=nested)
    large = display(application_json=[10**5_000])
    script = display(text_html='vegaEmbed})({"a":' + "[" * 100_000)
    text = body(out("before\n"), deep, large, script, out("after\n"))
    assert text.startswith("before\n[JSON that can't be shown: ")
    assert text.endswith("after\n")
    assert text.count("can't be shown") >= 2


def test_many_outputs_give_way_in_the_middle() -> None:
    outputs = [display(text_plain=f"display {number}") for number in range(5000)]
    text = body(*outputs)
    assert len(text) <= RESULT_BUDGET
    assert text.startswith("display 0\n")
    assert text.endswith("display 4999\n")
    stream, offset = hidden(text)
    before = text[: text.index("[… ")].splitlines()
    assert rest_of(outputs, stream, offset + 1).startswith(f"display {len(before)}")
    assert "outputs hidden" in text


def test_the_error_is_shown_whatever_came_before() -> None:
    outputs: list[Output] = [result("x" * 3900) for _ in range(10)]
    text = body(*outputs, ErrorOutput(ename="NameError", evalue="no x", traceback=()))
    assert text.endswith("NameError: no x\n")
    assert len(text) <= RESULT_BUDGET


def test_few_pictures_are_shown_and_the_others_are_counted() -> None:
    plots = [display(image_png=f"{number}") for number in range(4)]
    plots.append(display(image_jpeg="4"))
    rendered = shown(*plots)
    assert [(each.data, each.mime_type) for each in rendered.pictures] == [
        ("0", "image/png"),
        ("1", "image/png"),
    ]
    assert rendered.texts[0].splitlines() == [
        "[picture 1 of 5]",
        "[picture 2 of 5]",
        '[pictures 3 to 5 of 5: get_execution(execution_id="5f3a", picture=3) and so on]',
    ]
    assert shown(*plots[:3]).texts[0].splitlines()[2:] == [
        '[picture 3 of 3: get_execution(execution_id="5f3a", picture=3)]'
    ]
    assert rendered.meta["images"] == {"shown": 2, "total": 5}
    none = shown(*plots, now=RenderContext(most_pictures=0))
    assert none.pictures == ()


def test_an_install_tells_what_changed_and_what_is_stale() -> None:
    details: JSONObject = {
        "before": {"numpy": "1.0", "old": "2.0"},
        "after": {"numpy": "2.0", "pandas": "3.0", "old": ""},
        "stale": ["numpy"],
    }
    entry = replace(ENTRY, kind=EntryKind.INSTALL, generation=0, execution_count=None)
    assert body(out("noise\n"), entry=replace(entry, details=details)).splitlines() == [
        "~ numpy 1.0 -> 2.0",
        "+ pandas 3.0",
        "- old 2.0",
        "imported before and now stale: numpy; restart_kernel to use the new versions",
    ]
    assert body(entry=entry) == "all of them were installed already\n"
    some = replace(entry, source="x\ny; a", details={"excluded": "y; a"})
    assert body(entry=some).splitlines() == [
        "the others were installed already",
        "y; a: not needed, its marker excludes this environment",
    ]
    none = replace(entry, source="y; a", details={"excluded": "y; a"})
    assert body(entry=none) == "y; a: not needed, its marker excludes this environment\n"
    failed = replace(entry, outcome=Outcome.EXCEPTION, details={"error": "no such package"})
    assert body(entry=failed) == "no such package\n"
    many = {f"package-{number}": "1.0" for number in range(999)}
    assert len(body(entry=replace(entry, details={"after": many}))) <= ITEM_BUDGET


def test_the_fields_for_programs_have_the_names_of_the_seed_and_ours() -> None:
    now = RenderContext(session="plots", history="disk full")
    meta = shown(out("a\n"), now=now).meta
    assert meta == {
        "status": "success",
        "outcome": "ok",
        "execution_id": "5f3a",
        "execution_count": 3,
        "session": "plots",
        "kernel": {"generation": 2, "state": "kept"},
        "file_path": "/data/code_1a2b3c4d.py",
        "generated_filename": "code_1a2b3c4d.py",
        "timing": {"queued_at": 0.0, "started_at": 1.0, "ended_at": 1.5, "seconds": 0.5},
        "history": "disk full",
        "output": "a\n",
        "error": None,
        "truncated": False,
        "images": {"shown": 0, "total": 0},
    }


@pytest.mark.parametrize(
    ("outcome", "details", "outputs", "status", "error"),
    [
        (Outcome.RUNNING, {}, [], "running", None),
        (Outcome.EXCEPTION, {}, [ErrorOutput(ename="E", evalue="v", traceback=())], "error",
         "E: v"),
        (Outcome.KERNEL_DIED, {"death": {"cause": "signal SIGKILL"}}, [], "error",
         "the kernel died: signal SIGKILL"),
        (Outcome.KERNEL_DIED, {"error": "no interpreter"}, [], "error", "no interpreter"),
        (Outcome.TIMEOUT, {}, [], "error", None),
    ],
)  # fmt: skip
def test_the_fields_tell_what_went_wrong(
    outcome: Outcome, details: JSONObject, outputs: list[Output], status: str, error: str | None
) -> None:
    meta = shown(*outputs, entry=replace(ENTRY, outcome=outcome, details=details)).meta
    assert (meta["status"], meta["error"]) == (status, error)


def test_a_long_output_is_not_repeated_in_the_fields() -> None:
    assert shown(out(NUMBERS)).meta["output"] is None


texts = st.text(st.characters()) | st.text(st.sampled_from("ab\n\r\b\x1b[0m")).map(
    lambda t: t * 500
)
outputs = st.lists(
    st.builds(Stream, name=st.sampled_from(["stdout", "stderr"]), text=texts, late=st.booleans())
    | texts.map(result)
    | st.builds(ErrorOutput, ename=texts, evalue=texts, traceback=st.tuples(texts))
)


@given(outputs)
def test_whatever_is_put_out_the_result_is_small_clean_text(produced: list[Output]) -> None:
    blocks = shown(*produced).texts
    assert all(block.endswith("\n") for block in blocks)
    whole = "".join(blocks)
    assert len(whole) <= RESULT_BUDGET + 500
    assert "\x1b" not in whole
    assert clean("".join(blocks[:-1])) == "".join(blocks[:-1])
    assert len(blocks[-1].splitlines()) == 1
    assert whole.encode()


@given(
    st.lists(st.text(alphabet="ab é日", max_size=80), max_size=400),
    st.integers(min_value=200, max_value=3000),
)
def test_what_is_cut_is_head_and_tail_and_the_marker_counts_what_is_hidden(
    lines: list[str], budget: int
) -> None:
    written = "\n".join(lines)
    told: list[int] = []

    def how(number: int) -> str:
        told.append(number)
        return "CALL"

    shown = cut(written, budget, how)
    if len(written) <= budget:
        assert shown == written
        return
    assert len(shown) <= budget
    found = re.search(
        r"\n?\[… (?:([\d,]+) lines? \()?([\d,]+) characters?\)? hidden: CALL\]\n", shown
    )
    assert found is not None
    head, tail = shown[: found.start()], shown[found.end() :]
    if not written.startswith(head + "\n") or found[0][0] != "\n":
        head += "\n" * (found[0][0] == "\n" and written.startswith(head + "\n"))
    assert written.startswith(head)
    assert written.endswith(tail)
    hidden = int(found[2].replace(",", ""))
    middle = written[len(written) - len(tail) - hidden : len(written) - len(tail)]
    assert int((found[1] or "0").replace(",", "")) == middle.count("\n")
    assert told == [written[: len(written) - len(tail) - hidden].count("\n")]
