"""What starts a server in a client's configuration, in each client's own words. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from kernel_exec.jsons import JSON

NAME: Final = "kernel-exec"
"""What clients call us, unless somebody has chosen another name."""

_OURS = re.compile(r"(?:.*[/\\])?kernel[-_]exec(?:\.exe)?(?:[@=<>~!:\[].*)?", re.IGNORECASE)
_SEED = re.compile(r"(?:.*[/\\])?mcp[-_]code[-_]executor(?:[-/\\@:].*)?", re.IGNORECASE)
"""The server that this one takes the place of: a folder, a package or an image."""
_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]")
_MOUNT = re.compile(r"(?P<outside>(?:[A-Za-z]:)?[^:]+):(?P<inside>/[^:]*)(?::.*)?")


class Shape(Enum):
    """How a client writes down what to start."""

    PLAIN = auto()
    STDIO = auto()
    LOCAL = auto()
    LIST = auto()
    """Program and arguments in one list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A program with its arguments, and the variables that it gets in addition to the client's."""

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
        free = [at for at in named if at == 0 or not self.command[at - 1].startswith("-")]
        # behind an option it is a module, an image, or the option's value
        named = free or [at for at in named if not _PATH.match(self.command[at])]
        return self.command[named[0] + 1 :] if named else None


def read(value: object) -> Entry | None:
    """What an entry starts, whatever its client; None when it starts nothing, as one with a URL."""
    if not isinstance(value, Mapping):
        return None
    command = value.get("command")
    words = [command, *_list(value.get("args"))] if isinstance(command, str) else _list(command)
    if not words or not words[0]:
        return None
    env = value.get("env", value.get("environment"))
    pairs = env.items() if isinstance(env, Mapping) else ()
    return Entry(command=tuple(map(str, words)), env={str(key): str(each) for key, each in pairs})


def fields(entry: Entry, shape: Shape) -> Mapping[str, JSON]:
    """The members by which a client starts it."""
    program, *arguments = entry.command
    if shape is Shape.LIST:
        environment = {"environment": dict(entry.env)} if entry.env else {}
        return {"type": "local", "command": list(entry.command), "enabled": True, **environment}
    kind = {Shape.STDIO: "stdio", Shape.LOCAL: "local"}.get(shape)
    return {
        **({"type": kind} if kind else {}),
        "command": program,
        "args": arguments,
        **({"env": dict(entry.env)} if entry.env else {}),
        **({"tools": ["*"]} if shape is Shape.LOCAL else {}),
    }


def is_seed(name: str, entry: Entry) -> bool:
    """True for the server that this one takes the place of, by its name or by what it starts."""
    return not entry.is_ours and any(map(_SEED.fullmatch, (name, *entry.command)))


def outside(entry: Entry, paths: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """The variables of a server, as they hold outside of its container if it runs in one.

    Of those in `paths`, which hold a path, only those get out that are in a folder from outside;
    the names of the others are returned, too.
    """
    if "run" not in entry.command:
        return dict(entry.env), []
    values = {"-e": [], "--env": [], "-v": [], "--volume": []}  # type: dict[str, list[str]]
    for word, following in zip(entry.command, (*entry.command[1:], ""), strict=True):
        option, _, value = word.partition("=")
        if option in values:
            values[option].append(value or following)
    env = dict(entry.env) | dict(
        each.split("=", 1) for each in values["-e"] + values["--env"] if "=" in each
    )
    mounts = [
        found for each in values["-v"] + values["--volume"] if (found := _MOUNT.fullmatch(each))
    ]
    for name in paths & env.keys():
        env[name] = next(
            (
                found["outside"] + env[name].removeprefix(found["inside"])
                for found in mounts
                if f"{env[name]}/".startswith(found["inside"].rstrip("/") + "/")
            ),
            "",
        )
    lost = sorted(name for name in paths & env.keys() if not env[name])
    return {name: value for name, value in env.items() if value}, lost


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
