"""What one execution may send and keep; runs in the kernel's process.

Python 3.8 syntax, standard library only. The beginning of everything travels as messages, all of
it goes to files, so that neither the server nor a model is flooded; above `FILE_LIMIT` an
execution's output is dropped and counted, so that a loop that prints for ever fills no disk.
"""

import base64
import collections
import json
import os

from .packing import DEEPEST

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
WIRE_BUDGET = 256 * 1024
"""Characters per execution and stream, or of one text, that travel; the rest goes to a file."""

FILE_LIMIT = 1000000000
"""Bytes that one execution may write to files, all its outputs together."""

_MOST_FILES = 10000
"""Files that one execution may make of its displays and errors."""

_SHORT = 1000
"""Characters that travel of what has a file because its execution has shown too much."""

_LARGEST = 16 * 1024 * 1024
"""Characters of a picture, a page or a chart that travel: they can't be cut, only left out."""

_MESSAGE = 32 * 1024
"""Characters of an error's message, and of each part of its traceback, that travel."""

_PARTS = 200
"""Parts of a traceback that travel: its beginning and its end."""

_TEXTS = ("text/plain", "text/llm+plain", "text/markdown", "text/latex")
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "text/html": "html", "image/svg+xml": "svg"}
_TRAILER_EVERY = 1 << 20
_LAST = 1000
_REMEMBERED = 64

settings = {}
"""The launcher's configuration; set before the first stream is made."""


class _Spent:
    """What one execution has written to files."""

    def __init__(self):
        self.bytes = 0
        self.files = 0
        self.error = (None, "")


_spent = collections.OrderedDict()


def _spent_by(execution_id):
    spent = _spent.get(execution_id)
    if spent is None:
        spent = _spent[execution_id] = _Spent()
        while len(_spent) > _REMEMBERED:
            _spent.popitem(last=False)
    return spent


def _private(path, flags):
    """Open a file that only its owner may read, whatever the umask."""
    return os.open(path, flags, 0o600)


class SpillFile:
    """A file that grows until its execution has written `FILE_LIMIT` bytes.

    What comes after that is dropped; the file ends by saying how much, with the last of it.
    """

    def __init__(self, path, execution_id):
        """Open `path`, at its end where it exists."""
        self._file = open(
            path, "r+b" if os.path.exists(path) else "w+b", buffering=0, opener=_private
        )
        self._file.seek(0, os.SEEK_END)
        self._spent = _spent_by(execution_id)
        self._dropped = self._reported = 0
        self._last = ""

    @property
    def empty(self):
        """True when nothing was ever written."""
        return self._file.tell() == 0

    def write(self, string):
        """Add `string`, as far as there is room; raises `OSError`."""
        written = string.encode("utf-8", "backslashreplace")
        if not self._dropped and self._spent.bytes + len(written) <= FILE_LIMIT:
            done = self._file.write(written)
            self._spent.bytes += done
            if done == len(written):  # almost always, and for each `print`
                return
            written = written[done:]
        else:
            room = 0 if self._dropped else max(0, FILE_LIMIT - self._spent.bytes)
            kept = written[:room].decode("utf-8", "ignore").encode("utf-8")  # whole characters
            rest = written[len(kept) :].decode("utf-8", "ignore")
            written = kept
            self._dropped += len(rest)
            self._last = (self._last + rest[-_LAST:])[-_LAST:]
        while written:
            done = self._file.write(written)  # a disk that is almost full takes a part
            self._spent.bytes += done
            written = written[done:]
        if self._dropped - self._reported > _TRAILER_EVERY:
            self.settle()  # the kernel may be killed before anybody flushes

    def settle(self):
        """Say at the file's end how much was dropped."""
        if self._dropped == self._reported:
            return
        trailer = "\n[%s characters dropped: an execution may write %s bytes to files]\n%s" % (
            format(self._dropped, ","),
            format(FILE_LIMIT, ","),
            self._last,
        )
        end = self._file.tell()
        try:
            self._file.write(trailer.encode("utf-8", "backslashreplace"))
            self._file.truncate()
            self._reported = self._dropped
        except OSError:
            pass  # the next one may get through
        finally:
            self._file.seek(end)

    def close(self):
        """Give up the file."""
        self.settle()
        self._file.close()


def bounded(kind, content, execution_id, reduced=False):
    """The content of a display or an error with long forms in files, and its size.

    A form that JSON can't hold, or that is nested too deeply to be read, becomes a line that says
    so. With `reduced`, only short forms travel.
    """
    if kind == "error":
        body = _bounded_error(content, execution_id)
        return body, len(body.get("evalue", "")) + sum(map(len, body.get("traceback", ())))
    texts = {mime: _written(mime, form) for mime, form in content["data"].items()}
    data, files = dict(content["data"]), {}
    for mime, (written, fault) in texts.items():
        if fault:
            del data[mime]
            _add_note(data, "[%s can't be shown: %s]" % (mime, fault))
        elif len(written) > (_SHORT if reduced else WIRE_BUDGET if mime in _TEXTS else _LARGEST):
            most = _SHORT if reduced else WIRE_BUDGET
            _move(mime, written, most, data, files, execution_id)
    size = sum(len(written) for mime, (written, _) in texts.items() if mime in data)
    return _with_files(content, data, files), size


