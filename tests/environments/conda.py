"""A conda channel made of this machine's Python, genuine prefixes of it, and a conda to run."""

import asyncio
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from filelock import FileLock
from rattler import Channel, Gateway, Subdir, VirtualPackage, install, solve
from rattler.index import index_fs

from tests.shared import CACHE

STAND_IN = Path(__file__).with_name("stand_in_conda.py")

NATIVE_LIB_VARIABLES = {"NATIVE_LIB_MODE": "exact"}
"""What `etc/conda/env_vars.d` of `native-lib` sets; its script sets `NATIVE_LIB_DATA`."""

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_BASE = Path(sys.base_prefix)
_LIBRARY = f"lib/python{_VERSION}"
_LEFT_OUT = {"test", "tests", "__pycache__", "site-packages", "idlelib", "turtledemo"}
_TIMESTAMP = 1_700_000_000

_ACTIVATE = b'export NATIVE_LIB_DATA="$CONDA_PREFIX/share/native-lib"\n'
_DEACTIVATE = b"unset NATIVE_LIB_DATA\n"

_Content = bytes | Path | str
"""The bytes of a file, the file to read them from, or what a symbolic link points to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    name: str
    version: str
    files: Mapping[str, _Content]
    depends: tuple[str, ...] = ()
    noarch: Literal["python", "generic"] | None = None
    placeholder: str = ""

    @property
    def build(self) -> str:
        return "py_0" if self.noarch == "python" else "0"

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else str(Subdir.current())


@cache
def shared_channel() -> Path:
    """The channel of all tests of a run.

    The test is skipped where `require_relocatable` skips it.
    """
    require_relocatable()
    folder = CACHE / "conda"
    with FileLock(CACHE / "conda.lock"):
        if not folder.exists():
            channel(CACHE / "unfinished").parent.rename(folder)
    return folder / "channel"


def channel(folder: Path) -> Path:
    """Builds a channel of a few packages in a folder, which also holds the caches of rattler."""
    place = folder / "channel"
    for package in (_python(), _native_lib(), _demo("1.0"), _demo("2.0"), _needs_missing()):
        _write(package, place)
    # the loop of an async test is busy with that test
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, index_fs(place, write_zst=False, write_shards=False)).result()
    return place


async def make_prefix(prefix: Path, channel: Path, *specs: str) -> Path:
    """Installs packages into a new prefix.

    Its files are hard links to those in the caches of rattler: a test replaces one, and never
    writes into it.
    """
    caches = channel.parent
    records = await solve(
        [Channel(channel.as_uri())],
        specs,
        gateway=Gateway(cache_dir=caches / "repodata"),
        virtual_packages=VirtualPackage.detect(),
    )
    await install(records, target_prefix=prefix, cache_dir=caches / "pkgs", show_progress=False)
    return prefix


def stand_in(root: Path) -> Path:
    """Writes `bin/conda` below a root: it is run, as conda is, whatever `PATH` says."""
    program = root / "bin" / "conda"
    program.parent.mkdir(parents=True, exist_ok=True)
    # a shell finds the interpreter also where its path has spaces, or is too long for `#!`
    command = shlex.join([sys.executable, "-I", str(STAND_IN), str(root)])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
    program.chmod(0o755)
    return program


def make_root(root: Path) -> Path:
    """A folder that looks like an installation of conda, with the stand-in as its conda."""
    stand_in(root)
    for name in ("conda-meta", "envs", "condabin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "conda-meta" / "history").touch()
    (root / "condabin" / "conda").symlink_to("../bin/conda")
    return root


def require_relocatable() -> None:
    """The test is skipped when no package can be made of this interpreter."""
    reason = _obstacle()
    if reason is not None:
        pytest.skip(f"{sys.base_prefix} can't become a conda package: {reason}")


@cache
def _obstacle() -> str | None:
    if sys.platform != "linux":
        return "its programs are relocated as those of Linux are"
    if (_BASE / "conda-meta").is_dir():
        return "it is conda's own, and needs the libraries of its neighbours"
    program = _BASE / "bin" / f"python{_VERSION}"
    if not program.is_file():
        return f"there is no {program}"
    for name, expected in (("stdlib", _LIBRARY), ("purelib", f"{_LIBRARY}/site-packages")):
        # not asked here: in a venv, Debian's Python hides that it has dist-packages
        told = _said(program, f"import sysconfig; print(sysconfig.get_path({name!r}))")
        if Path(told).resolve() != (_BASE / expected).resolve():
            return f"its {name} is {told}"
    missing = [name for name in _shared_library() if not (_BASE / name).exists()]
    return f"there is no {missing[0]}" if missing else None


def _said(program: Path, code: str) -> str:
    argv = [str(program), "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def _python() -> _Package:
    program = f"python{_VERSION}"
    files: dict[str, _Content] = {
        f"bin/{program}": _with_relative_library((_BASE / "bin" / program).read_bytes()),
        "bin/python": program,
        "bin/python3": program,
        f"{_LIBRARY}/site-packages/README.txt": b"Packages are installed here.\n",
    }
    for name in (*_shared_library(), *_below(_LIBRARY), *_below(f"include/{program}")):
        files[name] = _BASE / name
    version = ".".join(map(str, sys.version_info[:3]))
    return _Package(name="python", version=version, files=files, placeholder=str(_BASE))


def _shared_library() -> list[str]:
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return []
    return [f"lib/{sysconfig.get_config_var('INSTSONAME')}"]


def _below(folder: str) -> Iterator[str]:
    for top, folders, names in os.walk(_BASE / folder):
        folders[:] = [each for each in folders if not _is_left_out(each)]
        paths = [Path(top) / name for name in names]
        yield from (str(path.relative_to(_BASE)) for path in paths if path.is_file())


def _is_left_out(folder: str) -> bool:
    return folder in _LEFT_OUT or folder.startswith("config-")


def _with_relative_library(program: bytes) -> bytes:
    """A program that was told where its libpython is looks beside itself instead."""
    told, relative = os.fsencode(_BASE / "lib"), b"$ORIGIN/../lib"
    if len(told) < len(relative):
        return program
    return program.replace(told + b"\0", relative.ljust(len(told) + 1, b"\0"))


def _native_lib() -> _Package:
    files: dict[str, _Content] = {
        "etc/conda/activate.d/native-lib.sh": _ACTIVATE,
        "etc/conda/deactivate.d/native-lib.sh": _DEACTIVATE,
        "etc/conda/env_vars.d/native-lib.json": json.dumps(NATIVE_LIB_VARIABLES).encode(),
        "share/native-lib/data.txt": b"data\n",
    }
    return _Package(name="native-lib", version="1.0", files=files)


def _demo(version: str) -> _Package:
    info = f"demo_noarch-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: demo-noarch\nVersion: {version}\n"
    texts = {
        "demo_noarch/__init__.py": f'__version__ = "{version}"\n',
        f"{info}/METADATA": metadata,
        f"{info}/INSTALLER": "conda\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*texts, f"{info}/RECORD"))
    files = {f"site-packages/{name}": text.encode() for name, text in texts.items()}
    return _Package(
        name="demo-noarch", version=version, files=files, depends=("python >=3",), noarch="python"
    )


def _needs_missing() -> _Package:
    return _Package(
        name="needs-missing",
        version="1.0",
        files={"share/needs-missing/data.txt": b"data\n"},
        depends=("not-in-this-channel >=1",),
        noarch="generic",
    )


def _write(package: _Package, place: Path) -> None:
    folder = place / package.subdir
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{package.name}-{package.version}-{package.build}.tar.bz2"
    with tarfile.open(archive, "w:bz2", compresslevel=1) as tar:
        paths = [_add(tar, package, name) for name in sorted(package.files)]
        for name, told in _info(package, paths).items():
            _add_bytes(tar, f"info/{name}", json.dumps(told).encode())


def _info(package: _Package, paths: list[dict[str, object]]) -> dict[str, object]:
    index: dict[str, object] = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "depends": package.depends,
        "subdir": package.subdir,
        "timestamp": _TIMESTAMP * 1000,
    }
    info: dict[str, object] = {"about.json": {}, "paths.json": {"paths": paths, "paths_version": 1}}
    if package.noarch:
        index["noarch"] = package.noarch
    if package.noarch == "python":
        info["link.json"] = {"noarch": {"type": "python"}, "package_metadata_version": 1}
    return {"index.json": index, **info}


def _add(tar: tarfile.TarFile, package: _Package, name: str) -> dict[str, object]:
    """Adds one file to a package, and tells what `paths.json` says about it."""
    content = package.files[name]
    if isinstance(content, str):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, content
        tar.addfile(link)
        return {"_path": name, "path_type": "softlink"}
    data = content.read_bytes() if isinstance(content, Path) else content
    executable = name.startswith("bin/") or (
        isinstance(content, Path) and os.access(content, os.X_OK)
    )
    _add_bytes(tar, name, data, mode=0o755 if executable else 0o644)
    told: dict[str, object] = {
        "_path": name,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if package.placeholder and package.placeholder.encode() in data and b"\0" not in data:
        told |= {"prefix_placeholder": package.placeholder, "file_mode": "text"}
    return told


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), mode, _TIMESTAMP
    tar.addfile(entry, io.BytesIO(data))
