"""The review page: what it shows of notebooks, ours and others."""

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kernel_exec.review.page as module
from kernel_exec.notebooks.markdown import inline
from kernel_exec.notebooks.outputs import rest
from kernel_exec.review.facts import duration
from kernel_exec.review.hypertext import coloured, escape, highlighted, sanitised
from kernel_exec.review.opening import opened
from kernel_exec.review.outputs import outputs_html
from kernel_exec.review.page import review
from kernel_exec.review.prose import Anchors, line, prose

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'
SVG_BASE64 = base64.b64encode(SVG.encode()).decode()
PLOTLY = {"data": [{"type": "bar", "x": [1, 2]}], "layout": {"title": {"text": "Sales"}}}


class _Page(HTMLParser):
    """What is in a page: its tags, its ids and links, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags[tag] += 1
        self.attributes |= told.keys()
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if tag == "a" and "href" in told else []
        self.pictures += [told] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> _Page:
    """The page's parts, after what holds for every page was seen to hold."""
    page.encode()
    parts = _Page(page)
    assert page.startswith("<!doctype html>\n<html lang=")
    assert {tag: parts.tags[tag] for tag in ("h1", "main", "header", "style", "title")} == {
        **dict.fromkeys(("h1", "main", "header", "style", "title"), 1)
    }
    assert not parts.tags.keys() & {"script", "iframe", "object", "embed", "form", "link", "base"}
    assert not {each for each in parts.attributes if each.startswith("on") or each == "style"}
    assert len(set(parts.ids)) == len(parts.ids)
    assert {link[1:] for link in parts.links if link.startswith("#cell-")} <= set(parts.ids)
    for link in parts.links:
        assert link.startswith(("#", "http://", "https://", "mailto:")), link
    for each in parts.pictures:
        assert (each["src"] or "").startswith("data:image/"), each
        assert each["alt"], each
    return parts


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def code(source: Any = "x", *outputs: Any, **about: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "metadata": {"kernel_exec": about} if about else {},
        "execution_count": 3,
        "source": source,
        "outputs": list(outputs),
    }


def words(source: Any, **about: Any) -> dict[str, Any]:
    metadata = {"kernel_exec": about} if about else {}
    return {"cell_type": "markdown", "metadata": metadata, "source": source}


def shown(metadata: Any = None, /, **data: Any) -> str:
    """The HTML of one display; in the names of types, `__` stands for `/`."""
    types = {mime.replace("__", "/").replace("_and_", "+"): value for mime, value in data.items()}
    output = {"output_type": "display_data", "data": types, "metadata": metadata or {}}
    return outputs_html([output], "Picture: a step")


def stream(*parts: str, name: str = "stdout") -> str:
    return outputs_html(
        [{"output_type": "stream", "name": name, "text": part} for part in parts], ""
    )


def test_a_step_is_its_intent_its_code_and_its_output() -> None:
    about = {"number": 4, "intent": "Count <all>", "outcome": "ok", "seconds": 1.25}
    page = review(
        notebook(
            words("### Count &lt;all&gt;", role="title", **about),
            code("len(x)", {"output_type": "stream", "name": "stdout", "text": "17\n"}, **about),
            kernel_exec={"name": "main", "environment": "venv:/e"},
            title="Of all",
        )
    )
    parts = checked(page)
    assert parts.text.count("Count <all>") == 2  # in the contents, and above the step
    assert "Step 4 Count <all>" in parts.text
    assert "1.25 s" in parts.text
    assert "In [" not in parts.text
    assert "17" in parts.text
    assert "venv:/e" in parts.text
    assert {link.removeprefix("#") for link in parts.links} <= set(parts.ids)


def test_a_failure_that_ran_nothing_is_marked_and_in_the_contents() -> None:
    folded = "<details>\n<summary>It failed: E</summary>\n\n```python\nbroken(\n```\n</details>"
    about = {"role": "folded", "number": 1, "outcome": "exception", "intent": ""}
    page = review(notebook(words(folded, **about)))
    assert checked(page).text.partition("Contents")[2].count("failed") == 3
    assert "<summary>It failed: E</summary>" in page
    assert "broken(" in page.partition("<main")[0]  # a step without a title goes by its code


ERROR = {"output_type": "error", "ename": "KeyError", "evalue": "<'x'>\nno", "traceback": ["t"]}


