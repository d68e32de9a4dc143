"""Spare kernels: when there are any, who gets one, and that no cell can tell."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.errors import KernelStartError
from kernel_exec.inherited import INHERITED
from kernel_exec.kernels import spares as module
from kernel_exec.kernels.kernel import Kernel, UnassignedKernel
from kernel_exec.kernels.outcomes import Event, Produced, Request
from kernel_exec.kernels.outputs import Stream
from kernel_exec.kernels.spares import Demand, Spares
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.fakes import FakeKernels
from tests.kernels.test_launch import PREPARED
from tests.real import all_kernels, prepared
from tests.sandbox.holding import require_walls
from tests.waits import patient


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for calm: what is waited for is an event."""
    for name in ("_SETTLING", "_CALM", "_BEAT"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "_LOOK_AGAIN", 0.01)


class Pool:
    """Spares of fake kernels, and what decides about them."""

    def __init__(self, folder: Path) -> None:
        self.kernels = FakeKernels()
        self.folder = folder
        self.found = PREPARED
        self.rooms = 9
        self.memory = 10**10
        self.fails = False
        self.attempts = 0
        self.spares = Spares(
            self.start,
            most=4,
            room=lambda: self.rooms,
            is_calm=lambda: True,
            available_memory=lambda: self.memory,
        )

    @asynccontextmanager
    async def start(
        self, found: PreparedEnvironment, folder: Path, spill_dir: Path | None
    ) -> AsyncIterator[UnassignedKernel]:
        self.attempts += 1
        if self.fails:
            raise KernelStartError("it is broken")
        async with self.kernels.start() as kernel:
            yield kernel

    async def find(self) -> tuple[PreparedEnvironment, Path]:
        await anyio.lowlevel.checkpoint()
        return self.found, self.folder

    def demand(self) -> Demand:
        return self.spares.demand(self.find)

    @asynccontextmanager
    async def taken(self, found: PreparedEnvironment | None = None) -> AsyncIterator[Kernel]:
        async with self.spares.open(
            found or self.found,
            lambda event: None,
            working_directory=self.folder,
            spill_dir=self.folder,
        ) as kernel:
            yield kernel


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(tmp_path)
    async with pool.spares:
        yield pool


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(patient(2)):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def there_are(pool: Pool, count: int) -> None:
    await until(lambda: len(pool.spares.ready) == count)


async def test_one_is_made_for_a_client_taken_by_the_next_start_and_replaced(pool: Pool) -> None:
    pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    async with pool.taken() as kernel:
        assert kernel is spare
        await until(lambda: pool.spares.ready and pool.spares.ready[0] is not spare)
        assert kernel.death is None
    assert spare.death is not None


async def test_nobody_connected_means_no_spare_and_the_last_to_leave_ends_it(pool: Pool) -> None:
    first, second = pool.demand(), pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    first.close()
    await anyio.wait_all_tasks_blocked()
    assert pool.spares.ready == [spare]
    second.close()
    await until(lambda: spare.death is not None)
    assert pool.spares.ready == []


@pytest.mark.parametrize(
    "other",
    [
        replace(PREPARED, variables={**PREPARED.variables, "SECRET": "1"}),
        replace(PREPARED, stamp="something was installed"),
        replace(PREPARED, inherited=replace(INHERITED, umask=0o077)),
    ],
    ids=["variables", "packages", "umask"],
)
async def test_what_differs_in_anything_does_not_get_it(
    pool: Pool, other: PreparedEnvironment
) -> None:
    pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    async with pool.taken(other) as kernel:
        assert kernel is not spare


async def test_a_folder_that_was_made_again_does_not_get_it(pool: Pool, tmp_path: Path) -> None:
    pool.folder = tmp_path / "work"
    pool.folder.mkdir()
    pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    pool.folder.rename(tmp_path / "aside")
    pool.folder.mkdir()
    async with pool.taken() as kernel:
        assert kernel is not spare


async def test_it_is_replaced_once_something_was_installed(pool: Pool) -> None:
    pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    pool.found = replace(PREPARED, stamp="installed")
    pool.spares.look_again()
    await until(lambda: spare.death is not None and pool.spares.ready)
    assert pool.spares.ready != [spare]


async def test_it_makes_room_at_the_limit_and_when_memory_is_short(pool: Pool) -> None:
    pool.demand()
    await there_are(pool, 1)
    pool.rooms = 0
    await there_are(pool, 0)
    pool.rooms = 1
    await there_are(pool, 1)
    pool.memory = 1_000_000
    await there_are(pool, 0)


async def test_a_broken_environment_is_tried_once_and_again_when_a_kernel_starts(
    pool: Pool,
) -> None:
    pool.fails = True
    pool.demand()
    await until(lambda: pool.attempts)
    for _ in range(5):
        pool.spares.look_again()
        await anyio.wait_all_tasks_blocked()
    assert pool.attempts == 1
    with pytest.raises(KernelStartError, match="it is broken"):
        async with pool.taken():
            pass
    pool.fails = False
    async with pool.taken():
        await there_are(pool, 1)


async def test_one_that_dies_is_not_given_to_anybody_and_not_replaced_for_ever(pool: Pool) -> None:
    pool.demand()
    await there_are(pool, 1)
    (spare,) = pool.spares.ready
    spare.kill("somebody did")
    await there_are(pool, 0)
    await anyio.wait_all_tasks_blocked()
    assert pool.attempts == 1
    async with pool.taken() as kernel:
        assert kernel.death is None


