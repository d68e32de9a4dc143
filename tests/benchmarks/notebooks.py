"""How long exports take: of sessions without a failure, and with some."""

import time
from pathlib import Path

from kernel_exec.documents.export import export_session
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import Store, open_store
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import ExecuteResult, Stream

from .timing import median_ms

_SESSION = SessionRecord(id="s" * 32, name="s", environment="python:/p", created=0.0)
_SOURCE = """\
import math
rows_{0} = [math.sqrt(n) for n in range({0})]
total = sum(rows_{0}, start=0.0)
print(total)
len(rows_{0})
"""


async def notebook_rows(folder: Path, rounds: int) -> list[tuple[str, str, str, str, str]]:
    """A row for each format that 1,000 executions are exported to."""
    rows = []
    for failing, words in ((0, ""), (20, ", some failed,")):
        place = folder / f"failing-{failing}"
        place.mkdir()
        async with open_store(place) as store:
            _fill(store, 1000, failing)
            await store.settle()
            for form in ("ipynb", "html", "py", "md"):
                took = await _export(store, place, form, rounds)
                what = f"1,000 executions{words} to {form}"
                rows.append((what, f"{took:.0f} ms", "", "", "< 1,000 ms"))
    return rows


async def _export(store: Store, folder: Path, form: str, rounds: int) -> float:
    took = []
    for _ in range(max(3, rounds // 40)):
        began = time.perf_counter()
        await export_session(
            store, _SESSION, folder / f"n.{form}", overwrite=True, limit=500_000, variables={}
        )
        took.append(time.perf_counter() - began)
    return median_ms(took)


def _fill(store: Store, count: int, failing: int) -> None:
    """Executions with a title, some text and a value; one in `failing` raised, unless that is 0."""
    store.put_session(_SESSION)
    store.put_kernel(
        KernelRecord(
            session_id=_SESSION.id,
            generation=1,
            started=0.0,
            executable="",
            python_version="3.12.1",
            support="own",
        )
    )
    for number in range(1, count + 1):
        entry = Entry(
            id=f"{number:032x}",
            session_id=_SESSION.id,
            number=number,
            kind=EntryKind.CODE,
            source=_SOURCE.format(number),
            outcome=Outcome.EXCEPTION if failing and number % failing == 0 else Outcome.OK,
            title=f"Step {number}",
            generation=1,
            execution_count=number,
            queued=float(number),
            started=float(number),
            ended=number + 0.5,
        )
        store.put_entry(entry)
        store.add_event(entry.id, Stream(name="stdout", text=f"{number}\n" * 3))
        store.add_event(
            entry.id,
            ExecuteResult(data={"text/plain": str(number)}, metadata={}, execution_count=number),
        )
