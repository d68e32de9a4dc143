"""What uv, pip and conda get: variables, and their user's configuration as it was at first.

uv itself is run here: never by a shell, never in the wrong environment, with the system's
certificates too.

Code that runs here can write the files that installers read, and name a package index in them.
So these files are read once, before any code has run, and installers get private copies.
"""

import configparser
import hashlib
import io
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from uv import find_uv_bin

from kernel_exec import processes
from kernel_exec.files import work_folder
from kernel_exec.inherited import INHERITED
from kernel_exec.places import bare, home_folder

from .activation import allowed_variables

_INSTALLERS = ("UV_", "PIP_", "CONDA_", "_CONDA_", "MAMBA_", "RATTLER_")
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"})
_OWN = _PROXIES | {"NETRC", "RUST_LOG", "CARGO_HOME", "CC", "CXX", "CFLAGS", "LDFLAGS"}
_MISLEADING = frozenset(
    {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"}
    | {"UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX"}
    | {"UV_PROJECT", "UV_WORKING_DIR", "UV_WORKING_DIRECTORY"}
    | {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER"}
)
"""Variables that would choose another environment or folder, or spoil what is installed."""

_INDEX_OF_UV = frozenset({"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_NO_INDEX"})
_PIP_OF_ALL = (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"))
"""What pip reads for every user, before their own."""

_CONFIG_LIMIT = 1_000_000
"""Bytes of a configuration; a larger file is none."""

_UNKNOWN_ISSUER = "invalid peer certificate"

_UNREACHABLE = (
    "failed to fetch",
    "error sending request",
    "dns error",
    "network connectivity",
    "network was disabled",
    "network timeout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What installers get; files that they make leave out `umask`.

    They run in folders below `private`, our own folder, or the system's temporary one without it.
    `uv` and `pip` are the contents of the user's configuration, None where there is none;
    `conda` are digests of the files that conda reads, which can't be replaced by copies. `writable`
    are the folders that code behind walls may write to, None without walls.
    """

    variables: Mapping[str, str] = field(repr=False)
    uv: bytes | None = field(default=None, repr=False)
    pip: bytes | None = field(default=None, repr=False)
    conda: Mapping[Path, str] = field(default_factory=dict)
    umask: int = INHERITED.umask
    writable: tuple[Path, ...] | None = None
    private: Path | None = None

    @contextmanager
    def work_folder(self) -> Iterator[tuple[Path, dict[str, str]]]:
        """An empty folder to run an installer in, and its variables.

        No file in the folder can pass for a package; uv reads neither projects nor settings
        above it; uv and pip find the copies of the user's configuration. Raises `OSError`.
        """
        with work_folder(self.private, "kernel-exec-install-") as folder:
            work, config, temporary = (folder / name for name in ("work", "config", "tmp"))
            work.mkdir()
            temporary.mkdir()
            (work / "uv.toml").touch()
            (config / "uv").mkdir(parents=True)
            if self.uv is not None:
                (config / "uv" / "uv.toml").write_bytes(self.uv)
            (config / "pip.conf").write_bytes(self.pip or b"")
            variables = {
                name: value for name, value in self.variables.items() if name not in _MISLEADING
            }
            variables["XDG_CONFIG_HOME"] = str(config)
            variables["TMPDIR"] = str(temporary)  # pip installs from what it has put there
            if variables.get("UV_CONFIG_FILE"):
                variables["UV_CONFIG_FILE"] = str(config / "uv" / "uv.toml")
            if variables.get("PIP_CONFIG_FILE") != os.devnull:  # which means none at all
                variables["PIP_CONFIG_FILE"] = str(config / "pip.conf")
            yield work, variables

    def changed_conda_files(self) -> list[Path]:
        """The files of conda's configuration that are no longer what they were."""
        current = _conda_digests(self.variables)
        return sorted(
            path for path in {*current, *self.conda} if current.get(path) != self.conda.get(path)
        )


def read_tools(
    base: Mapping[str, str],
    *,
    passed: Collection[str],
    umask: int = INHERITED.umask,
    folder: Path = Path(),
    writable: tuple[Path, ...] | None = None,
    private: Path | None = None,
) -> Tools:
    """What installers get of the client's variables `base` and of the files they read now.

    Relative paths in `base` begin in `folder`.
    """
    variables = tool_variables(base, passed=passed)
    home = home_folder(base)
    config = Path(base.get("XDG_CONFIG_HOME") or home / ".config")
    named = base.get("PIP_CONFIG_FILE", "")
    uv = _content(folder / (base.get("UV_CONFIG_FILE") or config / "uv" / "uv.toml"))
    pip = _pip_config(home, config, str(folder / named) if named else "")
    if not (any(map(variables.get, _INDEX_OF_UV)) or b"index" in (uv or b"")):
        mirror = _mirror_of_pip(variables, b"" if named == os.devnull else pip or b"")
        variables |= {"UV_DEFAULT_INDEX": mirror} if mirror else {}
    return Tools(
        variables=variables,
        uv=uv,
        pip=pip,
        conda=_conda_digests(variables),
        umask=umask,
        writable=writable,
        private=private,
    )


def tool_variables(base: Mapping[str, str], *, passed: Collection[str]) -> dict[str, str]:
    """The variables of uv, pip and conda: foreign code may run in them, when a package is built.

    In addition to those of kernels, their own settings and the proxies, which may hold passwords,
    but none that lead a Python to other code.
    """
    own = {
        name: value
        for name, value in base.items()
        if name.startswith(_INSTALLERS) or name.upper() in _OWN
    }
    allowed = allowed_variables(base, passed=passed)
    return {name: each for name, each in allowed.items() if not name.startswith("PYTHON")} | own


async def run_uv(
    arguments: Sequence[str],
    *,
    tools: Tools,
    limit: float,
    python: Path | None = None,
    compiled: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> processes.Finished:
    """Run uv in an empty folder, within `limit` seconds.

    `python` is the interpreter that `uv pip` works for, and `compiled` the folder of whose modules
    bytecode is to be made. Behind walls that interpreter runs nothing that is installed.
    uv trusts its own certificates unless told otherwise, and many clients start us without the
    variables that tell it. Behind a proxy that signs for itself, the second try trusts the
    system's.

    Raises:
        ProgramMissingError: uv is missing.
        BusyError: It can't be started now.
        OSError: There is no temporary folder to run it in.
    """
    try:
        argv = [find_uv_bin(), *arguments[:2]]
    except FileNotFoundError as error:
        raise processes.ProgramMissingError(
            f"uv is missing: {error}; install kernel-exec again, which brings it"
        ) from error
    closed = tools.writable is not None
    with tools.work_folder() as (cwd, variables):
        if python is not None:
            argv += ["--python", str(_closed(python, cwd.parent) if closed else python)]
        argv += ["--compile-bytecode"] if compiled and not closed else []
        argv += arguments[2:]
        # its byte-compiler runs the environment's Python, whose start would leave files there
        env = {**variables, "PYTHONDONTWRITEBYTECODE": "1"}

        run = partial(
            processes.run, env=env, cwd=cwd, limit=limit, umask=tools.umask, on_line=on_line
        )
        finished = await run(argv)
        if finished.returncode != 0 and _UNKNOWN_ISSUER in finished.stderr:
            env["UV_SYSTEM_CERTS"] = "1"
            if on_line is not None:
                on_line("trying again with the system's certificates")
            finished = await run(argv)
        if closed and python and compiled and finished.returncode == 0:
            await run([*bare(python), "bare", "-m", "compileall", "-qq", "-j0", str(compiled)])
        return finished


def _closed(python: Path, folder: Path) -> Path:
    """A program in `folder` that is the interpreter but for what is installed for it."""
    program = folder / "python"
    command = shlex.join([*bare(python), "bare"])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o700)
    return program


def unreachable(finished: processes.Finished) -> bool:
    """True when uv failed because it did not reach the package index."""
    said = finished.stderr.lower()
    return finished.returncode != 0 and any(sign in said for sign in _UNREACHABLE)


def _pip_config(home: Path, config: Path, named: str) -> bytes | None:
    """What pip would read for its user: the file that was named, or all others as one."""
    if named and (content := _content(Path(named))) is not None:
        return content
    mac = home / "Library" / "Application Support" / "pip"
    places = (home / ".pip", mac if mac.is_dir() else config / "pip")
    found = [text for place in places if (text := _content(place / "pip.conf")) is not None]
    if len(found) < 2:
        return found[0] if found else None
    merged = configparser.RawConfigParser()
    try:
        for text in found:  # a later one beats an earlier one
            merged.read_string(text.decode())
    except (ValueError, configparser.Error):
        return found[-1]  # pip reports what is wrong with it
    written = io.StringIO()
    merged.write(written)
    return written.getvalue().encode()


def _mirror_of_pip(variables: Mapping[str, str], pip: bytes) -> str:
    """The index that pip is configured with, which uv would not know; "" without one."""
    found = configparser.RawConfigParser()
    for text in (*(_content(path) or b"" for path in _PIP_OF_ALL), pip):
        with suppress(ValueError, configparser.Error):  # pip reports what is wrong with it
            found.read_string(text.decode())
    sections = ("install", "global")
    written = (found.get(name, "index-url", fallback="") for name in sections)
    return variables.get("PIP_INDEX_URL") or next(filter(None, written), "")


def _conda_digests(variables: Mapping[str, str]) -> dict[Path, str]:
    home = home_folder(variables)
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    folders = (home / ".conda", config / "conda", home / ".mamba")
    files = [home / ".condarc", home / ".mambarc"]
    files += [folder / name for folder in folders for name in (".condarc", "condarc", ".mambarc")]
    for folder in folders:
        files += sorted(folder.glob("condarc.d/*"))
    files += [Path(variables[name]) for name in ("CONDARC", "MAMBARC") if variables.get(name)]
    contents = ((path, _content(path)) for path in files)
    return {path: hashlib.sha256(read).hexdigest() for path, read in contents if read is not None}


def _content(path: Path) -> bytes | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return stream.read(_CONFIG_LIMIT)
    except (OSError, ValueError):
        return None
