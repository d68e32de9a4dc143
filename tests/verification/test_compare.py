import base64
import datetime as dt
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.notebooks.outputs import rest
from kernel_exec.pictures import in_few_colours
from kernel_exec.verification.compare import SAME, Comparison, Verdict, compare, worst
from kernel_exec.verification.normalise import ANY_RERUN, Rerun

NOW = Rerun(
    moment=dt.datetime(2026, 11, 25, 15, 4, tzinfo=dt.timezone(dt.timedelta(hours=2))), process=4321
)

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
MIMES = ["text/plain", "text/html", "image/png", "application/json", "image/svg+xml", "text/x-y",
         "application/vnd.jupyter.widget-view+json", "audio/wav"]  # fmt: skip
OUTPUT_LIKE = st.fixed_dictionaries(
    {"output_type": st.sampled_from(["stream", "error", "display_data", "execute_result", "?"])},
    optional={
        "name": st.sampled_from(["stdout", "stderr"]) | JSON_VALUES,
        "text": JSON_VALUES,
        "ename": JSON_VALUES,
        "evalue": JSON_VALUES,
        "data": st.dictionaries(st.sampled_from(MIMES), JSON_VALUES, max_size=3) | JSON_VALUES,
        "metadata": JSON_VALUES | st.just({"kernel_exec": {"role": "late"}}),
    },
)
OUTPUTS: st.SearchStrategy[Any] = st.lists(OUTPUT_LIKE, max_size=4) | JSON_VALUES
WORDS = st.lists(
    st.sampled_from(["1.5", "2", "0x7f12ab34cd56", "at 0x7f12ab34cd56", "{'b', 'a'}", "{", "}",
                     "12:30:01", "2026-11-25", "3.2 ms", "pid 12", "\n", " ", "a,b", "\r",
                     "\x1b[1m", "/tmp/tmpab12cd34/x", "[all of it is in x]",
                     "UserWarning: no", "x.py:3: "]),
    max_size=12,
).map("".join)  # fmt: skip


REST = rest({"": "x.txt"})


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(data: Mapping[str, JSON], **ours: JSON) -> dict[str, Any]:
    metadata = {"kernel_exec": ours} if ours else {}
    return {"output_type": "display_data", "metadata": metadata, "data": data}


