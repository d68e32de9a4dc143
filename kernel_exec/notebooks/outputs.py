"""An execution's outputs as a notebook has them. Pure."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from kernel_exec.content.charts import describe_chart
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    files,
)

from .markdown import fence, one_line, picture
from .reading import objects, ours, role_of

_ALT = 500
"""Characters that describe a picture."""

PRIVATE = ("application/vnd.kernel-exec.", "text/llm+plain")
"""How types begin that are for our own ends, and no part of a notebook."""

JSON_MIME = re.compile(r"application/(.*\+)?json$")
BASE64 = re.compile(r"image/(?!svg\+xml)|(?:audio|video)/|application/pdf")


def notebook_outputs(
    outputs: Sequence[Output], entry: Entry, *, folder: str
) -> Iterator[JSONObject]:
    """The outputs as nbformat has them, with outputs of ours between them.

    One of ours stands before those that came late, and one after each that is cut. Files that hold
    the whole of something are named as seen from `folder`, "" for in full.
    """
    late = False
    for output in outputs:
        whole = {
            mime: seen_from(folder, path)
            for mime, path in files(output).items()
            if not mime.startswith(PRIVATE)
        }
        shown = _output(output, entry, cut=bool(whole))
        if shown is None:
            continue
        if output.late and not late:
            yield _of_ours({"text/plain": "[after the cell had ended]"}, {"role": "late"})
        late = output.late
        yield shown
        if whole:
            yield rest(whole, message=output.characters if isinstance(output, ErrorOutput) else 0)


def rest(
    paths: Mapping[str, str], *, left_out: int = 0, message: int = 0, alt: str = ""
) -> JSONObject:
    """An output of ours that says where the whole of the one above it is.

    `paths` are files by MIME type, "" for a stream's or an error's text. `left_out` counts the
    characters that are missing here, `message` those of an error's message, `alt` describes a
    picture. All of it is in the metadata; the words are for those who read the notebook itself.
    """
    lines = [_sentence(mime, path, left_out) for mime, path in paths.items()]
    data: dict[str, JSON] = {"text/plain": "\n".join(lines)}
    if any(map(is_picture, paths)):
        # a page that shows no pictures but its own shows the words
        shown = [picture(path, alt) for mime, path in paths.items() if is_picture(mime)]
        data["text/markdown"] = "\n\n".join([*shown, fence("\n".join(lines), "text")])
    about: dict[str, JSON] = {"left_out": left_out, "message": message, "alt": alt}
    kept = {key: value for key, value in about.items() if value}
    return _of_ours(data, {"role": "rest", "files": dict(paths), **kept})


def rest_of(output: JSONObject) -> JSONObject:
    """What an output of `rest` says, nothing for any other output."""
    return ours(output) if role_of(output) == "rest" else {}


def with_rests(outputs: JSON) -> Iterator[tuple[JSONObject, JSONObject]]:
    """The outputs of a cell but for those of `rest`, each with what that says is missing of it."""
    listed = objects(outputs)
    for output, following in zip(listed, [*listed[1:], {}], strict=False):
        if not rest_of(output):
            yield output, rest_of(following)


def is_picture(mime: str) -> bool:
    """True for the types that a browser shows as a picture."""
    return mime.startswith("image/")


def _of_ours(data: JSONObject, about: JSONObject) -> JSONObject:
    return {"output_type": "display_data", "data": data, "metadata": {"kernel_exec": about}}


def _sentence(mime: str, path: str, left_out: int) -> str:
    missing = f"{left_out:,} characters left out here; " if left_out else ""
    return f"[{missing}{f'all of the {mime}' if mime else 'all of it'} is in {path}]"


def printed(output: Output) -> str:
    """The text of an output, "" for what is none."""
    match output:
        case Stream():
            return output.text
        case ExecuteResult() | DisplayData():
            shown = text(output.data, "text/plain")
            return f"{shown}\n" if shown else ""
        case ErrorOutput():
            return ""


def count(number: int | None) -> int | None:
    """A kernel may say anything; nbformat has no negative counts."""
    return number if number is not None and number >= 0 else None


def seen_from(folder: str, path: str) -> str:
    """`path` relative to `folder`, where it can be."""
    if not folder:
        return path
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # another drive
        return path


def _output(output: Output, entry: Entry, *, cut: bool) -> JSONObject | None:
    match output:
        case Stream():
            return {"output_type": "stream", "name": output.name, "text": output.text}
        case ErrorOutput():
            error = {"ename": output.ename, "evalue": output.evalue}
            return {"output_type": "error", **error, "traceback": list(output.traceback)}
        case DisplayData() | ExecuteResult():
            return _display(output, entry, cut=cut)


def _display(output: DisplayData | ExecuteResult, entry: Entry, *, cut: bool) -> JSONObject | None:
    data = {
        mime: _mime_value(mime, value)
        for mime, value in output.data.items()
        if not mime.startswith(PRIVATE) and value is not None
    }
    if not data and not cut:
        return None
    metadata = _described(output, data, entry)
    if output.late:
        metadata["kernel_exec"] = {"late": True}
    if isinstance(output, DisplayData) or output.late:
        return {"output_type": "display_data", "data": data, "metadata": metadata}
    return {
        "output_type": "execute_result",
        "execution_count": count(output.execution_count),
        "data": data,
        "metadata": metadata,
    }


def _mime_value(mime: str, value: JSON) -> JSON:
    """JSON types hold any value, all others text, which may come as lines."""
    if JSON_MIME.match(mime):
        return value
    lines = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    written = "".join(map(str, lines))
    return "".join(written.split()) if BASE64.match(mime) else written


def _described(
    output: DisplayData | ExecuteResult, data: JSONObject, entry: Entry
) -> dict[str, JSON]:
    """An output's metadata, with words for who can't see its pictures."""
    described = {key: value for key, value in output.metadata.items() if key != "kernel_exec"}
    pictures = list(filter(is_picture, data))
    # a chart's own words come first, of which a kernel makes text for a model
    chart = describe_chart(output.data).strip("[]") if pictures else ""
    words = chart or text(output.data, "text/llm+plain") or entry.title
    alt = one_line(words, _ALT) if words.strip() else f"Plot of step {entry.number}"
    for mime in pictures:
        described[mime] = {"alt": alt, **mapping(output.metadata, mime)}
    return described
