"""How long a kernel is kept for whom, and what is known of one that an earlier server had."""

import math
from typing import Any

import pytest

from kernel_exec.history.entries import KernelRecord
from kernel_exec.sessions.generations import Before, left_behind
from kernel_exec.sessions.slots import Clients
from tests.notebooks.steps import entry


@pytest.mark.parametrize(
    ("idle_limit", "detached_limit", "connected", "seconds", "why"),
    [
        (None, None, False, math.inf, ""),
        (None, 60.0, True, math.inf, ""),
        (None, 60.0, False, 60.0, "nothing to do for 60 seconds and no client was connected"),
        (30.0, 60.0, True, 30.0, "nothing to do for 30 seconds"),
        (30.0, 60.0, False, 30.0, "nothing to do for 30 seconds"),
        (90.0, 60.0, False, 60.0, "no client was connected"),
    ],
)
def test_a_kernel_with_nothing_to_do_is_kept_as_long_as_a_limit_says(
    idle_limit: float | None,
    detached_limit: float | None,
    connected: bool,
    seconds: float,
    why: str,
) -> None:
    woken: list[str] = []
    clients = Clients(
        wake=lambda: woken.append("woken"), idle_limit=idle_limit, detached_limit=detached_limit
    )
    clients.join("a", "one")
    clients.join("b", "two")
    clients.leave("a")
    clients.leave("never came")
    if not connected:
        clients.leave("b")
    assert len(woken) == 3 + (not connected)
    assert clients.patience[0] == seconds
    assert clients.patience[1].endswith(why)
    clients.dismiss("it must go")
    assert clients.patience == (0.0, "it must go")
    clients.join("c", "three")
    assert clients.dismissed == ""


def kernel(generation: int, reason: str) -> KernelRecord:
    return KernelRecord(
        session_id="s", generation=generation, started=1.0, executable="p", python_version="3",
        support="own", end_reason=reason,
    )  # fmt: skip


def changed(number: int, generation: int, **names: Any) -> Any:
    return entry("x", number, generation=generation, details={"names": names})


@pytest.mark.parametrize(
    ("entries", "kernels", "before"),
    [
        ([], [], Before()),
        ([entry("x", 3, generation=0)], [], Before(number=3)),
        (
            [
                changed(1, 1, added={"old": "int"}),
                changed(2, 2, added={"x": "int", "y": "str"}),
                changed(3, 2, added={"z": "list 3"}, changed={"x": "float"}, gone=["y"]),
                entry("print(1)", 4, generation=2),
            ],
            [kernel(1, "exit code 1"), kernel(2, "server_died")],
            Before(number=4, generation=2, reason="the server died",
                   names={"x": "float", "z": "list 3"}),
        ),
        (
            [changed(1, 1, added="spoilt", gone="spoilt", changed=None)],
            [kernel(1, "signal SIGKILL")],
            Before(number=1, generation=1, reason="signal SIGKILL"),
        ),
    ],
    ids=["nothing", "no kernel", "names of the last kernel", "spoilt"],
)  # fmt: skip
def test_what_a_kernel_had_is_known_from_its_executions(
    entries: list[Any], kernels: list[KernelRecord], before: Before
) -> None:
    assert left_behind(entries, kernels) == before
