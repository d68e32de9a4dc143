"""Lines from pieces, and stdin and stdout taken for the protocol."""

import os
import pty
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.host.wire import Lines

ROOT = Path(__file__).parents[2]
ECHO = """
import os, anyio
from kernel_exec.host.wire import open_wire
async def main():
    with open_wire() as wire:
        async for line in wire.lines():
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


def test_a_line_beyond_the_limit_is_left_out_and_the_next_one_is_whole() -> None:
    lines = Lines(limit=5)
    assert list(lines.feed(b"12345\n123")) == [b"12345"]
    assert list(lines.feed(b"456")) == []
    assert list(lines.feed(b"7\n123\n")) == [b"123"]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_standard_descriptors_that_are_closed_are_no_reason_to_fail(
    closed: tuple[int, ...],
) -> None:
    program = f"""
import os
for each in {closed}: os.close(each)
from kernel_exec.host.wire import fill_standard_descriptors
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
