"""What `kernel-exec env check` does with one environment: it starts a kernel there and uses it."""

import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_exec.app import make_kernels, open_catalog
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import KernelExecError, KernelStartError
from kernel_exec.kernels.outcomes import Event, Outcome, Request
from kernel_exec.settings import Settings

_SOURCE = "1 + 1"
_RUN_LIMIT = 30.0
"""Seconds for code that takes a millisecond; the first import on a cold disk may take ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found; `error` is "" when a kernel ran code, `prepared` None when none could be."""

    prepared: PreparedEnvironment | None
    seconds: float
    error: str

    def as_json(self) -> dict[str, object]:
        """What `env check --json` says about it."""
        interpreter = None if self.prepared is None else self.prepared.interpreter
        support = None if self.prepared is None else self.prepared.support
        return {
            "ok": not self.error,
            "executable": None if interpreter is None else str(interpreter.executable),
            "python_version": None if interpreter is None else interpreter.python_version,
            "kernel_support": None if support is None else support.kind.value,
            "ipykernel_version": None if support is None else support.ipykernel_version,
            "seconds": round(self.seconds, 3),
            "error": self.error or None,
        }


async def check(settings: Settings, environment: Environment | None) -> Checked:
    """Find, ask and support an environment and run code in it; None is the managed default."""
    began = time.monotonic()
    prepared, error = None, ""
    try:
        only = replace(settings.connection, environment=environment, named_environments={})
        catalog = open_catalog(settings.host, only)
        prepared = await catalog.prepare(await catalog.default())
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
        start = kernels.starter(prepared, working_directory=folder, spill_dir=folder)
        async with start(_ignore) as kernel:
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


def _ignore(event: Event) -> None:
    """What it prints is of no interest, only how it ends."""
