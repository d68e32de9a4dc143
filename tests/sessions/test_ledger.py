"""Which outputs are in memory, and that the store has them all."""

from pathlib import Path

from kernel_exec.history.entries import SessionRecord
from kernel_exec.history.store import open_store
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import OutputEvent, Stream
from kernel_exec.sessions.ledger import Ledger, Live, Submission


def events(live: Live) -> list[OutputEvent] | None:
    return live.recent.events


LINE = Stream(name="stdout", text="a\n")
LONG = Stream(name="stdout", text="b" * 3_000_000)


async def test_outputs_are_in_memory_until_they_are_many_or_another_entry_has_ended(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SessionRecord(id="s", name="main", environment="e", created=0.0))
        ledger = Ledger(session_id="s", store=store, number=0)

        def begun() -> Live:
            live = ledger.begin(Submission(source=""), outcome=Outcome.RUNNING, generation=1)
            ledger.produce(live.entry.id, LINE)
            return live

        first, long = begun(), begun()
        ledger.produce(long.entry.id, LONG)
        assert events(long) == [LINE, LONG]
        ledger.produce(long.entry.id, LONG)
        assert events(long) is None

        ledger.end(first, Outcome.OK, {})
        ledger.produce(first.entry.id, LINE)
        assert events(first) == [LINE, LINE]
        ledger.end(long, Outcome.OK, {})
        assert events(first) is None

        assert [event for _, event in await store.events(first.entry.id)] == [LINE, LINE]
        kept = [event for _, event in await store.events(long.entry.id)]
        assert kept == [LINE, LONG, LONG]
