"""The environment variables of a kernel: an allow-list, the user's additions, and activation."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from .interpreters import Interpreter
from .spec import Environment, EnvironmentKind

_KEPT = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP",
        "TMP", "DISPLAY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MPLBACKEND", "MPLCONFIGDIR", "SYSTEMROOT",
        "WINDIR", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "USERPROFILE", "COMSPEC", "PATHEXT",
        "NUMBER_OF_PROCESSORS",
    }
)  # fmt: skip
_KEPT_PREFIXES = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_")

_ALWAYS = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    "PYTHONUTF8": "1",
    "PYTHONIOENCODING": "utf-8",
}
"""Nothing may wait for a person, and text is UTF-8 whatever the locale."""


def allowed_variables(base: Mapping[str, str], *, passed: Collection[str]) -> dict[str, str]:
    """Of the server's variables `base` those that foreign code may see.

    Secrets stay out because only known names and those in `passed` get in; so do `PYTHONPATH`,
    `PYTHONSTARTUP`, `LD_PRELOAD` and their like, which would change what an interpreter is.
    """
    return {
        name: value
        for name, value in base.items()
        if name in _KEPT or name in passed or name.startswith(_KEPT_PREFIXES)
    }


def kernel_variables(
    environment: Environment,
    interpreter: Interpreter,
    *,
    base: Mapping[str, str],
    passed: Collection[str],
) -> dict[str, str]:
    """What a kernel of `environment` gets of the server's variables `base`, activated."""
    variables = allowed_variables(base, passed=passed)
    variables |= {name: value for name, value in _ALWAYS.items() if name not in passed}
    folders = [str(interpreter.executable.parent)]
    if environment.kind in {EnvironmentKind.VENV, EnvironmentKind.VENV_UV}:
        variables["VIRTUAL_ENV"] = str(environment.path)
    elif environment.kind is EnvironmentKind.CONDA:
        prefix = str(interpreter.prefix)
        variables |= {
            "CONDA_PREFIX": prefix,
            "CONDA_DEFAULT_ENV": environment.name or prefix,
            "CONDA_SHLVL": "1",
        }
    elif interpreter.prefix != interpreter.base_prefix:
        variables["VIRTUAL_ENV"] = str(interpreter.prefix)
    path = variables.get("PATH", os.defpath).split(os.pathsep)
    folders += [folder for folder in path if folder not in _activated(base)]
    return variables | {"PATH": os.pathsep.join(folders)}


def _activated(base: Mapping[str, str]) -> set[str]:
    """Folders on `PATH` because the server was started in an activated venv: not the kernel's."""
    venv = base.get("VIRTUAL_ENV")
    return {str(Path(venv, place)) for place in ("bin", "Scripts")} if venv else set()
