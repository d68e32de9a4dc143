"""`kernel-exec serve --http` as a person starts it, and what becomes of the door when it ends."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import click
import psutil
import pytest

from kernel_exec.cli.serve import serve
from kernel_exec.http.door import _listening
from kernel_exec.http.rules import Asked
from kernel_exec.places import Places
from tests.http.web import NEWEST, Line
from tests.shared import CACHE
from tests.waits import comes_true, patient, wait_until
from tests.wire import end_host

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and modes of files"),
]

REQUESTS = 10_000 if os.environ.get("KERNEL_EXEC_TEST_FULL") else 200
GROWTH = 30_000_000
"""Bytes that a server may take in addition for any number of requests."""

ROOT = () if os.geteuid() else ("--allow-root",)


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "kernel_exec", "serve", "--http", *options,
            "--storage-dir", str(folder / "storage"), "--python-path", sys.executable]  # fmt: skip


VARIABLES = {**os.environ, "KERNEL_EXEC_CACHE": str(CACHE)}


class Serving:
    """A command that serves, and a connection to what it has opened."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.stderr = folder / "stderr"
        wait_until(lambda: b"\n" in self.stderr.read_bytes() or process.poll() is not None)
        found = re.search(r"(https?)://([^/\s]+)/mcp", self.said)
        assert found, self.said
        self.scheme, self.address = found.groups()
        self.port = int(self.address.rpartition(":")[2])

    @property
    def said(self) -> str:
        return self.stderr.read_text()

    @property
    def token(self) -> str:
        file = self.folder / "storage" / ".kernel_exec" / "http_token"
        assert str(file) in self.said
        return file.read_text().strip()

    def run(self, code: str) -> str:
        """The line that some code puts out."""
        with Line(self.address, self.token) as line:
            return line.run(code)

    @property
    def is_open(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(patient(10))


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serving]:
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command(folder, *ROOT, *options), stderr=stderr, stdin=subprocess.DEVNULL,
            env=VARIABLES, cwd=folder,
        )  # fmt: skip
    try:
        yield Serving(process, folder)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def no_host_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_host(tmp_path / "storage")


