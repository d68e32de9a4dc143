"""A restart that makes the old state again: its steps run as executions, and are followed."""

import math
import time
from collections.abc import Sequence

import anyio
from mcp_types import CallToolResult

from kernel_exec import executions
from kernel_exec.content.plain import clean, counted
from kernel_exec.content.status import described, some
from kernel_exec.errors import KernelStartError
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSON, JSONObject, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.sessions.session import Session

from .call import Call
from .results import structured

_PROGRESS_EVERY = 2.0
"""Seconds between two signs of life."""

_MOST_STEPS = 20
"""Steps that a result lists, the last ones."""

_CODE_SHOWN = 80
"""Characters of a step's code that a result shows."""


async def replay(
    call: Call, session: Session, *, time_limit: float | None, window: float
) -> CallToolResult:
    """Restart the session's kernel and run the steps that made its state again."""
    before = session.status().generation
    lost, steps = await executions.replay(call.connection, session, time_limit=time_limit)
    if not steps:
        report = await session.restart()
        return _answer(session, "success", report.generation, report.lost, [])
    call.begun(session, steps[-1])
    ended = await _follow(call, session, steps, window)
    if ended and (error := text(ended[0].details, "error")):
        raise KernelStartError(error)
    generation = max(session.status().generation, before + 1)
    waiting = len(steps) - len(ended)
    if ended and (stopped := ended[-1]).outcome is not Outcome.OK:
        message = (
            f"stopped at step {stopped.number} ({stopped.outcome.value}):"
            f' get_execution(execution_id="{stopped.id}"); not replayed: {waiting}'
        )
        rest: dict[str, JSON] = {"stopped_at": _described(stopped), "not_replayed": waiting}
        return _answer(session, "stopped", generation, lost, ended, {**rest, "message": message})
    if waiting:
        last = steps[-1].id
        message = (
            "the replay continues; wait for its last step with"
            f' get_execution(execution_id="{last}", wait_seconds=45), stop it with'
            f' interrupt_execution(execution_id="{last}")'
        )
        rest = {"execution_id": last, "not_replayed": waiting}
        return _answer(session, "running", generation, lost, ended, {**rest, "message": message})
    return _answer(session, "success", generation, lost, ended)


def restarted(generation: int, lost: JSONObject, more: str = "") -> list[str]:
    """The lines on a new kernel, and on what went with the one before it."""
    data = described(lost)
    return [
        f"kernel {generation} started{more}",
        *([f"variables of the earlier kernel: {some(data)}"] if data else []),
    ]


async def _follow(
    call: Call, session: Session, steps: Sequence[Entry], window: float
) -> list[Entry]:
    """Wait for the steps within a window, telling of progress; those that have ended."""
    ended: list[Entry] = []
    began = time.monotonic()

    async def tell() -> None:
        while True:
            await anyio.sleep(_PROGRESS_EVERY)
            at = min(len(ended), len(steps) - 1)
            title = steps[at].title or steps[at].source.strip().partition("\n")[0][:_CODE_SHOWN]
            words = f"replaying step {steps[at].number} ({at + 1} of {len(steps)}): {clean(title)}"
            await call.progress(time.monotonic() - began, words)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        with anyio.move_on_after(window):
            for step in steps:
                ended.append(await session.wait(step.id, math.inf))
                if ended[-1].outcome is not Outcome.OK:
                    break
        tasks.cancel_scope.cancel()
    return ended


def _answer(
    session: Session,
    status: str,
    generation: int,
    lost: JSONObject,
    ended: Sequence[Entry],
    more: JSONObject | None = None,
) -> CallToolResult:
    done = sum(entry.outcome is Outcome.OK for entry in ended)
    fields: dict[str, JSON] = {
        "status": status,
        "session": session.name,
        "generation": generation,
        "lost": dict(lost),
        "replayed_steps": done,
        "replayed": [_described(entry) for entry in ended[-_MOST_STEPS:]],
        **(more or {}),
    }
    gone = {} if ended and status == "success" else lost
    lines = restarted(generation, gone, f"; {counted(done, 'step')} replayed")
    return structured(fields, [*lines, *([text(fields, "message")] if more else [])])


def _described(entry: Entry) -> JSONObject:
    return {
        "execution_id": entry.id,
        **({"title": entry.title} if entry.title else {}),
        "outcome": entry.outcome.value,
        "code": entry.source[:_CODE_SHOWN],
    }
