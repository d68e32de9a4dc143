"""Sessions over fake kernels and a real store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest

from kernel_exec.errors import (
    BusyError,
    KernelDeadError,
    KernelStartError,
    NotFoundError,
    PackageError,
)
from kernel_exec.history.entries import Entry, EntryKind, SessionRecord
from kernel_exec.history.store import Store, open_store
from kernel_exec.kernels.kernel import KernelStarter
from kernel_exec.kernels.outcomes import Ending, Outcome, Request
from kernel_exec.kernels.outputs import Stream, fold
from kernel_exec.sessions.generations import Before
from kernel_exec.sessions.ledger import Submission
from kernel_exec.sessions.queue import QUEUE_LIMIT
from kernel_exec.sessions.replay import replayable, steps_of
from kernel_exec.sessions.session import Session
from kernel_exec.sessions.slots import Slots
from kernel_exec.sessions.work import Done, Job
from tests.fakes import STUBBORN, FakeKernel, FakeKernels
from tests.real import HERE
from tests.waits import patient

SLEEP = "import time; time.sleep(60)"


@dataclass(frozen=True, kw_only=True)
class Running:
    session: Session
    store: Store
    kernels: FakeKernels


@asynccontextmanager
async def running(
    folder: Path,
    *,
    idle_limit: float | None = None,
    fails: Exception | None = None,
    slots: Slots | None = None,
) -> AsyncIterator[Running]:
    kernels = FakeKernels()
    slots = slots or Slots(1, room=lambda environment: "no room")
    failures = [fails] if fails else []

    async def prepare() -> KernelStarter:
        if failures:
            raise failures.pop()
        return kernels

    async with open_store(folder) as store, anyio.create_task_group() as tasks:
        record = SessionRecord(id="s1", name="main", environment=HERE.key, created=0.0)
        store.put_session(record)
        session = Session(
            record=record,
            environment=HERE,
            prepare=prepare,
            slot=partial(slots.taken, environment=HERE.key),
            store=store,
            before=Before(),
            idle_limit=idle_limit,
        )
        session.clients.join("c", "test")
        await tasks.start(session.run)
        with anyio.fail_after(patient(20)):
            yield Running(session=session, store=store, kernels=kernels)
        tasks.cancel_scope.cancel()


async def run(session: Session, source: str, *, limit: float | None = None) -> Entry:
    entry = session.submit(Submission(source=source, time_limit=limit))
    return await session.wait(entry.id, patient(15))


async def wait_running(session: Session, entry: Entry) -> None:
    seen = 0
    while (now := session.entry(entry.id)) is not None and now.execution_count is None:
        seen = await session.ledger.wait_change(entry.id, seen)


async def test_a_kernel_starts_with_the_first_execution_only(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        assert now.session.status().state == "not started"
        entry = await run(now.session, "1 + 1")
        assert entry.outcome is Outcome.OK
        assert entry.generation == 1
        assert now.session.status().state == "idle"
        await run(now.session, "x = 1")
    assert len(now.kernels.started) == 1


async def test_an_ended_entry_is_in_the_store_when_wait_returns(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entry = await run(now.session, "print('before'); 1 / 0")
        assert await now.store.entry(entry.id) == entry
        outputs = fold(event for _, event in await now.store.events(entry.id))
        assert outputs[0] == Stream(name="stdout", text="before\n")


async def test_executions_run_one_after_the_other_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        sources = ["x = 1", "x", "1 + 1", "print('before'); 1 / 0", "x"]
        entries = [now.session.submit(Submission(source=source)) for source in sources]
        done = [await now.session.wait(entry.id, patient(15)) for entry in entries]
    assert [entry.number for entry in done] == [1, 2, 3, 4, 5]
    assert [entry.outcome.value for entry in done] == ["ok", "ok", "ok", "exception", "ok"]
    starts = [entry.started or 0 for entry in done]
    assert starts == sorted(starts)


async def test_a_window_that_closes_leaves_the_execution_running(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entry = now.session.submit(Submission(source=SLEEP))
        await wait_running(now.session, entry)
        assert (await now.session.wait(entry.id, 0)).outcome is Outcome.RUNNING
        now.session.interrupt(entry.id)
        assert (await now.session.wait(entry.id, patient(15))).outcome is Outcome.INTERRUPTED


async def test_what_is_sent_again_after_giving_up_does_not_run_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entry = now.session.submit(Submission(source=SLEEP))
        assert now.session.ledger.resent(EntryKind.CODE, SLEEP) is None
        await now.session.wait(entry.id, 0)
        resent = now.session.ledger.resent(EntryKind.CODE, SLEEP)
        assert resent is not None
        assert resent.id == entry.id
        now.session.interrupt(entry.id)


async def test_a_full_queue_says_busy(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        first = now.session.submit(Submission(source=SLEEP))
        await wait_running(now.session, first)
        for _ in range(QUEUE_LIMIT):
            now.session.submit(Submission(source="1 + 1"))
        with pytest.raises(BusyError, match=r"32 executions wait already"):
            now.session.submit(Submission(source="1 + 1"))


async def test_a_queued_execution_can_be_taken_back(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        first = now.session.submit(Submission(source=SLEEP))
        second = now.session.submit(Submission(source="1 + 1"))
        await wait_running(now.session, first)
        now.session.interrupt(second.id)
        taken = await now.session.wait(second.id, patient(15))
        assert taken.outcome is Outcome.INTERRUPTED
        assert taken.started is None
        assert now.session.interrupt(second.id) is None


async def test_interrupting_nothing_is_no_error(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        assert now.session.interrupt() is None
        assert now.session.interrupt("unknown") is None


async def test_death_is_reported_and_the_next_execution_says_what_was_lost(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as now:
        await run(now.session, "x = 1")
        died = await run(now.session, "import os; os._exit(3)")
        assert died.outcome is Outcome.KERNEL_DIED
        assert isinstance(died.details["death"], dict)
        assert died.details["death"]["exit_code"] == 3
        assert died.details["lost"] == {"x": "int"}
        after = await run(now.session, "1 + 1")
        assert after.generation == 2
        assert after.details["state_lost"] == {
            "generation": 1,
            "reason": "exit code 3",
            "names": {"x": "int"},
        }
        assert "state_lost" not in (await run(now.session, "1 + 1")).details
        kernels = await now.store.kernels("s1")
        assert [(kernel.generation, kernel.end_reason) for kernel in kernels] == [
            (1, "exit code 3"),
            (2, ""),
        ]


async def test_a_restart_gives_a_new_generation_and_names_what_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        await run(now.session, "x = 1")
        report = await now.session.restart()
        assert (report.generation, report.lost) == (2, {"x": "int"})
        assert (await run(now.session, "x")).outcome is Outcome.EXCEPTION


async def test_a_restart_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entries = [now.session.submit(Submission(source=source)) for source in (STUBBORN, "1 + 1")]
        await wait_running(now.session, entries[0])
        await now.session.restart()
        outcomes = [(await now.session.wait(entry.id, patient(15))).outcome for entry in entries]
        assert outcomes == [Outcome.INTERRUPTED, Outcome.INTERRUPTED]
        assert now.session.status().state == "idle"


async def replay(now: Running) -> list[Entry]:
    """Restart, and run what made the state again; the entries of its steps."""
    found = replayable(await now.store.entries("s1"), await now.store.kernels("s1"))
    _, steps = now.session.replay(steps_of(found, time_limit=None))
    return steps


async def ended(session: Session, steps: list[Entry]) -> list[tuple[str, str]]:
    done = [await session.wait(step.id, 15) for step in steps]
    return [(entry.source, entry.outcome.value) for entry in done]


async def test_a_replay_runs_the_successful_steps_again_in_a_new_kernel(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        for source in ("x = 1", "print('before'); 1 / 0", "x"):
            await run(now.session, source)
        steps = await replay(now)
        assert await ended(now.session, steps) == [("x = 1", "ok"), ("x", "ok")]
        assert now.session.status().generation == 2
        assert [kernel.origin.value for kernel in await now.store.kernels("s1")] == [
            "needed",
            "replay",
        ]


async def test_a_replay_stops_at_its_first_failure_and_what_waits_behind_it_runs(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as now:
        lost, steps = now.session.replay(
            [Submission(source=source) for source in ("1 + 1", "x", "1 + 1", "x = 1")]
        )
        assert not lost
        later = now.session.submit(Submission(source="1 + 1"))
        outcomes = [outcome for _, outcome in await ended(now.session, [*steps, later])]
        assert outcomes == ["ok", "exception", "interrupted", "interrupted", "ok"]
        rest = now.session.entry(steps[2].id)
        assert rest is not None
        assert rest.started is None
        assert steps[1].id in str(rest.details["reason"])


async def test_whoever_stops_a_step_of_a_replay_stops_all_of_it(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        _, steps = now.session.replay(
            [Submission(source=source) for source in ("1 + 1", SLEEP, "1 + 1")]
        )
        await wait_running(now.session, steps[1])
        stopped = now.session.interrupt(steps[2].id)
        assert stopped is not None
        assert stopped.id == steps[1].id
        outcomes = [outcome for _, outcome in await ended(now.session, steps)]
        assert outcomes == ["ok", "interrupted", "interrupted"]
        assert (await run(now.session, "1 + 1")).outcome is Outcome.OK


async def test_a_replay_during_a_replay_takes_its_place(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        _, first = now.session.replay([Submission(source=source) for source in (SLEEP, "1 + 1")])
        await wait_running(now.session, first[0])
        _, second = now.session.replay([Submission(source="x = 1"), Submission(source="x")])
        outcomes = [outcome for _, outcome in await ended(now.session, [*first, *second])]
        assert outcomes == ["interrupted", "interrupted", "ok", "ok"]


async def test_a_replay_of_more_steps_than_may_wait_runs_them_all(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        _, steps = now.session.replay([Submission(source="1 + 1")] * (QUEUE_LIMIT + 10))
        assert {outcome for _, outcome in await ended(now.session, steps)} == {"ok"}


async def test_a_replay_without_a_kernel_says_why(tmp_path: Path) -> None:
    async with running(tmp_path, fails=KernelStartError("no interpreter there")) as now:
        _, steps = now.session.replay([Submission(source="1 + 1"), Submission(source="x")])
        outcomes = [outcome for _, outcome in await ended(now.session, steps)]
        assert outcomes == ["kernel_died", "interrupted"]
        first = now.session.entry(steps[0].id)
        assert first is not None
        assert first.details["error"] == "no interpreter there"


async def test_a_step_of_a_replay_is_not_taken_for_code_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        await run(now.session, "x = 1")
        _, steps = now.session.replay([Submission(source=SLEEP, details={"replay_of": "a"})])
        await now.session.wait(steps[0].id, 0)
        assert now.session.ledger.resent(EntryKind.CODE, SLEEP) is None
        now.session.interrupt()


async def test_a_session_keeps_its_slot_while_it_restarts_and_gives_it_back_at_the_end(
    tmp_path: Path,
) -> None:
    slots = Slots(1, room=lambda environment: "end one.")
    async with running(tmp_path, slots=slots) as now:
        await run(now.session, "x = 1")
        for _ in range(3):
            await now.session.restart()
            with pytest.raises(
                BusyError,
                match=r"KERNEL_EXEC_MAX_KERNELS allows 1 kernel, .* \(1 session\)\. end one\.",
            ):
                async with slots.taken("verification", environment=HERE.key):
                    pass
        await run(now.session, "import os; os._exit(3)")
        async with slots.taken("verification", environment=HERE.key):
            refused = await run(now.session, "1 + 1")
            assert refused.outcome is Outcome.KERNEL_DIED
            assert "1 verification" in str(refused.details["error"])
            with pytest.raises(KernelStartError, match="1 verification"):
                await now.session.restart()
        assert (await run(now.session, "1 + 1")).outcome is Outcome.OK


async def test_each_who_waits_for_a_kernel_to_make_room_gets_a_place(tmp_path: Path) -> None:
    leaving = [anyio.Event() for _ in range(2)]
    told = iter(leaving)
    slots = Slots(2, room=lambda environment: "", make_room=lambda: next(told, None) is not None)
    came: list[str] = []

    async def hold(name: str, until: anyio.Event) -> None:
        async with slots.taken("session", environment="e"):
            came.append(name)
            await until.wait()

    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for number, end in enumerate(leaving):
            tasks.start_soon(hold, f"old {number}", end)
        await anyio.wait_all_tasks_blocked()
        for number in range(2):
            tasks.start_soon(hold, f"new {number}", over)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BusyError):
            async with slots.taken("session", environment="e"):
                pass
        for number, end in enumerate(leaving):
            end.set()
            await anyio.wait_all_tasks_blocked()
            assert came[2:] == [f"new {each}" for each in range(number + 1)]
        over.set()


async def test_a_kernel_that_did_not_start_holds_no_slot(tmp_path: Path) -> None:
    slots = Slots(1, room=lambda environment: "")
    async with running(tmp_path, slots=slots, fails=KernelStartError("no")) as now:
        assert (await run(now.session, "1 + 1")).outcome is Outcome.KERNEL_DIED
        with anyio.fail_after(10):
            async with slots.taken("verification", environment=HERE.key):
                pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KernelStartError("no interpreter there"), "no interpreter there"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
    ids=["foreseen", "unforeseen"],
)
async def test_a_kernel_that_does_not_start_fails_its_execution_and_is_tried_again(
    tmp_path: Path, error: Exception, told: str
) -> None:
    async with running(tmp_path, fails=error) as now:
        failed = await run(now.session, "1 + 1")
        assert failed.outcome is Outcome.KERNEL_DIED
        assert failed.details["error"] == told
        assert (await run(now.session, "1 + 1")).outcome is Outcome.OK


async def test_a_fault_of_ours_ends_the_kernel_and_not_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: FakeKernel, request: Request) -> Ending:
        raise ValueError("not foreseen")

    async with running(tmp_path) as now:
        await run(now.session, "x = 1")
        with monkeypatch.context() as broken:
            broken.setattr(FakeKernel, "execute", fail)
            failed = await run(now.session, "x")
        assert failed.outcome is Outcome.KERNEL_DIED
        assert "not foreseen" in str(failed.details["death"])
        after = await run(now.session, "1 + 1")
        assert (after.outcome, after.generation) == (Outcome.OK, 2)
        assert "state_lost" in after.details


async def test_a_time_limit_belongs_to_its_execution(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        limited = await run(now.session, SLEEP, limit=0.2)
        assert limited.outcome is Outcome.TIMEOUT
        assert "stack" in limited.details
        assert (await run(now.session, "1 + 1")).outcome is Outcome.OK


async def test_an_idle_kernel_is_ended_and_the_loss_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, idle_limit=0.1) as now:
        await run(now.session, "x = 1")
        await now.kernels.started[0].wait_death()
        after = await run(now.session, "1 + 1")
        assert isinstance(after.details["state_lost"], dict)
        assert after.details["state_lost"]["names"] == {"x": "int"}


INSTALL = Submission(source="six", kind=EntryKind.INSTALL)


async def test_work_beside_the_kernel_has_an_entry_and_runs_while_code_does(
    tmp_path: Path,
) -> None:
    async def work(job: Job) -> Done:
        job.emit(Stream(name="stdout", text="resolving\n"))
        await anyio.lowlevel.checkpoint()
        return Done(details={"changed": 1})

    async with running(tmp_path) as now:
        sleeping = now.session.submit(Submission(source=SLEEP))
        entry = now.session.undertake(INSTALL, work)
        done = await now.session.wait(entry.id, patient(15))
        assert done.outcome is Outcome.OK
        assert done.details == {"changed": 1}
        ((_, output),) = await now.store.events(entry.id)
        assert output == Stream(name="stdout", text="resolving\n")
        assert now.session.entry(sleeping.id) is not None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PackageError("no such package"), "no such package"),
        (PermissionError("not yours"), "PermissionError: not yours"),
    ],
    ids=["foreseen", "unforeseen"],
)
async def test_work_beside_the_kernel_can_fail(tmp_path: Path, error: Exception, told: str) -> None:
    async def fail(job: Job) -> Done:
        raise error

    async with running(tmp_path) as now:
        failed = now.session.undertake(INSTALL, fail)
        ended = await now.session.wait(failed.id, patient(15))
        assert (ended.outcome, ended.details) == (Outcome.EXCEPTION, {"error": told})
        assert (await run(now.session, "1 + 1")).outcome is Outcome.OK


async def test_work_beside_the_kernel_can_be_stopped(tmp_path: Path) -> None:
    async def wait_for_ever(job: Job) -> Done:
        await anyio.sleep_forever()
        return Done(details={})

    async with running(tmp_path) as now:
        stopped = now.session.undertake(INSTALL, wait_for_ever)
        await now.session.wait(stopped.id, 0)
        now.session.interrupt(stopped.id)
        assert (await now.session.wait(stopped.id, patient(15))).outcome is Outcome.INTERRUPTED


async def test_work_that_has_not_begun_is_stopped_without_a_signal_to_the_kernel(
    tmp_path: Path,
) -> None:
    async def never(job: Job) -> Done:
        await anyio.lowlevel.checkpoint()
        raise AssertionError("it was stopped before")

    async with running(tmp_path) as now:
        running_cell = now.session.submit(Submission(source=SLEEP))
        await wait_running(now.session, running_cell)
        entry = now.session.undertake(INSTALL, never)
        assert now.session.interrupt(entry.id) is not None
        assert (await now.session.wait(entry.id, 15)).outcome is Outcome.INTERRUPTED
        assert (await now.session.wait(running_cell.id, 0)).outcome is Outcome.RUNNING
        now.session.interrupt(running_cell.id)


async def test_a_note_is_over_when_it_begins(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entry = now.session.note(EntryKind.NOTE, "# Why")
        assert (await now.session.wait(entry.id, 0)).outcome is Outcome.OK


async def test_questions_need_a_kernel(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        with pytest.raises(KernelDeadError, match=r"next execute_code starts one"):
            now.session.inspect()


async def test_an_unknown_execution_can_not_be_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        with pytest.raises(NotFoundError, match="nothing-like-it"):
            await now.session.wait("nothing-like-it", 0)


async def test_what_runs_when_the_server_ends_is_marked_in_the_store(tmp_path: Path) -> None:
    async with running(tmp_path) as now:
        entry = now.session.submit(Submission(source=SLEEP))
        await wait_running(now.session, entry)
    async with open_store(tmp_path) as store:
        left = await store.entry(entry.id)
    assert left is not None
    assert left.outcome is Outcome.INTERRUPTED
    assert left.details["reason"] == "the server ended"
