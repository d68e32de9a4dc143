"""Notebooks as Markdown documents."""

from typing import Any

import pytest

from kernel_exec.documents.report import report
from kernel_exec.jsons import JSON, JSONObject


def report_of(notebook: JSONObject) -> str:
    return report(notebook, folder="f").text


def cell(*outputs: JSONObject, **about: Any) -> dict[str, Any]:
    metadata = {"kernel_exec": about} if about else {}
    return {"cell_type": "code", "source": "x", "metadata": metadata, "outputs": list(outputs)}


def display(data: JSONObject, **metadata: Any) -> JSONObject:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


OUTPUTS: dict[str, tuple[JSONObject, str]] = {
    "stream": (
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "\x1b[1mb\x1b[0m\n"]},
        "```text\na\nb\n```",
    ),
    "error": (
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["line", "E: v"]},
        "```text\nline\nE: v\n```",
    ),
    "error without a traceback": (
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []},
        "```text\nE: v\n```",
    ),
    "text before HTML": (display({"text/html": "<b>", "text/plain": "a\n```"}), "````text\na\n```"),
    "HTML alone": (display({"text/html": "<b>"}), "*[HTML, 3 characters]*"),
    "markdown": (display({"text/markdown": "**a**", "text/plain": "x"}), "**a**"),
    "something else": (display({"application/<x>": "y"}), "*[application/&lt;x&gt;]*"),
    "long": (
        {"output_type": "stream", "name": "stdout", "text": "a" * 5000},
        "a\n[1,000 characters left out]\na",
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_told(name: str) -> None:
    output, expected = OUTPUTS[name]
    written = report_of({"metadata": {}, "cells": [cell(output)]})
    assert written.startswith("```python\nx\n```\n\n")
    assert expected in written


def test_the_top_tells_of_session_environment_and_verdict() -> None:
    about: JSONObject = {
        "session": "abc",
        "name": "main *",
        "environment": "venv:/e",
        "interpreter": {"python": "3.12.1", "platform": "linux"},
        "counts": {"executions": 3, "failed": 1, "restarts": 0},
        "verification": {
            "verdict": "different",
            "when": "2026-01-01",
            "counts": {"same": 2, "different": 1, "fixed": 0},
        },
    }
    notes: JSONObject = {"cell_type": "markdown", "source": ["# Why\n", "so"], "metadata": {}}
    ran = cell(number=2, intent="Look", verdict={"verdict": "different", "difference": ""})
    cells: list[JSON] = [notes, {**ran, "id": "c"}]
    assert report_of({"metadata": {"title": "A *", "kernel_exec": about}, "cells": cells}) == (
        "<!-- kernel-exec session: abc -->\n\n"
        "# A \\*\n\n"
        "**Verified:** 1 of 1 step differs in a fresh kernel.\n\n"
        "- [Step 2](#cell-id=c) Look: different\n\n"
        "- Environment: `venv:/e`\n- Python: `3.12.1`\n- Platform: `linux`\n"
        "- 3 executions, 1 failed\n"
        "- Rerun: 2 same, 1 different, 2026-01-01\n\n"
        "# Why\nso\n\n"
        '<a id="cell-id=c"></a>\n\n```python\nx\n```\n\n*Run again:* **different**\n'
    )


def test_a_cell_that_ran_otherwise_tells_how() -> None:
    verdict = {"verdict": "different", "difference": "- 1\n+ 2"}
    written = report_of({"metadata": {}, "cells": [cell(verdict=verdict)]})
    assert written.endswith("*Run again:* **different**\n\n```diff\n- 1\n+ 2\n```\n")


@pytest.mark.parametrize("verdict", ["same", "close", "not run"])
def test_a_cell_that_ran_alike_tells_nothing(verdict: str) -> None:
    told = {"verdict": verdict, "difference": ""}
    assert "Run again" not in report_of({"metadata": {}, "cells": [cell(verdict=told)]})


@pytest.mark.parametrize("role", ["script-begin", "script-end"])
def test_what_nobody_ran_is_left_out(role: str) -> None:
    assert report_of({"metadata": {}, "cells": [cell(role=role)]}) == "\n"


def test_a_picture_is_in_a_file_beside_it() -> None:
    alt = {"image/png": {"alt": "a [b]"}}
    shown = display({"image/png": "AA\nAA", "text/plain": "x"}, **alt)
    made = report({"metadata": {}, "cells": [cell(shown)]}, folder="a b_files")
    assert "![a (b)](a%20b_files/cell-1.png)" in made.text
    assert made.files == {"cell-1.png": b"\0\0\0"}
