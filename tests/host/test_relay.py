"""Clients that a host process serves: what a relay does for them, and how hosts come and go."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psutil
import pytest

from kernel_exec.host.client import open_host
from kernel_exec.places import Places
from kernel_exec.relay.door import folder_of, recorded
from kernel_exec.relay.entry import given_settings
from tests.waits import patient, wait_gone, wait_until
from tests.wire import LATEST, PATIENCE, Server, serving, started

RELAYED = ("serve",)
PING = b'{"jsonrpc": "2.0", "id": "p", "method": "ping"}\n'

HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
    },
}  # fmt: skip


def relayed(root: Path, *options: str, **variables: str) -> AbstractContextManager[Server]:
    return serving(root.parent, *options, command=RELAYED, **variables)


def host_of(root: Path) -> psutil.Process:
    host = open_host(root)
    assert host is not None
    with host:
        return psutil.Process(host.pid)


def kill(host: psutil.Process) -> None:
    host.kill()
    assert wait_gone([host]) == []


def works(root: Path, **variables: str) -> psutil.Process:
    """The host that serves a client which has just come."""
    with relayed(root, **variables) as server:
        assert server.request("ping")["result"] == {}
        assert server.leave() == 0
    return host_of(root)


# One host


def test_clients_of_a_storage_root_have_one_host_that_outlives_them(root: Path) -> None:
    with relayed(root) as one, relayed(root) as other:
        host = host_of(root)
        assert host.pid not in {one.process.pid, other.process.pid}
        assert host not in psutil.Process().children(recursive=True)
        assert (one.leave(), other.leave()) == (0, 0)
    assert host_of(root) == host


@pytest.mark.slow
def test_relays_that_start_in_the_same_instant_end_up_with_one_host(root: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(20) as threads:
        servers = [stack.enter_context(started(root.parent, command=RELAYED)) for _ in range(20)]
        list(threads.map(lambda server: server.initialize(), servers))
        host = host_of(root)
        assert {host.pid} == {
            process.pid for process in psutil.process_iter() if is_host(process, root)
        }


def is_host(process: psutil.Process, root: Path) -> bool:
    """True for a process that has the lock of the root's hosts open."""
    try:
        return any(str(root) in each.path for each in process.open_files())
    except psutil.Error:
        return False


def test_a_host_is_found_by_any_name_of_its_folder_and_with_any_variables(
    lasting: Path, tmp_path: Path
) -> None:
    host = works(lasting)
    (tmp_path / "name").symlink_to(lasting)
    (tmp_path / "it.toml").write_text('storage_dir = "name"\n')
    other = str(tmp_path)
    for variables in (
        {"TMPDIR": other, "XDG_RUNTIME_DIR": other, "XDG_CONFIG_HOME": other},
        {"CODE_STORAGE_DIR": str(tmp_path / "name")},
        {"CODE_STORAGE_DIR": "", "KERNEL_EXEC_CONFIG": str(tmp_path / "it.toml")},
        {"CODE_STORAGE_DIR": os.path.relpath(lasting)},
    ):
        assert works(lasting, **variables) == host


def test_a_host_ends_when_it_has_had_no_client_and_no_kernel_for_a_while(root: Path) -> None:
    with relayed(root, KERNEL_EXEC_LINGER="1") as server:
        host = host_of(root)
        assert server.leave() == 0
    assert wait_gone([host], within=10) == []
    assert [each.name for each in folder_of(root).iterdir()] == ["gate"]


@pytest.mark.slow
def test_a_client_that_comes_as_a_host_leaves_is_served_by_the_next_one(root: Path) -> None:
    for _ in range(3):
        before = works(root)
        host = open_host(root)
        assert host is not None
        with host, relayed(root) as server:
            assert list(host.ask({"command": "stop"})) == [{"end": True}]
            assert server.process.wait(patient(5)) == 0
            assert works(root) != before


@pytest.mark.parametrize("place", ["nothing", "file", "folder", "link", "socket"])
def test_what_a_killed_host_has_left_is_no_obstacle_and_keeps_what_took_its_place(
    root: Path, tmp_path: Path, place: str
) -> None:
    with relayed(root) as server:
        server.request("tools/list")  # by now there is a warden
        host = host_of(root)
        record = recorded(folder_of(root))
        assert record is not None
        kill(host)
    path, precious = Path(record.socket), tmp_path / "precious"
    precious.write_text("kept")
    wait_until(lambda: not path.parent.exists(), within=3)  # the warden has removed it
    path.parent.mkdir(mode=0o700)
    if place == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif place == "file":
        path.write_text("kept")
    elif place == "folder":
        path.mkdir()
    elif place == "link":
        path.symlink_to(precious)
    assert works(root) != host
    assert precious.read_text() == "kept"
    assert os.path.lexists(path) == (place not in {"nothing", "socket"})


