"""What starts a server in a client's configuration, in each client's own words. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import PurePath
from typing import Final

from kernel_exec.jsons import JSON, JSONObject

NAME: Final = "kernel-exec"
"""What clients call us, unless somebody has chosen another name."""

_OURS = re.compile(r"(?:.*[/\\])?kernel[-_]exec(?:\.exe)?(?:[@=<>~!:\[].*)?", re.IGNORECASE)
_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]")
_SEED = re.compile(r"(?:.*[/\\])?mcp[-_]code[-_]executor(?:[-/\\@:].*)?", re.IGNORECASE)
"""The server that this one takes the place of: a folder, a package or an image."""


class Shape(Enum):
    """How a client writes down what to start."""

    PLAIN = auto()
    STDIO = auto()
    LOCAL = auto()
    LIST = auto()
    """Program and arguments in one list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A program, its arguments and the variables that it gets besides the client's."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """True when it starts kernel-exec in whatever way."""
        return self.options is not None

    @property
    def options(self) -> tuple[str, ...] | None:
        """What follows our name in the command; None when that is not there."""
        named = [at for at, word in enumerate(self.command) if _OURS.fullmatch(word)]
        free = [at for at in named if not self.command[at - 1].startswith("-") or at == 0]
        # behind an option it is a module, an image, or the option's value
        named = free or [at for at in named if not _PATH.match(self.command[at])]
        return self.command[named[0] + 1 :] if named else None


def is_seed(name: str, entry: Entry) -> bool:
    """True for the server that this one takes the place of, by its name or by what it starts."""
    return not entry.is_ours and any(map(_SEED.fullmatch, (name, *entry.command)))


def read(value: JSON) -> Entry | None:
    """What an entry starts, whatever its client; None when it starts nothing, as one with a URL."""
    if not isinstance(value, Mapping):
        return None
    command = value.get("command")
    words = [command, *_list(value.get("args"))] if isinstance(command, str) else _list(command)
    if not words or not words[0]:
        return None
    env = value.get("env", value.get("environment"))
    pairs = env.items() if isinstance(env, Mapping) else ()
    return Entry(command=tuple(map(str, words)), env={key: str(each) for key, each in pairs})


def fields(entry: Entry, shape: Shape) -> JSONObject:
    """The members by which a client starts it."""
    program, *arguments = entry.command
    if shape is Shape.LIST:
        environment = {"environment": dict(entry.env)} if entry.env else {}
        return {"type": "local", "command": list(entry.command), "enabled": True, **environment}
    kind = {Shape.STDIO: "stdio", Shape.LOCAL: "local"}.get(shape)
    return {
        **({"type": kind} if kind else {}),
        "command": program,
        "args": list(arguments),
        **({"env": dict(entry.env)} if entry.env else {}),
        **({"tools": ["*"]} if shape is Shape.LOCAL else {}),
    }


def program_of(entry: Entry) -> str:
    """The name of what it starts, for a message."""
    return PurePath(entry.command[0]).name


def _list(value: JSON) -> list[JSON]:
    return list(value) if isinstance(value, list) else []
