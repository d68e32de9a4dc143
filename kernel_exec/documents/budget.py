"""Keeps a notebook within a size: plots in fewer colours first, then what is too large in files.

Works on the notebook value and does no I/O. The same notebook gives the same result, whoever asks
and whenever; nothing changes while it fits.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.notebooks.outputs import rest, rest_of
from kernel_exec.notebooks.reading import cells, joined, ours, outputs_of, traceback_of
from kernel_exec.pictures import COLOURS, in_few_colours

ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "text/html": "html",
    "text/markdown": "md",
    "text/latex": "tex",
    "application/json": "json",
    "application/pdf": "pdf",
}
"""The endings of files by type, the best form of a picture first."""

_TEXTS = frozenset({"text/plain", "text/latex"})
"""Types of which a beginning and an end say something."""

_HEAD, _END = 2000, 1000
"""Characters of a text that stay."""

_SMALL = 6000
"""Bytes of an output that is never cut."""

_SMALL_FORM = 1000
"""Bytes of one form of an output that stays where others go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A notebook that fits, as its file has it, and the files with the whole of what was cut."""

    notebook: JSONObject
    text: str
    files: Mapping[str, bytes] = field(default_factory=dict)


_Place: TypeAlias = tuple[int, int]
"""The place of an output: its cell's, and its own among those of the cell."""

_Cut: TypeAlias = tuple[Sequence[JSONObject], Mapping[str, bytes]]
"""What stands in the place of an output, and the files with what is too large, by path."""


