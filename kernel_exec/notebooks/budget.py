"""Keeps a notebook within a size: plots in fewer colours first, then what is too large in files.

Works on the notebook value and does no I/O. The same notebook gives the same result, whoever asks
and whenever; nothing changes while it fits.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.pictures import COLOURS, in_few_colours

from .outputs import rest, rest_of
from .value import cells, joined, objects, ours

_ENDINGS = {
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
    """A notebook that fits, and the files that hold the whole of what was cut, by name."""

    notebook: JSONObject
    files: Mapping[str, bytes] = field(default_factory=dict)


def written(notebook: JSONObject) -> str:
    """A notebook as its file has it."""
    return json.dumps(notebook, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def fit(notebook: JSONObject, *, limit: int | None, folder: str, size: int) -> Fitted:
    """`notebook`, which takes `size` bytes, in at most `limit`, if cutting outputs is enough.

    Files are to be in `folder`, which is named as seen from the notebook's own. None is no limit.
    """
    if limit is None or size <= limit:
        return Fitted(notebook=notebook)
    plots = {
        (at, place): [few]
        for at, cell in enumerate(cells(notebook))
        for place, output in enumerate(_outputs(cell))
        if (few := _with_few_colours(output)) is not output
    }
    few_colours = {
        **notebook,
        "cells": [
            _with_outputs(cell, at, plots) if plots else cell
            for at, cell in enumerate(cells(notebook))
        ],
    }
    excess = (_size(few_colours) if plots else size) - limit
    return _cut_largest(few_colours, excess, folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """What stands in the place of an output, and the files with what is too large."""

    outputs: Sequence[JSONObject]
    files: Mapping[str, bytes] = field(default_factory=dict)


def _cut_largest(notebook: JSONObject, excess: int, folder: str) -> Fitted:
    """Cut outputs, the largest first, until `excess` bytes are gone."""
    whole = cells(notebook)
    sizes = {
        (at, place): _size(output, level=4)
        for at, cell in enumerate(whole)
        for place, output in enumerate(_outputs(cell))
        if len(json.dumps(output)) > _SMALL // 4  # counted fast, without lines
    }
    files: dict[str, bytes] = {}
    cuts: dict[tuple[int, int], Sequence[JSONObject]] = {}
    for (at, place), size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        if excess <= 0 or size <= _SMALL:
            break
        output, *after = _outputs(whole[at])[place : place + 2]
        known = mapping(rest_of(after[0]), "files") if after else {}
        stem = f"{text(whole[at], 'id') or 'cell'}-{place + 1}"
        cut = _cut(output, known, f"{folder}/{stem}")
        if list(cut.outputs) == [output]:
            continue
        cuts[at, place] = cut.outputs
        files.update({path.removeprefix(f"{folder}/"): held for path, held in cut.files.items()})
        excess -= size - sum(_size(each, level=4) for each in cut.outputs)
    fitted = [_with_outputs(cell, at, cuts) for at, cell in enumerate(whole)]
    for at in {at for at, _ in cuts}:
        fitted[at] = _marked(fitted[at])
    return Fitted(notebook={**notebook, "cells": fitted}, files=files)


def _cut(output: JSONObject, known: JSONObject, stem: str) -> _Cut:
    """An output without what is too large, of which the files that are `known` hold a part."""
    match output.get("output_type"):
        case "stream":
            return _cut_stream(output, known, f"{stem}.txt")
        case "error":
            return _cut_error(output, known, f"{stem}.txt")
        case _:
            return _cut_display(output, known, stem)


def _cut_stream(output: JSONObject, known: JSONObject, path: str) -> _Cut:
    whole = joined(output.get("text"))
    if len(whole) <= _HEAD + _END:
        return _Cut(outputs=[output])
    begins = {**output, "text": whole[:_HEAD]}
    if known:  # what is here is the beginning of that, and its end says nothing
        return _Cut(outputs=[begins])
    ends = {**output, "text": whole[-_END:]}
    note = rest({"": path}, left_out=len(whole) - _HEAD - _END)
    return _Cut(outputs=[begins, note, ends], files={path: _bytes(whole)})


def _cut_error(output: JSONObject, known: JSONObject, path: str) -> _Cut:
    blocks = output.get("traceback")
    lines = [str(line) for line in blocks] if isinstance(blocks, Sequence) else []
    whole, evalue = "\n".join(lines), text(output, "evalue")
    left_out = max(0, len(whole) - _HEAD - _END)
    shown = [whole[:_HEAD], "…", whole[-_END:]] if left_out else lines
    note = rest(
        {"": text(known, "") or path},
        left_out=left_out,
        message=len(evalue) if len(evalue) > _HEAD else 0,
    )
    held = whole if evalue in whole else f"{whole}\n{evalue}"
    return _Cut(
        outputs=[{**output, "evalue": evalue[:_HEAD], "traceback": shown}, note],
        files={} if known else {path: _bytes(held)},
    )


def _cut_display(output: JSONObject, known: JSONObject, stem: str) -> _Cut:
    """A display without its large forms, but for the beginning of what is plain text."""
    data, metadata = dict(mapping(output, "data")), dict(mapping(output, "metadata"))
    files: dict[str, bytes] = {}
    paths: dict[str, str] = {}
    alt = ""
    for mime, value in mapping(output, "data").items():
        begins = joined(value)[:_HEAD] if mime in _TEXTS else ""
        if _size(value) <= _SMALL_FORM or begins == value:
            continue
        if mime not in known:
            paths[mime] = path = f"{stem}.{_ENDINGS.get(mime, _other_ending(mime))}"
            files[path] = content_of(mime, value)
        data[mime] = begins
        if not begins:
            del data[mime]
            alt = text(mapping(metadata, mime), "alt") or alt
            metadata.pop(mime, None)
    note = [rest(paths, alt=alt)] if paths else []
    return _Cut(outputs=[{**output, "data": data, "metadata": metadata}, *note], files=files)


def _other_ending(mime: str) -> str:
    return "json" if mime.endswith("json") else "txt"


def content_of(mime: str, value: JSON) -> bytes:
    """What a file of this type holds."""
    if not isinstance(value, str) and (mime.endswith("json") or not isinstance(value, Sequence)):
        return _bytes(json.dumps(value, ensure_ascii=False, allow_nan=False))
    whole = joined(value)
    if mime.startswith(("image/", "audio/", "video/", "application/pdf")) and "svg" not in mime:
        try:
            return base64.b64decode(whole)
        except binascii.Error:
            return _bytes(whole)
    return _bytes(whole)


def _with_outputs(
    cell: JSONObject, at: int, changed: Mapping[tuple[int, int], Sequence[JSONObject]]
) -> JSONObject:
    """Cell number `at`, with outputs by its number and their own in place of those it has."""
    outputs = [
        each
        for place, output in enumerate(_outputs(cell))
        for each in changed.get((at, place), [output])
    ]
    return {**cell, "outputs": outputs} if outputs else cell


def _with_few_colours(output: JSONObject) -> JSONObject:
    data = mapping(output, "data")
    if not (before := joined(data.get("image/png"))):
        return output
    png = in_few_colours(before)
    if png == before:
        return output
    metadata = mapping(output, "metadata")
    about = {**ours(output), "colours": COLOURS}
    return {
        **output,
        "data": {**data, "image/png": png},
        "metadata": {**metadata, "kernel_exec": about},
    }


def _marked(cell: JSONObject) -> JSONObject:
    metadata = mapping(cell, "metadata")
    return {**cell, "metadata": {**metadata, "kernel_exec": {**ours(cell), "truncated": True}}}


def _outputs(cell: JSONObject) -> Sequence[JSONObject]:
    return objects(cell.get("outputs"))


def _bytes(whole: str) -> bytes:
    return whole.encode("utf-8", "backslashreplace")


def _size(value: JSON, level: int = 0) -> int:
    """Bytes in the file, `level` levels deep."""
    lines = json.dumps(value, ensure_ascii=False, indent=1)
    return len(_bytes(lines)) + level * (lines.count("\n") + 1)
