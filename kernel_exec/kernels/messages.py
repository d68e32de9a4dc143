"""Jupyter messages as values, and the requests we send. Pure.

Source: the Jupyter messaging protocol 5.3 (jupyter_client, "Messaging in Jupyter").
"""

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from kernel_exec.jsons import JSON, JSONObject

CELL_NAME = re.compile(r"/ipykernel_0/\d+\.py")
"""What `cell_name` returns."""

UNREADABLE = "unreadable"
"""The status of a reply whose content can't be read."""


class Channel(StrEnum):
    """The channel a message came on or goes to."""

    SHELL = "shell"
    CONTROL = "control"
    IOPUB = "iopub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as received; `date` is the sender's ISO 8601 time, `parent_id` may be empty."""

    channel: Channel
    msg_type: str
    content: JSONObject
    parent_id: str = ""
    metadata: JSONObject
    date: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One request to send; the kernel's answers carry `msg_id` as their parent."""

    channel: Channel
    msg_type: str
    msg_id: str
    content: JSONObject
    metadata: JSONObject


def execute_request(
    *,
    msg_id: str,
    source: str,
    file_path: str | None,
    arguments: Sequence[str] | None = None,
    spill_dir: PurePath | None = None,
) -> Outgoing:
    """Ask the kernel to run `source`, as a cell; tracebacks name `file_path` when it is given.

    With `arguments`, even none, it runs as a script does. From now on what is too long for
    messages goes to files in `spill_dir`.

    `stop_on_error` is off, so an error never aborts what another request queued.
    """
    ours: dict[str, JSON] = {"name": cell_name(source), "file": file_path}
    if arguments is not None:
        ours["arguments"] = list(arguments)
    if spill_dir is not None:
        ours["spill_dir"] = str(spill_dir)
    return Outgoing(
        channel=Channel.SHELL,
        msg_type="execute_request",
        msg_id=msg_id,
        content={
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        },
        metadata={"kernel_exec": ours},
    )


def cell_name(source: str) -> str:
    """The file name that a cell is compiled under: the same for the same source, everywhere.

    Libraries that keep results on disk know a function by it. Those that care for notebooks expect
    it to look like ipykernel's, which also names no file that exists.
    """
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()
    return f"/ipykernel_0/{int.from_bytes(digest[:8], 'big')}.py"


def question_request(question: str, *arguments: JSON) -> Outgoing:
    """Ask a function of `inside/questions.py`, by a message that only our kernels know."""
    return Outgoing(
        channel=Channel.CONTROL,
        msg_type="question_request",
        msg_id=_new_id(),
        content={"question": question, "arguments": arguments},
        metadata={},
    )


def new_request(channel: Channel, msg_type: str) -> Outgoing:
    """A request without content, such as `kernel_info_request`."""
    return Outgoing(channel=channel, msg_type=msg_type, msg_id=_new_id(), content={}, metadata={})


def _new_id() -> str:
    return uuid.uuid4().hex