def test_a_host_whose_storage_root_was_removed_goes_on_and_is_found_again(root: Path) -> None:
    with relayed(root, KERNEL_EXEC_LINGER="6") as server:  # it looks there every second
        host = host_of(root)
        shutil.rmtree(root)
        wait_until(lambda: recorded(folder_of(root)) is not None, within=10)
        assert server.request("ping")["result"] == {}
        assert works(root) == host


def test_a_host_whose_socket_was_removed_listens_at_another_place(root: Path) -> None:
    host = works(root, KERNEL_EXEC_LINGER="12")  # it looks there every two seconds
    record = recorded(folder_of(root))
    assert record is not None
    Path(record.socket).unlink()
    before = os.times()
    assert works(root) == host
    after = os.times()
    taken = after.children_user + after.children_system
    assert taken - before.children_user - before.children_system < 0.8  # it waits, and starts none
    assert recorded(folder_of(root)) != record


@pytest.mark.slow
def test_a_host_that_hangs_is_told_with_the_way_out(root: Path) -> None:
    host = works(root)
    host.suspend()
    try:
        with started(root.parent, command=RELAYED) as server:
            told = server.initialize()["result"]["instructions"]
            assert f"the host process {host.pid} does not answer" in told
            assert "`kernel-exec stop --force`" in told
            assert server.leave() == 2
    finally:
        host.resume()


def test_a_relay_without_a_host_serves_by_itself(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file")
    with started(tmp_path, command=RELAYED) as server:
        assert "can't be used as a folder" in server.initialize()["result"]["instructions"]
        assert server.leave() == 2


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["serve"], {}),
        (["--storage-dir", "serve"], {"storage_dir": "serve"}),
        (["--cache=a=b", "serve", "--cache", "c"], {"cache": "c"}),
        (["--no-such", ""], {"no_such": ""}),
        (["serve", "serve"], None),
        (["sessions"], None),
        (["--help"], None),
        (["--cache"], None),
        (["--cache", "--help"], None),
        (["--cache=-"], None),
        (["--storage_dir", "a"], None),
        (["-h", "a"], None),
        (["serve", "--in-process"], None),
    ],
)
def test_nothing_but_settings_makes_a_relay(
    arguments: list[str], options: dict[str, str] | None
) -> None:
    assert given_settings(arguments) == options


