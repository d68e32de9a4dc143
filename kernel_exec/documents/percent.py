"""A notebook as a Python file in the percent format, as jupytext, VS Code and Spyder read it. Pure.

A cell that may raise does so within a `try`: run as a script, the file goes on after it.

Source: jupytext, "The percent format"; magics are comments, as jupytext has them.
"""

import ast
import json
import re

from kernel_exec.jsons import JSONObject, mapping, text
from kernel_exec.notebooks.needs import parsed_python
from kernel_exec.notebooks.provenance import marker
from kernel_exec.notebooks.reading import cells, is_code, session_of, source_of, tags

_MAGIC = re.compile(r"\s*(?:#\s*)*(?:%{1,2}[^\W\d]|!|\?|[%\w.*]+\?{1,2}\s*$)")
"""A line of IPython's own, or a comment that would be read as one."""

_ASSIGNED = re.compile(r"\s*[^\W\d][\w, \t]*=\s*[%!]")
_COMMENTED = re.compile(r"\s*#\s*(?:#\s*)*(?:%{1,2}[^\W\d]|!|\?)")
_LANGUAGES = frozenset(
    {"bash", "html", "javascript", "js", "latex", "markdown", "perl", "ruby", "sh", "sql", "svg"}
)
"""Cell magics that jupytext writes as the cell's language."""

_FAILED = """\
except (Exception, SystemExit):  # this step failed in the session
    __import__("traceback").print_exc()"""


def percent(notebook: JSONObject) -> str:
    """The cells as a Python file, without outputs."""
    parts = [_header(notebook), *map(_cell, cells(notebook))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _header(notebook: JSONObject) -> str:
    kernelspec = mapping(mapping(notebook, "metadata"), "kernelspec")
    lines = [
        "---",
        "jupyter:",
        "  jupytext:",
        "    text_representation:",
        "      extension: .py",
        "      format_name: percent",
        "      format_version: '1.3'",
    ]
    if kernelspec:
        lines.append("  kernelspec:")
        # a JSON text is one in YAML, too
        lines += [
            f"    {key}: {json.dumps(text(kernelspec, key))}"
            for key in ("display_name", "language", "name")
            if text(kernelspec, key)
        ]
    if session := session_of(notebook):
        lines.append(f"  # {marker(session)}")
    return _commented("\n".join([*lines, "---"]))


def _cell(cell: JSONObject) -> str:
    source = source_of(cell)
    marked = f" tags={json.dumps(tagged)}" if (tagged := tags(cell)) else ""
    if not is_code(cell):
        name = "markdown" if cell.get("cell_type") == "markdown" else "raw"
        return f"# %% [{name}]{marked}\n{_commented(source)}"
    first, _, rest = source.partition("\n")
    if (found := re.match(r"%%(\w+)\s*$", first)) and found[1] in _LANGUAGES:
        return f'# %% language="{found[1]}"{marked}\n{_commented(rest)}'
    code = _code(source)
    return f"# %%{marked}\n{_tried(code) if 'raises-exception' in tagged else code}"


def _tried(code: str) -> str:
    """`code` in a `try`; the lines that begin within a string stay as they are."""
    tree = parsed_python(code)
    if tree is None or not tree.body:
        return code
    inside = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        for line in range(node.lineno + 1, (node.end_lineno or 0) + 1)
    }
    lines = [
        line if at in inside or not line else f"    {line}"
        for at, line in enumerate(code.split("\n"), 1)
    ]
    return "\n".join(["try:", *lines, _FAILED])


def _code(source: str) -> str:
    plain = parsed_python(source) is not None
    if plain and not _COMMENTED.search(source):
        return source

    def shown(line: str) -> str:
        special = _COMMENTED.match(line) if plain else _MAGIC.match(line) or _ASSIGNED.match(line)
        return f"# {line}" if special else line

    return "\n".join(map(shown, source.split("\n")))


def _commented(lines: str) -> str:
    return "\n".join(f"# {line}" if line else "#" for line in lines.split("\n"))