def error(name: str, message: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": name, "evalue": message, "traceback": []}


def text_verdict(before: str, after: str, rerun: Rerun = NOW) -> str:
    return compare([stream(before)], [stream(after)], rerun=rerun).verdict.value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<f at 0x7f1234567890>", "<f at 0x5612abcdef01>"),
        (
            "<f at 0x7f12>, <g at 0x7f13>, <f at 0x7f12>",
            "<f at 0x7f13>, <g at 0x7f12>, <f at 0x7f13>",
        ),
        ("<Thread(T, started 140123456789)>", "<Thread(T, started 139876543210)>"),
        ("\x1b[31mred\x1b[0m", "red"),
        (" 10%\r100%\n", "100%\n"),
        ("a  \nb\n\n", "a\nb"),
        ("in /tmp/tmpab12cd_4/data.csv", "in /tmp/tmpzz9q8w7x/data.csv"),
        ("/var/folders/zz/abc_1/T/tmpab12cd34", "/var/folders/zz/abc_1/T/tmpqw12cd34"),
        ("\ud800 alone", "\\ud800 alone"),
        ("/x/y.py:3: UserWarning: To exit: use 'exit'.\n  warn(\nx", "x"),
        ("C:\\Users\\me\\Temp\\tmpab12cd34\\x", "C:\\Users\\me\\Temp\\tmpqw12cd34\\x"),
        ("/tmp/ipykernel_12/345.py in f()", "/tmp/ipykernel_98/345.py in f()"),
        ('File "/data/code_1a2b3c4d.py", line 3', 'File "/tmp/ipykernel_9/1.py", line 3'),
        (
            "/x/code_12345678.py:7: UserWarning: no\n  warn()",
            "/t/ipykernel_1/2.py:1: UserWarning: no",
        ),
        ("Cell In[3], line 1", "Cell In[7], line 1"),
        ("<ipython-input-3-abcdef> in f", "<ipython-input-4-fedcba> in f"),
    ],
)
def test_what_never_means_anything_makes_no_difference(before: str, after: str) -> None:
    assert text_verdict(before, after) == "same"
    assert text_verdict(after, before) == "same"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("loss 0.12345678", "loss 0.12345679"),
        ("x 1e-17 y", "x 1.0000001e-17 y"),
        ("[0.5  1.25]", "[0.50000001 1.25      ]"),
        ("0.0", "-0.0"),
        ("(1.5+2.0j)", "(1.5000001+2.0000001j)"),
        ("x   y\n--  ----\n1.5 2", "x y\n--- -----\n1.50000001 2"),
        ("{'b', 'a', 'c'}", "{'c', 'b', 'a'}"),
        ("frozenset({(1, 2), (3, 4)})", "frozenset({(3, 4), (1, 2)})"),
        ("{'k': {2, 1}, 'j': 0}", "{'j': 0, 'k': {1, 2}}"),
        (
            "CPU times: user 1.2 ms, sys: 0 ns\nWall time: 3.4 µs",
            "CPU times: user 9 ms, sys: 2 us\nWall time: 1min 3s",
        ),
        (
            "1.2 µs ± 3 ns per loop (mean, 100,000 loops each)",
            "850 ns ± 9 ns per loop (mean, 1,000,000 loops each)",
        ),
        ("100%|██| 9/9 [00:03<00:00, 30.12it/s]", "100%|██| 9/9 [00:04<00:00,  2.12s/it]"),
        ("done in 3.21 seconds", "done in 11 seconds"),
        ("elapsed: 0.0123", "elapsed: 1.5"),
        ("2020-01-02 03:04:05.678", "2026-11-25 15:04:05.1"),
        ("datetime.datetime(2020, 1, 2, 3, 4)", "datetime.datetime(2026, 11, 25, 15, 4)"),
        ("Date: Wed, 01 Jan 2020 Time: 10:00:00", "Date: Wed, 25 Nov 2026 Time: 14:22:33"),
        ("Mon Jan  6 10:00:00 UTC 2020", "Wed Nov 25 15:00:00 UTC 2026"),
        ("1600000000.25", "1764082800.5"),
        ("at 01:02:03", "at 15:59"),
        ("at 01:02:03", "at 13:04:00.5"),
        ("datetime.time(1, 2)", "datetime.time(15, 4, 59)"),
        ("0:00:03.5", "0:12:00"),
        ("pid 123", "pid 45678"),
        ("2020-01-02 03:04:05,678 123 INFO x", "2026-11-25 03:04:05,678 4321 INFO x"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174999"),
        ("0x7f1234567890", "0x55aa34567890"),
        ("<f at 0x7f12>, <f at 0x7f12>", "<f at 0x7f12>, <f at 0x7f13>"),
        ("wrote /tmp/run-ab12cd34/x", "wrote /tmp/run-zy98xw76/x"),
    ],
)
def test_what_good_runs_differ_in_is_close(before: str, after: str) -> None:
    assert text_verdict(before, after) == "close"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("loss 0.1234", "loss 0.1235"),
        ("1000000 rows", "1000001 rows"),
        ("1", "1.0"),
        ("['b', 'a']", "['a', 'b']"),
        ("{(1, 2), (3, 4)}", "{(1, 4), (3, 2)}"),
        ("0xdeadbeef", "0xdeadbee0"),
        ("version 1.2.3", "version 1.2.4"),
        ("opens 09:30", "opens 10:30"),
        ("datetime.time(9, 30)", "datetime.time(10, 30)"),
        ("from 2020-01-01 on", "from 2020-01-02 on"),
        ("/tmp/a.csv", "/tmp/b.csv"),
        ("x1", "x2"),
        ("a\nb", "a\nb\nc"),
        ("", "a"),
        ("1" * 5000, "2" * 5000),
        ("1.5j", "1.5"),
        ("a 1.5\n" * 700_000, "a 1.50\n" * 700_000),
    ],
)
def test_what_means_something_is_different(before: str, after: str) -> None:
    assert text_verdict(before, after) == "different"


