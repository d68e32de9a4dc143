"""What a host keeps apart, bears and refuses, with several clients at once."""

import json
import os
import random
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kernel_exec.host.client import open_host
from kernel_exec.relay.door import CODE, HANDSHAKE, folder_of, knock, recorded, write_record
from tests.host.test_relay import PING, RELAYED, host_of, relayed, works
from tests.waits import patient, wait_gone, wait_until
from tests.wire import end_host, serving

FULL = bool(os.environ.get("KERNEL_EXEC_TEST_FULL"))
"""Set for all of what is promised: 100 relays and 100 hosts killed, ten minutes on two cores."""

BECOMES_NOBODY = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def door(root: Path) -> socket.socket:
    """A connection to the host to which nothing was said."""
    record = recorded(folder_of(root))
    assert record is not None
    connection = knock(record)
    assert connection is not None
    return connection


def said(connection: socket.socket) -> bytes:
    """What the host says until it hangs up."""
    connection.settimeout(patient(15))
    return b"".join(iter(lambda: connection.recv(4096), b""))


# Whose is what


def test_a_client_is_told_once_which_settings_are_the_running_hosts(root: Path) -> None:
    with relayed(root, KERNEL_EXEC_MAX_KERNELS="3"), relayed(root) as other:
        first = other.call("execute_code", code="1")
        assert "max_kernels is 3 here and not 20" in first.text
        assert "max_kernels" not in other.call("execute_code", code="1").text


LISTING = """
import os, pathlib
found = []
for each in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        if os.environ["MARK"].encode() in each.read_bytes():
            found.append(each.parent.name + " " + (each.parent / "cmdline").read_text())
    except OSError:
        pass
print("learned", os.environ.get("ONLY_MINE"), len(found), found)
"""


@pytest.mark.kernel
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_variables_of_a_client_reach_no_other_client_and_can_be_read_nowhere(lasting: Path) -> None:
    secret, passed = uuid.uuid4().hex, {"KERNEL_EXEC_PASS_ENV": "MARK,ONLY_MINE"}
    with (
        relayed(lasting, **passed, ONLY_MINE="mine", SECRET=secret, MARK="-") as one,
        relayed(lasting, **passed, SECRET=secret, MARK=secret[::-1]) as other,
    ):
        assert "learned mine" in one.run(LISTING, session="mine").text
        code = LISTING.replace('os.environ["MARK"]', 'os.environ["MARK"][::-1]')
        result = other.run(code, session="theirs").text
    assert result.startswith("learned None 0 []"), result


@pytest.mark.kernel
def test_files_of_a_kernel_are_as_private_as_its_client_wants_them(
    lasting: Path, tmp_path: Path
) -> None:
    code = f"import pathlib; pathlib.Path({str(tmp_path)!r}, '{{}}').touch()"
    for umask in (0o022, 0o077):
        become = f"import os, sys; os.umask({umask}); os.execvp(sys.argv[1], sys.argv[1:])"
        prefix = [sys.executable, "-c", become]
        with serving(lasting.parent, prefix=prefix, command=RELAYED) as server:
            server.run(code.format(umask), session=f"s{umask}")
        assert stat.S_IMODE((tmp_path / str(umask)).stat().st_mode) == 0o666 & ~umask


@pytest.mark.kernel
def test_a_kernel_has_the_limits_of_its_client(lasting: Path) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
    for size in (7_000_000, 9_000_000):
        become = (
            "import os, sys, resource as r;"
            f"r.setrlimit(r.RLIMIT_FSIZE, ({size}, r.getrlimit(r.RLIMIT_FSIZE)[1]));"
            "os.execvp(sys.argv[1], sys.argv[1:])"
        )
        prefix = [sys.executable, "-c", become]
        with serving(lasting.parent, prefix=prefix, command=RELAYED) as server:
            assert server.run(code, session=f"s{size}").text.startswith(f"{size}\n")


