"""Which steps a replay runs: those that made the state that the session has, or had."""

import pytest

from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, Origin
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.sessions.replay import replayable, steps_of

ORIGINS = {">": Origin.NEEDED, "!": Origin.RESTART, "~": Origin.REPLAY}


def session(story: str) -> tuple[list[Entry], list[KernelRecord]]:
    """A session by words: `a` ran well, `-a` failed, `a'` is a replay of `a`.

    `>` begins a kernel as the one before had ended, `!` one on request, `~` one for a replay.
    """
    entries: list[Entry] = []
    kernels: list[KernelRecord] = []
    for word in story.split():
        if word in ORIGINS:
            kernels.append(
                KernelRecord(
                    session_id="s", generation=len(kernels) + 1, started=0.0, executable="",
                    python_version="", support="", origin=ORIGINS[word],
                )
            )  # fmt: skip
            continue
        name = word.strip("-'")
        entries.append(
            Entry(
                id=f"{name}{len(entries)}" if word.endswith("'") else name,
                session_id="s",
                number=len(entries),
                kind=EntryKind.CODE,
                source=name,
                outcome=Outcome.EXCEPTION if word.startswith("-") else Outcome.OK,
                generation=len(kernels),
                queued=0.0,
                details={"replay_of": name} if word.endswith("'") else {},
            )
        )
    return entries, kernels


STORIES = {
    "nothing": ("", ""),
    "what succeeded, in order": ("> a -b c", "a c"),
    "a death": ("> a b -c >", "a b"),
    "a death and later steps": ("> a > -b", "a"),
    "a death and later steps that succeed": ("> a > b > c", "a b c"),
    "a fresh start": ("> a ! b", "b"),
    "a fresh start after a death": ("> a > ! b", "b"),
    "a fresh start and nothing since": ("> a !", ""),
    "a replay": ("> a b ~ a' b'", "a b"),
    "a replay and more": ("> a b ~ a' b' c", "a b c"),
    "a replay of a replay": ("> a b ~ a' b' ~ a' b'", "a b"),
    "a replay, more, and a death": ("> a ~ a' b > c", "a b c"),
    "a replay that stopped": ("> a b c ~ a' -b' -c'", "a b c"),
    "a replay that stopped, and went on otherwise": ("> a b c ~ a' -b' -c' d", "a d b c"),
    "a replay that stopped for good": ("> a b c ~ a' -b' d > e ~ a' d' e' -b'", "a d e b c"),
    "a replay that stopped, replayed": ("> a b c ~ a' -b' -c' ~ a' b' c'", "a b c"),
    "a replay that stopped twice": ("> a b c ~ -a' -b' -c' ~ a' -b' -c'", "a b c"),
    "a replay of which nothing ran": ("> a b ~", "a b"),
    "a replay, then a fresh start": ("> a ~ a' ! b", "b"),
    "one source twice": ("> a b ~ a' b' > c", "a b c"),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_replay_runs_what_made_the_state(name: str) -> None:
    story, wanted = STORIES[name]
    entries, kernels = session(story)
    steps = replayable(entries, kernels)
    assert [step.source for step in steps] == wanted.split()
    assert all(step.id == step.source for step in steps), "each by its original"


def test_what_runs_in_no_kernel_of_the_session_or_ends_it_is_not_replayed() -> None:
    entries, kernels = session("> a b c d")
    details: list[JSONObject] = [{"mode": "isolated"}, {"exit_requested": True}, {}, {}]
    kinds = [EntryKind.SCRIPT, EntryKind.CODE, EntryKind.INSTALL, EntryKind.NOTE]
    changed = [
        Entry(
            id=entry.id, session_id="s", number=entry.number, kind=kind, source=entry.source,
            outcome=Outcome.OK, generation=1, queued=0.0, details=detail,
        )
        for entry, kind, detail in zip(entries, kinds, details, strict=True)
    ]  # fmt: skip
    assert replayable(changed, kernels) == []


def test_a_step_is_run_again_as_it_was() -> None:
    script = Entry(
        id="e", session_id="s", number=1, kind=EntryKind.SCRIPT, source="1", title="One",
        outcome=Outcome.OK, generation=1, queued=0.0, file_path="/s.py",
        details={"arguments": ["a"], "client": "test"},
    )  # fmt: skip
    (step,) = steps_of([script], time_limit=3.0)
    assert (step.source, step.title, step.kind, step.file_path) == (
        "1", "One", EntryKind.SCRIPT, "/s.py"
    )  # fmt: skip
    assert step.time_limit == 3.0
    assert step.details == {"replay_of": "e", "arguments": ["a"]}
