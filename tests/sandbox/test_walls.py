"""Walls hold: what code tries from inside a real kernel, and what of it comes through.

Where bubblewrap is missing, or namespaces are not allowed, the walls are refused; see
`test_refusals`.
"""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.environments.pythons import make_venv
from tests.wire import Server, serving

from .attacks import ATTACKS, SECRETS, Attack
from .holding import require_walls
from .users import MYSELF, User

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
_SECRET = "what nobody may read"
_ABSTRACT = f"\0kx-{os.getpid()}"  # workers share the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home with secrets, and a server whose kernels work in a project there."""

    word: str
    server: Server
    home: Path
    names: str


@pytest.fixture(scope="module", params=["workspace", "isolated"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One for each word, outside of the folders that walls replace."""
    require_walls()
    word = request.param
    home = ROOT / ".pytest_cache" / f"walls-{word}-{os.getpid()}"
    try:
        yield from serve(word, home)
    finally:
        shutil.rmtree(home)


def serve(word: str, home: Path, user: User = MYSELF) -> Iterator[Place]:
    """A server of `user` with that word."""
    project, outside = home / "project", home / "documents"
    for folder in (project / "deps", outside, home / "dotfiles"):
        folder.mkdir(parents=True)
    _plant(home)
    (outside / "data.txt").write_text(_SECRET)
    (home / "notes.txt").write_text("a note")
    make_venv(project / "deps" / "venv", "ipykernel")
    make_venv(project / "deps" / "other")
    config = home / "kernel_exec.toml"
    config.write_text(
        f'[environments.other]\nkind = "venv"\npath = "{project}/deps/other"\n'
        f'[environments.tests]\nkind = "python"\npath = "{sys.executable}"\n'
    )
    if user.prefix:
        (project / "closed").mkdir(mode=0)  # as a container's volume often is
    user.own(home)
    listening, abstract, tcp = (socket.socket(f) for f in (socket.AF_UNIX,) * 2 + (socket.AF_INET,))
    with listening, abstract, tcp:
        listening.bind(str(outside / "s"))
        listening.listen()
        abstract.bind(_ABSTRACT)
        abstract.listen()
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        with serving(
            home, "--venv-path", str(project / "deps" / "venv"), "--sandbox", word,
            "--working-directory", str(project), "--config", str(config),
            prefix=user.prefix, HOME=str(home), SERVER_SECRET="x", **user.variables,
            CODEX_HOME=str(home / "moved"), CODE_STORAGE_DIR=str(home / "storage"),
        ) as server:  # fmt: skip
            names = (
                f"import os\nhome, outside, secret = {str(home)!r}, {str(outside)!r}, {_SECRET!r}\n"
                f"environment = {str(project / 'deps/venv')!r}\n"
                f"storage = {str(home / 'storage')!r}\n"
                f"server, other, port = {server.process.pid}, {str(outside / 's')!r},"
                f" {tcp.getsockname()[1]}\nabstract = {_ABSTRACT!r}\n"
            )
            assert server.run("1").outcome == "ok"  # its kernel lives as long as this
            yield Place(word=word, server=server, home=home, names=names)


def _plant(home: Path) -> None:
    for each in SECRETS:
        file = home / each
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_SECRET)
    (home / "moved").mkdir()
    (home / "moved" / "auth").write_text(_SECRET)
    (home / ".netrc").rename(home / "dotfiles" / "netrc")
    (home / ".netrc").symlink_to("dotfiles/netrc")
    (home / "dotfiles" / "link").symlink_to("../.ssh/id_ed25519")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_code_does_not_get(place: Place, attack: Attack) -> None:
    if attack.isolated and place.word != "isolated":
        pytest.skip("workspace does not promise it")
    before = state(place.home)
    indented = "".join(f"    {line}\n" for line in attack.code.splitlines())

    result = place.server.run(
        f"{place.names}try:\n{indented}except Exception as error:\n"
        "    got = None; print(type(error).__name__, error)\n"
        "print('BROKEN' if got else 'HELD')"
    )

    assert "HELD" in result.text, result.text
    assert "BROKEN" not in result.text, result.text
    assert state(place.home) == before
    assert not any(Path(each, "left").exists() for each in ("/tmp", "/dev/shm"))


def state(home: Path) -> dict[str, object]:
    """All that the user has, but what code may change and what is ours."""
    free = {home / "project", home / "storage"}
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(home):
        folders[:] = [each for each in folders if Path(folder, each) not in free]
        for each in files:
            status = Path(folder, each).lstat()
            found[f"{folder}/{each}"] = (status.st_mode, status.st_mtime_ns, status.st_size)
    for environment in (home / "project" / "deps").iterdir():
        found[str(environment)] = sorted(environment.iterdir())
    return found