@pytest.mark.kernel
def test_a_tilde_is_the_home_of_the_client_and_not_of_the_host(
    lasting: Path, tmp_path: Path
) -> None:
    code = "import os; print(os.getcwd())"
    for home in ("one", "other"):
        (tmp_path / home / "work").mkdir(parents=True)
        variables = {"HOME": str(tmp_path / home), "KERNEL_EXEC_WORKING_DIRECTORY": "~/work"}
        with relayed(lasting, **variables) as server:
            told = server.run(code, session=home).text
            assert told.startswith(f"{tmp_path / home / 'work'}\n")


@pytest.mark.kernel
def test_sessions_are_named_with_their_client_and_folder(root: Path) -> None:
    with relayed(root) as one, relayed(root) as other:
        one.run("1")
        other.run("1")
        told = other.call("get_environment_config").text.splitlines()
        named = sorted(line.split(":")[0] for line in told if line.startswith("session main"))
        assert [f"of test in {Path.cwd()} (" in line for line in named] == [False, True]


@pytest.mark.kernel
def test_a_result_never_begins_with_a_block_that_is_json(lasting: Path) -> None:
    """Gemini CLI takes such a block for fields, and refuses the result unless it is an object."""
    with relayed(lasting) as server:
        for code in ("print(42)", "None\nprint('null')", "print('[1, 2]')"):
            with pytest.raises(ValueError, match=r"Extra data|Expecting"):
                json.loads(server.run(code, session="json").content[0]["text"])