def test_any_date_is_close_to_any_other_when_the_day_is_not_known() -> None:
    assert text_verdict("2020-01-01", "2020-01-02", rerun=ANY_RERUN) == "close"


@pytest.mark.parametrize("day", ["2026-11-24", "2026-11-26"])
def test_the_days_beside_today_count_as_today(day: str) -> None:
    assert text_verdict("2020-01-01", day) == "close"


@pytest.mark.parametrize(
    "words",
    [
        "[text/csv is in result_{}.csv]",
        "[all of it is in {}.txt]",
        "[{},000 characters left out here; all of it is in x]",
        "[{},000 characters left out here; all of them are in x]\nA",
    ],
)
def test_words_that_look_like_ours_are_compared_like_any_others(words: str) -> None:
    one, other = words.format("1"), words.format("2")
    for shown in (
        stream,
        lambda said: display({"text/plain": said}),
        lambda said: error("E", said),
    ):
        assert compare([shown(one)], [shown(other)]).verdict is Verdict.DIFFERENT
    assert compare([stream(f"a\n{one}")], [stream("a\n")]).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("mime", "before", "after", "verdict"),
    [
        ("text/html", "<p id='T_ab12f_row0'>1.5</p>", "<p id='T_99999_row0'>1.5</p>", "same"),
        ("text/html", "<td>0.33333333</td>", "<td>0.33333334</td>", "close"),
        ("text/html", "<td>0.3</td>", "<td>0.4</td>", "different"),
        ("text/html", ["<b>", "x</b>"], "<b>x</b>", "same"),
        ("image/svg+xml", "<use href='#m1234567890'/>", "<use href='#mabcdef0123'/>", "same"),
        ("application/json", {"a": 1, "b": 0.5}, {"b": 0.5, "a": 1}, "same"),
        ("application/json", {"a": 0.1234567}, {"a": 0.12345671}, "close"),
        ("application/json", {"a": 1}, {"a": 2}, "different"),
        ("application/vnd.jupyter.widget-view+json", {"model_id": "a"}, {"model_id": "b"}, "same"),
        ("audio/wav", "QUJD\n", "QUJD", "same"),
        ("application/pdf", "x", "y", "different"),
        ("text/plain", 3, 3, "same"),
        ("text/llm+plain", "a", "b", "same"),
    ],
)
def test_displays_are_compared_by_what_their_type_means(
    mime: str, before: Any, after: Any, verdict: str
) -> None:
    found = compare([display({mime: before})], [display({mime: after})])

    assert found.verdict.value == verdict


@pytest.mark.parametrize(
    ("before", "after", "may_fail", "verdict"),
    [
        (None, ("ValueError", "no"), False, "new error"),
        (None, ("ValueError", "no"), True, "different"),
        (("ValueError", "no"), None, False, "fixed"),
        (("ValueError", "no"), None, True, "fixed"),
        (("ValueError", "no"), ("ValueError", "no"), False, "same"),
        (("ValueError", "<f at 0x12345>"), ("ValueError", "<f at 0x54321>"), True, "same"),
        (("ValueError", "no"), ("ValueError", "yes"), False, "different"),
        (("ValueError", "no"), ("ValueError", "yes"), True, "close"),
        (("ValueError", "no"), ("KeyError", "no"), True, "different"),
    ],
)
def test_errors_are_compared_by_type_and_message(
    before: tuple[str, str] | None, after: tuple[str, str] | None, may_fail: bool, verdict: str
) -> None:
    recorded, now = ([error(*each)] if each else [] for each in (before, after))

    assert compare(recorded, now, may_fail=may_fail).verdict.value == verdict


def test_without_recorded_outputs_only_an_error_can_be_told() -> None:
    now = [stream("a"), error("ValueError", "no")]

    assert compare([], [stream("a")], errors_only=True) == SAME
    assert compare([], now, errors_only=True, may_fail=True) == SAME
    assert compare([], now, errors_only=True).verdict is Verdict.NEW_ERROR


