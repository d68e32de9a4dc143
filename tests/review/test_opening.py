"""The first screen of a notebook: its title, its verdict with links, its finding."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kernel_exec.history.entries import EntryKind
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.notebooks.build import build
from kernel_exec.notebooks.cells import Step
from kernel_exec.notebooks.reading import cells, source_of
from kernel_exec.review.opening import (
    Mention,
    Opening,
    markdown,
    opened,
    opening,
    stamped,
    tells,
)
from kernel_exec.verification.plan import make_plan
from kernel_exec.verification.results import Verification
from tests.notebooks.steps import SESSION, step


def note(markdown: str, number: int = 1) -> Step:
    return step(markdown, number=number, kind=EntryKind.NOTE, generation=0)


def built(*steps: Step, title: str = "") -> JSONObject:
    return opened(build(session=SESSION, kernels=(), steps=steps), title)


def judged(*verdicts: str, whole: str = "different", **more: Any) -> JSONObject:
    """A notebook of others that was run again."""
    about = {"verification": {"verdict": whole, **more}}
    listed: list[JSON] = [
        {
            "cell_type": "code",
            "id": f"c{at}",
            "metadata": {
                "kernel_exec": {
                    "number": at,
                    "intent": "a [b](c)",
                    "verdict": {"verdict": verdict, "difference": "x"},
                }
            },
            "source": "x",
        }
        for at, verdict in enumerate(verdicts, 1)
    ]
    return {"metadata": {"title": "T", "kernel_exec": about}, "cells": listed}


STEP = step("x = 1", number=2, title="Load `it`")

TITLES: dict[str, tuple[JSONObject, str]] = {
    "as asked": (built(note("# Why"), STEP, title=" What\n was asked "), "What was asked"),
    "the first note's": (
        built(STEP, note("\n\n## Why *so*\n\nBecause", 3), note("Z", 4)),
        "Why *so*",
    ),
    "its first words": (built(note("---\n```\n> - We - ask\nwhy"), STEP), "We - ask"),
    "the first intent": (built(step("0"), STEP, step("y", number=3, title="More")), "Load `it`"),
    "a note without words": (built(note("***"), STEP), "Load `it`"),
    "the session's": (built(step("x")), "Session main"),
    "too long": (built(STEP, title="a" * 200), "a" * 119 + "…"),
    "what would hide or colour": (
        built(STEP, title="a\x1b[31m\u202eb\x00\ud800"),
        "a\\u202eb\\x00\\ud800",
    ),
    "of somebody else's notebook": (
        {"cells": [{"cell_type": "markdown", "source": ["# The\n", "so"]}]},
        "The",
    ),
    "none": ({"cells": [{"cell_type": "code", "source": "# x"}]}, "Untitled"),
}


@pytest.mark.parametrize("name", TITLES)
def test_a_notebook_has_a_title(name: str) -> None:
    notebook, title = TITLES[name]
    assert opening(notebook).title == title


def test_the_first_cell_is_the_first_screen_and_the_title_is_in_the_metadata() -> None:
    notebook: Any = built(note("# Why"), STEP, note("## It is so\n\nAnd **how**.", 3))
    first = cells(notebook)[0]
    assert tells(first, opening(notebook))
    assert notebook["metadata"]["title"] == "Why"
    assert source_of(first) == (
        "# Why\n\n"
        "**Not verified:** nobody has run this notebook again in a fresh kernel.\n\n"
        f"**Finding** ([Note 3](#cell-id={3:016x}-note))\n\n"
        "## It is so\n\nAnd **how**."
    )


FINDINGS: dict[str, tuple[list[Step], str]] = {
    "the last note": ([note("A"), STEP, note("B", 3)], "B"),
    "without what the title says": ([note("# A\n\nB")], "B"),
    "a title alone": ([note("A")], ""),
    "a sentence over two lines": ([note("A\nB")], "A\nB"),
    "a very long one": ([note("A"), note("## *Much*\n" + "b" * 3000, 3)], "<em>Much</em> …"),
    "none": ([STEP], ""),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_the_last_note_is_the_finding(name: str) -> None:
    steps, finding = FINDINGS[name]
    assert opening(built(*steps)).finding == finding


SENTENCES = {
    "": "Not verified: nobody has run this notebook again in a fresh kernel.",
    "same": "Verified: a fresh kernel gave the same results.",
    "close": "Verified: a fresh kernel gave the same results but for trivial differences.",
    "different": "Verified: 2 of 4 steps differ in a fresh kernel.",
    "failed": "Verified: the notebook did not run through in a fresh kernel: <it> died.",
}


@pytest.mark.parametrize("whole", SENTENCES)
def test_a_sentence_says_whether_it_holds(whole: str) -> None:
    notebook = judged("same", "fixed", "close", "different", whole=whole, reason="<it> died")
    assert opening(notebook).sentence == SENTENCES[whole]


def test_what_differs_is_linked_and_what_differs_trivially_is_told_apart() -> None:
    said = opening(judged("same", "different", "close", "new error", "fixed", "not run"))
    assert markdown(said) == (
        "# T\n\n**Verified:** 3 of 6 steps differ in a fresh kernel.\n\n"
        "- [Step 2](#cell-id=c2) a \\[b\\](c): different\n"
        "- [Step 4](#cell-id=c4) a \\[b\\](c): new error\n"
        "- [Step 5](#cell-id=c5) a \\[b\\](c): no longer fails\n\n"
        "Trivial differences: [Step 3](#cell-id=c3)"
    )


def test_very_many_differences_are_counted() -> None:
    said = markdown(opening(judged(*["different"] * 1000, *["close"] * 300)))
    assert "\n- and 990 more\n" in said
    assert said.endswith(", and 290 more")
    assert len(said) < 2000


HOSTILE = st.lists(
    st.sampled_from(["<!--", "-->", "```", "~~~", "<details>", "</script>", "[x](y)", "\n", "\n\n",
                     "    ", "# ", "===", "> ", "$$", "`", "*", "|", "\\", "&", "[a]: b", "word "]),
    max_size=12,
).map("".join)  # fmt: skip


@given(HOSTILE, HOSTILE)
def test_no_words_of_others_change_what_the_first_screen_says(title: str, finding: str) -> None:
    mention = Mention(index=1, id="n", name="Note 1")
    said = Opening(
        title=" ".join(title.split()), verdict="same", finding=f"{finding}.", note=mention
    )
    shown = MarkdownIt().render(markdown(said))
    above, label, _ = shown.partition("<p><strong>Finding</strong>")
    assert above.endswith("</strong> a fresh kernel gave the same results.</p>\n")
    assert label
    assert not re.search(r"<(?!/?(?:h1|p|strong|em|code)>)", above)


def test_a_verdict_is_told_in_the_first_cell_unless_somebody_wrote_it_anew() -> None:
    notebook: Any = built(STEP)
    first, *others = notebook["cells"]
    verification = Verification(cells=[], when="", seconds=1.0)

    def told(*listed: Any) -> list[str]:
        after = stamped({**notebook, "cells": list(listed)}, verification)
        return [source_of(cell) for cell in cells(after)]

    sources = [source_of(cell) for cell in others]
    (verified,) = told(first)
    assert "**Verified:** a fresh kernel gave the same results." in verified
    assert told(first, *others) == [verified, *sources]
    assert told(*others, first) == [*sources, verified]
    assert told({**first, "source": "# Mine"}, *others) == ["# Mine", *sources]
    assert stamped({"cells": ["x", {}]}, verification)["cells"] == ["x", {}]


def test_the_first_screen_is_no_title_of_a_step() -> None:
    (cell,) = [each for each in make_plan(built(step("x"))) if not each.generated]
    assert cell.title == ""


def test_a_notebook_without_cells_gets_none() -> None:
    assert opened({"cells": []}, "T") == {"cells": []}


@pytest.mark.parametrize("cell", [{"cell_type": "code"}, {"cell_type": "markdown"}])
def test_no_other_cell_passes_for_the_first_screen(cell: dict[str, Any]) -> None:
    said = opening({"cells": []})
    role = {"metadata": {"kernel_exec": {"role": "opening"}}}
    source = markdown(said) if cell["cell_type"] == "code" else "something else"
    assert not tells({**cell, **role, "source": source}, said)


@pytest.mark.parametrize(("lines", "folded"), [(40, None), (41, {"source_hidden": True})])
def test_long_code_is_folded_as_jupyter_does(lines: int, folded: object) -> None:
    code: Any = cells(built(step("\n".join(["x = 1"] * lines) + "\n")))[2]
    assert code["metadata"].get("jupyter") == folded