def test_clients_with_other_user_folders_have_their_own_settings(
    lasting: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "config" / "kernel-exec"
    folder.mkdir(parents=True)
    (folder / "kernel_exec.toml").write_text("wait_seconds = 7\n")
    with relayed(lasting) as one, relayed(lasting, XDG_CONFIG_HOME=str(folder.parent)) as other:
        told = [each.initialize()["result"]["instructions"] for each in (one, other)]
    assert ["within 7 s" in each or "7 s" in each for each in told] == [False, True]


# Visitors


@pytest.mark.parametrize(
    "greeting", [b"", b"\n", b"{}\n", b"[1]\n", b'{"relay": 1', b"\xff\n", b'{"control": 1}\n\n']
)
def test_a_visitor_that_says_nothing_of_use_disturbs_nobody(lasting: Path, greeting: bytes) -> None:
    with relayed(lasting) as server, door(lasting) as connection:
        connection.sendall(greeting)
        assert server.request("ping")["result"] == {}
        connection.shutdown(socket.SHUT_WR)
        assert b"served" not in said(connection)


def test_a_relay_that_hands_nothing_over_is_no_client(lasting: Path, tmp_path: Path) -> None:
    with relayed(lasting) as server, door(lasting) as connection:
        order = {"options": {}, "variables": {}, "directory": str(tmp_path)}
        connection.sendall(json.dumps({"relay": HANDSHAKE, "code": CODE, **order}).encode() + b"\n")
        assert b"served" in connection.recv(4096)
        connection.sendall(b"\n")
        assert said(connection) == b""
        assert server.request("ping")["result"] == {}


def test_what_is_no_command_of_the_command_line_is_refused(lasting: Path) -> None:
    works(lasting)
    host = open_host(lasting)
    assert host is not None
    with host:
        for request in ({"command": "nope"}, {}, {"command": ["stop"]}):
            (last,) = host.ask(request)
            assert last["end"]
            assert "no such command" in last["error"]


@pytest.mark.parametrize("other", [{"relay": HANDSHAKE + 1}, {"relay": HANDSHAKE, "code": "new"}])
def test_a_relay_of_another_version_replaces_an_idle_host_and_is_refused_by_a_busy_one(
    root: Path, other: dict[str, object]
) -> None:
    with relayed(root) as server, door(root) as connection:
        connection.sendall(json.dumps({"relay": HANDSHAKE + 1}).encode() + b"\n")
        told = json.loads(said(connection))["refused"]
        assert "of another version" in told
        assert "`kernel-exec stop --all`" in told
        assert server.leave() == 0
    host = host_of(root)
    with door(root) as connection:
        connection.sendall(json.dumps(other).encode() + b"\n")
        assert json.loads(said(connection)) == {"again": True}
    assert wait_gone([host], within=10) == []
    assert works(root) != host


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_host_stays_as_it_is_over_many_clients(root: Path) -> None:
    """Some leave, some are killed, some say nothing or half a line."""
    with relayed(root) as stays:
        host = host_of(root)
        before: tuple[int, int, int] | None = None
        for batch in range(5):
            for at in range(200):
                come_and_go(root, at, batch)
            assert stays.request("ping")["result"] == {}
            after = (host.num_fds(), host.num_threads(), host.memory_info().rss)
            if batch == 0:
                before = after
        assert before is not None
        wait_until(lambda: host.num_fds() <= before[0], within=5)
        assert host.num_threads() <= before[1] + 3  # the pool has as many as ever worked at once
        assert host.memory_info().rss < before[2] + 5e6


def come_and_go(root: Path, at: int, batch: int) -> None:
    with door(root) as connection:
        match at % 5:
            case 0:
                connection.sendall(b'{"relay": 1, "opt')
            case 1:
                pass
            case 2:
                connection.sendall(b'{"control": 1}\n{"command": "ping"}\n')
                assert b"end" in connection.recv(100)
            case _:
                converse(root, connection, killed=at % 5 == 3)


def converse(root: Path, connection: socket.socket, *, killed: bool) -> None:
    """A client whose relay is this process."""
    order = {"options": {}, "variables": dict(os.environ), "directory": str(root)}
    connection.settimeout(patient(10))
    connection.sendall(json.dumps({"relay": HANDSHAKE, "code": CODE, **order}).encode() + b"\n")
    assert b"served" in connection.recv(4096)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(connection, [b"\n"], [theirs.fileno()] * 3)
        ours.sendall(PING)
        assert b"result" in ours.recv(4096)
        if killed:
            return
        ours.shutdown(socket.SHUT_WR)
        assert b"exit" in connection.recv(4096)


@pytest.mark.kernel
def test_a_client_that_never_reads_delays_nobody_else(root: Path) -> None:
    with relayed(root) as deaf, relayed(root) as server:
        deaf.pause()
        for _ in range(3):
            deaf.begin_call("execute_code", code="print('x' * 99_999_999)", session="deaf")
        for _ in range(200):
            deaf.begin("tools/list")
        assert server.run("print(6 * 7)").text.startswith("42\n")
        assert server.request("ping", within=2)["result"] == {}


# Sudden ends


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_relay_that_is_killed_loses_no_answer_and_runs_nothing_twice(
    root: Path, tmp_path: Path
) -> None:
    counted, answered = tmp_path / "counted", []
    code = f"with open({str(counted)!r}, 'a') as file: print('{{}}', file=file)"
    with relayed(root) as server:  # or all are killed before the kernel is there
        server.run("1", session="s")
    for moment in range(100 if FULL else 12):
        with relayed(root) as server:
            last = [f"{moment}.{at}" for at in range(20)]
            calls = {
                each: server.begin_call("execute_code", code=code.format(each), session="s")
                for each in last
            }
            if not moment:  # later ones may be killed before anything is answered
                wait_until(partial(server.has_answered, calls[last[0]]))
            threading.Event().wait(random.uniform(0, 0.3))
            server.process.kill()
            server.process.wait()
            said = {
                each: server.answer(calls[each])
                for each in last
                if server.has_answered(calls[each])
            }
            answered += [
                each
                for each, answer in said.items()
                if "result" in answer and not answer["result"].get("isError")
            ]
    with relayed(root) as server:
        server.call("execute_code", code="'the queue is empty'", session="s", wait_seconds=60)
    ran = counted.read_text().split()
    assert answered
    assert len(ran) == len(set(ran))
    assert set(answered) <= set(ran)


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_host_that_is_killed_leaves_no_process_and_no_acknowledged_execution_is_lost(
    root: Path, tmp_path: Path
) -> None:
    counted, acknowledged = tmp_path / "counted", 0
    code = f"with open({str(counted)!r}, 'a') as file: print('{{}}', file=file)"
    for moment in range(100 if FULL else 4):
        with relayed(root) as server:
            host = host_of(root)
            server.run("1", session="s")  # or most are killed before the kernel is there
            calls = [
                server.begin_call("execute_code", code=code.format(f"{moment}.{at}"), session="s")
                for at in range(30)
            ]
            if not moment:  # later ones may be killed before anything is answered
                wait_until(partial(server.has_answered, calls[0]))
            threading.Event().wait(random.uniform(0, 0.5))
            below = host.children(recursive=True)
            host.kill()
            assert wait_gone([host, *below], within=3) == []
            assert server.process.wait(patient(2)) == 1
            done = [server.result(each).id for each in calls if server.has_answered(each)]
        acknowledged += len(done)
        with relayed(root) as server:
            for each in done:
                assert server.call("get_execution", execution_id=each).outcome == "ok"
    ran = counted.read_text().split()
    assert acknowledged
    assert len(ran) == len(set(ran))


# Other users


@pytest.fixture
def public() -> Iterator[Path]:
    """A storage root in a folder that everybody may enter and write to."""
    with tempfile.TemporaryDirectory(prefix="kxt") as name:
        Path(name).chmod(0o777)
        yield Path(name, "storage")
        end_host(Path(name, "storage"))


@as_root
@pytest.mark.kernel
def test_another_user_can_neither_connect_nor_read(public: Path) -> None:
    script = (
        f"import os, socket, sys\n{BECOMES_NOBODY}"
        "for path in sys.argv[2:]:\n"
        "    try: open(path).read(); print('read', path)\n"
        "    except PermissionError: pass\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('connected')\n"
        "except PermissionError: pass\n"
    )
    open_to_all = "import os, sys; os.umask(0); os.execvp(sys.argv[1], sys.argv[1:])"
    public.mkdir()
    public.chmod(0o777)
    prefix = [sys.executable, "-c", open_to_all]
    with serving(public.parent, prefix=prefix, command=RELAYED) as server:
        server.run("print('a result')")
        record = recorded(folder_of(public))
        assert record is not None
        files = [each for each in (public / ".kernel_exec").rglob("*") if each.is_file()]
        assert {"server.log", "history.db", "record.json"} <= {each.name for each in files}
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, record.socket, *map(str, files)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("", "")
        assert stat.S_IMODE(Path(record.socket).stat().st_mode) == 0o600


@as_root
def test_a_listener_of_another_user_gets_no_byte_and_the_client_is_served(
    public: Path,
) -> None:
    host = works(public)
    record = recorded(folder_of(public))
    assert record is not None
    host.kill()
    assert wait_gone([host]) == []
    script = (
        f"import os, socket, sys\n{BECOMES_NOBODY}"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()\n"
        "print('listens', flush=True)\n"
        "while True: print(listener.accept()[0].recv(99), flush=True)\n"
    )
    place = public.with_name("theirs")
    with subprocess.Popen(
        [sys.executable, "-I", "-c", script, str(place)],
            stdout=subprocess.PIPE, text=True,
    ) as listener:  # fmt: skip
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listens\n"
        write_record(folder_of(public), record._replace(socket=str(place)))
        works(public)
        assert listener.stdout.readline() == "b''\n"
        assert place.exists()
        listener.kill()


def test_the_log_of_a_host_is_of_bounded_size(root: Path) -> None:
    works(root, KERNEL_EXEC_LINGER="12")  # it looks after itself every two seconds
    log = root / ".kernel_exec" / "server.log"
    with log.open("a") as file:
        file.write("x" * 1_000_001)
    wait_until(lambda: log.stat().st_size < 1_000_000, within=10)
    assert log.with_name("server.log.1").stat().st_size > 1_000_000
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
