"""Notebooks as plain values, whoever wrote them."""

from typing import Any

import pytest

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.notebooks import reading

NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "metadata": {"kernel_exec": {"session": "abc"}},
    "cells": [
        {"cell_type": "markdown", "source": ["a\n", "b"], "metadata": {}},
        {
            "cell_type": "code",
            "source": "x",
            "metadata": {"tags": ["t"], "kernel_exec": {"number": 1, "role": "folded"}},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}, None],
        },
    ],
}


def test_parts_are_read() -> None:
    markdown, code = reading.cells(NOTEBOOK)
    assert (reading.source_of(markdown), reading.source_of(code)) == ("a\nb", "x")
    assert (reading.is_code(markdown), reading.is_code(code)) == (False, True)
    assert reading.session_of(NOTEBOOK) == "abc"
    assert (reading.ours(code)["number"], reading.role_of(code)) == (1, "folded")
    assert (reading.tags(code), reading.tags(markdown)) == (["t"], [])
    assert reading.outputs_of(code) == NOTEBOOK["cells"][1]["outputs"][:1]


@pytest.mark.parametrize(
    "odd",
    [{}, {"metadata": None, "cells": None}, {"metadata": [], "cells": "text"},
     {"metadata": {"kernel_exec": []}, "cells": [1, None, "x"]}],
)  # fmt: skip
def test_what_is_no_notebook_has_no_parts(odd: JSONObject) -> None:
    assert reading.cells(odd) == []
    assert reading.session_of(odd) == ""
    assert reading.joined(odd.get("cells")) in {"", "text", "1Nonex"}


@pytest.mark.parametrize(
    ("odd", "written"),
    [
        ("a\ud800", "a\\ud800"),
        (float("nan"), None),
        ((1, 2), [1, 2]),
        ({"\udcff": 1}, {"\\udcff": 1}),
    ],
)
def test_what_a_file_can_not_hold_is_in_other_words(odd: JSON, written: JSON) -> None:
    assert reading.writable(odd) == written
