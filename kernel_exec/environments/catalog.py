"""The environments of this server: found, asked, and made ready for kernels, once each.

The managed default environment is a uv venv below the storage root, made on first use.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from kernel_exec.errors import InvalidArgumentError, UnusableEnvironmentError
from kernel_exec.inherited import INHERITED, Inherited
from kernel_exec.leases import locked
from kernel_exec.places import Places, is_exposed
from kernel_exec.sandbox.secrets import secrets_named
from kernel_exec.sandbox.walls import OPEN, Sandbox

from . import conda
from .activation import activate, allowed_variables
from .interpreters import Interpreter, NoAnswerError, ask, find_executable
from .spec import Environment, EnvironmentKind
from .support import KernelSupport, find_support, fingerprint, is_there
from .tools import Tools, read_tools, run_uv

_ANSWERS = 100
"""Answers of interpreters that are remembered."""

_MAKE_LIMIT = 120.0
"""Seconds to make it: uv takes a tenth of one, a slow network disk more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEnvironment:
    """An environment whose interpreter answers; `variables` are all that its programs get."""

    environment: Environment
    interpreter: Interpreter
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedEnvironment(FoundEnvironment):
    """An environment that a kernel can be started in; `inherited` is what its kernels get.

    `stamp` is another one once something was installed.
    """

    support: KernelSupport
    stamp: str = ""
    inherited: Inherited = INHERITED
    sandbox: Sandbox = OPEN

    @property
    def facts(self) -> dict[str, str]:
        """What was found out, for programs."""
        return {
            "executable": str(self.interpreter.executable),
            "python_version": self.interpreter.python_version,
            "kernel_support": self.support.kind.value,
            "ipykernel_version": self.support.ipykernel_version,
        }


class Answers:
    """What interpreters have answered, for all who would start them with the same variables."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, frozenset[tuple[str, str]]], tuple[str, Interpreter]] = {}

    async def ask(self, executable: Path, *, variables: Mapping[str, str]) -> Interpreter:
        """See `interpreters.ask`; asked once, and again when it or its packages have changed."""
        key = executable, frozenset(variables.items())
        stamp, known = self._known.pop(key, ("", None))
        if known is None or stamp != fingerprint(known):
            known = await ask(executable, variables=variables)
        self._known[key] = fingerprint(known), known
        while len(self._known) > _ANSWERS:
            del self._known[next(iter(self._known))]
        return known


class Catalog:
    """Knows environments by name and remembers what was found out about them.

    Where one is asked, `UnusableEnvironmentError` says that it does not work or is gone by now, and
    `BusyError` that no process can be started.
    """

    def __init__(
        self,
        *,
        storage_root: Path,
        cache: Path,
        base_variables: Mapping[str, str],
        passed_variables: Collection[str],
        configured: Environment | None,
        named: Mapping[str, Environment],
        inherited: Inherited = INHERITED,
        folder: Path = Path(),
        answers: Answers | None = None,
        sandbox: Sandbox = OPEN,
    ) -> None:
        """`base_variables` are the client's; kernels get the allowed ones and `passed_variables`.

        `configured` is the environment to begin with, None for the managed default. `folder` is
        where relative paths in variables begin. Who shares `answers` with others need not ask
        again.
        """
        self.named = named
        is_walled = sandbox.walls or any(each.walls for each in named.values())
        opened = (*filter(None, [sandbox.folder]), *sandbox.writable)
        self.tools = read_tools(
            base_variables,
            passed=passed_variables,
            umask=inherited.umask,
            folder=folder,
            writable=opened if is_walled else None,
            private=Places(storage_root).private if is_walled else None,
        )
        self._storage_root = storage_root
        self._cache = cache
        self._base = base_variables
        self._passed = passed_variables
        self._configured = configured
        self._inherited = inherited
        self._answers = answers or Answers()
        self.sandbox = sandbox
        self._prefixes = dict(self._find_prefixes())
        self._prepared: dict[str, PreparedEnvironment] = {}
        self._locks: dict[str, anyio.Lock] = {}

    @property
    def active(self) -> Environment:
        """The environment to begin with, whether it is made already or not."""
        return self._configured or default_environment(self._storage_root)

    def known(self) -> dict[str, Environment]:
        """What may be switched to, by name: the active one, the named ones, conda's own."""
        found = {"default" if self._configured is None else "configured": self.active, **self.named}
        for name in conda.prefixes(self._base):
            with suppress(InvalidArgumentError):  # conda allows names that we do not
                environment = Environment(kind=EnvironmentKind.CONDA, name=name)
                found.setdefault(f"conda {name}", environment)
        return found

    async def default(self) -> Environment:
        """The configured environment, or the managed one, made if need be."""
        if self._configured is not None:
            return self._configured
        return await ensure_default(
            self._storage_root, variables=self._base, tools=self.tools, answers=self._answers
        )

    async def prepare(self, environment: Environment) -> PreparedEnvironment:
        """Find, ask and support an environment; callers at the same time share the work.

        It is asked again when it was made anew or something was installed, by whomever.
        """
        async with self._locks.setdefault(environment.key, anyio.Lock()):
            found = await self.find(environment)
            if isinstance(found, PreparedEnvironment):
                return found
            prepared = self._prepared[environment.key] = await self._support(found)
            return prepared

    async def find(self, environment: Environment) -> FoundEnvironment:
        """Find and ask an environment, whether a kernel can be had for it or not."""
        executable = find_executable(environment, self._base)
        known = self._prepared.get(environment.key)
        if known and known.stamp == fingerprint(known.interpreter) and is_there(known.support):
            return known
        self._require_configured(environment, executable)
        allowed = allowed_variables(self._base, passed=self._passed)
        interpreter = await self._answers.ask(executable, variables=allowed)
        variables = await activate(environment, interpreter, base=self._base, passed=self._passed)
        return FoundEnvironment(
            environment=environment, interpreter=interpreter, variables=variables
        )

    def forget(self, environment: Environment) -> None:
        """Ask again the next time: something was installed."""
        self._prepared.pop(environment.key, None)

    async def _support(self, found: FoundEnvironment) -> PreparedEnvironment:
        support = await find_support(
            found.interpreter, cache=self._cache, variables=found.variables, tools=self.tools
        )
        return PreparedEnvironment(
            environment=found.environment,
            interpreter=found.interpreter,
            variables=found.variables,
            support=support,
            stamp=fingerprint(found.interpreter),
            inherited=self._inherited,
            sandbox=self._sandbox_of(found),
        )

    def _find_prefixes(self) -> Iterator[tuple[str, Path]]:
        """Where the environments are that are configured, by key; conda's as they are named now."""
        configured = (self.active, *self.named.values())
        known = conda.prefixes(self._base) if any(each.name for each in configured) else {}
        for each in configured:
            if (place := each.path or known.get(each.name or "")) is not None:
                yield each.key, place

    def _require_configured(self, environment: Environment, executable: Path) -> None:
        """Code behind walls could have made any other one, which is asked outside of them."""
        if environment.name is None:
            why, is_safe = "is not configured", environment.key in self._prefixes
        else:
            why = f"is at {str(executable)!r}, where code may write, and not configured"
            is_safe = executable.parents[1] in self._prefixes.values() or not is_exposed(
                executable, self.tools.writable or ()
            )
        if self.sandbox.walls and not is_safe:
            raise UnusableEnvironmentError(
                f"environment {environment.key!r} {why}, and with sandbox"
                f" {str(self.sandbox.walls)!r} no other is used; have a person add it:"
                " kernel-exec env add NAME, with its path"
            )

    def _sandbox_of(self, found: FoundEnvironment) -> Sandbox:
        """The walls of whatever is configured there, by whichever way the environment was named."""
        prefix = os.path.realpath(found.interpreter.prefix)
        same = [
            each.walls
            for each in (found.environment, *self.named.values())
            if each.key == found.environment.key
            or (each.path is not None and os.path.realpath(each.path) == prefix)
        ]
        return replace(
            self.sandbox.at_least(max(same)),
            environments=(*self._prefixes.values(), self._cache),
            secrets=tuple(secrets_named(self._base)),
        )


