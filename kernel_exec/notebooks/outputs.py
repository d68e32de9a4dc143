"""An execution's outputs as a notebook has them. Pure."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    files,
)
from kernel_exec.sessions.history import Entry

_PRIVATE = ("application/vnd.kernel-exec.", "text/llm+plain")
_JSON_MIME = re.compile(r"application/(.*\+)?json$")
_BASE64 = re.compile(r"image/(?!svg\+xml)|(?:audio|video)/|application/pdf")


def notebook_outputs(
    outputs: Sequence[Output], entry: Entry, *, folder: str
) -> Iterator[JSONObject]:
    """The outputs as nbformat has them, with a line before those that came late.

    Files that hold the whole of something are named as seen from `folder`, "" for in full.
    """
    late = False
    for output in outputs:
        shown = _output(output, entry, folder)
        if shown is None:
            continue
        if output.late and not late:
            words = {"text/plain": "[after the cell had ended]"}
            about = {"kernel_exec": {"role": "late"}}
            yield {"output_type": "display_data", "data": words, "metadata": about}
        late = output.late
        yield shown


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


def _output(output: Output, entry: Entry, folder: str) -> JSONObject | None:
    whole = {mime: seen_from(folder, path) for mime, path in files(output).items()}
    match output:
        case Stream():
            more = f"\n{_whole(whole[''])}\n" if whole else ""
            return {"output_type": "stream", "name": output.name, "text": output.text + more}
        case ErrorOutput():
            error = {"ename": output.ename, "evalue": output.evalue}
            more_lines = [_whole(path) for path in whole.values()]
            return {"output_type": "error", **error, "traceback": [*output.traceback, *more_lines]}
        case DisplayData() | ExecuteResult():
            return _display(output, entry, whole)


def _display(
    output: DisplayData | ExecuteResult, entry: Entry, whole: Mapping[str, str]
) -> JSONObject | None:
    data = {
        mime: _mime_value(mime, value)
        for mime, value in output.data.items()
        if not mime.startswith(_PRIVATE) and value is not None
    }
    for mime, path in whole.items():
        if mime.startswith(_PRIVATE):
            continue
        if isinstance(cut := data.get(mime), str):
            data[mime] = f"{cut}\n{_whole(path)}"
        else:
            before = text(data, "text/plain")
            data["text/plain"] = f"{before}\n[{mime} is in {path}]".lstrip("\n")
    if not data:
        return None
    about: dict[str, JSON] = {"late": True} if output.late else {}
    if whole:
        about["files"] = whole
    metadata = _described(output.metadata, data, entry)
    if about:
        metadata["kernel_exec"] = about
    if isinstance(output, DisplayData) or output.late:
        return {"output_type": "display_data", "data": data, "metadata": metadata}
    return {
        "output_type": "execute_result",
        "execution_count": count(output.execution_count),
        "data": data,
        "metadata": metadata,
    }


def without_path(written: str) -> tuple[str, str]:
    """A text without the line that names the file with all of it, and that file; "" for none."""
    begins, _, last = written.removesuffix("\n").rpartition("\n")
    path = last.removeprefix(_ALL_IN)
    if path == last or not path.endswith("]"):
        return written, ""
    return begins, path[:-1]


_ALL_IN = "[all of it is in "


def _whole(path: str) -> str:
    return f"{_ALL_IN}{path}]"


def _mime_value(mime: str, value: JSON) -> JSON:
    """JSON types hold any value, all others text, which may come as lines."""
    if _JSON_MIME.match(mime):
        return value
    lines = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    written = "".join(map(str, lines))
    return "".join(written.split()) if _BASE64.match(mime) else written


def _described(metadata: JSONObject, data: JSONObject, entry: Entry) -> dict[str, JSON]:
    """An output's metadata, with words for who can't see its pictures."""
    described = {key: value for key, value in metadata.items() if key != "kernel_exec"}
    for mime in data:
        if mime.startswith("image/"):
            words = " ".join(entry.title.split()) or f"Plot of step {entry.number}"
            described[mime] = {"alt": words, **mapping(metadata, mime)}
    return described
