"""The interpreters of this machine, and environments made of them."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


def uv(*arguments: str) -> None:
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True, env=env)


def make_venv(place: Path, *packages: str, python: str | Path = sys.executable) -> Path:
    uv("venv", "--python", str(python), str(place))
    if packages:
        uv("pip", "install", "--python", str(place / "bin" / "python"), *packages)
    return place


def contents(folder: Path) -> dict[str, str]:
    """Every path below `folder`, and a hash over what it holds."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def require_python(version: str) -> Path:
    """The interpreter of a version such as `3.9`; the test is skipped when there is none."""
    found = _find(version)
    if found is None:
        pytest.skip(f"Python {version} is not installed")
    return found


@cache
def _find(version: str) -> Path | None:
    program = shutil.which(f"python{version}")
    if program is None:
        return None
    told = _said(program, "-c", "import sys; print(sys.executable)")
    if told:
        return Path(told[0])
    # a shim of pyenv for a version that is installed, but not chosen
    for name in _said("pyenv", "versions", "--bare"):
        if name.startswith(f"{version}."):
            return Path(*_said("pyenv", "prefix", name)) / "bin" / "python"
    return None


def _said(*argv: str) -> list[str]:
    """The lines that a program prints, none when it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return done.stdout.split() if done.returncode == 0 else []