def png(image: Image.Image, **options: Any) -> str:
    written = io.BytesIO()
    image.save(written, format="PNG", **options)
    return base64.b64encode(written.getvalue()).decode()


def plot(shade: int = 200, digit: str = "1", size: int = 60) -> Image.Image:
    image = Image.new("RGB", (size, 40), (shade, 180, 255))
    ImageDraw.Draw(image).text((5, 5), f"0.9{digit}", fill="black")
    return image


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (png(plot()), png(plot(), compress_level=0), "same"),
        (png(plot()) + "\n", png(plot()), "same"),
        (png(plot(200)), png(plot(200).convert("RGBA")), "same"),
        (png(plot(200)), png(plot(201)), "close"),
        (png(plot(200)), png(plot(150)), "different"),
        (png(plot(digit="1")), png(plot(digit="2")), "different"),
        (png(plot(size=60)), png(plot(size=61)), "different"),
        (png(plot()), "bm8=", "different"),
        ("bm8=", "bm8=\n", "same"),
        (png(Image.new("1", (10_000, 6_001))), png(plot()), "different"),
    ],
    ids=["compression", "line ends", "alpha", "a shade", "a colour", "a digit", "size",
         "no picture", "no pictures", "very large"],
)  # fmt: skip
def test_pictures_are_compared_by_their_pixels(before: str, after: str, verdict: str) -> None:
    found = compare([display({"image/png": before})], [display({"image/png": after})])

    assert found.verdict.value == verdict


HEX, HEX_2 = "0123456789abcdef" * 2, "fedcba9876543210" * 2
UUID, UUID_2 = (
    f"{each[:8]}-{each[8:12]}-{each[12:16]}-{each[:4]}-{each[:12]}" for each in (HEX, HEX_2)
)
PAGES = {
    "folium": "<style>#map_ID {top: 0}</style><div id='map_ID'><script>var map_ID = L('map_ID')",
    "folium in a frame": '<iframe srcdoc="&lt;div id=&quot;map_ID&quot;&gt;&lt;script&gt;map_ID">',
    "pyecharts": "<div id='ID'></div><script>var chart_ID = echarts.init('ID')</script>",
    "matplotlib's animations": "<img id='_anim_imgID'><script>var animID = f('_anim_imgID')",
    "altair": '<div id="altair-viz-ID"></div><script>find("#altair-viz-ID")</script>',
}
"""What libraries put out, with a place for the 32 digits that they make up."""


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_identifiers_that_a_library_makes_up_make_no_difference(page: str) -> None:
    assert page_verdict(page.replace("ID", HEX), page.replace("ID", HEX_2)) == "same"
    joined_otherwise = page.replace("ID", HEX_2, 1).replace("ID", HEX)
    assert page_verdict(page.replace("ID", HEX), joined_otherwise) == "different"


