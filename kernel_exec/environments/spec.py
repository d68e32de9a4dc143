"""The environment a user configured: a kind with a name or a path. Pure."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.sandbox.walls import Walls

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
NAME_RULE = "use letters, digits, '_', '.' and '-', at most 100 of them"


class EnvironmentKind(StrEnum):
    """How an environment was made, and so where its interpreter is found."""

    CONDA = "conda"
    VENV = "venv"
    VENV_UV = "venv-uv"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A configured environment.

    `path` is the folder of a `venv` or `venv-uv`, the prefix of a `conda` environment, or the
    executable of a `python`; a `conda` environment may have `name` instead. Its kernels have at
    least its `walls`.
    """

    kind: EnvironmentKind
    path: Path | None = None
    name: str | None = None
    walls: Walls = field(default=Walls.OFF, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can't name an environment."""
        if self.name is not None and not NAME.fullmatch(self.name):
            raise InvalidArgumentError(
                f"environment name {self.name!r} is not allowed: {NAME_RULE}"
            )
        if self.path is None and (self.name is None or self.kind is not EnvironmentKind.CONDA):
            wanted = "a name or a path" if self.kind is EnvironmentKind.CONDA else "a path"
            raise InvalidArgumentError(f"an environment of kind {self.kind.value!r} needs {wanted}")
        if self.path is not None and "\0" in str(self.path):
            raise InvalidArgumentError(f"environment path {str(self.path)!r} contains NUL")

    @classmethod
    def from_key(cls, key: str) -> "Environment | None":
        """The environment with this key; None when it is no key."""
        kind, _, place = key.partition(":")
        if not place or kind not in set(EnvironmentKind):
            return None
        wanted = EnvironmentKind(kind)
        if wanted is EnvironmentKind.CONDA and not Path(place).is_absolute():
            return cls(kind=wanted, name=place)
        return cls(kind=wanted, path=Path(place))

    @property
    def key(self) -> str:
        """A text that is equal for equal environments, such as `venv:/data/.venv`."""
        return f"{self.kind.value}:{self.path if self.path is not None else self.name}"