@pytest.mark.parametrize("intent", ["Look **up**", ""])
def test_a_failure_that_the_notebook_hides_is_closed_under_a_line_that_tells_it(
    intent: str,
) -> None:
    failed = code("d['x']", ERROR, number=2, intent=intent, outcome="exception")
    failed["metadata"] |= {"tags": ["raises-exception"], "jupyter": {"source_hidden": True}}
    page = review(notebook(failed))
    checked(page)
    line, _, inside = page.partition('<summary class="head">')[2].partition("</summary>")
    assert "<details open" not in page.partition("<main")[2]
    told = re.sub(r"\s+", " ", _Page(line).text).strip()
    named = "Look up" if intent else "d['x']"
    assert told == f"Step 2 {named} failed KeyError: <'x'> no"
    assert "d[" in inside


@pytest.mark.parametrize("tags", [[], ["raises-exception"]])
def test_no_code_is_hidden_but_that_of_a_failure_which_the_notebook_hides(tags: list[str]) -> None:
    cell = code("secret()", number=1)
    cell["metadata"] |= {"tags": tags, "jupyter": {"source_hidden": not tags}}
    assert '<summary class="head">' not in review(notebook(cell))


def test_what_an_earlier_kernel_ran_is_one_closed_block_under_its_heading() -> None:
    ran = "<details>\n<summary>2 steps</summary>\n\n```python\nx = 1\n```\n\n</details>"
    page = review(
        notebook(
            words("## Kernel 1\n\n*It restarted.*", role="kernel"),
            words(ran, role="earlier"),
            words("## Kernel 2", role="kernel"),
            code(number=4, intent="B"),
        )
    )
    assert re.findall(r"<bdi>(.*?)</bdi>", page) == ["Kernel 1", "Kernel 2", "B", "B"]
    assert page.count('<div class="prose kernel"') == page.count('class="level2 kernel"') == 2
    assert page.index("<details>\n<summary>2 steps</summary>") > page.index("It restarted.")
    checked(page)


@given(
    st.lists(
        st.sampled_from(["*", "**", "`", "_", "[", "](", "<b>", "&", "$", "!", "漢", "。", "b "])
    )
)
@example(["*", "`", "`", "*", "`", "`"])
def test_a_title_loses_nothing_but_marks_of_emphasis_and_code(parts: list[str]) -> None:
    title = "".join(parts)
    marks = re.compile(r"[*`\s]")
    assert marks.sub("", line(inline(title))[1]) == marks.sub("", title)


def test_no_heading_is_shown_twice() -> None:
    cells = [
        words("# The title\n\nWhy"),
        words("## Load\n\nHow", role="note", number=1),
        words("### Step 2: Load", role="title", number=2, intent="Load"),
        code(number=2, intent="Load"),
        words("## Load more", role="note", number=3),
        code(number=4, intent="Other"),
    ]
    for metadata in ({}, {"title": "The title"}):
        page = review(notebook(*cells, **metadata)).partition("<main")
        headings = re.findall(r"<(h[1-6])\b[^>]*>(.*?)</\1>", page[0] + page[2])
        told = [re.sub("<[^>]*>", "", shown).strip() for _, shown in headings]
        # the last note is the finding at the top
        assert told == ["The title", "Load more", "Step 2 Load", "Load more", "Step 4 Other"]


def test_what_nobody_ran_is_folded_and_says_so() -> None:
    page = review(
        notebook(
            code("# /// script", author="kernel-exec", role="requirements"),
            words("*Script* `/s/fit.py`", role="script", number=1),
            code("lend()", author="kernel-exec", role="script-begin"),
            code("print(1)", number=1, intent="A script"),
            code("back()", author="kernel-exec", role="script-end"),
        )
    )
    summaries = re.findall(r"<summary>([^<]*)</summary>", page)
    assert summaries == [
        "Contents",
        "What the notebook needs to run again",
        "Added: lends the script its path and arguments",
        "Added: takes them back",
    ]
    assert page.count('<section class="step') == 1
    assert page.index("<code>/s/fit.py</code>") > page.index('<section class="step')


def test_notes_and_installs_are_between_the_steps() -> None:
    parts = checked(
        review(
            notebook(
                words("# The question\n\nWhy?", role="note"),
                words("*Installed* `x`\n\n- `x` 1.0", role="install"),
                code(number=3, intent="Look"),
                words("### Found", role="note"),
                kernel_exec={"name": "main"},
            )
        )
    )
    assert "Session main" in parts.text  # the first note names the page
    assert parts.text.count("The question") == 2  # in the title and the heading, not again below
    for told in ("Installed x", "Look", "Found"):
        assert told in parts.text


