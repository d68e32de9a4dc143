"""A kernel that passes a limit ends and says so; the others live."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_exec.kernels.limits import available_memory
from tests.promises.conftest import Agent
from tests.wire import Server, serving

from .holding import require_walls

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    with serving(
        folder, "--python-path", sys.executable, "--memory-limit", "400",
        "--file-size-limit", "1",
    ) as server:  # fmt: skip
        yield server


@pytest.fixture
def agent(server: Server) -> Iterator[Agent]:
    agent = Agent(server)
    yield agent
    agent.close()


other = agent


def test_memory(agent: Agent, other: Agent) -> None:
    other.run("other = 1")
    agent.run("small = bytearray(50_000_000)")

    died = agent.run("big = []\nwhile True:\n    big.append(bytearray(b'x' * 3_000_000))")

    assert died.outcome == "kernel_died"
    assert "memory limit of 400 MB: its processes held " in died.text
    assert "small" in died.text
    assert other.run("other").text.startswith("1\n")


def test_memory_of_children(agent: Agent) -> None:
    died = agent.run(
        "import subprocess, sys\n"
        "code = 'b = []\\nwhile True: b.append(bytearray(b\"x\" * 3_000_000))'\n"
        "subprocess.run([sys.executable, '-c', code])"
    )

    assert "memory limit of 400 MB" in died.text


def test_shared_memory_counts_once(agent: Agent) -> None:
    result = agent.run(
        "import os, time\n"
        "held = bytearray(b'x' * 150_000_000)\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(1); os._exit(0)\n"
        "time.sleep(1.2)"
    )

    assert result.outcome == "ok", result.text


def test_the_size_of_a_file(agent: Agent) -> None:
    large = agent.run("open('f', 'wb').write(bytes(2_000_000))")
    assert "File too large" in large.text
    assert agent.run("open('g', 'wb').write(bytes(1_000))").outcome == "ok"


def test_processes(tmp_path: Path) -> None:
    require_walls()
    with serving(
        tmp_path, "--python-path", sys.executable, "--sandbox", "workspace",
        "--process-limit", "40",
    ) as server:  # fmt: skip
        result = server.run(
            "import os, time\nfor _ in range(80):\n    if os.fork() == 0:\n"
            "        time.sleep(5); os._exit(0)\ntime.sleep(3)"
        )

    # of root the system counts no processes, so its kernel is ended
    expected = "process limit of 40" if os.geteuid() == 0 else "Resource temporarily unavailable"
    assert expected in result.text


def test_limits_and_walls_are_shown(agent: Agent) -> None:
    agent.run("1")

    status = agent.call("kernel_status")

    assert "sandbox off, code has the user's rights, memory 400.0 MB, files 1.0 MB" in status.text
    assert status.structured["sandbox"]["limits"]["memory"] == 400_000_000
    assert "sandbox off" in agent.server.call("get_environment_config").text


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "9", "memory.current": "7", "memory.stat": "a 1 inactive_file 5"}, 7),
        ({"memory.max": "9", "memory.current": "70", "memory.stat": "inactive_file 5\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "100",
                "memory/memory.stat": "inactive_file 0",
            },
            800,
        ),
        ({"memory.max": "max", "memory.current": "7", "memory.stat": "inactive_file 5"}, None),
        ({"memory.max": "900", "memory.current": "700"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_container_with_a_limit_has_no_more_left_than_that(
    tmp_path: Path, files: dict[str, str], left: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    found = available_memory(tmp_path)
    assert found == left if left is not None else found > 10_000_000
