"""The host process, a conversation through a relay, and the clients that start one."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from kernel_exec.clients.registrations import Registration, registrations
from kernel_exec.environments.tools import tool_variables
from kernel_exec.host.client import open_host, pid_of_host
from kernel_exec.options import SETTINGS
from kernel_exec.places import Places
from kernel_exec.relay.door import CODE
from kernel_exec.server.create import REFUSAL
from kernel_exec.settings import HostSettings, Settings

from .check import Check, broken, works

_END_LIMIT = 10.0
"""Seconds for a host that was started here to end."""


async def host(settings: Settings) -> Sequence[Check]:
    """Whether a host process runs and answers, and of which version it is."""
    root = settings.host.storage_root
    if pid_of_host(root) is None:
        return [works("host", "none runs; the next client starts one")]
    client = open_host(root)
    if client is None:
        return [works("host", "one has just ended")]
    with client:
        answers = [each for each in client.ask({"command": "about"}) if "version" in each]
    version = answers[0]["version"] if answers else "unknown"
    text = f"process {client.pid} answers, kernel-exec {version}"
    if answers and answers[0].get("code") == CODE:
        return [works("host", text)]
    fix = "run `kernel-exec stop` to replace it; its kernels end"
    return [works("host", f"{text}, not the code that runs here", fix)]


async def handshake(settings: Settings) -> Sequence[Check]:
    """What a client gets that starts a relay: from the host if one runs, or one of its own."""
    if pid_of_host(settings.host.storage_root) is not None:
        return [await _greeted(settings.host.storage_root, settings.host)]
    with tempfile.TemporaryDirectory(prefix="kernel-exec-doctor-") as name:
        try:
            return [await _greeted(Path(name), settings.host)]
        finally:
            _end_host(Path(name))


async def _greeted(root: Path, settings: HostSettings) -> Check:
    ours = {
        "KERNEL_EXEC_CACHE": str(settings.cache),
        "KERNEL_EXEC_PYTHON_PATH": sys.executable,
        "KERNEL_EXEC_LINGER": "1",
    }
    parameters = server_of_our_own(root, settings.variables, ours)
    began, tools, trouble = time.monotonic(), 0, ""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                tools = len((await client.list_tools()).tools)
                # what a host can't do it says when it is asked for that
                answer = await client.call_tool("kernel_status", {})
                said = getattr(answer.content[0], "text", "")
                if said.startswith(REFUSAL):  # it names us as the way out
                    trouble = said.partition("; run `kernel-exec doctor`")[0]
        except* (MCPError, OSError) as group:
            errors.seek(0)
            trouble = f"no conversation with a relay: {group.exceptions[0]} {errors.read()}"
    if trouble:
        fix = "" if "; " in trouble else f"see the log, {Places(root).log}"
        return broken("mcp", trouble, fix)
    seconds = time.monotonic() - began
    return works("mcp", f"a relay answers in {seconds:.1f} s, {tools} tools")


def server_of_our_own(
    root: Path, variables: Mapping[str, str], settings: Mapping[str, str], *options: str
) -> StdioServerParameters:
    """A server for the storage root, whatever is configured here, with some `settings`.

    It gets the settings of proxies, certificates and package indexes, and is found where this
    program was, but not in the current folder.
    """
    ours = {setting.variable for setting in SETTINGS}
    kept = {
        name: value
        for name, value in tool_variables(variables, passed=()).items()
        if name not in ours
    }
    home = variables.get("PYTHONHOME")
    path = [*filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)), str(_PACKAGES)]
    return StdioServerParameters(
        command=sys.executable,
        cwd=root,
        args=["-P", "-m", "kernel_exec", "serve", *options, "--config", os.devnull],
        env={
            **kept,
            **({"PYTHONHOME": home} if home else {}),
            "PYTHONPATH": os.pathsep.join(path),
            "CODE_STORAGE_DIR": str(root),
            **settings,
        },
    )


_PACKAGES = Path(__file__).parents[2]
"""The folder that has this package."""


def _end_host(root: Path) -> None:
    """End the host that was started for a folder of ours, before that goes."""
    client = open_host(root)
    if client is None:
        return
    with client:
        process = psutil.Process(client.pid)
        list(client.ask({"command": "stop"}))
    process.wait(_END_LIMIT)


async def clients(settings: Settings) -> Sequence[Check]:
    """The clients that start us, and whether the command that they use exists."""
    folder, path = settings.connection.folder, settings.host.variables.get("PATH")
    found = registrations(folder, settings.connection.variables)
    if not found:
        text = "none is configured to start kernel-exec"
        return [works("clients", text, "run `kernel-exec init`")]
    return [_of_client(each, folder, path) for each in found]


def _of_client(found: Registration, folder: Path, path: str | None) -> Check:
    name = f"client {found.client}"
    command = found.command[0] if found.command else ""
    # arguments may hold what is secret
    text = f"`{found.name}` in {found.file} starts {command or 'nothing'}"
    if command and shutil.which(folder / command if os.sep in command else command, path=path):
        return works(name, text)
    fix = f"run `kernel-exec init {found.client}`"
    return broken(name, f"{text}, which is no program here", fix)