@pytest.mark.parametrize(
    "options",
    [
        ["--storage-dir", "storage"],
        ["--storage-dir=../{}/storage", "--working-directory", "."],
        ["--config", "it.toml"],
    ],
    ids=["relative", "up and down", "configuration file"],
)
def test_a_relay_with_settings_finds_the_host_and_loads_no_command_line(
    lasting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    host = works(lasting)
    monkeypatch.chdir(lasting.parent)
    Path("it.toml").write_text('storage_dir = "storage"\n')
    given = [each.format(lasting.parent.name) for each in options]
    apart = {"CODE_STORAGE_DIR": "", "PYTHONPROFILEIMPORTTIME": "1", "KERNEL_EXEC_LINGER": "60"}
    with serving(tmp_path, *given, command=RELAYED, **apart) as server:
        assert host_of(lasting) == host
        assert server.leave() == 0
        imported = server.stderr.read_text()
    assert "kernel_exec.relay.entry" in imported
    assert "click" not in imported


@pytest.mark.parametrize("where", ["lasting", "root"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--wait-seconds", "soon"], "option --wait-seconds is 'soon': it must be a number"),
        (["--no-such-setting", "1"], 'correct `"args": ["serve", "--no-such-setting", "1"]`'),
    ],
)
def test_settings_that_are_refused_are_explained_to_the_client(
    root: Path, lasting: Path, options: list[str], told: str, where: str
) -> None:
    root = root if where == "root" else lasting
    with started(root.parent, *options, command=RELAYED) as server:
        assert told in server.initialize()["result"]["instructions"]
        assert server.leave() == 2
    if (
        where == "root"
    ):  # no host was there, and nothing is made but the log that the client is told of
        assert [each for each in root.rglob("*") if each.is_file()] == [Places(root).log]


def test_a_megabyte_that_comes_before_the_host_exists_is_answered_to_the_last_byte(
    root: Path,
) -> None:
    padding = {"_meta": {"padding": "x" * 10_000}}
    with started(root.parent, command=RELAYED) as server:
        hello = server.begin("initialize", HELLO["params"])  # type: ignore[arg-type]
        server.notify("notifications/initialized")
        pings = [server.begin("ping", padding) for _ in range(100)]
        tools = server.begin("tools/list", padding)
        assert "result" in server.answer(hello, within=PATIENCE * 2)
        assert all(server.answer(each)["result"] == {} for each in pings)
        assert server.answer(tools)["result"]["tools"]
        assert server.leave() == 0


def test_a_client_is_greeted_before_what_only_its_tools_need_is_imported(root: Path) -> None:
    with started(root.parent, command=RELAYED) as server:
        hello = server.request("initialize", HELLO["params"])  # type: ignore[arg-type]
        assert "small steps" in hello["result"]["instructions"]
        host = host_of(root)
        assert not has_loaded("zmq", host)
        server.notify("notifications/initialized")  # soon they are needed
        wait_until(lambda: has_loaded("zmq", host))
        assert server.request("tools/list")["result"]["tools"]
        assert server.leave() == 0


def has_loaded(package: str, process: psutil.Process) -> bool:
    """True when an extension of `package` is in the memory of `process`."""
    return any(f"/{package}/" in each.path for each in process.memory_maps())


# The end of a conversation


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_conversation_and_not_the_host(
    lasting: Path, number: signal.Signals
) -> None:
    with relayed(lasting) as server:
        host = host_of(lasting)
        server.process.send_signal(number)
        assert server.process.wait(patient(5)) == 0
    assert host_of(lasting) == host


def test_a_signal_to_the_process_group_of_a_client_does_not_reach_the_host(lasting: Path) -> None:
    with serving(lasting.parent, prefix=["setsid"], command=RELAYED) as server:
        host = host_of(lasting)
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(patient(5)) == 0
    assert host_of(lasting) == host


def test_a_client_whose_relay_is_killed_sees_the_end_and_the_host_lets_go(lasting: Path) -> None:
    with relayed(lasting) as server:
        host = host_of(lasting)
        descriptors = host.num_fds()
        with relayed(lasting) as other:
            other.process.kill()
            assert other.process.wait() == -signal.SIGKILL
            wait_until(lambda: host.num_fds() <= descriptors, within=2)
        assert server.request("ping")["result"] == {}


def test_a_client_whose_host_is_killed_sees_the_end_at_once(root: Path) -> None:
    with relayed(root) as server:
        kill(host_of(root))
        assert server.process.wait(patient(2)) == 1
        assert "the host process ended; see " in server.stderr.read_text()


def test_a_client_that_closes_stdin_at_once_is_no_trouble(root: Path) -> None:
    for _ in range(2):
        with started(root.parent, command=RELAYED) as server:
            assert server.leave(within=20) == 0


def test_a_terminal_serves_as_stdin(lasting: Path, tmp_path: Path) -> None:
    works(lasting)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "kernel_exec", "serve"], stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "CODE_STORAGE_DIR": str(lasting)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"waiting for an MCP client on stdin" in process.stderr.readline()
        os.write(ours, json.dumps(HELLO).encode() + b"\n")
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]
        os.write(ours, b"\x04")
        assert process.wait(patient(5)) == 0
    assert os.get_blocking(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("end", ["left", "relay killed", "host killed"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_descriptors_are_left_in_the_mode_in_which_they_came(
    root: Path, lasting: Path, kind: str, end: str
) -> None:
    root = root if end == "host killed" else lasting
    host = works(root)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    stdin, stdout = (theirs.fileno(),) * 2 if kind == "socket" else (os.dup(read), os.dup(write))
    modes = [os.get_blocking(stdin), os.get_blocking(stdout)]
    with subprocess.Popen(
        [sys.executable, "-m", "kernel_exec"], stdin=stdin if kind == "socket" else subprocess.PIPE,
        stdout=stdout, env={**os.environ, "CODE_STORAGE_DIR": str(root)},
    ) as process:  # fmt: skip
        send = ours.sendall if process.stdin is None else process.stdin.write
        send(json.dumps(HELLO).encode() + b"\n")
        if process.stdin is not None:
            process.stdin.flush()
        assert ours.recv(1) if kind == "socket" else os.read(read, 1)
        if end == "left":
            ours.shutdown(socket.SHUT_WR)
            if process.stdin is not None:
                process.stdin.close()
        else:
            (process if end == "relay killed" else host).kill()
        process.wait(patient(5))
        wait_until(lambda: [os.get_blocking(stdin), os.get_blocking(stdout)] == modes, within=2)
    for each in (ours, theirs):
        each.close()
    for number in (read, write, *((stdin, stdout) if kind == "pipe" else ())):
        os.close(number)