def page_verdict(before: str, after: str, mime: str = "text/html") -> str:
    return compare([display({mime: before})], [display({mime: after})]).verdict.value


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (f'<div id="{UUID}"><script>"{UUID}"', f'<div id="{UUID_2}"><script>"{UUID_2}"', "same"),
        ('<b id="xkwxxmvusc" class="gt_table">', '<b id="abcdefghij" class="gt_table">', "same"),
        ('<b id="statistics">', '<b id="categories">', "different"),
        ('<b id="sk-container-id-1">', '<b id="sk-container-id-7">', "same"),
        ("<b data-root-id=p1001><p id=p1001>", "<b data-root-id=p1012><p id=p1012>", "same"),
        ("<b id='iABCDEFGHIJKLMNOPQRST'>", "<b id='iZYXWVUTSRQPONMLKJIHG'>", "same"),
        ('<b id="fig_el12345140234567890">', '<b id="fig_el54321140987654321">', "same"),
        ("<a id=T_ab12f><a href=#T_ab12f>", "<a id=T_cd34e><a href=#T_ab12f>", "different"),
        (f"<td>{HEX}</td>", f"<td>{HEX_2}</td>", "different"),
        (f"<p id='{HEX}'>{HEX}</p>", f"<p id='{HEX_2}'>{HEX_2}</p>", "different"),
        (f"<td>{UUID}</td>", f"<td>{UUID_2}</td>", "close"),
        ("<i style='color:#1f77b4ff'>", "<i style='color:#ff7f0eff'>", "different"),
        ("<a href='/orders/10000001'>", "<a href='/orders/10000002'>", "different"),
        ('<tr id="apple">', '<tr id="peach">', "different"),
        ("<script>" * 30_000 + "x", "<script>" * 30_000 + "y", "different"),
        ("<" * 50_000 + "x", "<" * 50_000 + "y", "different"),
        (' id="' * 30_000 + "x", ' id="' * 30_000 + "y", "different"),
        ("id=" + " " * 100_000 + "x", "id=" + " " * 100_000 + "y", "different"),
    ],
)  # fmt: skip
def test_on_a_page_only_what_nobody_reads_may_have_another_name(
    before: str, after: str, verdict: str
) -> None:
    assert page_verdict(before, after) == verdict


def test_a_json_value_is_data_whatever_it_looks_like() -> None:
    one, other = ({"order_id": each} for each in (HEX, HEX_2))
    found = compare([display({"application/json": one})], [display({"application/json": other})])

    assert found.verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("%%writefile x.py\n1", "same"), ("%%file x.py\n1", "same"), ("print(done)", "different")],
)
def test_whether_a_file_was_there_makes_no_difference_to_the_cell_that_writes_it(
    source: str, verdict: str
) -> None:
    before, after = [stream("Writing x.py\n")], [stream("Overwriting x.py\n")]

    assert compare(before, after, source=source).verdict.value == verdict


def drawn(form: str, *, points: tuple[int, ...] = (1, 4, 2), title: str = "A figure",
          colour: str = "C0", heat: float = 1.0, day: int = 1) -> str:  # fmt: skip
    """A figure of matplotlib in a format, with what it writes on the day."""
    figure = Figure(figsize=(4, 3))
    left, right = figure.subplots(1, 2)
    left.plot(points, marker="o", color=colour)
    left.scatter([0, 1], [2, 2])
    left.bar([0, 1], [1, 2], hatch="x")
    left.set_title(title)
    shades = np.linspace(0, 1, 400).reshape(20, 20)
    shades[3, 3] = heat
    right.imshow(shades)
    moment = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
    dates = {"svg": {"Date": moment.isoformat()}, "pdf": {"CreationDate": moment}}
    file = io.BytesIO()
    figure.savefig(file, format=form, metadata=dates.get(form))
    written = file.getvalue()
    return written.decode() if form == "svg" else base64.b64encode(written).decode()


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "same"),
        ({"day": 2}, "same"),
        ({"points": (1, 4, 3)}, "different"),
        ({"title": "A finger"}, "different"),
        ({"colour": "C1"}, "different"),
        ({"heat": 0.0}, "different"),
    ],
)
@pytest.mark.parametrize("form", ["svg", "pdf", "png", "png in few colours"])
def test_a_figure_that_is_drawn_again_is_the_same_and_another_one_is_not(
    form: str, change: dict[str, Any], verdict: str
) -> None:
    kind = form[:3]
    mime = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}[kind]
    before = drawn(kind)
    if form != kind:
        before = in_few_colours(before)
        assert before != drawn(kind)

    assert page_verdict(before, drawn(kind, **change), mime) == verdict


LATE = display({"text/plain": "[after the cell had ended]"}, role="late")
PLAIN = display({"text/plain": "x"})
BOTH_FORMS = display({"text/plain": "first\nsecond", "text/html": "<b>"})
CUT_DISPLAY = [display({"text/plain": "1\n2\n"}), rest({"text/plain": "a.txt"})]
CUT_MESSAGE = [error("ValueError", "x" * 2000), rest({"": "e.txt"}, message=9000)]
FIGURE = display({"text/plain": "<Figure>", "image/png": png(plot())})

