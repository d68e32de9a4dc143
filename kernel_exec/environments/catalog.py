"""The environments of this server: found, asked, and made ready for kernels, once each."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from kernel_exec.errors import InvalidArgumentError, UnusableEnvironmentError

from . import conda
from .activation import activate, allowed_variables, tool_variables
from .default import default_environment, ensure_default
from .interpreters import Interpreter, ask, find_executable, home_folder
from .spec import Environment, EnvironmentKind
from .support import KernelSupport, find_support, fingerprint, is_there


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedEnvironment:
    """An environment that a kernel can be started in; `variables` are all that it gets."""

    environment: Environment
    interpreter: Interpreter
    support: KernelSupport
    variables: Mapping[str, str]


class Catalog:
    """Knows environments by name and remembers what was found out about them."""

    def __init__(
        self,
        *,
        storage_root: Path,
        cache: Path,
        base_variables: Mapping[str, str],
        passed_variables: Collection[str],
        configured: Environment | None,
        named: Mapping[str, Environment],
    ) -> None:
        """`base_variables` are the server's; kernels get the allowed ones and `passed_variables`.

        `configured` is the environment to begin with, None for the managed default.
        """
        self.named = named
        self._storage_root = storage_root
        self._cache = cache
        self._base = base_variables
        self._passed = passed_variables
        self._configured = configured
        self._prepared: dict[str, tuple[str, PreparedEnvironment]] = {}
        self._locks: dict[str, anyio.Lock] = {}

    @property
    def tool_variables(self) -> Mapping[str, str]:
        """What installers get of the server's variables."""
        return tool_variables(self._base, passed=self._passed)

    @property
    def active(self) -> Environment:
        """The environment to begin with, whether it is made already or not."""
        return self._configured or default_environment(self._storage_root)

    def known(self) -> dict[str, Environment]:
        """What may be switched to, by name: the active one, the named ones, conda's own."""
        found = {"default" if self._configured is None else "configured": self.active, **self.named}
        for name in conda.prefixes(home=home_folder(self._base), base=self._base):
            with suppress(InvalidArgumentError):  # conda allows names that we do not
                environment = Environment(kind=EnvironmentKind.CONDA, name=name)
                found.setdefault(f"conda {name}", environment)
        return found

    async def default(self) -> Environment:
        """The configured environment, or the managed one, made if need be.

        Raises:
            UnusableEnvironmentError: The managed one can't be made.
            BusyError: No process can be started now.
        """
        if self._configured is not None:
            return self._configured
        return await ensure_default(self._storage_root, variables=self._base)

    async def prepare(self, environment: Environment) -> PreparedEnvironment:
        """Find, ask and support an environment; callers at the same time share the work.

        It is asked again when it was made anew or something was installed, by whomever.

        Raises:
            UnusableEnvironmentError: It does not work, or is gone by now.
            BusyError: No process can be started now.
        """
        async with self._locks.setdefault(environment.key, anyio.Lock()):
            home = home_folder(self._base)
            executable = find_executable(environment, home=home, base=self._base)
            _require(executable)
            known = self._prepared.get(environment.key)
            if known is not None and self._holds(*known):
                return known[1]
            prepared = await self._prepare(environment, executable)
            self._prepared[environment.key] = (fingerprint(prepared.interpreter), prepared)
            return prepared

    def forget(self, environment: Environment) -> None:
        """Ask again the next time: something was installed."""
        self._prepared.pop(environment.key, None)

    def prepared(self, environment: Environment) -> PreparedEnvironment | None:
        """What is known about an environment without asking."""
        known = self._prepared.get(environment.key)
        return known[1] if known is not None else None

    def _holds(self, stamp: str, known: PreparedEnvironment) -> bool:
        return stamp == fingerprint(known.interpreter) and is_there(known.support)

    async def _prepare(self, environment: Environment, executable: Path) -> PreparedEnvironment:
        allowed = allowed_variables(self._base, passed=self._passed)
        interpreter = await ask(executable, variables=allowed)
        variables = await activate(environment, interpreter, base=self._base, passed=self._passed)
        support = await find_support(
            interpreter, cache=self._cache, variables=variables, tool_variables=self.tool_variables
        )
        return PreparedEnvironment(
            environment=environment,
            interpreter=interpreter,
            support=support,
            variables=variables,
        )


def _require(executable: Path) -> None:
    """Raise when the executable is gone."""
    try:
        executable.stat()
    except OSError as error:
        raise UnusableEnvironmentError(
            f"the interpreter {str(executable)!r} is not there ({error.strerror}):"
            " make the environment again, or name another one"
        ) from error
