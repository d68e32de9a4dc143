"""The clients that we know: where each has its configuration, and what it looks like. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from kernel_exec.jsons import JSON

from . import jsonc, tomls
from .entries import Shape

_PLACE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_APPS: Final = {"darwin": "~/Library/Application Support", "win32": "${APPDATA:-~/AppData/Roaming}"}
_XDG: Final = "${XDG_CONFIG_HOME:-~/.config}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides where files are: the system as Python calls it, the home folder, variables."""

    system: str
    home: Path
    variables: Mapping[str, str]

    def path(self, place: str) -> Path:
        """A place such as `${CODEX_HOME:-~/.codex}` or `<apps>/Code` on this machine."""
        place = place.replace("<apps>", _APPS.get(self.system, _XDG))
        place = _PLACE.sub(
            lambda found: self.variables.get(found[1], "").strip() or found[2], place
        )
        if place.startswith("~"):
            return self.home / place.removeprefix("~").removeprefix("/")
        return Path(place)


class Format(Protocol):
    """What edits the text of a configuration, all other bytes of which stay.

    All of it raises `ValueError` when the text is broken, or has a layout that can't be edited.
    """

    def parse(self, text: str) -> Mapping[str, object]:
        """The value of the document."""

    def put(self, text: str, path: Sequence[str], fields: Mapping[str, JSON]) -> str:
        """The text with these members at `path`; those that are there besides stay."""

    def drop(self, text: str, path: Sequence[str]) -> str:
        """The text without what is at `path`."""

    def rename(self, text: str, path: Sequence[str], name: str) -> str:
        """The text in which what is at `path` has another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client; `servers` is the key of its servers in its files.

    `homes` are the folders that hold one of `files`, which is the one to use if none is there; each
    is an installation of its own. `project` are the same files in a project. `program` is what
    shows that it is installed before it has a file. One that `starts_in_project` starts servers in
    the project's folder, others may have `project_folder`, a text that stands for it.
    """

    name: str
    servers: str = "mcpServers"
    shape: Shape = Shape.PLAIN
    format: Format = jsonc
    homes: Sequence[str]
    files: Sequence[str]
    project: Sequence[str] = ()
    program: str = ""
    systems: Sequence[str] = ()
    starts_in_project: bool = False
    project_folder: str = ""
    locks: bool = False
    """It writes its file only while it holds the folder `FILE.lock`."""
    by_folder: tuple[str, str] | None = None
    """In a user's file, what comes before and behind a folder that has servers of its own."""

    def candidates(self, machine: Machine) -> list[list[Path]]:
        """The user's files that there may be, the first of each installation's in front."""
        homes = [machine.path(home) for home in self.homes]
        return [[home / name for name in self.files] for home in homes]

    def exists_on(self, system: str) -> bool:
        """True on systems for which the client is made."""
        return not self.systems or system in self.systems


CLIENTS: Final = (
    Client(
        name="claude-code",
        shape=Shape.STDIO,
        homes=("${CLAUDE_CONFIG_DIR:-~}",),
        files=(".claude.json",),
        project=(".mcp.json",),
        locks=True,
        by_folder=("projects", "mcpServers"),
        program="claude",
        starts_in_project=True,
    ),
    Client(
        name="claude-desktop",
        homes=("<apps>/Claude",),
        files=("claude_desktop_config.json",),
        systems=("darwin", "win32"),
    ),
    Client(
        name="cursor",
        homes=("~/.cursor",),
        files=("mcp.json",),
        project=(".cursor/mcp.json",),
        program="cursor",
        project_folder="${workspaceFolder}",
    ),
    Client(
        name="vscode",
        servers="servers",
        shape=Shape.STDIO,
        homes=("<apps>/Code/User", "<apps>/Code - Insiders/User", "<apps>/VSCodium/User"),
        files=("mcp.json",),
        project=(".vscode/mcp.json",),
        program="code",
        project_folder="${workspaceFolder}",
    ),
    Client(
        name="windsurf",
        homes=("~/.codeium/windsurf", "~/.codeium/windsurf-next"),
        files=("mcp_config.json",),
        program="windsurf",
    ),
    Client(
        name="codex",
        servers="mcp_servers",
        format=tomls,
        homes=("${CODEX_HOME:-~/.codex}",),
        files=("config.toml",),
        project=(".codex/config.toml",),
        program="codex",
        starts_in_project=True,
    ),
    Client(
        name="gemini",
        homes=("~/.gemini",),
        files=("settings.json",),
        project=(".gemini/settings.json",),
        program="gemini",
        starts_in_project=True,
    ),
    Client(
        name="copilot",
        shape=Shape.LOCAL,
        homes=("${COPILOT_HOME:-~/.copilot}",),
        files=("mcp-config.json",),
        project=(".github/mcp.json",),
        program="copilot",
        starts_in_project=True,
    ),
    Client(
        name="opencode",
        servers="mcp",
        shape=Shape.LIST,
        homes=(f"{_XDG}/opencode",),
        files=("opencode.jsonc", "opencode.json", "config.json"),
        project=("opencode.json", "opencode.jsonc"),
        program="opencode",
        starts_in_project=True,
    ),
)
"""Every client that `kernel-exec init` can set up, in the order in which it lists them."""
