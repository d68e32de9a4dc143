"""Keeps a notebook within a size: plots in fewer colours first, then what is too large in files.

Works on the notebook value and does no I/O. The same notebook gives the same result, whoever asks
and whenever; nothing changes while it fits.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from kernel_exec.content.pictures import UNREADABLE, in_few_colours, opened, png
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text

from .outputs import without_path
from .value import cells, joined, ours

COLOURS = 256
"""Colours of a plot when the notebook would be too large; one with a palette is a third."""

_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml", "image/webp")
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
        (at, place): few
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


def pictures_apart(notebook: JSONObject, *, folder: str) -> Fitted:
    """`notebook` with its pictures in files, for formats that show no others."""
    files: dict[str, bytes] = {}

    def changed(cell: JSONObject) -> JSONObject:
        outputs = []
        for at, output in enumerate(_outputs(cell)):
            if any(mime in _PICTURES for mime in mapping(output, "data")):
                cut = _cut_data(output, _Name(folder=folder, stem=_stem(cell, at)), _PICTURES)
                files.update(cut.files)
                outputs.append(cut.output)
            else:
                outputs.append(output)
        return {**cell, "outputs": outputs} if outputs else cell

    return Fitted(
        notebook={**notebook, "cells": [changed(cell) for cell in cells(notebook)]}, files=files
    )


def quantise(data: str) -> str:
    """A PNG (base64) with a palette; as it was when that is not smaller, or it can't be read."""
    try:
        with opened(base64.b64decode(data), ("PNG",)) as image:
            if getattr(image, "n_frames", 1) > 1 or image.mode == "P":
                return data
            decoded = image.convert("RGBA" if image.has_transparency_data else "RGB")
        smaller = base64.b64encode(png(in_few_colours(decoded))).decode("ascii")
    except UNREADABLE:
        return data
    return smaller if len(smaller) < len(data) else data


@dataclass(frozen=True, slots=True, kw_only=True)
class _Name:
    """How the files of one output are called."""

    folder: str
    stem: str

    def path(self, ending: str) -> str:
        return f"{self.folder}/{self.file(ending)}"

    def file(self, ending: str) -> str:
        return f"{self.stem}.{ending}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """An output without what is too large, and the files with that."""

    output: JSONObject
    files: Mapping[str, bytes] = field(default_factory=dict)


def _cut_largest(notebook: JSONObject, excess: int, folder: str) -> Fitted:
    """Cut outputs, the largest first, until `excess` bytes are gone."""
    whole = list(cells(notebook))
    sizes = {
        (at, place): _size(output, level=4)
        for at, cell in enumerate(whole)
        for place, output in enumerate(_outputs(cell))
        if len(json.dumps(output)) > _SMALL // 4  # counted fast, without lines
    }
    files: dict[str, bytes] = {}
    for (at, place), size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        if excess <= 0 or size <= _SMALL:
            break
        outputs = list(_outputs(whole[at]))
        cut = _cut(outputs[place], _Name(folder=folder, stem=_stem(whole[at], place)))
        outputs[place] = cut.output
        whole[at] = _marked({**whole[at], "outputs": outputs})
        files.update(cut.files)
        excess -= size - _size(cut.output, level=4)
    return Fitted(notebook={**notebook, "cells": whole}, files=files)


def _cut(output: JSONObject, name: _Name) -> _Cut:
    match output.get("output_type"):
        case "stream":
            whole = joined(output.get("text"))
            if path := without_path(whole)[1]:
                return _Cut(output={**output, "text": _shortened(whole, path)})
            return _Cut(output={**output, "text": _shortened(whole, name.path("txt"))},
                        files={name.file("txt"): _bytes(whole)})  # fmt: skip
        case "error":
            lines = output.get("traceback")
            blocks = list(map(str, lines)) if isinstance(lines, Sequence) else []
            whole = "\n".join(blocks)
            shown = _shortened(whole, name.path("txt"))
            evalue = text(output, "evalue")
            short = evalue if len(evalue) <= _HEAD else f"{evalue[:_HEAD]}…"
            return _Cut(output={**output, "evalue": short, "traceback": [shown]},
                        files={name.file("txt"): _bytes(whole)})  # fmt: skip
        case _:
            return _cut_data(output, name, None)


def _cut_data(output: JSONObject, name: _Name, only: Sequence[str] | None) -> _Cut:
    """A display without its large forms, or those of the types `only`; pictures are linked."""
    data = dict(mapping(output, "data"))
    metadata = dict(mapping(output, "metadata"))
    files: dict[str, bytes] = {}
    links: list[str] = []
    paths: dict[str, JSON] = {}
    for mime, value in mapping(output, "data").items():
        if (mime not in only) if only is not None else _size(value) <= _SMALL_FORM:
            continue
        ending = _ENDINGS.get(mime, "json" if mime.endswith("json") else "txt")
        paths[mime] = path = name.path(ending)
        files[name.file(ending)] = _content(mime, value)
        if mime in _TEXTS:
            data[mime] = _shortened(joined(value), path)
            continue
        del data[mime]
        about = mapping(metadata, mime)
        metadata.pop(mime, None)
        if mime in _PICTURES:
            link = f"![{_alt(text(about, 'alt'))}]({quote(path)})"
            # a page that shows no pictures but its own shows the link
            links.append(link if only is not None else f"{link}\n\n[{path}]({quote(path)})")
        elif only is None:
            said = joined(data.get("text/plain"))
            data["text/plain"] = f"{said}\n[{mime} is in {path}]".lstrip("\n")
    if links and "text/markdown" not in data:
        data["text/markdown"] = links[0]
        data.setdefault("text/plain", f"[a picture: {next(iter(paths.values()))}]")
    metadata["kernel_exec"] = {**ours(output), "files": {**mapping(ours(output), "files"), **paths}}
    return _Cut(output={**output, "data": data, "metadata": metadata}, files=files)


def _shortened(whole: str, path: str) -> str:
    """Head and tail of a text, with the name of the file that holds all of it between them."""
    left_out = len(whole) - _HEAD - _END
    if left_out <= 0:
        return whole
    note = f"[{left_out:,} characters left out here; all of them are in {path}]"
    return f"{whole[:_HEAD]}\n{note}\n{whole[-_END:]}"


def _content(mime: str, value: JSON) -> bytes:
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
    cell: JSONObject, at: int, changed: Mapping[tuple[int, int], JSONObject]
) -> JSONObject:
    """Cell number `at`, with outputs by its number and their own in place of those it has."""
    outputs = [changed.get((at, place), output) for place, output in enumerate(_outputs(cell))]
    return {**cell, "outputs": outputs} if outputs else cell


def _with_few_colours(output: JSONObject) -> JSONObject:
    data = mapping(output, "data")
    if not (before := joined(data.get("image/png"))):
        return output
    png = quantise(before)
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
    outputs = cell.get("outputs")
    if not isinstance(outputs, Sequence) or isinstance(outputs, str):
        return ()
    return [output for output in outputs if isinstance(output, Mapping)]


def _stem(cell: JSONObject, place: int) -> str:
    return f"{text(cell, 'id') or 'cell'}-{place + 1}"


def _alt(words: str) -> str:
    return " ".join(words.replace("[", "(").replace("]", ")").split())


def _bytes(whole: str) -> bytes:
    return whole.encode("utf-8", "backslashreplace")


def _size(value: JSON, level: int = 0) -> int:
    """Bytes in the file, `level` levels deep."""
    lines = json.dumps(value, ensure_ascii=False, indent=1)
    return len(_bytes(lines)) + level * (lines.count("\n") + 1)
