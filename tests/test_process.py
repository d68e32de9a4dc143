"""The server as clients start it: a subprocess that speaks MCP on stdin and stdout."""

import os
import signal
from pathlib import Path

import pytest

from tests.waits import patient, wait_gone
from tests.wire import serving, started

pytestmark = pytest.mark.kernel

MODERN = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def test_a_client_that_probes_and_then_initializes_is_served(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        probed = server.request("server/discover", {"_meta": ENVELOPE})
        assert MODERN in probed["result"]["supportedVersions"]
        assert server.initialize()["result"]["protocolVersion"] == "2025-11-25"
        assert server.run("1 + 1").text.startswith("2\n")


def test_nothing_but_the_protocol_reaches_stdout(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("import os; os.write(1, b'stray'); os.system('echo stray')")
        server.run("import sys; sys.__stdout__.write('stray\\n'); sys.__stdout__.flush()")
        assert server.request("ping")["result"] == {}
        assert server.process.stdin is not None
        assert server.process.stdout is not None
        protocol = {os.fstat(server.process.stdin.fileno()).st_ino}
        protocol.add(os.fstat(server.process.stdout.fileno()).st_ino)
        for child in server.below():
            descriptors = Path(f"/proc/{child.pid}/fd")
            if descriptors.is_dir():
                assert not protocol & {(descriptors / name).stat().st_ino for name in "012"}


LEAVINGS = {
    "end of input": ("2024-11-05", None),
    "SIGTERM": ("2025-03-26", signal.SIGTERM),
    "SIGINT": ("2025-06-18", signal.SIGINT),
    "SIGHUP": ("2025-11-25", signal.SIGHUP),
}
"""Each with another version of the protocol."""


@pytest.mark.parametrize("how", LEAVINGS)
def test_leaving_takes_the_kernels_along(tmp_path: Path, how: str) -> None:
    version, number = LEAVINGS[how]
    with started(tmp_path) as server:
        greeted = server.initialize(version)["result"]
        assert greeted["protocolVersion"] == version
        assert greeted["serverInfo"]["name"] == "kernel-exec"
        assert len(greeted["instructions"]) < 2048
        server.run(
            "import subprocess as s; s.Popen(['sleep', '60']);"
            " s.Popen(['sleep', '60'], start_new_session=True)"
        )
        server.begin_call("execute_code", code="while True: pass", wait_seconds=60)
        server.request("ping")
        below = server.below()
        assert len(below) >= 4
        if number is not None:
            server.process.send_signal(number)
            assert server.process.wait(patient(5)) == 0
        else:
            assert server.leave() == 0
        assert wait_gone(below) == []
        assert not list((tmp_path / "storage" / ".kernel_exec").glob("*.lock-*"))