def shortest_error(content):
    """The content of an error without its traceback."""
    return dict(content, evalue=content.get("evalue", "")[:_SHORT], traceback=[])


def bounded_reply(content, execution_id):
    """The content of a reply to an execution: what it hands over is short or shown."""
    if "traceback" in content:
        content = _bounded_error(content, execution_id)
    payloads = []
    for payload in content.get("payload") or ():
        if payload.get("source") == "page":
            shown, _ = bounded("display_data", payload, execution_id)
            metadata = shown.get("metadata") or {}
            payloads.append(dict(payload, data=shown["data"], metadata=metadata))
        elif len(_written("", payload)[0]) <= WIRE_BUDGET:
            payloads.append(payload)
    return dict(content, payload=payloads) if "payload" in content else content


def _written(mime, form):
    """A form as text, and why it can't be sent, or ""."""
    if isinstance(form, str):
        return form, ""
    try:
        if _is_too_deep(form):
            return "", "it is nested more than %d deep" % DEEPEST
        return json.dumps(form, default=str), ""
    except (TypeError, ValueError, RecursionError) as error:
        return "", str(error)


def _is_too_deep(form):
    level = [form]
    for _ in range(DEEPEST):
        children = []
        for each in level:
            if isinstance(each, dict):
                children += each.values()
            elif isinstance(each, (list, tuple)):
                children += each
        level = [each for each in children if isinstance(each, (dict, list, tuple))]
        if not level:
            return False
    return True


def _move(mime, written, most, data, files, execution_id):
    """Write a form to a file; of text its beginning stays."""
    path = _keep(mime, written, execution_id)
    if path:
        files[mime] = path
    else:
        note = "[%s of %s characters dropped: an execution may write %s bytes to files]"
        note %= mime, format(len(written), ","), format(FILE_LIMIT, ",")
    if mime in _TEXTS:
        data[mime] = written[:most]
    else:
        del data[mime]
    if not path:
        _add_note(data, note)


def _add_note(data, note):
    before = data.get("text/plain")
    data["text/plain"] = "%s\n%s" % (before, note) if isinstance(before, str) else note


def _with_files(content, data, files):
    metadata = dict(content.get("metadata") or {})
    if files:
        known = (metadata.get("kernel_exec") or {}).get("files") or {}
        metadata["kernel_exec"] = {"files": dict(files, **known)}
    return dict(content, data=data, metadata=metadata)


def _keep(mime, value, execution_id):
    """Write what is too long to travel to a file; its path, or "" when there is no room."""
    spent = _spent_by(execution_id)
    if spent.bytes >= FILE_LIMIT or spent.files >= _MOST_FILES:
        return ""
    spent.files += 1
    what = "error" if mime == "error" else "display"
    name = "%s.%s-%d.%s" % (execution_id, what, spent.files, _ENDINGS.get(mime, "txt"))
    path = os.path.join(settings["spill_dir"], name)
    try:
        if mime in ("image/png", "image/jpeg"):
            picture = base64.b64decode(value)
            if len(picture) > FILE_LIMIT - spent.bytes:
                return ""
            with open(path, "wb", opener=_private) as file:
                spent.bytes += file.write(picture)
        else:
            file = SpillFile(path, execution_id)
            file.write(value)
            file.close()
    except (OSError, ValueError):  # a full disk, or no base64
        return ""
    return path


def _bounded_error(content, execution_id):
    evalue, traceback = content.get("evalue", ""), content.get("traceback", [])
    if len(evalue) <= _MESSAGE and sum(map(len, traceback)) <= WIRE_BUDGET:
        return content
    spent = _spent_by(execution_id)
    mark, path = spent.error
    if mark != hash(evalue):  # the same comes twice, also in the reply
        path = _keep("error", "\n".join(traceback), execution_id)
        spent.error = (hash(evalue), path)
    parts = traceback
    if len(parts) > _PARTS:
        parts = parts[: _PARTS // 2] + parts[-_PARTS // 2 :]
    return dict(
        content,
        evalue=evalue[:_MESSAGE],
        traceback=[_shortened(part) for part in parts],
        **({"kernel_exec": {"path": path, "characters": len(evalue)}} if path else {}),
    )


def _shortened(part):
    if len(part) <= _MESSAGE:
        return part
    half = _MESSAGE // 2
    return "%s\n[%s characters left out]\n%s" % (
        part[:half],
        format(len(part) - 2 * half, ","),
        part[-half:],
    )