async def test_what_can_not_be_found_costs_nobody_anything(pool: Pool) -> None:
    async def find() -> tuple[PreparedEnvironment, Path]:
        raise KernelStartError("no such environment")

    demand = pool.spares.demand(find)
    await anyio.wait_all_tasks_blocked()
    demand.close()
    async with pool.taken() as kernel:
        assert kernel.death is None


LOOK = r"""
import gc, locale, os, resource, signal, sys, threading, warnings

def target(name):
    try:
        return os.readlink("/proc/self/fd/" + name).split(":")[0]
    except OSError:
        return ""

shell = get_ipython()
look = {
    "globals": sorted(name for name in globals() if name != "look"),
    "environ": sorted(os.environ.items()),
    "/proc environ": sorted(open("/proc/self/environ", "rb").read().split(b"\0")),
    "folder": (os.getcwd(), os.environ.get("PWD"), [str(each) for each in _dh], shell.starting_dir),
    "path": sys.path,
    "argv": (sys.argv, sys.orig_argv[:-2]),
    "flags": (sys.flags, sys.dont_write_bytecode, sys.warnoptions),
    "descriptors": sorted(filter(None, map(target, os.listdir("/proc/self/fd")))),
    "umask": [line for line in open("/proc/self/status") if line.startswith("Umask")],
    "signals": [(each.name, str(signal.getsignal(each)).split(" at ")[0])
                for each in sorted(signal.valid_signals()) if isinstance(each, signal.Signals)],
    "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    "limits": [(name, resource.getrlimit(getattr(resource, name)))
               for name in dir(resource) if name.startswith("RLIMIT_")],
    "nice": os.nice(0),
    "process": (os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()),
    "threads": sorted(each.name for each in threading.enumerate()),
    "modules": sorted(sys.modules),
    "importers": [type(each).__name__ if not isinstance(each, type) else each.__name__
                  for each in sys.meta_path],
    "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() // 1000),
    "recursion": sys.getrecursionlimit(),
    "locale": locale.setlocale(locale.LC_ALL),
    "warnings": [str(each) for each in warnings.filters],
    "IPython": (shell.execution_count, In, Out, shell.history_manager.enabled),
    "children": open("/proc/self/task/%d/children" % os.getpid()).read(),
}
for name, found in look.items():
    print(name, "|", found)
"""
"""What a cell can look at, one thing a line."""

SEEDS = "import random; print(random.random(), hash('a'), id(object()))"


async def said(kernel: Kernel, heard: list[Event], source: str) -> str:
    heard.clear()
    with anyio.fail_after(patient(20)):
        ending = await kernel.execute(Request(id="e" * 32, source=source))
    assert ending.error is None, ending.error
    texts = [each.output for each in heard if isinstance(each, Produced)]
    return "".join(each.text for each in texts if isinstance(each, Stream))


@pytest.mark.kernel
@pytest.mark.parametrize("walls", Walls)
async def test_a_cell_can_not_tell_it_from_a_fresh_one(tmp_path: Path, walls: Walls) -> None:
    if walls:
        require_walls()
    folder, spill = tmp_path / "work", tmp_path / "spill"
    folder.mkdir()
    spill.mkdir()
    found = replace(
        await prepared(tmp_path),
        inherited=replace(INHERITED, umask=0o027),
        sandbox=Sandbox(walls=walls),
    )
    kernels = all_kernels(tmp_path)
    looks, seeds = [], []

    async def find() -> tuple[PreparedEnvironment, Path]:
        await anyio.lowlevel.checkpoint()
        return found, folder

    async with Spares(kernels.start, most=4, room=lambda: 1, is_calm=lambda: True) as spares:
        demand = spares.demand(find)
        await until(lambda: spares.ready)
        for each in (spares, kernels):
            waiting = list(spares.ready)
            heard: list[Event] = []
            async with each.open(
                found, heard.append, working_directory=folder, spill_dir=spill
            ) as kernel:
                assert (kernel in waiting) is (each is spares)
                demand.close()
                looks.append(await said(kernel, heard, LOOK))
                seeds.append((await said(kernel, heard, SEEDS)).split())
                await said(kernel, heard, "print('x' * 1_000_000)")

    spare, fresh = (re.sub(r"kx-[0-9a-f]+", "kx-", look).splitlines() for look in looks)
    assert spare == fresh
    assert all(one != other for one, other in zip(*seeds, strict=True))
    assert [path.stat().st_size for path in spill.rglob("*.txt")][:1] > [1_000_000]


@pytest.mark.kernel
async def test_behind_walls_none_is_taken_once_they_would_be_others(
    tmp_path: Path,
) -> None:
    require_walls()
    folder, spill = tmp_path / "work", tmp_path / "spill"
    folder.mkdir()
    spill.mkdir()
    found = replace(await prepared(tmp_path), sandbox=Sandbox(walls=Walls.WORKSPACE))
    kernels = all_kernels(tmp_path)

    async def find() -> tuple[PreparedEnvironment, Path]:
        await anyio.lowlevel.checkpoint()
        return found, folder

    async with Spares(kernels.start, most=4, room=lambda: 1, is_calm=lambda: True) as spares:
        spares.demand(find)
        for taken in (True, True, False):
            await until(lambda: spares.ready)
            (spare,) = spares.ready
            if not taken:
                (folder / ".venv").mkdir()
                (folder / ".venv" / "pyvenv.cfg").touch()
            heard: list[Event] = []
            async with spares.open(
                found, heard.append, working_directory=folder, spill_dir=spill
            ) as kernel:
                assert (kernel is spare) is taken
                await said(kernel, heard, f"print('{taken}' * 1_000_000)")
    sizes = {path.stat().st_size for path in spill.rglob("*.txt")}
    assert sizes == {4_000_001, 5_000_001}
