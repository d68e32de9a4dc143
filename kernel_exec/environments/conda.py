"""conda's prefixes, clients and records, found without running conda.

Many clients start us without an activated shell, so neither `PATH` nor conda's own variables can
be relied on: every root that a variable, `PATH` or the usual install places lead to is looked at,
and then `~/.conda/environments.txt`, where conda and mamba list all prefixes that they make.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.places import home_folder, is_exposed

_CLIENTS = ("conda", "mamba", "micromamba")
_ENDINGS = (".exe", ".bat") if os.name == "nt" else ("",)
_FOLDERS = ("condabin", "bin", "Scripts")
"""Where a root keeps its client."""

_ROOTS = (
    *("miniforge3", "miniconda3", "anaconda3", "mambaforge", "micromamba", "miniconda"),
    *("anaconda", "miniforge", "conda"),
)
_MOST_SHOWN = 20
"""Names that a message lists."""


def is_prefix(path: Path) -> bool:
    """True for a folder in which conda keeps its records."""
    with suppress(OSError):  # another user's, say
        return (path / "conda-meta").is_dir()
    return False


def find_prefix(name: str, base: Mapping[str, str]) -> Path:
    """The prefix of the environment `name`, or an error that lists those that there are."""
    known = prefixes(base)
    if name in known:
        return known[name]
    if not known:
        raise UnusableEnvironmentError(
            f"no conda environment named {name!r}: conda itself was not found; set CONDA_EXE to the"
            " conda executable, or give the environment's full path"
        )
    more = f" and {len(known) - _MOST_SHOWN} more" if len(known) > _MOST_SHOWN else ""
    raise UnusableEnvironmentError(
        f"no conda environment named {name!r}; known are"
        f" {', '.join(sorted(known)[:_MOST_SHOWN])}{more}; name one of them or give a full path"
    )


def prefixes(base: Mapping[str, str]) -> dict[str, Path]:
    """All environments by name; of several with one name conda's first choice."""
    found: dict[str, Path] = {}
    for name, prefix in _candidates(base):
        if name not in found and is_prefix(prefix):
            found[name] = prefix
    return found


def default_name(prefix: Path) -> str:
    """What conda calls a prefix: `base`, a name, or the whole path."""
    if (prefix / "condabin").is_dir() or (prefix / "envs").is_dir():
        return "base"
    return prefix.name if prefix.parent.name == "envs" else str(prefix)


def find_client(
    prefix: Path, base: Mapping[str, str], writable: Collection[Path] = ()
) -> Path | None:
    """The conda, mamba or micromamba to install with; that of the prefix's own root first.

    None that lies where code may write.
    """
    own = prefix.parent.parent if prefix.parent.name == "envs" else prefix
    named = [Path(path) for path in (base.get("CONDA_EXE"), base.get("MAMBA_EXE")) if path]
    candidates = [*_clients_of(own), *named, *_on_path(base)]
    for root in _roots(base):
        candidates += _clients_of(root)
    return next(
        (
            path
            for path in candidates
            if path.is_absolute() and _can_run(path) and not is_exposed(path, writable)
        ),
        None,
    )


def records(prefix: Path) -> dict[str, str]:
    """The versions by name of what conda has installed, of whatever language."""
    found = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # one that was left half-written
            record = json.loads(path.read_text("utf-8"))
            found[str(record["name"])] = str(record["version"])
    return found


def _candidates(base: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = home_folder(base)
    folders = [Path(each) for each in _listed(base, "CONDA_ENVS_DIRS", "CONDA_ENVS_PATH")]
    for root in _roots(base):
        if is_prefix(root):
            yield "base", root
        folders.append(root / "envs")
    for folder in (*folders, home / ".conda" / "envs"):
        with suppress(OSError):
            yield from ((prefix.name, prefix) for prefix in sorted(folder.iterdir()))
    with suppress(OSError, UnicodeDecodeError):
        for line in (home / ".conda" / "environments.txt").read_text("utf-8").splitlines():
            prefix = Path(line.strip())
            if prefix.is_absolute():
                yield prefix.name, prefix


def _roots(base: Mapping[str, str]) -> Iterator[Path]:
    home = home_folder(base)
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        if client := base.get(variable):
            yield Path(client).parent.parent
    for variable in ("MAMBA_ROOT_PREFIX", "CONDA_ROOT", "_CONDA_ROOT"):
        if root := base.get(variable):
            yield Path(root)
    if active := base.get("CONDA_PREFIX"):
        prefix = Path(active)
        yield prefix.parent.parent if prefix.parent.name == "envs" else prefix
    for client_path in _on_path(base):
        with suppress(OSError, RuntimeError):
            yield client_path.resolve().parent.parent
    for name in _ROOTS:
        for place in (home, home / "opt", Path("/opt"), Path("/usr/local")):
            yield place / name
    yield home / ".local" / "share" / "mamba"
    yield Path("/opt/homebrew/Caskroom/miniforge/base")


def _on_path(base: Mapping[str, str]) -> Iterator[Path]:
    for folder in _listed(base, "PATH"):
        for name in _CLIENTS:
            for ending in _ENDINGS:
                path = Path(folder, name + ending)
                if path.is_absolute() and _can_run(path):
                    yield path


def _clients_of(root: Path) -> Iterator[Path]:
    for name in _CLIENTS:
        for folder in _FOLDERS:
            for ending in _ENDINGS:
                yield root / folder / (name + ending)


def _can_run(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() and os.access(path, os.X_OK)
    return False


def _listed(base: Mapping[str, str], *variables: str) -> Iterator[str]:
    for variable in variables:
        yield from (each for each in base.get(variable, "").split(os.pathsep) if each)