PARTS: dict[str, tuple[list[JSONObject], list[JSONObject], str, str | None]] = {
    "how a stream was cut up, and where displays stand between": (
        [stream("a\nb"), stream("err", "stderr"), PLAIN, stream("c\n")],
        [stream("a\n"), PLAIN, stream("bc\n"), stream("err", "stderr")],
        "same",
        "",
    ),
    "stdout and stderr": ([stream("a")], [stream("a", "stderr")], "different", None),
    "lines of threads in another order": (
        [LATE, stream("a\nb\n")], [LATE, stream("b\na\n")], "close", None,
    ),
    "lines that came late or not": (
        [LATE, stream("a\nb\n")], [stream("a\nb\n")], "same", "",
    ),
    "lines in another order": ([stream("a\nb\n")], [stream("b\na\n")], "different", None),
    "two cut streams": (
        [stream("a\nb\nc\n"), REST], [stream("a\nb\ncde\n"), REST], "close", None,
    ),
    "a cut stream and all of it": (
        [stream("a\nb\n"), REST], [stream("a\nb\nc\nd\n")], "close", None,
    ),
    "a cut line": ([stream("aaaa"), REST], [stream("aaaaaaa")], "close", None),
    "a cut stream of the same words": (
        [stream("a\nb\n"), REST], [stream("a\nb\n")], "close",
        "stdout: only its beginning is kept, and that is the same",
    ),
    "a stream with a gap": (
        [stream("a\nbb"), REST, stream("z")], [stream("a\nbbbb\nc\nz")], "close", None,
    ),
    "a stream with a gap in its first lines": (
        [stream("a\n"), REST, stream("z")], [stream("aaaa\nz")], "close", None,
    ),
    "a cut stream that begins otherwise": (
        [stream("a\nb\nc\n"), REST], [stream("a\nB\nc\n"), REST], "different", None,
    ),
    "a cut stream beside one that is gone": (
        [stream("a\n"), REST, stream("b\n", "stderr")], [stream("a\n")], "different", None,
    ),
    "a cut display": (CUT_DISPLAY, [display({"text/plain": "1\n2\n3\n4"})], "close", None),
    "a cut display that begins otherwise": (
        CUT_DISPLAY, [display({"text/plain": "7\n8"})], "different", None,
    ),
    "a picture in a file": (
        [display({"text/plain": "<Figure>"}), rest({"image/png": "a.png"})], [FIGURE], "close",
        "output: only a part of it is kept",
    ),
    "a picture in a file, without words": (
        [display({}), rest({"image/png": "a.png"})], [FIGURE], "close",
        "output: only a part of it is kept",
    ),
    "a cut message": (CUT_MESSAGE, [error("ValueError", "x" * 9000)], "same", ""),
    "a cut message that begins otherwise": (
        CUT_MESSAGE, [error("ValueError", "y" * 9000)], "different", None,
    ),
    "a message that ends like a cut one": (
        [error("ValueError", "x" * 2000 + "…")], [error("ValueError", "x" * 2000 + "y")],
        "different", None,
    ),
    "a longer message": (
        [error("ValueError", "x" * 2000)], [error("ValueError", "x" * 2000 + "y")],
        "different", None,
    ),
    "a result that is gone": (
        [BOTH_FORMS], [], "different",
        "output 1 is recorded but missing now: first (text/html, text/plain)",
    ),
    "a new result": (
        [], [BOTH_FORMS], "different",
        "output 1 is not recorded: first (text/html, text/plain)",
    ),
    "another type of a result": (
        [BOTH_FORMS], [display({"text/plain": "first\nsecond"})], "different",
        "types of output\n - 1 | text/html, text/plain\n + 1 | text/plain",
    ),
    "a line that differs": (
        [stream("one\ntwo\nloss 0.81\nend\n")], [stream("one\ntwo\nloss 0.92\nend\n")],
        "different",
        "stdout, line 3\n   2 | two\n - 3 | loss 0.81\n + 3 | loss 0.92",
    ),
    "a line that matters after one that does not": (
        [stream("0.12345678\nyes\n")], [stream("0.12345679\nno\n")], "different",
        "stdout, line 2\n   1 | 0.12345678\n - 2 | yes\n + 2 | no",
    ),
    "lines that are missing": (
        [stream("a\n")], [stream("a\nb\nc\nd\ne\n")], "different",
        "stdout, line 2\n   1 | a\n + 2 | b\n + 3 | c\n + 4 | d",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_outputs_are_compared_part_by_part_and_the_first_difference_is_told(name: str) -> None:
    before, after, verdict, difference = PARTS[name]
    found = compare(before, after)
    assert found.verdict.value == verdict
    assert difference is None or found.difference == difference


def test_a_transparent_pixel_has_no_colour() -> None:
    one, other = (Image.new("RGBA", (2, 2), (shade, 0, 0, 0)) for shade in (0, 255))

    assert compare([display({"image/png": png(one)})], [display({"image/png": png(other)})]) == SAME


def test_where_only_the_whole_differs_the_first_line_that_is_not_equal_is_told() -> None:
    deep = "{" * 21

    found = compare([stream(f"{deep}\n{{2, 1}}")], [stream(f"{deep}\n{{1, 2}}")])

    assert found.verdict is Verdict.DIFFERENT
    assert found.difference.startswith("stdout, line 2\n")


def test_of_a_long_line_the_part_that_differs_is_told() -> None:
    before, after = (f"{'a' * 5000}{letter}{'b' * 5000}" for letter in "xy")

    found = compare([stream(before)], [stream(after)])

    assert "x" in found.difference
    assert len(found.difference) < 400


def test_the_worst_part_decides() -> None:
    before = [stream("0.12345678"), display({"text/plain": "a"}), stream("x", "stderr")]
    after = [stream("0.12345679"), display({"text/plain": "b"}), stream("x", "stderr")]

    assert compare(before, after).difference.startswith("output, line 1")
    assert worst([]) == SAME
    assert worst([SAME, Comparison(verdict=Verdict.CLOSE)]).verdict is Verdict.CLOSE


@given(OUTPUTS)
def test_anything_is_the_same_as_itself(outputs: Any) -> None:
    assert compare(outputs, json.loads(json.dumps(outputs)), rerun=NOW).verdict is Verdict.SAME


@given(OUTPUTS, OUTPUTS, st.booleans(), st.booleans())
def test_nothing_raises_and_every_difference_has_words(
    one: Any, other: Any, may_fail: bool, errors_only: bool
) -> None:
    found = compare(one, other, may_fail=may_fail, errors_only=errors_only)

    assert bool(found.difference) == (found.verdict is not Verdict.SAME)


@given(OUTPUTS, OUTPUTS)
def test_only_errors_have_a_direction(one: Any, other: Any) -> None:
    there, back = compare(one, other).verdict, compare(other, one).verdict

    if Verdict.FIXED in {there, back}:
        assert {there, back} == {Verdict.FIXED, Verdict.NEW_ERROR}
    else:
        assert there is back


@given(WORDS, WORDS)
def test_texts_are_compared_alike_in_both_directions(one: str, other: str) -> None:
    assert text_verdict(one, one) in {"same", "close"}
    assert text_verdict(one, other, rerun=ANY_RERUN) == text_verdict(other, one, rerun=ANY_RERUN)


@pytest.mark.parametrize(
    "text",
    ["{" * 50_000 + "}" * 50_000, "a/" * 50_000, "1" * 100_000, "1," * 50_000, "{,(" * 30_000,
     "a" * 100_000, "Warning: " * 10_000 + ".py", "-" * 100_000, "1 s " * 30_000, "}" * 50_000,
     "0x7f" * 30_000, "/tmp/" * 30_000, "12:" * 40_000],
    ids=lambda text: text[:6],
)  # fmt: skip
def test_hostile_text_takes_no_time(text: str) -> None:
    assert text_verdict(f"{text}.x", f"{text}.y") == "different"
