"""How far we have come with what a kernel sent, as it reads it."""

from pathlib import Path

import anyio

from kernel_exec.kernels.flow import Flow


def taken(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[:8], "little")


async def test_a_kernel_is_told_what_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    flow = Flow(path, lambda: 0)
    flow.take(5)  # before the kernel has made the file
    path.write_bytes(bytes(8))
    flow.take(7)
    assert taken(path) == 12
    flow.close()


async def test_it_is_told_of_no_progress_while_too_much_waits_to_be_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "taken"
    path.write_bytes(bytes(8))
    unwritten = 10**9
    flow = Flow(path, lambda: unwritten)
    flow.take(5)
    flow.take(6)
    assert taken(path) == 0

    unwritten = 0
    with anyio.fail_after(10):
        while taken(path) != 11:
            await anyio.lowlevel.checkpoint()
    flow.close()
