"""What one execution may send and keep; loaded by `_launch.py` in the kernel's process.

Python 3.8 syntax, standard library only. The beginning of everything travels as messages, all of
it goes to files, so that neither the server nor a model is flooded; above `FILE_LIMIT` an
execution's output is dropped and counted, so that a loop that prints for ever fills no disk.
"""

import base64
import collections
import json
import os

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
WIRE_BUDGET = 256 * 1024
"""Characters per execution and stream, or of one text, that travel; the rest goes to a file."""

FILE_LIMIT = 1000000000
"""Bytes that one execution may write to files, all its outputs together."""

DISPLAY_LIMIT = 100000
"""Displays, and changes of them, that one execution may send."""

_LARGEST = 16 * 1024 * 1024
"""Characters of a picture, a page or a chart that travel: they can't be cut, only left out."""

_MESSAGE = 32 * 1024
"""Characters of an error's message, and of each part of its traceback, that travel."""

_PARTS = 200
"""Parts of a traceback that travel: its beginning and its end."""

_TEXTS = ("text/plain", "text/llm+plain", "text/markdown", "text/latex")
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "text/html": "html", "image/svg+xml": "svg"}
_DISPLAYS = ("display_data", "update_display_data", "execute_result")
_TRAILER_EVERY = 1 << 20
_LAST = 1000
_REMEMBERED = 64

settings = {}
"""The launcher's configuration; set before the first stream is made."""


class _Spent:
    """What one execution has written to files, and how many displays it has sent."""

    def __init__(self):
        self.bytes = 0
        self.displays = 0
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
        self._end = self._file.seek(0, os.SEEK_END)
        self._spent = _spent_by(execution_id)
        self._dropped = self._told = 0
        self._last = ""

    @property
    def empty(self):
        """True when nothing was ever written."""
        return self._end == 0

    def write(self, string):
        """Add `string`, as far as there is room; raises `OSError`."""
        written = string.encode("utf-8", "backslashreplace")
        room = FILE_LIMIT - self._spent.bytes
        if len(written) <= room and not self._dropped:
            done = self._file.write(written)
            self._end += done
            self._spent.bytes += done
            written = written[done:]
        else:
            kept = written[: 0 if self._dropped else max(0, room)].decode("utf-8", "ignore")
            rest = written[len(kept.encode("utf-8")) :].decode("utf-8", "ignore")
            written = kept.encode("utf-8")
            self._dropped += len(rest)
            self._last = (self._last + rest[-_LAST:])[-_LAST:]
        while written:
            done = self._file.write(written)  # a disk that is almost full takes a part
            self._end += done
            self._spent.bytes += done
            written = written[done:]
        if self._dropped - self._told > _TRAILER_EVERY:
            self.settle()

    def settle(self):
        """Say at the file's end how much was dropped."""
        if self._dropped == self._told:
            return
        trailer = "\n[%s characters dropped: an execution may write %s bytes to files]\n%s" % (
            format(self._dropped, ","),
            format(FILE_LIMIT, ","),
            self._last,
        )
        try:
            self._file.seek(self._end)
            self._file.write(trailer.encode("utf-8", "backslashreplace"))
            self._file.truncate()
            self._file.seek(self._end)
        except OSError:
            return  # the next one may get through
        self._told = self._dropped

    def close(self):
        """Give up the file."""
        self.settle()
        self._file.close()


def bound_messages(session, on_widget=lambda: None):
    """Make `session` send the beginning of a long display or error, and the path of all of it.

    `on_widget` is called after each change of a widget.
    """
    send = session.send

    def send_bounded(stream, msg_or_type, content=None, parent=None, *args, **kwargs):
        if msg_or_type == "comm_msg":
            sent = send(stream, msg_or_type, content, parent, *args, **kwargs)
            on_widget()
            return sent
        try:
            if isinstance(msg_or_type, dict):
                kind = msg_or_type["header"]["msg_type"]
                execution_id = msg_or_type["parent_header"].get("msg_id", "")
                body = _bounded(kind, msg_or_type["content"], execution_id)
                if body is not None:
                    msg_or_type["content"] = body
            else:
                header = (parent or {}).get("header", parent or {})
                body = content = _bounded(msg_or_type, content, header.get("msg_id", ""))
        except Exception:
            body = ()  # what can't be made smaller travels as it is
        return None if body is None else send(stream, msg_or_type, content, parent, *args, **kwargs)

    session.send = send_bounded


def _bounded(kind, content, execution_id):
    """The content to send, None for nothing at all."""
    if kind in _DISPLAYS:
        spent = _spent_by(execution_id)
        spent.displays += 1
        beyond = spent.displays - DISPLAY_LIMIT
        if beyond > 0 and kind != "execute_result":
            if beyond & (beyond - 1):
                return None
            told = "[the last display before %s or more that were dropped:" % format(beyond, ",")
            told += " an execution may show %s]" % format(DISPLAY_LIMIT, ",")
            return dict(content, data={"text/plain": told})
        return _bounded_display(content, execution_id)
    if kind == "error" or (kind == "execute_reply" and "traceback" in (content or {})):
        return _bounded_error(content, execution_id)
    return content if content is not None else {}


def _bounded_display(content, execution_id):
    data, files = dict(content["data"]), {}
    for mime, form in content["data"].items():
        value = form if isinstance(form, str) else json.dumps(form, default=str)
        if len(value) > (WIRE_BUDGET if mime in _TEXTS else _LARGEST):
            files[mime] = _keep(mime, value, execution_id)
            if mime in _TEXTS:
                data[mime] = value[:WIRE_BUDGET]
            else:
                del data[mime]
    if not files:
        return content
    metadata = dict(content.get("metadata") or {}, kernel_exec={"files": files})
    return dict(content, data=data, metadata=metadata)


def _keep(mime, value, execution_id):
    """Write what is too long to travel to a file; its path."""
    spent = _spent_by(execution_id)
    spent.files += 1
    name = "%s.display-%d.%s" % (execution_id, spent.files, _ENDINGS.get(mime, "txt"))
    path = os.path.join(settings["spill_dir"], name)
    if mime in ("image/png", "image/jpeg"):
        picture = base64.b64decode(value)
        if len(picture) <= FILE_LIMIT - spent.bytes:
            with open(path, "wb", opener=_private) as file:
                spent.bytes += file.write(picture)
    else:
        file = SpillFile(path, execution_id)
        file.write(value)
        file.close()
    return path


def _bounded_error(content, execution_id):
    evalue, traceback = content.get("evalue", ""), content.get("traceback", [])
    if len(evalue) <= _MESSAGE and sum(map(len, traceback)) <= WIRE_BUDGET:
        return content
    spent = _spent_by(execution_id)
    mark, path = spent.error
    if mark != hash(evalue):  # the same comes twice, also in the reply
        spent.files += 1
        path = os.path.join(settings["spill_dir"], "%s.error-%d.txt" % (execution_id, spent.files))
        file = SpillFile(path, execution_id)
        file.write("\n".join(traceback))
        file.close()
        spent.error = (hash(evalue), path)
    parts = traceback
    if len(parts) > _PARTS:
        parts = parts[: _PARTS // 2] + parts[-_PARTS // 2 :]
    return dict(
        content,
        evalue=evalue[:_MESSAGE],
        traceback=[_shortened(part) for part in parts],
        kernel_exec={"path": path, "characters": len(evalue)},
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
