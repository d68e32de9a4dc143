"""uv, and the package index that it is configured for."""

import re
import sys
from collections.abc import Sequence

from kernel_exec.environments.tools import Tools, read_tools, run_uv
from kernel_exec.settings import Settings

from .check import Check, broken, works

_WANTED = "ipykernel"
"""What kernel support is made of, so that every index that is of use has it."""

_UV_LIMIT = 15.0
_INDEX_LIMIT = 15.0
"""Seconds for a page of the index and a file's metadata, with what uv tries again."""

_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")


async def uv(settings: Settings) -> Sequence[Check]:
    """The uv that installs packages."""
    finished = await run_uv(["--version"], tools=_tools(settings), limit=_UV_LIMIT)
    if finished.returncode != 0:
        text = f"uv does not run: {finished.stderr}"
        return [broken("uv", text, "install kernel-exec again, which brings it")]
    return [works("uv", finished.stdout.strip())]


async def index(settings: Settings) -> Sequence[Check]:
    """Whether a package is found, by the installer's own configuration and without its cache."""
    argv = ["pip", "install", "--dry-run", "--no-deps", "--no-cache", "--reinstall"]
    argv += ["--no-progress", "--python", sys.executable, "--only-binary", ":all:", "--", _WANTED]
    finished = await run_uv(argv, tools=_tools(settings), limit=_INDEX_LIMIT)
    if finished.timed_out:
        return [broken("package index", f"no answer within {_INDEX_LIMIT:g} seconds", _WAY_OUT)]
    if finished.returncode != 0:
        said = _PASSWORD.sub("…", finished.stderr.strip().rpartition("error: ")[2])
        is_full = "os error 28" in said  # uv has its own folder there
        fix = "make room, or set TMPDIR to a folder that has some" if is_full else _WAY_OUT
        return [broken("package index", f"can't be used: {said}", fix)]
    return [works("package index", f"uv finds {_WANTED}")]


_WAY_OUT = "check the network and HTTPS_PROXY; behind a firewall, set UV_DEFAULT_INDEX to a mirror"


def _tools(settings: Settings) -> Tools:
    return read_tools(settings.connection.variables, passed=settings.connection.pass_env)