VERIFIED = {
    "verdict": "different",
    "when": "2026-01-02T03:04:05+00:00",
    "seconds": 75,
    "counts": {"same": 3, "different": 1, "not run": 0},
    "python": "3.12.1",
    "environment": "venv:/other",
    "packages": {"numpy": "2.3.0"},
}


def test_the_verdict_is_at_the_top_and_at_each_cell_with_the_difference() -> None:
    page = review(
        notebook(
            code(number=1, verdict={"verdict": "same", "difference": ""}),
            code(number=2, verdict={"verdict": "different", "difference": "- 1\n+ <2>"}),
            kernel_exec={"name": "main", "verification": VERIFIED},
        )
    )
    text = checked(page).text
    assert "Verified: 1 of 2 steps differs in a fresh kernel." in text
    assert "3 same, 1 different · 2026-01-02 03:04 UTC · 1 min 15 s · Python 3.12.1" in text
    assert "Python 3.12.1 · venv:/other" in text
    assert "numpy 2.3.0" in text
    assert "✓ same" in text
    assert "≠ different" in text
    assert "- 1\n+ <2>" in text


def opened_notebook(**verification: Any) -> dict[str, Any]:
    """A session of ours in which the second step differs, and the fourth is only close."""
    verdicts = {2: "different", 4: "close"}
    about = {"name": "main", "verification": verification}
    cells = [
        words("# The question", role="note", number=1),
        *(
            code(number=at, intent=f"Do {at}", verdict={"verdict": verdicts[at], "difference": "x"})
            for at in verdicts
        ),
        words("## Found\n\nIt is *4*.", role="note", number=5),
    ]
    return dict(opened(notebook(*cells, kernel_exec=about)))


def test_the_head_says_what_it_is_about_what_differs_and_what_was_found() -> None:
    made = opened_notebook(verdict="different")
    page = review(made)
    parts = checked(page)
    head, _, body = page.partition("</header>")
    assert "<h1>The question</h1>" in head
    assert '<a href="#cell-2">Step 2</a> Do 2 <small>different</small>' in head
    assert 'Trivial differences: <a href="#cell-3">Step 4</a>' in head
    assert 'Finding · <a href="#cell-4">Note 5</a>' in head
    assert "<p>It is <em>4</em>.</p>" in head
    assert '<section class="step " id="cell-2"' in body
    assert parts.text.count("1 of 2 steps differs in a fresh kernel") == 1
    # the same as in Jupyter
    for told in ("The question", "Step 2", "Do 2", "Step 4", "Note 5", "It is *4*."):
        assert told in made["cells"][0]["source"]


def test_a_first_cell_that_somebody_wrote_anew_is_shown() -> None:
    made = opened_notebook()
    made["cells"][0] = {**made["cells"][0], "source": "Mine"}
    assert "<p>Mine</p>" in review(made).partition("<main")[2]


def test_only_trivial_differences_are_told_in_a_sentence() -> None:
    text = checked(review(notebook(kernel_exec={"verification": {"verdict": "close"}}))).text
    assert "Verified: a fresh kernel gave the same results but for trivial differences." in text


def test_long_code_is_folded_behind_its_length_and_first_line() -> None:
    long = "# a comment\n" + "\n".join(f"x = '<{at}>'" for at in range(40))
    page = review(notebook(code(long, number=1), code("\n".join(["x"] * 40), number=2)))
    checked(page)
    (summary,) = re.findall(r'<details class="long"><summary>(.*?)</summary>', page)
    assert summary == "41 lines of code <code>x = &#x27;&lt;0&gt;&#x27;</code>"


@pytest.mark.parametrize(
    "metadata", [{}, {"kernel_exec": {"verification": {"verdict": "fine"}, "started": "then"}}]
)
def test_without_a_verdict_that_is_known_it_says_that_nobody_verified(metadata: Any) -> None:
    assert "Not verified" in checked(review(notebook(**metadata))).text


def test_the_head_counts_failures_and_restarts() -> None:
    about = {
        "failed": 2,
        "executions": 9,
        "counts": {"restarts": 3},
        "started": 0,
        "ended": 90_000,
        "clients": ["other 1", "some-client 2"],
    }
    text = checked(review(notebook(kernel_exec=about))).text
    for told in (
        "Failed2",
        "Executions9",
        "Restarts3",
        "Clientother 1, some-client 2",
        "When1970-01-01 00:00 to 1970-01-02 01:00 UTC",
    ):
        assert told in text


