"""What the command line asks of a host, answered over an `App` in this process."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernel_exec.host.control import answer
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from tests.server.house import House, house
from tests.waits import FOR_EVER, patient

pytestmark = pytest.mark.kernel


class Asked:
    """A request that is being answered, and what came of it so far."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._news = anyio.Event()

    async def reply(self, message: JSONObject) -> None:
        self.messages.append(dict(message))
        self._news.set()
        self._news = anyio.Event()

    async def until(self, words: str) -> None:
        """Wait until it has said these words."""
        with anyio.fail_after(patient(20)):
            while words not in self.text:
                await self._news.wait()

    async def begin(self) -> None:
        """Wait until it has said anything: what comes now comes after its first look."""
        with anyio.fail_after(patient(20)):
            while not self.messages:
                await self._news.wait()

    @property
    def text(self) -> str:
        """All the text of it."""
        return "".join(message.get("text", "") for message in self.messages)


async def ask(here: House, command: str, **request: Any) -> list[dict[str, Any]]:
    """The messages of the answer, without its end."""
    asked = Asked()
    with anyio.fail_after(patient(30)):
        await answer(here.app, {"command": command, **request}, asked.reply)
    *messages, last = asked.messages
    assert last["end"] is True
    return [*messages, last] if "error" in last else messages


@asynccontextmanager
async def asking(here: House, command: str, **request: Any) -> AsyncIterator[Asked]:
    """A request whose answer goes on; leaving hangs up."""
    asked = Asked()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer, here.app, {"command": command, **request}, asked.reply)
        yield asked
        tasks.cancel_scope.cancel()


def text_of(messages: list[dict[str, Any]], stream: str = "stdout") -> str:
    return "".join(each["text"] for each in messages if each.get("stream") == stream)


async def test_sessions_are_described_with_their_clients_and_what_they_do(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with here.client("one", folder="/project") as one:
            await one.run("x = 1")
            begun = await one.run(FOR_EVER, wait_seconds=0)
            (answered,) = await ask(here, "sessions")
            (row,) = answered["sessions"]
            assert row["running"] in begun
            assert (row["name"], row["client"], row["connected"]) == ("main", "one", True)
            assert (row["folder"], row["environment"]) == ("/project", f"python:{sys.executable}")
            assert (row["state"], row["executions"]) == ("busy", 2)
            assert row["memory_bytes"] > 10_000_000
        ((row,),) = [each["sessions"] for each in await ask(here, "sessions")]
        assert (row["client"], row["connected"], row["state"]) == ("one", False, "busy")


async def test_code_of_a_person_runs_in_the_session_of_a_client_which_is_told(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here, here.client() as client:
        await client.run("x = 20")
        session = here.sessions[0]
        code = "import sys; print(x + 1); print('aside', file=sys.stderr); x * 2"
        begins, *messages, last = await ask(here, "run", session=session.id[:6], code=code)
        assert (begins["step"], begins["session"]) == (2, "main")
        assert text_of(messages) == "21\n40\n"
        assert text_of(messages, "stderr") == "aside\n"
        assert (last["outcome"], last["execution"]) == ("ok", begins["execution"])
        assert "kernel-exec run has run a step in session main" in await client.run("x")


async def test_a_new_session_has_the_settings_of_whoever_begins_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    order: dict[str, Any] = {
        "options": {"python_path": sys.executable, "working_directory": "."},
        "variables": {"PATH": "/nowhere", "KERNEL_EXEC_PASS_ENV": "OURS", "OURS": "passed"},
        "directory": str(place),
    }
    code = "import os; print(os.getcwd(), os.environ['OURS'])"
    async with house(tmp_path / "storage") as here:
        messages = await ask(here, "run", session="new", code=code, **order)
        assert text_of(messages) == f"{place} passed\n"
        again = await ask(here, "run", session="new", code="1 / 0")
        assert again[-1]["outcome"] == "exception"
        assert "ZeroDivisionError: division by zero" in text_of(again, "stderr")
        assert not here.sessions[0].clients.names


async def test_a_session_of_another_server_is_not_begun_here(tmp_path: Path) -> None:
    async with house(tmp_path) as here, house(tmp_path) as other, other.client() as client:
        await client.run("x = 1", session="theirs")
        (refused,) = await ask(here, "run", session="theirs", code="x")
        assert "session 'theirs' is open in another server" in refused["error"]
        assert here.sessions == []


async def test_a_picture_comes_as_it_was_drawn(tmp_path: Path) -> None:
    code = (
        "from IPython.display import Image\n"
        "from PIL import Image as Drawn\n"
        "import io; data = io.BytesIO(); Drawn.new('RGB', (3, 3)).save(data, 'png')\n"
        "Image(data.getvalue())"
    )
    async with house(tmp_path) as here, here.client() as client:
        await client.run("1", session="a")
        pictures = [each for each in await ask(here, "run", session="a", code=code)
                    if "picture" in each]  # fmt: skip
        assert [each["type"] for each in pictures] == ["image/png"]
        assert pictures[0]["picture"].startswith("iVBOR")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("mian", "no session 'mian'; there is "),
        ("main", "'main' may be any of main ("),
        ("", "no session ''; there is "),
    ],
)
async def test_a_session_that_can_not_be_told_is_refused_with_those_that_are_there(
    tmp_path: Path, wanted: str, told: str
) -> None:
    async with house(tmp_path) as here, here.client("a") as one, here.client("b") as other:
        await one.run("1")
        await other.run("1", session="lab")
        await other.run("1")
        for command in ("tail", "interrupt", "restart"):
            (refused,) = await ask(here, command, session=wanted)
            assert refused["error"].startswith(told)
            assert all(f"main ({each.id[:8]})" in refused["error"]
                       for each in here.sessions if each.name == "main")  # fmt: skip
        ((refused),) = await ask(here, "stop", sessions=["lab", wanted])
        assert "error" in refused
        assert [each.status().state for each in here.sessions] == ["idle", "idle", "idle"]


