"""Notebooks as Python files in the percent format."""

import ast
from typing import Any

import pytest

from kernel_exec.documents.percent import percent


def body(*cells: dict[str, Any]) -> str:
    """The file without its header."""
    written = percent({"nbformat": 4, "metadata": {}, "cells": list(cells)})
    return written.partition("# ---\n\n")[2]


def code(source: str | list[str], **metadata: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": []}


CELLS: dict[str, tuple[dict[str, Any], str]] = {
    "code": (code("x = 1\nx"), "# %%\nx = 1\nx\n"),
    "lines": (code(["x = 1\n", "x"]), "# %%\nx = 1\nx\n"),
    "tags": (code("x = 1", tags=["a"]), '# %% tags=["a"]\nx = 1\n'),
    "nothing that could raise": (
        code("%no_magic", tags=["raises-exception"]),
        '# %% tags=["raises-exception"]\n# %no_magic\n',
    ),
    "markdown": (
        {"cell_type": "markdown", "source": "# A\n\nb", "metadata": {}},
        "# %% [markdown]\n# # A\n#\n# b\n",
    ),
    "raw": ({"cell_type": "raw", "source": "a", "metadata": {}}, "# %% [raw]\n# a\n"),
    "magics": (
        code("%matplotlib inline\n!ls\nfiles = !ls\nlen?\nx = 5 % 3"),
        "# %%\n# %matplotlib inline\n# !ls\n# files = !ls\n# len?\nx = 5 % 3\n",
    ),
    "a cell magic": (code("%%time\nx = 1"), "# %%\n# %%time\nx = 1\n"),
    "another language": (code("%%bash\nls\ncd"), '# %% language="bash"\n# ls\n# cd\n'),
    "text that looks like a magic": (code("x = '''\n%time\n'''"), "# %%\nx = '''\n%time\n'''\n"),
    "a comment that would become a magic": (code("# %time x"), "# %%\n# # %time x\n"),
    "no source": (code(""), "# %%\n"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_written(name: str) -> None:
    cell, expected = CELLS[name]
    assert body(cell) == expected


def test_it_is_plain_python_with_a_header_that_names_kernel_and_session() -> None:
    metadata = {
        "kernelspec": {"name": "python3", "display_name": 'A "b"', "language": "python"},
        "kernel_exec": {"session": "abc"},
    }
    written = percent({"metadata": metadata, "cells": [code("%time x = 1")]})
    ast.parse(written)
    header = written.partition("\n\n")[0].splitlines()
    assert header[0] == header[-1] == "# ---"
    assert '#     display_name: "A \\"b\\""' in header
    assert "#   # kernel-exec session: abc" in header


FAILURES = {
    "an error": "made = 1\n1 / 0",
    "an exit": "import sys\nmade = 1\nsys.exit()",
    "a function": "def f():\n\n    return 1\nmade = f()\nf(1)",
    "a text of several lines": "made = int('''\n  a''' == '\\n  a')\n1 / 0",
    "a text with values": "x = 1\nmade = int(f'''{x}\n {\nx}\n''' == '1\\n 1\\n')\n1 / 0",
    "a line that goes on": "made = 0 + \\\n1; 1 / 0  # why",
    "a magic": "%time made = 1\nmade = 1\n1 / 0",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_script_goes_on_after_a_cell_that_failed(name: str) -> None:
    written = body(code(FAILURES[name], tags=["raises-exception"]), code("after = made"))
    variables: dict[str, Any] = {}
    exec(written, variables)
    assert variables["after"] == 1
