"""Sessions that outlive their clients: several connections, one after the other, over one `App`."""

import re
import sys
from pathlib import Path

import pytest

from tests.server.house import house
from tests.waits import Gate

pytestmark = pytest.mark.kernel


# The default session


async def test_a_client_that_comes_back_finds_its_variables_and_is_told(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with here.client() as first:
            assert "continues" not in await first.run("x = 6; y = 7")
        async with here.client() as again:
            told = await again.run("print(x * y)")
            assert told.startswith("42\n")
            assert re.search(
                r"step 2 · .*session main continues: kernel 1 since [-\d]+ [\d:]+, 2 names,"
                r" latest step 1: ok \(id \w+\)\]$",
                told.strip(),
            ), told
            assert "continues" not in await again.run("x")


async def test_what_runs_on_is_found_again_with_all_that_it_put_out(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    async with house(tmp_path / "storage") as here:
        async with here.client() as first:
            await first.run(f"print('before')\n{gate.passing}print('after')", wait_seconds=0)
        gate.open()
        async with here.client() as again:
            assert (await again.call("get_execution", wait_seconds=30)).startswith(
                "before\nafter\n"
            )
        async with here.client() as again:
            assert "session main continues: kernel 1 since " in await again.call("kernel_status")
            assert (await again.call("get_execution")).startswith("before\nafter\n")


@pytest.mark.parametrize(
    ("name", "folder"), [("other", "/a"), ("agent", "/b")], ids=["another name", "another folder"]
)
async def test_another_client_gets_a_session_of_its_own(
    tmp_path: Path, name: str, folder: str
) -> None:
    async with house(tmp_path) as here:
        async with here.client() as first:
            await first.run("x = 1")
        async with here.client(name, folder=folder) as other:
            assert "NameError" in await other.run("x")
        async with here.client() as again:
            assert (await again.run("x")).startswith("1\n")


async def test_two_that_look_the_same_never_share_while_both_are_there(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with here.client() as one, here.client() as other:
            await one.run("x = 1")
            assert "NameError" in await other.run("x")
            await other.run("x = 2")
            await one.run("x")
        async with here.client() as one:
            assert (await one.run("x")).startswith("1\n")
            async with here.client() as other:
                assert (await other.run("x")).startswith("2\n")
        assert len(here.sessions) == 2


async def test_an_environment_that_was_left_has_its_session_again_too(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    async with house(tmp_path / "storage") as here:
        async with here.client() as first:
            await first.run("x = 1")
            await first.call("configure_environment", type="python", python_path=str(python))
            await first.run("x = 2")
        async with here.client() as again:
            assert (await again.run("x")).startswith("1\n")
            await again.call("configure_environment", type="python", python_path=str(python))
            assert (await again.run("x")).startswith("2\n")


async def test_the_end_of_a_host_is_told_to_whoever_comes_back(tmp_path: Path) -> None:
    for ending in ("the host ended", "the server ended"):
        async with house(tmp_path, ending=ending) as here, here.client() as client:
            await client.run("x = 1")
        async with house(tmp_path) as here, here.client() as client:
            told = await client.run("1")
            assert ("of kernel 1 were lost (the host ended): x int]" in told) is (
                ending == "the host ended"
            )


# Kernels that nobody is connected to


async def test_a_kernel_ends_some_time_after_its_last_client_has_left(tmp_path: Path) -> None:
    async with house(tmp_path, detached_limit="0.3") as here:
        async with here.client() as first:
            await first.run("import math\nx = 1; big = [0] * 10")
            assert (await first.run("x")).startswith("1\n")
        await here.until_open(0)
        async with here.client() as again:
            assert (await again.call("get_execution")).startswith("1\n")
            told = await again.run("x")
            assert (
                "[new kernel; variables of kernel 1 were lost (it had nothing to do for 0 seconds"
                " and no client was connected): "
            ) in told
            assert re.search(r"connected\): .*\bx int.*\bbig list", told)
            assert "step 3" in told


async def test_what_runs_is_not_ended_for_want_of_a_client(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    async with house(tmp_path / "storage", detached_limit="0.1") as here:
        async with here.client() as first:
            await first.run("x = 1")
            await first.run(f"{gate.passing}print('done')", wait_seconds=0)
        async with here.client("other") as other:
            await other.run("import threading; threading.Event().wait(0.3)")
            assert here.sessions[0].status().state == "busy"
        gate.open()
        await here.until_open(0)
        async with here.client() as again:
            assert (await again.call("get_execution")).startswith("done\n")


async def test_at_the_limit_the_kernel_that_is_idle_for_longest_makes_room(tmp_path: Path) -> None:
    async with house(tmp_path, max_kernels="3") as here:
        for name in ("first", "second"):
            async with here.client(name) as client:
                await client.run("x = 1")
        async with here.client("third") as third, here.client("fourth") as fourth:
            await third.run("x = 3")
            assert (await fourth.run("6 * 7")).startswith("42\n")
            assert (await third.run("x")).startswith("3\n")
            async with here.client("second") as second:
                assert (await second.run("x")).startswith("1\n")
                refused = await third.run("1", session="another")
                assert "allows 3 kernels, and as many are running (3 sessions)" in refused
                assert all(f"main of {name} " in refused for name in ("second", "third", "fourth"))
                assert "`kernel-exec stop` ends one" in refused
        async with here.client("first") as first:
            told = await first.run("x")
            assert "it made room for another kernel while no client was connected): x int" in told


async def test_sessions_of_clients_that_came_and_went_leave_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, max_kernels="1") as here:
        for number in range(5):
            async with here.client(f"client {number}") as client:
                await client.run("1")
                await client.call("kernel_status", session="main")
        await here.until_open(1)
        leases = list((tmp_path / ".kernel_exec" / "sessions").iterdir())
        assert [lease.stem for lease in leases] == [here.sessions[0].id]


# Sessions that are shared


async def test_a_result_says_that_another_client_has_run_something_there(tmp_path: Path) -> None:
    async with house(tmp_path) as here, here.client("one") as one, here.client("other") as other:
        await one.run("x = 1", session="both")
        assert "session both continues: kernel 1" in await other.run("x = 2", session="both")
        await other.call("add_note", markdown="seen", session="both")
        told = await one.run("x", session="both")
        assert told.startswith("2\n")
        assert re.search(
            r"other 1 has run a step in session both since your last one, the latest is step 2",
            told,
        )
        assert "since your last one" not in await one.run("x", session="both")
        for _ in range(3):
            await one.run("x", session="both")
        assert "one 1 has run 5 steps" in await other.run("x", session="both")


async def test_the_default_sessions_of_others_are_listed_by_their_ids(tmp_path: Path) -> None:
    async with house(tmp_path) as here, here.client("one") as one, here.client("other") as other:
        await one.run("1")
        await one.run("1", session="named")
        await other.run("2")
        theirs = here.sessions[0].id
        listed = await other.call("export_notebook")
        assert f'export_notebook(session="{theirs}")' in listed
        assert 'export_notebook(session="named")' in listed