async def test_an_interrupt_keeps_the_kernel_and_a_restart_does_not(tmp_path: Path) -> None:
    async with house(tmp_path) as here, here.client() as client:
        await client.run("x = 1")
        await client.run(FOR_EVER, wait_seconds=0)
        (stopped,) = await ask(here, "interrupt", session="main")
        assert (stopped["step"], stopped["outcome"]) == (2, "interrupted")
        assert await ask(here, "interrupt", session="m") == [{"session": "main", "execution": None}]
        assert (await client.run("x")).startswith("1\n")
        (anew,) = await ask(here, "restart", session="main")
        assert (anew["generation"], anew["lost"]["x"]) == (2, "int")


async def test_a_stopped_session_ends_what_it_does_and_says_so_when_it_is_used_again(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here:
        async with here.client() as client:
            await client.run("x = 1")
            await client.run(FOR_EVER, wait_seconds=0)
            await client.run("x", wait_seconds=0)
            assert await ask(here, "stop", sessions=["main"]) == [{"stopped": ["main"]}]
            session = here.sessions[0]
            assert session.status().state == "dead"
            outcomes = [each.outcome for each in session.ledger.kept]
            assert outcomes == [Outcome.OK, Outcome.KERNEL_DIED, Outcome.INTERRUPTED]
            told = await client.run("1")
            assert "kernel 1 were lost (it was stopped on request): x int]" in told
            assert (await client.run("2")).startswith("2\n")
            await ask(here, "stop", sessions=["main"])
        await here.until_open(0)
        (refused,) = await ask(here, "tail", session="main")
        assert "has ended and has no kernel; `kernel-exec show` shows what it did" in str(
            refused["error"]
        )


async def test_a_kernel_that_is_starting_is_stopped_too(tmp_path: Path) -> None:
    async with house(tmp_path) as here, here.client() as client:
        await client.run("1", wait_seconds=0)
        await ask(here, "stop", sessions=["main"])
        session = here.sessions[0]
        (entry,) = session.ledger.kept
        ended = await session.wait(entry.id, patient(20))
        assert ended.outcome is not Outcome.OK
        assert (await client.run("6 * 7")).startswith("42\n")


async def test_a_tail_shows_the_last_lines_and_follows_what_comes(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with here.client() as client:
            await client.run("for i in range(100): print(f'line {i}')")
            async with asking(here, "tail", session="main", lines=3) as tail:
                await tail.until("line 99\n")
                assert tail.text == "line 97\nline 98\nline 99\n"
                await client.run("print('more'); import sys; print('aside', file=sys.stderr)")
                await tail.until("aside\n")
                assert [each["step"] for each in tail.messages if "title" in each] == [1, 2]
            async with asking(here, "tail", session="main", lines=0) as tail:
                await tail.begin()
                await client.run("print('again')")
                await tail.until("again\n")
                await ask(here, "stop", sessions=["main"])
        with anyio.fail_after(patient(20)):
            await here.until_open(0)


async def test_a_tail_ends_with_its_session(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with here.client() as client:
            await client.run("1")
        asked = Asked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, here.app, {"command": "tail", "session": "main"}, asked.reply)
            await ask(here, "stop", sessions=["main"])
        assert asked.messages[-1] == {"end": True}


async def test_what_is_no_command_is_refused_and_a_stop_of_all_ends_the_host(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here:
        assert await ask(here, "dance") == [{"error": "no such command: 'dance'", "end": True}]
        assert not here.app.stopping.is_set()
        assert await ask(here, "stop") == []
        assert here.app.stopping.is_set()
