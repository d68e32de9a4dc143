"""One server for the tests of a module; each has a session of its own, and ends its kernel."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import psutil
import pytest

from tests.waits import wait_gone
from tests.wire import PATIENCE, Result, Server, serving

_numbers = count(1)


@dataclass
class Agent:
    """Calls the tools for one session."""

    server: Server
    session: str = field(default_factory=lambda: f"s{next(_numbers)}")

    def run(self, code: str, *, within: float = PATIENCE, **arguments: object) -> Result:
        return self.call("execute_code", within=within, code=code, **arguments)

    def call(self, tool: str, *, within: float = PATIENCE, **arguments: object) -> Result:
        return self.server.call(tool, within=within, session=self.session, **arguments)

    def begin(self, code: str, **arguments: object) -> int:
        """Send an `execute_code` and do not wait; `server.result` has its answer."""
        return self.server.begin_call("execute_code", code=code, session=self.session, **arguments)

    def pid(self) -> int | None:
        """The kernel's process id, while there is one."""
        pid = self.call("kernel_status").structured.get("pid")
        return pid if isinstance(pid, int) else None

    def still_works(self) -> None:
        """The next cell runs as if nothing had been."""
        assert self.run("print(6 * 7)", within=10).text.startswith("42\n")

    def close(self) -> None:
        """End the kernel with all that it started."""
        if (pid := self.pid()) is None:
            return
        kernel = psutil.Process(pid)
        guardian = kernel.parent()
        assert guardian is not None
        kernel.kill()
        assert wait_gone([guardian]) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), KERNEL_EXEC_MAX_KERNELS="100") as server:
        yield server


@pytest.fixture
def agent(server: Server) -> Iterator[Agent]:
    agent = Agent(server)
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Agent]:
    """A session for all that leaves its kernel as it was."""
    agent = Agent(server)
    agent.run("1")
    yield agent
    agent.close()
