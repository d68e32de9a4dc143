"""Whether an environment works: a kernel is started there and used, as a server would."""

import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_exec.app import make_kernels, open_catalog
from kernel_exec.environments.catalog import PreparedEnvironment, default_environment
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import KernelExecError, KernelStartError
from kernel_exec.kernels.outcomes import Outcome, Request
from kernel_exec.places import home_folder
from kernel_exec.settings import Settings

from .check import Check, broken, works

_SOURCE = "1 + 1"
_FACTS = ("executable", "python_version", "kernel_support", "ipykernel_version")
_ENVIRONMENT = (
    "Python {python_version} at {executable}, {kernel_support} ipykernel {ipykernel_version}"
)
_RUN_LIMIT = 30.0
"""Seconds for code that takes a millisecond; the first import on a cold disk may take ten."""


_OWN = Environment(kind=EnvironmentKind.PYTHON, path=Path(sys.executable))
"""Where a kernel can be tried when there is no environment yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found; `error` is "" when a kernel ran code, `prepared` None when none could be."""

    prepared: PreparedEnvironment | None
    seconds: float
    error: str

    def as_json(self) -> dict[str, object]:
        """What `env check --json` says about it."""
        found = dict.fromkeys(_FACTS) if self.prepared is None else self.prepared.facts
        return {
            "ok": not self.error,
            **found,
            "seconds": round(self.seconds, 3),
            "error": self.error or None,
        }


async def active(settings: Settings) -> Sequence[Check]:
    """The environment where servers begin, and whether a kernel starts and answers there.

    Where there is none a kernel of the Python that runs this is tried. The managed one is not
    created by looking at it.
    """
    host, configured = settings.host, settings.connection.environment
    name = "environment (default)" if configured is None else "environment (configured)"
    environment = configured or default_environment(host.storage_root)
    found: list[Check] = []
    with _apart(settings) as apart:
        checked = None
        if configured is None and environment.path and not environment.path.exists():
            text = f"{environment.path} does not exist yet; it is created when it is needed"
            found.append(works(name, text))
        else:
            checked = await check(apart, environment)
            found.append(_of_environment(name, checked))
        if checked is None or checked.prepared is None:
            checked = await check(apart, _OWN)
    return [*found, _of_kernel(checked)]


async def named(settings: Settings, name: str) -> Sequence[Check]:
    """An environment of the configuration, with a kernel."""
    with _apart(settings) as apart:
        checked = await check(apart, settings.connection.named_environments[name])
    environment = _of_environment(f"environment {name}", checked)
    kernel = _of_kernel(checked)
    return [
        environment if kernel.ok or not environment.ok else replace(kernel, name=environment.name)
    ]


def _of_environment(name: str, checked: "Checked") -> Check:
    if checked.prepared is None:
        return broken(name, checked.error)
    return works(name, _ENVIRONMENT.format(**checked.prepared.facts))


def _of_kernel(checked: "Checked") -> Check:
    if checked.error or checked.prepared is None:
        return broken("kernel", checked.error)
    program = checked.prepared.interpreter.executable
    return works("kernel", f"a kernel of {program} answers in {checked.seconds:.1f} s")


@contextmanager
def _apart(settings: Settings) -> Iterator[Settings]:
    """The settings with a cache that is gone afterwards, and begins with what is known.

    IPython, which makes a folder in the home, has one there; without a home it is to fail as it
    would for a server.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-exec-doctor-") as name:
        with suppress(OSError, shutil.Error):
            shutil.copytree(settings.host.cache / "support", Path(name, "support"))
        connection = settings.connection
        if home_folder(connection.variables).is_dir():
            connection = replace(
                connection,
                variables={**connection.variables, "IPYTHONDIR": str(Path(name, "ipython"))},
                pass_env=connection.pass_env | {"IPYTHONDIR"},
            )
        host = replace(settings.host, cache=Path(name))
        yield replace(settings, host=host, connection=connection)


async def check(settings: Settings, environment: Environment | None) -> Checked:
    """Find, ask and support an environment and run code in it; None is the managed default."""
    began = time.monotonic()
    prepared, error = None, ""
    try:
        only = replace(settings.connection, environment=environment, named_environments={})
        catalog = open_catalog(settings.host, only)
        prepared = await catalog.prepare(await catalog.default())
        prepared = replace(prepared, sandbox=replace(prepared.sandbox, folder=None))
        await _use(prepared, settings)
    except KernelStartError as failure:
        error = f"{failure}; if the reason is unclear, create the environment again"
    except (KernelExecError, OSError) as failure:
        error = str(failure)
    return Checked(
        prepared=prepared, seconds=time.monotonic() - began, error=" ".join(error.split())
    )


async def _use(prepared: PreparedEnvironment, settings: Settings) -> None:
    """Start a kernel as a server would, but in a folder of its own, and run code in it."""
    with tempfile.TemporaryDirectory(prefix="kernel-exec-check-") as name:
        folder = Path(name)
        kernels = make_kernels(settings.host)
        async with kernels.open(
            prepared, lambda event: None, working_directory=folder, spill_dir=folder
        ) as kernel:
            ending = await kernel.execute(
                Request(id=uuid.uuid4().hex, source=_SOURCE, time_limit=_RUN_LIMIT)
            )
    if ending.outcome is not Outcome.OK:
        error = ending.error
        why = error and f"{error.ename}: {error.evalue}"
        raise KernelStartError(
            f"the kernel of {str(prepared.interpreter.executable)!r} started, but could not run"
            f" `{_SOURCE}`: {why or ending.death or ending.outcome.value}"
        )
