"""A server in a process of its own, as clients start it, and a client whose every wait ends.

What comes back is read in a thread, so that calls may overlap and a client may be slow on purpose.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kernel_exec.errors import BusyError
from kernel_exec.host.client import open_host
from tests.shared import CACHE
from tests.waits import patient, wait_gone

LATEST = "2025-11-25"
"""The newest protocol that begins with a handshake."""

IN_PROCESS = "--in-process"
SERVE = ("serve", *os.environ.get("KERNEL_EXEC_TEST_SERVE", IN_PROCESS).split())
"""What tests start: most look at the server's own process. With "" a host serves them."""

PATIENCE = 30.0
"""Seconds that an answer may take where a test does not say less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a tool answered, and after how many seconds."""

    text: str
    is_error: bool
    meta: dict[str, Any]
    content: list[dict[str, Any]]
    structured: dict[str, Any]
    seconds: float

    @property
    def outcome(self) -> str:
        """The execution's outcome."""
        return str(self.meta["outcome"])

    @property
    def id(self) -> str:
        """The execution's id."""
        return str(self.meta["execution_id"])


class Server:
    """One server process, and its protocol line by line."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process = process
        self.stderr = stderr
        self.notifications: list[dict[str, Any]] = []
        self._count = 0
        self._answers: dict[object, dict[str, Any]] = {}
        self._over = False
        self._news = threading.Condition()
        self._reading = threading.Event()
        self._reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # The protocol

    def send_raw(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def notify(self, method: str, **params: object) -> None:
        self.send_raw(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def begin(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request; its id."""
        self._count += 1
        message = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params or {}}
        self.send_raw(json.dumps(message).encode())
        return self._count

    def answer(self, number: object, *, within: float = PATIENCE) -> dict[str, Any]:
        """The answer to request `number`, within that many seconds of an idle machine."""
        within = patient(within)
        with self._news:
            came = self._news.wait_for(lambda: number in self._answers or self._over, within)
            assert number in self._answers, (
                f"no answer within {within} s" if not came else self.stderr.read_text()
            )
            return self._answers.pop(number)

    def has_answered(self, number: object) -> bool:
        """True when an answer to request `number` waits to be read."""
        with self._news:
            return number in self._answers

    def request(
        self, method: str, params: dict[str, Any] | None = None, *, within: float = PATIENCE
    ) -> dict[str, Any]:
        return self.answer(self.begin(method, params), within=within)

    def initialize(self, version: str = LATEST) -> dict[str, Any]:
        answer = self.request(
            "initialize",
            {
                "protocolVersion": version,
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        )
        self.notify("notifications/initialized")
        return answer

    def pause(self) -> None:
        """Read nothing more, so that the pipe fills."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    # The tools

    def begin_call(self, tool: str, **arguments: object) -> int:
        return self.begin("tools/call", {"name": tool, "arguments": arguments})

    def result(self, number: int, *, within: float = PATIENCE) -> Result:
        """What the call `number` answered."""
        began = time.monotonic()
        answer = self.answer(number, within=within)
        assert "result" in answer, answer
        result = answer["result"]
        return Result(
            text="".join(block.get("text", "") for block in result["content"]),
            is_error=result.get("isError", False),
            meta=result.get("_meta", {}).get("kernel-exec", {}),
            content=result["content"],
            structured=result.get("structuredContent", {}),
            seconds=time.monotonic() - began,
        )

    def call(self, tool: str, *, within: float = PATIENCE, **arguments: object) -> Result:
        return self.result(self.begin_call(tool, **arguments), within=within)

    def run(self, code: str, *, within: float = PATIENCE, **arguments: object) -> Result:
        return self.call("execute_code", within=within, code=code, **arguments)

    # The process

    def below(self) -> list[psutil.Process]:
        """The processes that the server has started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def memory(self) -> float:
        """The server's resident memory, in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def leave(self, *, within: float = 5) -> int:
        """Close its stdin; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(patient(within))

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.resume()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._reading.wait()
            if not line.endswith(b"\n"):  # it was killed
                break
            message = json.loads(line)
            with self._news:
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self.notifications.append(message)
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()


@contextmanager
def started(
    folder: Path,
    *options: str,
    prefix: Sequence[str] = (),
    command: Sequence[str] = SERVE,
    **variables: str,
) -> Iterator[Server]:
    """A server that keeps all but its cache below `folder` and has not been spoken to yet.

    Its kernels are those of the Python that runs the tests, unless `options` say otherwise.
    `prefix` is the command that starts it, `command` the one that it carries out; with one of its
    own, a test ends the host itself.
    """
    errors = folder / "stderr"
    with errors.open("ab") as stderr:
        process = subprocess.Popen(
            [
                *prefix,
                *(sys.executable, "-m", "kernel_exec", *command),
                *(options or ("--python-path", sys.executable)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={
                **os.environ,
                "CODE_STORAGE_DIR": str(folder / "storage"),
                "KERNEL_EXEC_CACHE": str(CACHE),
                "KERNEL_EXEC_SPARE_KERNELS": "0",  # tests count processes and folders
                **variables,
            },
        )
    server = Server(process, errors)
    try:
        yield server
    finally:
        server.close()
        if command is SERVE and IN_PROCESS not in SERVE:
            end_host(Path(variables.get("CODE_STORAGE_DIR", folder / "storage")))


@contextmanager
def serving(
    folder: Path,
    *options: str,
    prefix: Sequence[str] = (),
    command: Sequence[str] = SERVE,
    **variables: str,
) -> Iterator[Server]:
    """A server that has been greeted."""
    with started(folder, *options, prefix=prefix, command=command, **variables) as server:
        server.initialize()
        yield server


def end_host(root: Path) -> None:
    """End the host process of a storage root, if one runs that is not just leaving."""
    try:
        host = open_host(root)
    except BusyError:
        return
    if host is not None:
        with host:
            process = psutil.Process(host.pid)
            list(host.ask({"command": "stop"}))
        assert wait_gone([process], within=10) == []


def unshared() -> list[str]:
    """A prefix that gives a program a PID namespace of its own, as a container has; or nothing."""
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        subprocess.run([*prefix, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return prefix
