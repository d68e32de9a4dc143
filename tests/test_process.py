"""The server as clients start it: a subprocess that speaks MCP on stdin and stdout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.kernel

MODERN = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Wire:
    """One server process, and its protocol line by line."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process = process
        self.stderr = stderr
        self._count = 0

    def send_raw(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.stderr.read_text()
        message: dict[str, Any] = json.loads(line)
        return message

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._count += 1
        message = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params or {}}
        self.send_raw(json.dumps(message).encode())
        while (answer := self.read()).get("id") != self._count:
            pass
        return answer

    def initialize(self, version: str = "2025-11-25") -> dict[str, Any]:
        answer = self.request(
            "initialize",
            {
                "protocolVersion": version,
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        )
        self.send_raw(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return answer

    def run(self, code: str) -> str:
        answer = self.request("tools/call", {"name": "execute_code", "arguments": {"code": code}})
        return "".join(block.get("text", "") for block in answer["result"]["content"])

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[Wire]:
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "kernel_exec", "--python-path", sys.executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={
                **os.environ,
                "CODE_STORAGE_DIR": str(folder / "storage"),
                "KERNEL_EXEC_CACHE": str(folder / "cache"),
                **variables,
            },
        )
    try:
        yield Wire(process, errors)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def wait_gone(processes: list[psutil.Process], seconds: float = 5) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_handshake_version_is_served_as_asked(tmp_path: Path, version: str) -> None:
    with started(tmp_path) as wire:
        answer = wire.initialize(version)
        assert answer["result"]["protocolVersion"] == version
        assert answer["result"]["serverInfo"]["name"] == "kernel-exec"
        assert len(answer["result"]["instructions"]) < 2048


def test_a_client_that_probes_and_then_initializes_is_served(tmp_path: Path) -> None:
    with started(tmp_path) as wire:
        probed = wire.request("server/discover", {"_meta": ENVELOPE})
        assert MODERN in probed["result"]["supportedVersions"]
        assert wire.initialize()["result"]["protocolVersion"] == "2025-11-25"
        assert wire.run("1 + 1").startswith("2\n")


def test_a_client_of_the_newest_protocol_is_served(tmp_path: Path) -> None:
    with started(tmp_path) as wire:
        wire.request("server/discover", {"_meta": ENVELOPE})
        answer = wire.request(
            "tools/call",
            {"name": "execute_code", "arguments": {"code": "1 + 1"}, "_meta": ENVELOPE},
        )
        assert answer["result"]["content"][0]["text"].startswith("2\n")


def test_nothing_but_the_protocol_reaches_stdout(tmp_path: Path) -> None:
    with started(tmp_path) as wire:
        wire.initialize()
        wire.run("import os; os.write(1, b'stray'); os.system('echo stray')")
        wire.run("import sys; sys.__stdout__.write('stray\\n'); sys.__stdout__.flush()")
        assert wire.request("ping")["result"] == {}
        for child in wire.below():
            descriptors = Path(f"/proc/{child.pid}/fd")
            if descriptors.is_dir():
                assert (descriptors / "0").readlink() == Path(os.devnull)


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
    with started(tmp_path) as wire:
        wire.initialize()
        wire.send_raw(BROKEN[kind])
        assert wire.request("ping")["result"] == {}


def test_a_message_of_many_megabytes_is_read(tmp_path: Path) -> None:
    with started(tmp_path) as wire:
        wire.initialize()
        answer = wire.request(
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
    with started(tmp_path) as wire:
        wire.initialize()
        wire.run(
            "import subprocess as s; s.Popen(['sleep', '60']);"
            " s.Popen(['sleep', '60'], start_new_session=True)"
        )
        below = wire.below()
        assert len(below) >= 4
        if (number := LEAVINGS[how]) is not None:
            wire.process.send_signal(number)
        else:
            assert wire.process.stdin is not None
            wire.process.stdin.close()
        assert wire.process.wait(5) == 0
        assert wait_gone(below, 1) == []
        assert not list((tmp_path / "storage" / ".kernel_exec").glob("*.lock-*"))


def test_leaving_while_code_runs_marks_it_in_the_history(tmp_path: Path) -> None:
    with started(tmp_path) as wire:
        wire.initialize()
        wire.run("x = 1")
        message = {
            "jsonrpc": "2.0",
            "id": 99,
            "method": "tools/call",
            "params": {
                "name": "execute_code",
                "arguments": {"code": "while True: pass", "wait_seconds": 60},
            },
        }
        wire.send_raw(json.dumps(message).encode())
        wire.request("ping")
        wire.process.send_signal(signal.SIGTERM)
        assert wire.process.wait(5) == 0
    with started(tmp_path) as wire:
        wire.initialize()
        assert wire.run("2").startswith("2\n")


@pytest.mark.parametrize("victim", ["server", "kernel"])
def test_a_kill_leaves_no_process_behind(tmp_path: Path, victim: str) -> None:
    with started(tmp_path) as wire:
        wire.initialize()
        wire.run(
            "import os, subprocess as s\n"
            "s.Popen(['sleep', '60'])\n"
            "s.Popen(['nohup', 'sleep', '60'])\n"
            "s.Popen(['sleep', '60'], start_new_session=True)\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0: os.execvp('sleep', ['sleep', '60'])\n"
            "    os._exit(0)"
        )
        below = wire.below()
        assert sum(child.name() == "sleep" for child in below) == 4
        if victim == "server":
            wire.process.kill()
            assert wait_gone(below) == []
        else:
            assert "kernel died" in wire.run("os.kill(os.getpid(), 9)")
            assert wait_gone(below) == []
            assert wire.run("1").startswith("1\n")


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
    with started(tmp_path, MY_SECRET=secret) as wire:
        wire.initialize()
        assert wire.run(look).startswith("[]\nnames: ")
