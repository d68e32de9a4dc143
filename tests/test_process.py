"""The server as clients start it: a subprocess that speaks MCP on stdin and stdout."""

import os
import signal
import sys
import time
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


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_handshake_version_is_served_as_asked(tmp_path: Path, version: str) -> None:
    with started(tmp_path) as server:
        answer = server.initialize(version)
        assert answer["result"]["protocolVersion"] == version
        assert answer["result"]["serverInfo"]["name"] == "kernel-exec"
        assert len(answer["result"]["instructions"]) < 2048


def test_a_client_that_probes_and_then_initializes_is_served(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        probed = server.request("server/discover", {"_meta": ENVELOPE})
        assert MODERN in probed["result"]["supportedVersions"]
        assert server.initialize()["result"]["protocolVersion"] == "2025-11-25"
        assert server.run("1 + 1").text.startswith("2\n")


def test_a_client_of_the_newest_protocol_is_served(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        server.request("server/discover", {"_meta": ENVELOPE})
        answer = server.request(
            "tools/call",
            {"name": "execute_code", "arguments": {"code": "1 + 1"}, "_meta": ENVELOPE},
        )
        assert answer["result"]["content"][0]["text"].startswith("2\n")


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


BROKEN = {
    "no JSON": b"{nonsense",
    "invalid UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}',
    "an empty line": b"",
    "a batch": b'[{"jsonrpc": "2.0", "id": 7, "method": "ping"}]',
    "a number": b"42",
    "deep nesting": b"[" * 5000 + b"]" * 5000,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_line_costs_nothing(tmp_path: Path, kind: str) -> None:
    with serving(tmp_path) as server:
        server.send_raw(BROKEN[kind])
        assert server.request("ping")["result"] == {}


def test_a_message_of_many_megabytes_is_read(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        answer = server.request(
            "tools/call", {"name": "add_note", "arguments": {"markdown": "x" * 30_000_000}}
        )
        assert answer["result"]["isError"]
        assert "markdown" in answer["result"]["content"][0]["text"]


LEAVINGS = {
    "end of input": None,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
}


@pytest.mark.parametrize("how", LEAVINGS)
def test_leaving_takes_the_kernels_along(tmp_path: Path, how: str) -> None:
    with serving(tmp_path) as server:
        server.run(
            "import subprocess as s; s.Popen(['sleep', '60']);"
            " s.Popen(['sleep', '60'], start_new_session=True)"
        )
        below = server.below()
        assert len(below) >= 4
        if (number := LEAVINGS[how]) is not None:
            server.process.send_signal(number)
            assert server.process.wait(patient(5)) == 0
        else:
            assert server.leave() == 0
        assert wait_gone(below) == []
        assert not list((tmp_path / "storage" / ".kernel_exec").glob("*.lock-*"))


def test_leaving_while_code_runs_marks_it_in_the_history(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("x = 1")
        server.begin_call("execute_code", code="while True: pass", wait_seconds=60)
        server.request("ping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(patient(5)) == 0
    with serving(tmp_path) as server:
        assert server.run("2").text.startswith("2\n")


@pytest.mark.parametrize("victim", ["server", "kernel"])
def test_a_kill_leaves_no_process_behind(tmp_path: Path, victim: str) -> None:
    with serving(tmp_path) as server:
        server.run(
            "import os, subprocess as s\n"
            "s.Popen(['sleep', '60'])\n"
            "s.Popen(['nohup', 'sleep', '60'])\n"
            "s.Popen(['sleep', '60'], start_new_session=True)\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0: os.execvp('sleep', ['sleep', '60'])\n"
            "    os._exit(0)"
        )
        limit = time.monotonic() + patient(5)
        below = server.below()
        while sum(child.name() == "sleep" for child in below) < 4:
            assert time.monotonic() < limit  # the last of them has yet to become what it is
            below = server.below()
        if victim == "server":
            server.process.kill()
            assert wait_gone(below) == []
        else:
            assert "kernel died" in server.run("os.kill(os.getpid(), 9)").text
            left = [each for each in wait_gone(below) if "warden" not in each.cmdline()]
            assert left == []
            assert server.run("1").text.startswith("1\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")
def test_code_can_not_read_the_servers_variables(tmp_path: Path) -> None:
    look = """
import os, pathlib
print([name for name in os.environ if "SECRET" in name])
for process in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        if b"no-cell-sees-this"[::-1] in process.read_bytes():
            print("in", process)
    except OSError:
        pass
"""
    secret = "no-cell-sees-this"[::-1]  # the client of this test is another process, and has none
    with serving(tmp_path, MY_SECRET=secret) as server:
        assert server.run(look).text.startswith("[]\nnames: ")
