"""Lines from pieces, and stdin and stdout taken for the protocol."""

import os
import pty
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.host.wire import Lines, ReadAhead, TooLong, Wire
from tests.waits import patient

ROOT = Path(__file__).parents[2]
ECHO = """
import os, anyio
from kernel_exec.host.wire import lines_of, open_wire
async def main():
    with open_wire() as wire:
        async for line in lines_of(wire.chunks()):
            await wire.send(b"heard " + line)
anyio.run(main)
"""


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_lines_do_not_depend_on_how_they_arrive(sent: bytes, cuts: list[int]) -> None:
    lines = Lines()
    places = [0, *sorted(cuts), len(sent)]
    chunks = [sent[begin:stop] for begin, stop in pairwise(places)]
    got = [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.rest())
    assert got == [line for line in sent.split(b"\n") if line]


def test_a_line_beyond_the_limit_is_told_by_its_ends_and_the_next_one_is_whole() -> None:
    lines = Lines(limit=2000)
    assert list(lines.feed(b"x" * 2000 + b"\n" + b"a" * 1000)) == [b"x" * 2000]
    assert list(lines.feed(b"b" * 1500)) == []
    for _ in range(1000):
        assert list(lines.feed(b"c" * 1000)) == []
    told, following = lines.feed(b"d\n123\n")
    assert told == TooLong(size=1_002_501, limit=2000, begins=b"a" * 500, ends=b"c" * 499 + b"d")
    assert following == b"123"


async def test_no_more_is_read_ahead_than_the_limit_until_it_is_used() -> None:
    read, asked = ReadAhead(limit=10), []

    async def source() -> AsyncIterator[bytes]:
        for at in range(100):
            asked.append(at)
            yield b"1234"

    with anyio.fail_after(patient(30)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read.fill, source())
            await anyio.wait_all_tasks_blocked()
            assert len(asked) == 3
            assert b"".join([chunk async for chunk in read]) == b"1234" * 100


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_standard_descriptors_that_are_closed_are_no_reason_to_fail(
    closed: tuple[int, ...],
) -> None:
    program = f"""
import os
for each in {closed}: os.close(each)
from kernel_exec.relay.relay import fill_standard_descriptors
fill_standard_descriptors()
{ECHO}
print('nowhere', flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        input=b"",
        stdout=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_terminal_serves_as_well_and_blocks_again_afterwards() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], cwd=ROOT, stdin=theirs, stdout=theirs
    ) as process:
        os.write(ours, b"ping\n")
        seen = b""
        while b"heard ping" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, b"\x04")
        assert process.wait() == 0
    assert os.get_blocking(theirs)
    os.close(ours)
    os.close(theirs)


async def test_a_line_is_written_whole_and_in_turn_also_when_its_sender_leaves() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        wire = Wire(reading=theirs.fileno(), writing=theirs.fileno())
        with anyio.move_on_after(0.05) as left:
            await wire.send(b"a" * 5_000_000)
        assert left.cancelled_caught
        assert wire.unsent == 1
        expected = b"a" * 5_000_000 + b"\nb\n"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.send, b"b")
            received = await anyio.to_thread.run_sync(ours.recv, len(expected), socket.MSG_WAITALL)
        assert received == expected
        assert wire.unsent == 0


async def test_whoever_speaks_to_a_client_that_is_gone_hears_of_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        wire = Wire(reading=theirs.fileno(), writing=theirs.fileno())
        with anyio.move_on_after(0.05):
            await wire.send(b"a" * 5_000_000)
        ours.close()
        with anyio.fail_after(patient(10)), pytest.raises(OSError, match=r"pipe|reset"):
            await wire.send(b"b")
        wire.close()
