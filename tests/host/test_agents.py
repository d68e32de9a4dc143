"""Agents as they were measured: how each starts a server, speaks to it and ends it.

Started again in the same folder each finds its variables, and none has ended the host.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host.test_relay import RELAYED, host_of
from tests.promises.test_protocol import ENVELOPE
from tests.shared import CACHE
from tests.waits import patient
from tests.wire import Server, end_host, started

pytestmark = pytest.mark.kernel

STRIPPED = ("HOME", "LANG", "PATH", "SHELL", "TERM")
"""All that Codex passes on, besides what is configured for the server."""


def interrupted(server: Server) -> None:
    """SIGINT, and SIGTERM a moment later whether the server has ended or not."""
    server.process.send_signal(signal.SIGINT)
    server.process.send_signal(signal.SIGTERM)


def group_ended(server: Server) -> None:
    os.killpg(server.process.pid, signal.SIGTERM)
    close(server)


def terminated(server: Server) -> None:
    server.process.terminate()


def close(server: Server) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """`version` "" is for one that begins with `server/discover`."""

    version: str
    end: Callable[[Server], None]
    strips: bool = False
    has_group: bool = False


AGENTS = {
    "claude": Agent(version="", end=interrupted),
    "codex": Agent(version="2025-06-18", end=group_ended, strips=True, has_group=True),
    "gemini": Agent(version="2025-06-18", end=terminated),
    "copilot": Agent(version="", end=terminated),
    "opencode": Agent(version="2025-11-25", end=close),
}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_is_started_again_has_its_variables(tmp_path: Path, name: str) -> None:
    agent, root = AGENTS[name], tmp_path / "storage"
    prefix = ["setsid"] if agent.has_group else []
    if agent.strips:
        kept = {each: os.environ[each] for each in STRIPPED if each in os.environ}
        given = {**kept, "CODE_STORAGE_DIR": str(root), "KERNEL_EXEC_CACHE": str(CACHE)}
        given["KERNEL_EXEC_PYTHON_PATH"] = sys.executable
        prefix += ["env", "-i", *(f"{key}={value}" for key, value in given.items())]
    try:
        texts, hosts = [], set()
        for code in ("x = 41", "print(x + 1)"):
            with started(
                tmp_path,
                prefix=prefix,
                command=RELAYED,
                KERNEL_EXEC_PYTHON_PATH=sys.executable,
                **{} if agent.strips else {"NODE_OPTIONS": "--no-warnings"},
            ) as server:
                texts.append(conversation(server, agent, code))
                agent.end(server)
                assert server.process.wait(patient(5)) == 0
                hosts.add(host_of(root))
        assert texts[1].startswith("42\n")
        assert "session main continues" in texts[1]
        assert hosts == {host_of(root)}
    finally:
        end_host(root)


def conversation(server: Server, agent: Agent, code: str) -> str:
    """The agent begins, lists at once all that it may, and runs `code`."""
    meta = {} if agent.version else {"_meta": ENVELOPE}
    if agent.version:
        server.initialize(agent.version)
    else:
        server.request("server/discover", meta)
    lists = [server.begin(f"{each}/list", meta) for each in ("tools", "prompts", "resources")]
    call = {"name": "execute_code", "arguments": {"code": code}, **meta}
    number = server.begin("tools/call", call)
    assert len(server.answer(lists[0])["result"]["tools"]) >= 9
    return server.result(number).text