def test_a_notebook_that_is_not_ours_has_its_headings_or_its_code_as_contents() -> None:
    timed = code(["a = 1\n", "a"])
    timed["metadata"]["execution"] = {
        "iopub.execute_input": "2026-01-01T00:00:00.000000Z",
        "shell.execute_reply": "2026-01-01T00:00:02.500000Z",
    }
    parts = checked(
        review(
            notebook(
                words(["# Title\n", "\n", "[down](#Part-two)\n"]),
                words("## Part two\n\n## Part two"),
                timed,
                {"cell_type": "raw", "metadata": {}, "source": "raw words"},
            )
        )
    )
    assert parts.links == ["#steps", "#s-part-two", "#s-part-two--2", "#s-part-two"]
    for told in ("Title · review", "raw cell, not run", "raw words", "2.50 s", "In [3]"):
        assert told in parts.text
    without = review(notebook(code("# a remark\nx = 1"), code("y"))).partition("<main")[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", without) == ["x = 1", "y"]


def test_attached_pictures_are_carried_along() -> None:
    cell = words("![A map](attachment:a%20b.png) ![gone](attachment:c) ![far](http://e.test/x)")
    cell["attachments"] = {"a b.png": {"image/png": [PNG]}, "c": {"text/html": "<script>"}}
    parts = checked(review(notebook(cell)))
    assert [each["alt"] for each in parts.pictures] == ["A map"]
    assert "[picture that is not in the notebook: gone]" in parts.text


OUTPUTS: dict[str, tuple[dict[str, Any], str]] = {
    "a picture beats its words": ({"image__png": PNG, "text__plain": "<Figure>"}, "<figure>"),
    "base64 in lines": ({"image__png": [PNG[:10] + "\n", PNG[10:]]}, PNG),
    "no base64": ({"image__png": "%%%", "text__plain": "words"}, "words"),
    "no picture": ({"image__png": base64.b64encode(b"GIF").decode()}, "Not shown"),
    "SVG": ({"image__svg_and_xml": SVG}, f'src="data:image/svg+xml;base64,{SVG_BASE64}"'),
    "Plotly": (
        {"application__vnd.plotly.v1_and_json": PLOTLY, "text__html": "<div id=x></div>"},
        "Plotly chart &#x27;Sales&#x27;",
    ),
    "a table": (
        {"text__html": "<style>x</style><table class=dataframe><td>1", "text__plain": "1"},
        '<div class="markup"><table><tbody><tr><td>1</td></tr></tbody></table></div>',
    ),
    "HTML that only a script fills": (
        {"text__html": "<div id=x></div><script>draw()</script>", "text__plain": "<Chart>"},
        "&lt;Chart&gt;",
    ),
    "HTML with a script": (
        {"text__html": "<p>a</p><script>1</script>"},
        "Left out of this: script",
    ),
    "Markdown": ({"text__markdown": "**a**", "text__plain": "<Markdown>"}, "<strong>a</strong>"),
    "LaTeX": ({"text__latex": "$x<1$", "text__plain": "x"}, "$x&lt;1$"),
    "JSON": ({"application__json": {"a": [1]}, "text__plain": "<JSON>"}, "{\n  &quot;a&quot;: ["),
    "a widget": (
        {"application__vnd.jupyter.widget-view_and_json": {"m": 1}, "text__plain": "Slider()"},
        "Slider()",
    ),
    "text": ({"text__plain": ["a\n", "b"]}, "a\nb"),
    "a sound": ({"audio__wav": "A" * 1200}, "audio/wav (1,200 characters)"),
    "what a library loads": ({"application__vnd.bokehjs_load.v0_and_json": "x"}, ""),
    "HTML that is too much": ({"text__html": "<p>" * 200_000, "text__plain": "words"}, "words"),
    "SVG that is too much": ({"image__svg_and_xml": "<svg>" * 200_000, "text__plain": "a"}, "a"),
    "nothing": ({}, ""),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_of_a_display_the_form_that_says_most_is_shown(name: str) -> None:
    data, expected = OUTPUTS[name]
    html = shown(**data)
    assert expected in html
    assert bool(html) == bool(expected)


def test_a_picture_has_words_also_when_nobody_gave_it_any() -> None:
    assert 'alt="Picture: a step"' in shown(image__png=PNG)
    told = shown({"image/png": {"alt": 'A "map"', "width": 300, "height": "1e9"}}, image__png=PNG)
    assert 'alt="A &quot;map&quot;" width="300">' in told


def test_parts_of_one_stream_are_one_and_a_bar_is_its_end() -> None:
    html = stream("\r 10%", "\r100%\n", "do", "ne\n")
    assert html.count("<pre") == 1
    assert "100%\ndone" in html
    assert "10%" not in html.replace("100%", "")


def test_stderr_is_told_apart() -> None:
    both = outputs_html(
        [
            {"output_type": "stream", "name": "stdout", "text": "a"},
            {"output_type": "stream", "name": "stderr", "text": "b"},
        ],
        "",
    )
    assert re.findall('class="(stream[^"]*)"', both) == ["stream", "stream aside"]
    assert '<p class="label">stderr</p>' in both


def test_the_middle_of_long_text_is_folded_and_what_is_too_much_is_counted() -> None:
    html = stream("".join(f"{n}\n" for n in range(500)))
    assert "<summary>466 more lines</summary>" in html
    assert "250" in html
    html = stream("x" * 300_000)
    assert len(html) < 120_000
    assert "Only in the notebook: 200,000 characters" in html


def test_late_output_and_cut_output_say_so() -> None:
    late = {"kernel_exec": {"role": "late"}}
    assert "after the cell had ended" in shown(late, text__plain="[after the cell had ended]")
    cut = outputs_html(
        [rest({"": "../x/y.txt"}, left_out=1), rest({"image/png": "p"}, alt="A")], ""
    )
    words = "1 character left out here.<br>All of it is in <code>../x/y.txt</code>"
    assert words in cut
    assert "“A” is in <code>p</code>" in cut
    assert "[all of it is in x]" in stream("head\n\n[all of it is in x]\n")
    page = review(notebook(code(number=1, outcome="ok", truncated=True)))
    assert "output cut" in page
    page = review(notebook(code(number=1, outcome="ok", complete=False)))
    assert "output incomplete" in page


def test_a_cell_of_others_that_failed_is_marked() -> None:
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    page = review(notebook(code("1/0", error)))
    assert '<span class="badge failed">failed</span>' in page
    assert "Failed</dt><dd>1<" in page
    assert '<div class="error"><p><strong>E</strong></p></div>' in page


def test_an_error_is_its_last_line_with_the_traceback_folded() -> None:
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "no <b>",
        "traceback": ["\x1b[31mValueError\x1b[0m", "line 2"],
    }
    html = outputs_html([error], "")
    assert "<strong>ValueError</strong>: no &lt;b&gt;" in html
    assert '<summary>Traceback</summary><pre>\n<span class="a1">ValueError</span>\nline 2' in html


COLOURS = {
    "\x1b[31mred\x1b[0m plain": '<span class="a1">red</span> plain',
    "\x1b[1;92mx": '<span class="ab a2">x</span>',
    "\x1b[1mx\x1b[22my": '<span class="ab">x</span>y',
    "\x1b[38;5;28mx\x1b[39my": '<span class="a2">x</span>y',
    "\x1b[38;5;3mx": '<span class="a3">x</span>',
    "\x1b[38;5;240mx": "x",
    "\x1b[38;2;10;20;250mx": '<span class="a4">x</span>',
    "\x1b[48;5;1mx\x1b[37my": "xy",
    "\x1b[38mx\x1b[8my": "xy",
    "\x1b]8;;http://e\x07link\x1b]8;;\x07\x1b[2K": "link",
    "a<b\x00\u202e": "a&lt;b␀[U+202E]",
}


@pytest.mark.parametrize("written", COLOURS)
def test_colours_of_a_terminal_are_classes(written: str) -> None:
    assert coloured(written) == COLOURS[written]


def test_code_is_highlighted_in_its_language_and_stays_what_it_is() -> None:
    assert highlighted("def f(): return 'a'\n", "ipython3") == (
        '<span class="tk">def</span> <span class="tf">f</span>(): '
        '<span class="tk">return</span> <span class="ts">&#x27;a&#x27;</span>\n'
    )
    assert highlighted("%%bash\nif true; then\n", "python").startswith("%%bash\n<span")
    assert "tk" in highlighted("%%time\nimport x", "python")
    for plain in ("\n\n x <- 1 \n", "x" * 60_000):
        assert highlighted(plain, "no such language") == escape(plain)
    assert highlighted("a" * 60_000, "python") == "a" * 60_000


def test_formulas_are_left_alone_and_prices_are_not_formulas() -> None:
    html = prose("$a_1 b_1$ and $$x\\\\y$$ cost $5 or $6 *each*", Anchors(), pictures={}).html
    assert html == (
        "<p><code>$a_1 b_1$</code> and <code>$$x\\\\y$$</code> cost $5 or $6 <em>each</em></p>\n"
    )
    html = prose("[$a]_1$ b](http://e.test)", Anchors(), pictures={}).html
    assert "<code>$a]_1$</code> b</a>" in html


def test_headings_are_lower_than_the_pages_and_tables_keep_their_sides() -> None:
    found = prose("# A *b*\n\n###### C\n\n| a |\n|--:|\n| 1 |", Anchors(), pictures={})
    assert '<h2 id="s-a-b">A <em>b</em></h2>' in found.html
    assert "<h6" in found.html
    assert '<td align="right">1</td>' in found.html
    assert [(each.level, each.words) for each in found.headings] == [(1, "A b"), (6, "C")]


def test_what_is_too_much_or_too_deep_is_shown_as_it_is_written() -> None:
    shown = prose("*" * 300_000, Anchors(), pictures={}).html
    assert shown.startswith('<p class="note">Shown as written')
    assert "<pre>***" in shown
    assert sanitised("<div>" * 10_000).startswith("<pre>&lt;div&gt;")
    assert sanitised("<p>" * 1_000).count("<p>") == 1_000


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0042, "4 ms"),
        (0.0996, "0.10 s"),
        (9.994, "9.99 s"),
        (59.6, "60 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (None, ""),
        (float("inf"), ""),
    ],
)
def test_durations_are_told_as_people_do(seconds: Any, told: str) -> None:
    assert duration(seconds) == told