def test_the_host_process_opens_the_door_and_closes_it_when_the_command_ends(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--port", "0") as first:
        assert first.run("x = 40; print(x + 2)") == "42"
        assert first.end(signal.SIGINT) == 0
        assert not first.is_open
        with serving(tmp_path, "--port", str(first.port)) as second:
            assert second.run("print(x)") == "40"
            second.process.kill()
            wait_until(lambda: not second.is_open, within=5)
        with serving(tmp_path, "--port", "0") as third:
            assert third.run("print(x)") == "40"
            assert listeners_of(tmp_path) == [("127.0.0.1", third.port)]
        log = Places(tmp_path / "storage").log.read_text()
        assert {line.split()[1] for line in log.splitlines()} == {"INFO"}
        assert third.token not in third.said + log


def listeners_of(folder: Path) -> list[object]:
    (record,) = (folder / "storage" / ".kernel_exec" / "hosts").rglob("record.json")
    host = psutil.Process(json.loads(record.read_text())["pid"])
    return [each.laddr for each in host.net_connections("tcp") if each.status == "LISTEN"]


def test_an_answer_is_not_held_back_until_its_client_has_confirmed_a_part_of_it() -> None:
    """The head of an answer and its body are two packets, between which 40 ms would pass."""
    with (
        _listening(Asked(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_command_whose_host_is_ended_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, "--port", "0") as door:
        end_host(tmp_path / "storage")
        assert door.process.wait(patient(10)) == 1
        assert "the host process" in door.said
        assert "has ended" in door.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_this_process_serves_alone_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    with serving(tmp_path, "--in-process", "--port", "0") as door:
        assert door.run("x = 1; print(x)") == "1"
        below = psutil.Process(door.process.pid).children(recursive=True)
        assert below
        assert door.end(number) == 0
        assert comes_true(lambda: not any(each.is_running() for each in below), within=5)
        assert door.said.count("\n") == 2
        assert not list((tmp_path / "storage" / ".kernel_exec").rglob("record.json"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["2025-11-25", NEWEST])
def test_requests_in_a_row_are_all_answered_and_fill_no_memory(
    tmp_path: Path, version: str
) -> None:
    """10,000 of them where there is time for all."""
    with serving(tmp_path, "--in-process", "--port", "0", "--spare-kernels", "0") as door:
        process = psutil.Process(door.process.pid)
        with Line(door.address, door.token, version) as line:
            line.run("x = 0")
            for _ in range(100):  # until what is kept for a while is full
                line.run("x += 1")
            before = process.memory_info().rss, process.num_fds()
            for _ in range(REQUESTS):
                line.run("x += 1")
            assert line.run("print(x)") == str(100 + REQUESTS)
            assert process.memory_info().rss - before[0] < GROWTH
            # it may just be reading something
            wait_until(lambda: process.num_fds() <= before[1], within=5)


@pytest.mark.parametrize("options", [["--port", "0"], ["--behind-proxy"], ["--allowed-host", "a"]])
def test_options_of_http_are_not_passed_over_where_it_is_not_served(options: list[str]) -> None:
    with pytest.raises(click.UsageError, match="need --http"):
        serve.main(options, obj={}, standalone_mode=False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--bind", "0.0.0.0", *ROOT], "also pass --token-file and --allowed-host and either"),
        (["--bind", "nowhere", *ROOT], "--bind 'nowhere' is no IP address"),
        (["--port", "70000"], "70000"),
        (["--token-file", "missing"], "token file 'missing' can't be read"),
        (["--tls-cert", "missing", *ROOT], "belong together"),
        (["--allowed-host", "*", *ROOT], "--allowed-host '*' is no host"),
        (["--nonsense"], "--nonsense"),
        *([([], "pass --allow-root")] if ROOT else []),
    ],
)  # fmt: skip
def test_a_refusal_comes_before_anything_is_begun(
    tmp_path: Path, options: list[str], told: str
) -> None:
    finished = subprocess.run(
        command(tmp_path, *options), capture_output=True, text=True, env=VARIABLES, cwd=tmp_path,
        check=False, timeout=patient(30), stdin=subprocess.PIPE,
    )  # fmt: skip
    assert finished.returncode in {1, 2}
    assert finished.stderr.startswith("error: ")
    assert told in finished.stderr
    assert finished.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["--in-process", ""])
def test_a_port_that_is_taken_and_files_that_are_no_tls_are_named(
    tmp_path: Path, where: str
) -> None:
    options = [*ROOT, *filter(None, [where])]
    (tmp_path / "pem").write_text("no certificate")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for wrong, told in [
            (["--port", port], f"port {port} of 127.0.0.1 is in use\nhint: end what listens there"),
            (["--port", "0", "--bind", "192.0.2.1", "--token-file", "t", "--allowed-host", "a.b",
              "--sandbox", "off",
              "--behind-proxy"], "pass --bind with an address of this machine"),
            (["--port", "0", "--tls-cert", "pem", "--tls-key", "pem"], "pass the certificate"),
        ]:  # fmt: skip
            (tmp_path / "t").write_text("t" * 40)
            finished = subprocess.run(
                command(tmp_path, *options, *wrong), capture_output=True, text=True, env=VARIABLES,
                cwd=tmp_path, check=False, timeout=patient(30),
            )  # fmt: skip
            assert finished.returncode in {1, 2}, finished.stderr
            assert told in finished.stderr


def test_tls_is_spoken_with_the_files_that_were_given(tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out",
         "cert", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl")
    with serving(tmp_path, "--port", "0", "--tls-cert", "cert", "--tls-key", "key") as door:
        assert door.scheme == "https"
        context = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        connection = HTTPSConnection("localhost", door.port, context=context, timeout=patient(10))
        with closing(connection):
            connection.request("GET", "/health")
            assert json.loads(connection.getresponse().read()) == {"status": "ok"}
