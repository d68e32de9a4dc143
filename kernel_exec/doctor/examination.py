"""All checks at once: each with a time limit, and none that keeps the others from an answer.

Each runs in a thread and an event loop of its own, so that a file system that hangs holds up
nothing but what looks at it; and each is imported when it begins, so that a library that is broken
breaks nothing else. A thread that does not come back is abandoned, and ends with the process.
"""

import asyncio
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio

from kernel_exec import processes
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.errors import KernelExecError
from kernel_exec.options import BY_KEY
from kernel_exec.settings import examine_settings, process_variables

from .check import Check, broken

_TOTAL_LIMIT = 120.0
"""Seconds for everything."""

_GRACE = 6.0
"""Seconds beyond its limit in which a check can end what it has started."""

_AT_ONCE = 4
"""Checks that run at the same time; most of them wait for other processes."""

_KERNEL_LIMIT = 90.0
"""Seconds to build kernel support, to start a kernel and to end it on a slow machine."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    """Checks that one function of a module makes, within `limit` seconds."""

    name: str
    function: str
    arguments: tuple[object, ...] = ()
    limit: float = 25.0

    async def look(self) -> Sequence[Check]:
        """What it finds, whatever goes wrong."""
        with anyio.move_on_after(self.limit):
            module, _, function = self.function.partition(".")
            try:
                made = importlib.import_module(f"kernel_exec.doctor.{module}")
                found: Sequence[Check] = await getattr(made, function)(*self.arguments)
            except KernelExecError as error:
                return [broken(self.name, error)]
            except OSError as error:  # without a name it is about a temporary folder
                fix = "" if error.filename else "set TMPDIR to a folder that can be written"
                return [broken(self.name, error, fix)]
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                fix = "reinstall kernel-exec; if that does not help, report this"
                return [broken(self.name, f"{type(error).__name__}: {error}", fix)]
            return found
        return self.unanswered()

    def unanswered(self) -> Sequence[Check]:
        """What there is to say when it has not ended."""
        text = f"no answer within {self.limit:g} seconds"
        return [broken(self.name, text, "try again when the machine is less busy")]


async def examine(
    options: Mapping[str, str | None], on_check: Callable[[Check], None]
) -> Sequence[Check]:
    """Make all checks; `on_check` hears of each as early as their order allows."""
    found: list[Check] = []
    tasks = list(_tasks(options))
    results = {task: task.unanswered() for task in tasks}
    over = {task: anyio.Event() for task in tasks}
    turns = anyio.Semaphore(_AT_ONCE)
    loop = asyncio.get_running_loop()

    def work(task: _Task, done: anyio.Event) -> None:
        results[task] = anyio.run(task.look, backend="asyncio")
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    async def make(task: _Task) -> None:
        async with turns:
            done = anyio.Event()
            threading.Thread(target=work, args=(task, done), daemon=True).start()
            with anyio.move_on_after(task.limit + _GRACE):
                await done.wait()
        over[task].set()

    variables = allowed_variables(process_variables(), passed=())
    async with processes.warden(variables), anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(make, task)
        deadline = anyio.current_time() + _TOTAL_LIMIT
        for task in tasks:
            with anyio.CancelScope(deadline=deadline):
                await over[task].wait()
            for check in results[task]:
                found.append(check)
                on_check(check)
        group.cancel_scope.cancel()
    return found


def _tasks(options: Mapping[str, str | None]) -> Iterator[_Task]:
    """What is looked at, in the order in which it is shown."""
    settings, refused = examine_settings(options=options)

    def task(name: str, function: str, *more: object, limit: float = 25) -> _Task:
        return _Task(name=name, function=function, arguments=(settings, *more), limit=limit)

    yield _Task(name="python", function="machine.python")
    yield task("uv", "packages.uv")
    yield task("settings", "machine.settings", refused)
    if BY_KEY["storage_dir"].option not in {each.where for each in refused}:  # it is nowhere
        yield task("storage", "storage.storage")
        yield task("log", "storage.log")
    yield task("kernel", "kernels.active", limit=_KERNEL_LIMIT)
    for name in settings.connection.named_environments:
        yield task(f"environment {name}", "kernels.named", name, limit=_KERNEL_LIMIT)
    yield task("host", "servers.host")
    yield task("mcp", "servers.handshake", limit=40)
    yield task("sandbox", "machine.sandbox")
    yield task("clients", "servers.clients")
    yield task("package index", "packages.index", limit=20)
