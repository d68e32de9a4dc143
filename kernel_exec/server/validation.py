"""Calls as they are sent: checked against their model, and what a wrong one is answered."""

import difflib
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import ValidationError

from kernel_exec.content.plain import counted
from kernel_exec.errors import InvalidArgumentError

from .arguments import Arguments, shortened

_MOST_PROBLEMS = 10
"""Wrong arguments that one message names."""

_OTHER_NAMES = {
    "code": ("source", "source_code", "python", "python_code"),
    "content": ("text", "code", "source"),
    "execution_id": ("id",),
    "file_path": ("path", "file", "filename", "filepath", "file_name"),
    "filename": ("file_name",),
    "markdown": ("text", "note", "content"),
    "packages": ("package", "package_names", "dependencies", "requirements"),
    "path": ("file_path", "output_path", "filename", "file"),
    "session": ("session_id", "session_name"),
    "wait_seconds": ("wait", "timeout", "timeout_seconds"),
    "working_directory": ("cwd", "workdir"),
}
"""What other tools call an argument, which is taken for it where nothing else can be meant."""

_LIMITS = {"timeout", "timeout_ms", "timeout_s", "time_limit"}
_DOUBTFUL = {
    "code": {"text", "command", "cmd", "script"},
    "file_path": {"script", "name"},
    "filename": {"path", "file", "file_path", "name"},
    "name": {"env", "environment", "env_name", "environment_name"},
    "offset": {"start", "start_line", "line_start"},
    "limit": {"max_lines", "lines", "num_lines"},
}
"""What other tools call an argument, where it may also mean something else."""


def parse(model: type[Arguments], given: dict[str, Any] | None) -> Arguments:
    """Validated arguments; null stands for one that is left out, as some models write it.

    Raises:
        InvalidArgumentError: One line for each that is wrong: its name, the value, what is allowed.
    """
    _require_characters(given or {})
    fields = model.model_fields
    meant = {
        name: value
        for name, value in _renamed(given or {}, fields).items()
        if value is not None or name not in fields or fields[name].is_required()
    }
    try:
        return model.model_validate(meant)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [_complain(dict(problem), list(fields)) for problem in problems[:_MOST_PROBLEMS]]
        if more := len(problems) - len(lines):
            lines.append(f"{counted(more, 'more argument')} {'is' if more == 1 else 'are'} wrong")
        raise InvalidArgumentError("\n".join(lines)) from error


def _renamed(given: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The arguments under our names, where only one of ours can be meant."""
    meant = dict(given)
    for field, others in _OTHER_NAMES.items():
        if field not in fields or field in given:
            continue
        doubtful = _LIMITS if "timeout_seconds" in fields else ()
        found = [
            name for name in others if name in meant and name not in fields and name not in doubtful
        ]
        if len(found) == 1:
            meant[field] = meant.pop(found[0])
    return meant


def schema(model: type[Arguments]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, as plain as clients need it."""
    made = model.model_json_schema()
    plain: dict[str, Any] = {
        "type": "object",
        "properties": {
            name: _plain(described) for name, described in made.get("properties", {}).items()
        },
    }
    # an empty list is none in JSON Schema draft 4, which some clients still check against
    return plain | ({"required": made["required"]} if "required" in made else {})


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    """With one type: what models pay for and do not need is left to the answer to a wrong call."""
    options = [each for each in described.get("anyOf", ()) if each.get("type") != "null"]
    plain = {**(options[0] if options else {}), **described}
    if plain["type"] == "array":
        plain["items"] = {"type": "string"}
    return {
        key: plain[key]
        for key in ("type", "enum", "items", "default", "description")
        if plain.get(key) is not None and (key != "default" or "enum" in plain)
    }


def _complain(problem: dict[str, Any], allowed: list[str]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown argument {shortened(name)}: {_nearest(name, allowed)}"
    if problem["type"] == "missing":
        return f"argument {name!r} is missing"
    why = str(problem["msg"]).removeprefix("Value error, ")
    return f"argument {name!r} is {shortened(problem['input'])}: {why}"


def _nearest(name: str, allowed: list[str]) -> str:
    if name in _LIMITS and {"wait_seconds", "timeout_seconds"} <= {*allowed}:
        return (
            "wait_seconds limits how long this call waits, timeout_seconds how long the code runs"
        )
    named = [field for field in allowed if name in _DOUBTFUL.get(field, ())]
    near = named or difflib.get_close_matches(name, allowed, n=1)
    known = ", ".join(allowed) or "none"
    return f"did you mean {near[0]!r}?" if near else f"it takes {known}"


def _require_characters(given: dict[str, Any]) -> None:
    """Refuse strings that are not Unicode text before anything is done with them."""
    for name, value in given.items():
        for each in (name, *_strings(value)):
            try:
                each.encode()
            except UnicodeEncodeError as error:
                raise InvalidArgumentError(
                    f"argument {shortened(name)} holds half a surrogate pair or bytes that are not"
                    f" UTF-8, at character {error.start:,}: write such a character as an escape"
                ) from error


def _strings(value: object) -> Iterator[str]:
    """All strings in a value from JSON."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            left += [*each, *each.values()]
        elif isinstance(each, list):
            left += each