def written(notebook: JSONObject) -> str:
    """A notebook as its file has it."""
    return json.dumps(notebook, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def fit(notebook: JSONObject, *, limit: int | None, folder: str) -> Fitted:
    """`notebook` in at most `limit` bytes, if cutting outputs is enough; None is no limit.

    Files are to be in `folder`, which is named as seen from the notebook's own.
    """
    whole = written(notebook)
    if limit is None or len(whole.encode()) <= limit:
        return Fitted(notebook=notebook, text=whole)
    plots = {
        place: [few]
        for place, output in _outputs(notebook)
        if (few := _with_few_colours(output)) is not output
    }
    if plots:
        notebook = _replaced(notebook, plots)
        whole = written(notebook)
    cuts, files = _largest_cut(notebook, len(whole.encode()) - limit, folder)
    if cuts:
        notebook = _replaced(notebook, cuts, truncated=True)
        whole = written(notebook)
    return Fitted(notebook=notebook, text=whole, files=files)


def _outputs(notebook: JSONObject) -> Iterator[tuple[_Place, JSONObject]]:
    for at, cell in enumerate(cells(notebook)):
        for place, output in enumerate(outputs_of(cell)):
            yield (at, place), output


def _replaced(
    notebook: JSONObject, changed: Mapping[_Place, Sequence[JSONObject]], **about: JSON
) -> JSONObject:
    """The notebook with other outputs in these places, and `about` said of their cells."""
    kept = cells(notebook)
    for at in {at for at, _ in changed}:
        outputs = [
            each
            for place, output in enumerate(outputs_of(kept[at]))
            for each in changed.get((at, place), [output])
        ]
        cell = {**kept[at], "outputs": outputs}
        kept[at] = _saying(cell, **about) if about else cell
    return {**notebook, "cells": kept}


def _largest_cut(
    notebook: JSONObject, excess: int, folder: str
) -> tuple[dict[_Place, Sequence[JSONObject]], dict[str, bytes]]:
    """The outputs to cut, the largest first, until `excess` bytes are gone; and their files."""
    whole = cells(notebook)
    sizes = {
        place: _size(output, level=4)
        for place, output in _outputs(notebook)
        if len(json.dumps(output)) > _SMALL // 4  # counted fast, without lines
    }
    files: dict[str, bytes] = {}
    cuts: dict[_Place, Sequence[JSONObject]] = {}
    for (at, place), size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        if excess <= 0 or size <= _SMALL:
            break
        output, *after = outputs_of(whole[at])[place : place + 2]
        in_files = mapping(rest_of(after[0]), "files") if after else {}
        stem = f"{folder}/{text(whole[at], 'id') or 'cell'}-{place + 1}"
        outputs, held = _cut(output, in_files, stem)
        if list(outputs) == [output]:
            continue
        cuts[at, place] = outputs
        files.update({path.removeprefix(f"{folder}/"): content for path, content in held.items()})
        excess -= size - sum(_size(each, level=4) for each in outputs)
    return cuts, files


def _cut(output: JSONObject, in_files: JSONObject, stem: str) -> _Cut:
    """An output without what is too large; of what is `in_files` already, no file is made."""
    match output.get("output_type"):
        case "stream":
            return _cut_stream(output, in_files, f"{stem}.txt")
        case "error":
            return _cut_error(output, in_files, f"{stem}.txt")
        case _:
            return _cut_display(output, in_files, stem)


def _cut_stream(output: JSONObject, in_files: JSONObject, path: str) -> _Cut:
    whole = joined(output.get("text"))
    if len(whole) <= _HEAD + _END:
        return [output], {}
    begins = {**output, "text": whole[:_HEAD]}
    if in_files:  # what is here is the beginning of that, and its end says nothing
        return [begins], {}
    ends = {**output, "text": whole[-_END:]}
    note = rest({"": path}, left_out=len(whole) - _HEAD - _END)
    return [begins, note, ends], {path: _bytes(whole)}


def _cut_error(output: JSONObject, in_files: JSONObject, path: str) -> _Cut:
    whole, evalue = traceback_of(output), text(output, "evalue")
    left_out = max(0, len(whole) - _HEAD - _END)
    shown: JSON = [whole[:_HEAD], "…", whole[-_END:]] if left_out else output.get("traceback")
    note = rest(
        {"": text(in_files, "") or path},
        left_out=left_out,
        message=len(evalue) if len(evalue) > _HEAD else 0,
    )
    content = whole if evalue in whole else f"{whole}\n{evalue}"
    cut = {**output, "evalue": evalue[:_HEAD], "traceback": shown}
    return [cut, note], {} if in_files else {path: _bytes(content)}


def _cut_display(output: JSONObject, in_files: JSONObject, stem: str) -> _Cut:
    """A display without its large forms, but for the beginning of what is plain text."""
    data, metadata = dict(mapping(output, "data")), dict(mapping(output, "metadata"))
    files: dict[str, bytes] = {}
    paths: dict[str, str] = {}
    alt = ""
    for mime, value in mapping(output, "data").items():
        begins = joined(value)[:_HEAD] if mime in _TEXTS else ""
        if _size(value) <= _SMALL_FORM or begins == value:
            continue
        if mime not in in_files:
            other = "json" if mime.endswith("json") else "txt"
            paths[mime] = path = f"{stem}.{ENDINGS.get(mime, other)}"
            files[path] = content_of(mime, value)
        data[mime] = begins
        if not begins:
            del data[mime]
            alt = text(mapping(metadata, mime), "alt") or alt
            metadata.pop(mime, None)
    note = [rest(paths, alt=alt)] if paths else []
    return [{**output, "data": data, "metadata": metadata}, *note], files


def content_of(mime: str, value: JSON) -> bytes:
    """What a file of this type holds."""
    if not isinstance(value, str) and (mime.endswith("json") or not isinstance(value, Sequence)):
        return _bytes(json.dumps(value, ensure_ascii=False, allow_nan=False))
    whole = joined(value)
    if mime.startswith(("image/", "audio/", "video/", "application/pdf")) and "svg" not in mime:
        try:
            return base64.b64decode(whole)
        except ValueError:  # no base64, or not even ASCII
            return _bytes(whole)
    return _bytes(whole)


def _with_few_colours(output: JSONObject) -> JSONObject:
    data = mapping(output, "data")
    if not (before := joined(data.get("image/png"))):
        return output
    png = in_few_colours(before)
    if png == before:
        return output
    return {**_saying(output, colours=COLOURS), "data": {**data, "image/png": png}}


def _saying(part: JSONObject, **about: JSON) -> dict[str, JSON]:
    """A cell or an output, of which our metadata says this as well."""
    said = {**ours(part), **about}
    return {**part, "metadata": {**mapping(part, "metadata"), "kernel_exec": said}}


def _bytes(whole: str) -> bytes:
    return whole.encode("utf-8", "backslashreplace")


def _size(value: JSON, level: int = 0) -> int:
    """Bytes in the file, `level` levels deep."""
    lines = json.dumps(value, ensure_ascii=False, indent=1)
    return len(_bytes(lines)) + level * (lines.count("\n") + 1)
