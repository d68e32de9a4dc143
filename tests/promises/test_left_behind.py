"""Whoever is killed, and whenever: no process outlives it, and the next start cleans the rest.

What belongs to a round is known by a variable that its code sets or its server hands on.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.shared import CACHE
from tests.waits import comes_true, lives, wait_until
from tests.wire import Server, serving

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(120)]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

VARIABLE = "LEFT_BEHIND_BY"

FAMILY = """
import os, random, subprocess as s, time
os.environ["LEFT_BEHIND_BY"] = {mark!r}
quiet = dict(stdout=s.DEVNULL, stderr=s.DEVNULL)
kinds = [
    lambda: s.Popen(["sleep", "60"]),
    lambda: s.Popen(["nohup", "sleep", "60"], **quiet),
    lambda: s.Popen(["sleep", "60"], start_new_session=True),
    lambda: s.Popen(["sh", "-c", "(sleep 60 &) &"], start_new_session=True),
]
random.shuffle(kinds)
for kind in kinds:
    kind()
while True:
    random.choice(kinds)()
    time.sleep(0.02)
"""
"""Children of four kinds, and ever more of them."""


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="kxt"))
    yield folder
    shutil.rmtree(folder)


def name_of(process: psutil.Process) -> str:
    """The program's name; "" when it has just ended."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def members(mark: str) -> list[psutil.Process]:
    """The processes of a round."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark and lives(process):
                found.append(process)
        except psutil.Error:
            pass
    return found


def left(mark: str, others: list[psutil.Process], *, within: float = 2) -> list[psutil.Process]:
    """What of a round and of `others` is still there after so many seconds."""
    if comes_true(lambda: not members(mark) and not any(map(lives, others)), within=within):
        return []
    found = [*members(mark), *filter(lives, others)]
    for process in found:
        process.kill()
    return found


def wait_member(mark: str, name: str, *, within: float = 20) -> None:
    """Wait for a program to be among the processes of a round."""
    wait_until(
        lambda: any(name_of(process) == name for process in members(mark)),
        within=within,
        why=f"no {name} was started",
    )


@contextmanager
def silent_index() -> Iterator[str]:
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/simple"


def go(server: Server, moment: str, mark: str) -> None:
    """Bring the server to a moment of its life that is worth to be its last."""
    server.begin_call("execute_code", code=FAMILY.format(mark=mark), wait_seconds=60)
    if moment in {"running", "restarting"}:
        wait_member(mark, "sleep")
    if moment == "restarting":
        server.begin_call("restart_kernel")
    if moment == "installing":
        server.begin_call("install_dependencies", packages=["no-such-thing"], wait_seconds=60)
        wait_member(mark, "uv")
    at_some_moment(0.3)


def at_some_moment(within: float) -> None:
    """Whatever is done then is done at another moment each time."""
    time.sleep(random.uniform(0, within))  # noqa: TID251 # the moment is what is tried


MOMENTS = ("starting", "running", "restarting", "installing")


@linux
def test_a_killed_server_leaves_nothing_behind(tmp_path: Path, runtime: Path) -> None:
    with silent_index() as index:
        for moment in MOMENTS:
            mark = uuid.uuid4().hex
            with serving(
                tmp_path,
                XDG_RUNTIME_DIR=str(runtime),
                KERNEL_EXEC_PASS_ENV=VARIABLE,
                UV_DEFAULT_INDEX=index,
                **{VARIABLE: mark},
            ) as server:
                assert list(runtime.iterdir()) == []
                go(server, moment, mark)
                below = server.below()
                server.process.kill()
                server.process.wait()
                assert left(mark, below) == []
    with serving(tmp_path, XDG_RUNTIME_DIR=str(runtime)) as server:
        assert list(runtime.iterdir()) == []
        assert server.run("6 * 7").text.startswith("42\n")
        assert server.leave() == 0
        assert list(runtime.iterdir()) == []


CLIENT = """
import os, subprocess, sys, threading
server = subprocess.Popen([sys.executable, "-m", "kernel_exec", "serve", "--in-process",
                           "--python-path", sys.executable],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def pump(source, target):
    while chunk := os.read(source, 65536):
        os.write(target, chunk)
threading.Thread(target=pump, args=(0, server.stdin.fileno()), daemon=True).start()
pump(server.stdout.fileno(), 1)
"""


@linux
def test_a_killed_client_leaves_nothing_behind(tmp_path: Path, runtime: Path) -> None:
    for moment in MOMENTS[:3]:
        mark = uuid.uuid4().hex
        variables = {
            "CODE_STORAGE_DIR": str(tmp_path / "storage"),
            "KERNEL_EXEC_CACHE": str(CACHE),
            "XDG_RUNTIME_DIR": str(runtime),
            "KERNEL_EXEC_PASS_ENV": VARIABLE,
            VARIABLE: mark,
        }
        with (tmp_path / "stderr").open("ab") as stderr:
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **variables},
            )
        server = Server(client, tmp_path / "stderr")
        try:
            server.initialize()
            go(server, moment, mark)
            below = server.below()
            client.kill()
            assert left(mark, below) == []
            assert list(runtime.iterdir()) == []
        finally:
            server.close()


@linux
def test_a_killed_kernel_leaves_nothing_behind(tmp_path: Path, runtime: Path) -> None:
    with serving(tmp_path, XDG_RUNTIME_DIR=str(runtime), KERNEL_EXEC_MAX_KERNELS="50") as server:
        for number in range(6):
            mark = uuid.uuid4().hex
            call = server.begin_call("execute_code", code=FAMILY.format(mark=mark), wait_seconds=60)
            if number % 3:
                wait_member(mark, "sleep")
                at_some_moment(0.1)
                restart = server.begin_call("restart_kernel") if number % 3 == 2 else None
                kill_kernels(server)
            else:
                restart = None
                wait_until(lambda: kill_kernels(server))
            answer = server.result(call, within=10)
            assert "kernel" in answer.text
            if restart is not None:
                server.result(restart, within=10)
            assert left(mark, []) == []
        assert server.run("6 * 7").text.startswith("42\n")
        assert len(list(runtime.glob("kx-*/"))) == 1


def kill_kernels(server: Server) -> int:
    """Kill what the guardians have started and call their kernels; how many."""
    killed = 0
    for process in server.below():
        try:
            parent, argv = process.parent(), process.cmdline()
            # what a server or a kernel has just forked looks like it, until it is another program
            is_launched = "guardian" in argv
            if is_launched and parent is not None and argv == parent.cmdline():
                process.kill()
                killed += 1
        except psutil.Error:
            pass
    return killed


def test_what_others_own_is_not_swept(tmp_path: Path, runtime: Path) -> None:
    with serving(tmp_path, XDG_RUNTIME_DIR=str(runtime)) as first:
        first.run("x = 1")
        theirs = list(runtime.iterdir())
        strange = [runtime / name for name in ("kx-", "kx-1", "kx-a.b.c-d", "kx-none-1", "other")]
        for folder in strange:
            folder.mkdir()
        if os.getuid() == 0:  # a folder of a dead process, of somebody else
            folder, lease = runtime / "kx-ofanother", runtime / "kx-ofanother.lease"
            folder.mkdir()
            lease.touch()
            os.chown(lease, 12345, 12345)
            strange += [folder, lease]
        with serving(tmp_path, XDG_RUNTIME_DIR=str(runtime)) as second:
            assert second.leave() == 0
        assert sorted(runtime.iterdir()) == sorted([*theirs, *strange])
        assert first.run("x").text.startswith("1\n")