def default_environment(storage_root: Path) -> Environment:
    """Where the default environment is, or will be."""
    path = Places(storage_root).environment
    return Environment(kind=EnvironmentKind.VENV_UV, path=path)


async def ensure_default(
    storage_root: Path,
    *,
    variables: Mapping[str, str],
    tools: Tools,
    answers: Answers | None = None,
) -> Environment:
    """The default environment, made if it is not there; two processes may ask at once.

    One whose interpreter no longer runs, as after an upgrade of Python, is set aside and made
    anew; its packages stay in the folder that was set aside. One that only did not answer this
    time is left alone.
    """
    folder = Places(storage_root).private
    environment = default_environment(storage_root)
    answers = answers or Answers()
    if await _works(environment, variables, answers):
        return environment
    try:
        async with locked(folder / "environment.lock"):
            if not await _works(environment, variables, answers):
                await _make(folder, tools)
    except OSError as error:
        raise UnusableEnvironmentError(
            f"the default environment can't be created in {str(folder)!r}: {error};"
            " set CODE_STORAGE_DIR to a writable folder, or choose an environment"
        ) from error
    return environment


async def _works(environment: Environment, variables: Mapping[str, str], answers: Answers) -> bool:
    """False when it is not there or broken; raises when that can't be told now."""
    try:
        executable = find_executable(environment, variables)
        await answers.ask(executable, variables=allowed_variables(variables, passed=()))
    except NoAnswerError:
        raise
    except UnusableEnvironmentError:
        return False
    return True


async def _make(folder: Path, tools: Tools) -> None:
    place = folder / "environment"
    if place.exists() or place.is_symlink():
        aside = Path(tempfile.mkdtemp(prefix="environment.broken-", dir=folder))
        place.rename(aside / "environment")
    base = str(getattr(sys, "_base_executable", sys.executable))
    # a venv can't be moved once it is made; `ask` tells a half-made one from a whole one
    try:
        finished = await run_uv(
            ["venv", "--quiet", "--no-project", "--python", base, "--", str(place)],
            tools=tools,
            limit=_MAKE_LIMIT,
        )
    except BaseException:  # the client has left before it was made
        shutil.rmtree(place, ignore_errors=True)
        raise
    if finished.returncode != 0:
        said = finished.stderr.strip()[-500:]
        raise UnusableEnvironmentError(
            f"the default environment could not be created (exit code {finished.returncode}):"
            f" {said or 'uv printed nothing'}; choose an environment of your own, or try again"
        )
