"""The container image: built from its Dockerfile, and started as clients start it.

It needs a Docker daemon. Where Debian's mirrors are reached and no registry of images is, a base
can be made with `debootstrap --variant=minbase trixie FOLDER` and `docker import`, and named by
`KERNEL_EXEC_TEST_BASE`.
"""

import os
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http.web import Line
from tests.shipping.tools import HEAVY, ROOT, run, serves
from tests.waits import wait_until
from tests.wire import Server

BASE = os.environ.get("KERNEL_EXEC_TEST_BASE", "debian:trixie-slim")


def _has_daemon() -> bool:
    """Asks only where these tests are wanted."""
    if not HEAVY or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], check=False, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.kernel,
    pytest.mark.network,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not _has_daemon(), reason="needs Docker; see tools.py"),
]

BARE = ["docker", "run", "-i", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp"]
"""No network, and nothing to write to but the storage folder."""


FILE = ROOT / "examples" / "container" / "Dockerfile"


@contextmanager
def built(*options: str) -> Iterator[str]:
    """The name of an image."""
    name = f"kernel-exec-test-{uuid.uuid4().hex[:8]}"
    argv = ["docker", "build", "--network=host", "--tag", name, "--build-arg", f"BASE={BASE}"]
    run(*argv, *options, "--file", str(FILE), ".", cwd=ROOT)
    yield name
    run("docker", "image", "rm", name)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with built() as name:
        yield name


def test_the_image_holds_nothing_that_builds_and_its_user_is_not_root(image: str) -> None:
    look = "id -u; command -v gcc cc make pip pip3 git; ls /source 2>&1; ls -A /storage"
    said = run("docker", "run", "--rm", "--entrypoint=sh", image, "-c", look)
    assert re.fullmatch(r"1000\nls: cannot access '/source'.*\n", said)


@pytest.mark.parametrize("user", [None, "4321:4321"], ids=["its own user", "no known user"])
async def test_an_empty_folder_is_all_that_it_needs(
    user: str | None, image: str, tmp_path: Path
) -> None:
    """The environment is already there: nothing can be fetched here, and nothing is compiled."""
    storage = tmp_path / "storage"
    storage.mkdir()
    storage.chmod(0o777)
    who = [f"--user={user}"] if user else []
    argv = [*BARE[1:], *who, f"--volume={storage}:/storage", image]
    await serves("docker", argv, storage)
    assert [path.name for path in storage.glob(".copy-*")] == []


def test_it_ends_at_once_when_it_is_stopped_and_keeps_no_zombies(
    image: str, tmp_path: Path
) -> None:
    name = f"kernel-exec-test-{uuid.uuid4().hex[:8]}"
    argv = [*BARE, f"--name={name}", image]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    server = Server(process, tmp_path / "stderr")
    server.initialize()
    server.run(_ORPHANS)
    states = server.run(_STATES).text
    assert "tini" in states
    assert "Z" not in states.split("\n[")[0].split()

    run("docker", "stop", "--time=20", name)
    assert process.wait(30) == 0
    server.close()


def test_over_http_it_runs_as_the_file_says_and_is_healthy(tmp_path: Path) -> None:
    """With the command in its comment, which is read-only but for the storage folder."""
    (tmp_path / "token").write_text("t" * 40)
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o777)
    (command,) = re.findall(r"(?m)^#   (docker run --rm .*(?:\n#       .*)*)", FILE.read_text())
    said = shlex.split(command.replace("#", "").replace("\\\n", ""))
    with built("--target", "http") as image:
        name = f"{image}-http"
        more = ["--detach", f"--name={name}", "--health-interval=1s"]
        place = {"work:": f"{tmp_path}/work:", "./token:": f"{tmp_path}/token:"}
        for short, absolute in place.items():
            said = [each.replace(short, absolute) for each in said]
        run(
            "docker", "run", *more, *(image if each == "kernel-exec" else each for each in said[2:])
        )
        try:
            health = ["docker", "inspect", "--format={{.State.Health.Status}}", name]
            wait_until(lambda: run(*health).strip() == "healthy", within=60)
            with Line("localhost:8768", "t" * 40) as line:
                assert line.run("print(6 * 7)") == "42"
                assert line.health("localhost") == 200
                assert line.health("evil.example") == 421
        finally:
            run("docker", "stop", name)


_ORPHANS = """
import os, signal, subprocess
for _ in range(5):
    subprocess.run(["sh", "-c", "setsid -f true; setsid -f sleep 300"], check=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""They lose their parent, and then the kernel that would have inherited them."""

_STATES = """
from pathlib import Path
for stat in Path("/proc").glob("[0-9]*/stat"):
    print(*stat.read_text().split()[1:3])
"""
