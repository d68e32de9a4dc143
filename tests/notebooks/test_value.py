"""Notebooks as plain values, whoever wrote them."""

from typing import Any

import pytest

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.notebooks import value

NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "metadata": {
        "kernel_exec": {
            "session": "abc",
            "started": 1.0,
            "kernels": [{"generation": 1, "started": 1.0, "ended": None}],
            "verification": {"verdict": "same", "when": "now", "packages": {"when": "1.0"}},
        }
    },
    "cells": [
        {"cell_type": "markdown", "source": ["a\n", "b"], "metadata": {}},
        {
            "cell_type": "code",
            "source": "x",
            "execution_count": 1,
            "metadata": {
                "execution": {"iopub.status.busy": "now"},
                "tags": ["t"],
                "kernel_exec": {"seconds": 1.0, "number": 1},
            },
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}],
        },
    ],
}


def test_parts_are_read() -> None:
    markdown, code = value.cells(NOTEBOOK)
    assert value.joined(markdown["source"]) == "a\nb"
    assert value.session_of(NOTEBOOK) == "abc"
    assert value.ours(code)["number"] == 1
    assert (value.tags(code), value.tags(markdown)) == (["t"], [])


@pytest.mark.parametrize(
    "odd",
    [{}, {"metadata": None, "cells": None}, {"metadata": [], "cells": "text"},
     {"metadata": {"kernel_exec": []}, "cells": [1, None, "x"]}],
)  # fmt: skip
def test_what_is_no_notebook_has_no_parts(odd: JSONObject) -> None:
    assert value.cells(odd) == []
    assert value.session_of(odd) == ""
    assert value.joined(odd.get("cells")) in {"", "text", "1Nonex"}
    assert value.without_outputs(odd)["cells"] == []
    assert value.without_times(odd)["cells"] == []


def test_outputs_can_be_left_out() -> None:
    markdown, code = value.cells(value.without_outputs(NOTEBOOK))
    assert markdown == NOTEBOOK["cells"][0]
    assert (code["outputs"], code["execution_count"], code["source"]) == ([], None, "x")


def test_times_can_be_left_out_and_nothing_else() -> None:
    timeless: Any = value.without_times(NOTEBOOK)
    assert timeless["metadata"]["kernel_exec"] == {
        "session": "abc",
        "kernels": [{"generation": 1}],
        "verification": {"verdict": "same", "packages": {"when": "1.0"}},
    }
    assert timeless["cells"][1]["metadata"] == {"tags": ["t"], "kernel_exec": {"number": 1}}
    assert timeless["cells"][1]["outputs"] == NOTEBOOK["cells"][1]["outputs"]


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
    assert value.writable(odd) == written
