"""A restart that makes the old state again: what had succeeded runs once more."""

import math
from dataclasses import replace

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSONObject

from .history import Entry, EntryKind, is_isolated, script_arguments
from .reports import RestartReport, Submission
from .session import Session
from .store import Store


async def restart_and_replay(session: Session, store: Store) -> RestartReport:
    """Restart, then run what had succeeded in the ended generation, up to the first failure.

    Raises:
        KernelExecError: The new kernel did not start.
    """
    generation = session.status().generation
    succeeded = [
        entry
        for entry in await store.entries(session.id)
        if entry.generation == generation
        and entry.outcome is Outcome.OK
        and entry.kind in {EntryKind.CODE, EntryKind.SCRIPT}
        and not is_isolated(entry)
    ]
    report = await session.restart()
    replayed: list[Entry] = []
    for entry in succeeded:
        arguments = script_arguments(entry)
        script: JSONObject = {} if arguments is None else {"arguments": list(arguments)}
        again = session.submit(
            Submission(
                source=entry.source,
                title=entry.title,
                kind=entry.kind,
                file_path=entry.file_path,
                details={"replay_of": entry.id, **script},
            )
        )
        replayed.append(await session.wait(again.id, math.inf))
        if replayed[-1].outcome is not Outcome.OK:
            break
    return replace(report, replayed=tuple(replayed))