CLEANED = {
    '<table><td colspan="2" rowspan="99999" class="x" style="x">1': (
        '<table><tbody><tr><td colspan="2">1</td></tr></tbody></table>'
    ),
    "<details open id=x><summary>a": '<details open=""><summary>a</summary></details>',
    '<a href="//e.test">a</a><a href="x.html">b</a>': (
        '<a rel="noopener noreferrer nofollow">a</a><a rel="noopener noreferrer nofollow">b</a>'
    ),
    f'<img src="data:image/png;base64,{PNG}">': (
        f'<img src="data:image/png;base64,{PNG}" alt="Picture without a description">'
    ),
    '<img src="data:text/html;base64,AAAA">': "<em>[picture that is not in the notebook]</em>",
    '<p title="<img>">a': "<p>a</p>",
    '<img alt="<img>">': "<em>[picture that is not in the notebook: &lt;img&gt;]</em>",
    "a\ud800b": "a?b",
}


@pytest.mark.parametrize("markup", CLEANED)
def test_of_html_only_what_it_shows_is_left(markup: str) -> None:
    assert sanitised(markup) == CLEANED[markup]


def test_output_can_not_pass_for_the_page() -> None:
    forged = '<span class="badge same">✓ same</span><h2 id="steps" class="name">Step 1</h2>'
    html = shown(text__html=forged)
    assert html == '<div class="markup"><span class="">✓ same</span><h2>Step 1</h2></div>'


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("stream")
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def _loose(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects in which any field may be missing or be anything."""
    return st.fixed_dictionaries({}, optional={key: each | VALUES for key, each in fields.items()})


MIMES = st.sampled_from(["text/html", "text/plain", "image/png", "text/markdown", "x", PNG])
ABOUT = _loose(
    role=st.sampled_from(
        ["title", "folded", "script", "script-begin", "kernel", "note", "opening"]
    ),
    number=st.integers(),
    outcome=st.sampled_from(["ok", "exception"]),
    verdict=_loose(verdict=st.sampled_from(["same", "fixed"]), difference=st.text()),
    seconds=st.floats(),
    intent=st.text(),
    verification=_loose(verdict=st.just("same"), counts=VALUES, packages=VALUES, when=VALUES),
    kernels=VALUES,
    counts=VALUES,
    started=st.floats() | st.text(),
    ended=st.floats(),
)
OUTPUT = _loose(
    output_type=st.sampled_from(["stream", "error", "display_data", "execute_result"]),
    text=st.text(),
    data=st.dictionaries(MIMES, st.text() | VALUES, max_size=3),
    metadata=_loose(kernel_exec=ABOUT),
    traceback=st.lists(st.text()),
)
CELL = _loose(
    cell_type=st.sampled_from(["code", "markdown", "raw"]),
    source=st.text(alphabet="#<>`$[]()!\n \x1b*ax|-", max_size=60),
    metadata=_loose(kernel_exec=ABOUT, tags=VALUES, execution=VALUES),
    outputs=st.lists(OUTPUT, max_size=3),
    execution_count=st.integers(),
    attachments=VALUES,
)
NOTEBOOK = _loose(
    cells=st.lists(CELL, max_size=4), metadata=_loose(kernel_exec=ABOUT, language_info=VALUES)
)


@settings(max_examples=100, deadline=None)
@given(NOTEBOOK)
@example({"cells": [{"cell_type": "code", "outputs": [{"data": {"image/png": "\x80"}}]}]})
def test_every_value_makes_a_page(value: Any) -> None:
    checked(review(value))


def test_the_same_notebook_makes_the_same_page_and_is_not_changed() -> None:
    value = notebook(words("# A"), code("x", number=1), kernel_exec={"name": "n"})
    before = json.dumps(value)
    assert review(value) == review(value)
    assert json.dumps(value) == before


def test_both_schemes_can_be_read() -> None:
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text."""
    style = Path(module.__file__).with_name("page.css").read_text()
    pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w+, #\w+)\)", style))
    colours = {name: pair.split(", ") for name, pair in pairs.items()}
    over = {
        **dict.fromkeys(("ink", "quiet", "link", "good", "warn", "bad"), ("page", "panel")),
        **dict.fromkeys(("keyword", "string", "number", "name"), ("page", "panel")),
    }
    on_tints = {"ink": ("good-tint", "warn-tint", "bad-tint"), "quiet": ("bad-tint",)}
    tinted = {"bad": ("bad-tint",), "warn": ("warn-tint",)}
    for scheme in (0, 1):
        for table in (over, on_tints, tinted):
            for front, backs in table.items():
                for back in backs:
                    ratio = _contrast(colours[front][scheme], colours[back][scheme])
                    assert ratio >= 4.5, (front, back, scheme, round(ratio, 2))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    "unit",
    [
        *("[", "![", "**a", "*a **a ", "`a``b", "` ", "<!--", "&#", ">", "> ", "- ", "1. ", "|"),
        *("](", "[a](", "[a][", "<a ", "_a", "~~a", "$a ", "$$", "# ", "\n\n- a\n", "\n>", "*_"),
        *("[x]: y\n", "|a|b\n|-|-\n", "```\n", "<div>\n", "</t", "[![a](b)](", "<![CDATA[", "a*"),
        *("<textarea></t", "[all of it is in ", "```python\n", "\n ", "\x1b[31ma\x1b[0m"),
    ],
)
def test_hostile_text_takes_time_as_its_length(unit: str) -> None:
    """The time limit of tests is the judge: what takes the square of it takes minutes."""
    written = unit * (250_000 // len(unit))
    most = written[:40_000]
    review(
        {
            "metadata": {},
            "cells": [
                {"cell_type": "markdown", "source": most, "metadata": {}},
                {
                    "cell_type": "code",
                    "source": written[:40_000],
                    "metadata": {"kernel_exec": {"number": 1}},
                    "outputs": [
                        {"output_type": "stream", "name": "stdout", "text": written},
                        {"output_type": "display_data", "data": {"text/html": written}},
                        {"output_type": "display_data", "data": {"text/markdown": most}},
                        {"output_type": "error", "ename": "E", "evalue": written},
                    ],
                },
                {
                    "cell_type": "markdown",
                    "source": written,
                    "metadata": {"kernel_exec": {"role": "folded"}},
                },
            ],
        }
    )


def test_a_deep_output_costs_no_page() -> None:
    nested: list[object] = []
    for _ in range(3_000):
        nested = [nested]
    outputs = [
        {"output_type": "display_data", "data": {"application/json": nested}},
        {"output_type": "display_data", "data": {"application/json": [10**5_000]}},
    ]
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": outputs}
    page = review({"metadata": {}, "cells": [cell]})  # type: ignore[list-item]  # JSON
    assert page.count("can't be shown") == 2 or page.count("can&#x27;t be shown") == 2
