"""What code leaves for the server to read, write or run, which stands outside of walls."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.errors import KernelStartError
from kernel_exec.kernels import confined
from kernel_exec.kernels.confined import policy_for
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.environments.pythons import make_venv
from tests.promises.conftest import Agent
from tests.shared import CACHE
from tests.wire import Server, end_host, serving

from .holding import require_walls
from .test_refusals import launch_in
from .test_walls import ROOT

_SECRET = "what nobody may read"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One with a secret, outside of the folders that walls replace."""
    folder = ROOT / ".pytest_cache" / f"ways-{os.getpid()}"
    (folder / "project" / "a" / "b").mkdir(parents=True)
    (folder / "project" / ".venv" / "lib").mkdir(parents=True)
    (folder / "project" / ".venv" / "pyvenv.cfg").touch()
    (folder / "run").mkdir(mode=0o700)
    (folder / ".config").mkdir()
    (folder / "project" / "other" / ".kernel_exec").mkdir(parents=True)
    (folder / "project" / "other" / ".kernel_exec" / "http_token").write_text(_SECRET)
    for each in ("conda-meta", ".kernel_exec"):  # in the same place
        (folder / "project" / "backend" / ".venv" / each).mkdir(parents=True)
    (folder / "Icon\r").touch()
    (folder / ".netrc").write_text(_SECRET)
    (folder / "plain").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "project" / "s"))
        listening.listen()
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    """Its code works in the project; the storage lies below."""
    require_walls()
    with serving(
        home, "--python-path", sys.executable, "--sandbox", "workspace",
        "--working-directory", str(home / "project"),
        HOME=str(home), CODE_STORAGE_DIR=str(home / "project" / "a" / "b"),
        XDG_RUNTIME_DIR=str(home / "run"),
    ) as server:  # fmt: skip
        assert server.run("import os, glob").outcome == "ok"
        yield server


@pytest.mark.kernel
def test_a_file_that_the_server_reads_shows_no_secret(server: Server, home: Path) -> None:
    died = server.run(
        "import glob, os\n"
        f"(place,) = glob.glob('{home}/run/kx-*')\n"
        "for name in ('stderr', 'fault', 'stack', 'output.journal'):\n"
        "    if os.path.exists(f'{place}/{name}'): os.unlink(f'{place}/{name}')\n"
        f"    os.symlink('{home}/.netrc', f'{{place}}/{{name}}')\n"
        "os.kill(os.getpid(), 9)",
        session="dies",
    )

    assert "kernel died" in died.text
    assert _SECRET not in died.text


@pytest.mark.kernel
def test_files_of_other_kernels_are_hidden_wherever_they_lie(server: Server, home: Path) -> None:
    (home / "run" / "token").write_text(_SECRET)
    curious = Agent(server)
    seen = curious.run(f"import os, glob; print(glob.glob('{home}/run/*'))")
    curious.close()

    assert len(list((home / "run").glob("kx-*[0-9a-f]"))) > 1
    assert seen.text.count(f"{home}/run/") == 1, seen.text


@pytest.mark.kernel
def test_a_secret_that_comes_later_and_another_storage_root_are_hidden(
    server: Server, home: Path
) -> None:
    (home / ".config" / "gh").mkdir()
    (home / ".config" / "gh" / "hosts.yml").write_text(_SECRET)

    seen = server.run(
        f"for each in ('{home}/.config/gh', 'other/.kernel_exec'):\n"
        "    print(os.path.isdir(each) and os.listdir(each))"
    )

    assert seen.text.startswith("False\n[]\n"), seen.text


def test_a_folder_that_vanishes_is_none(tmp_path: Path) -> None:
    assert [*confined._folders(tmp_path / "gone")] == [tmp_path / "gone"]


def test_what_a_client_has_opened_is_settled_when_it_begins(tmp_path: Path) -> None:
    work, data = tmp_path / "work", tmp_path / "work" / "data"
    (work / "real").mkdir(parents=True)
    data.symlink_to("real")
    launch = replace(launch_in(tmp_path / "run"), working_directory=work)
    sandbox = Sandbox(walls=Walls.WORKSPACE, writable=(data,)).within(work)

    def writable() -> tuple[Path, ...]:
        return policy_for(launch, sandbox, private=tmp_path / "ours", spill_dir=None).writable

    data.unlink()
    data.symlink_to("/etc")
    assert writable() == (work, work / "real")
    (work / "real").rmdir()
    (work / "real").symlink_to("/etc")
    with pytest.raises(KernelStartError, match="a link was put on the way there"):
        writable()


@pytest.mark.kernel
@pytest.mark.parametrize(
    "chosen",
    [{"type": "python", "python_path": "evil/bin/python"}, {"type": "venv", "venv_path": "evil"}],
    ids=["python", "venv"],
)
def test_an_interpreter_of_the_codes_own_is_not_run(
    server: Server, home: Path, chosen: dict[str, str]
) -> None:
    server.run(
        "os.makedirs('evil/bin', exist_ok=True); open('evil/pyvenv.cfg', 'w').close()\n"
        f"open('evil/bin/python', 'w').write('#!/bin/sh\\ntouch {home}/escaped')\n"
        "os.chmod('evil/bin/python', 0o755)"
    )

    switched = server.result(server.begin_call("configure_environment", **chosen))

    assert switched.is_error
    assert "have a person add it" in switched.text
    assert not (home / "escaped").exists()


@pytest.mark.kernel
def test_no_other_folder_is_opened_by_working_there(server: Server, home: Path) -> None:
    (home / "bin").mkdir()
    for folder in (home / "bin", home / "project" / "link"):
        server.run(f"if not os.path.islink('link'): os.symlink('{home}/bin', 'link')")
        server.call("configure_environment", type="python", python_path=sys.executable,
                    working_directory=str(folder))  # fmt: skip
        refused = server.run("open('planted', 'w')", session=folder.name)
        assert "is none that a person has opened" in refused.text
    server.call("configure_environment", type="python", python_path=sys.executable,
                working_directory=str(home / "project"))  # fmt: skip

    assert not list((home / "bin").iterdir())


@pytest.mark.kernel
def test_documents_are_written_nowhere_else(server: Server, home: Path) -> None:
    (home / "lib").mkdir()
    server.run(
        f"os.symlink('{home}/lib', 'a/b/way')\n"
        "os.makedirs('env/lib'); open('env/pyvenv.cfg', 'w').close()"
    )
    storage = home / "project" / "a" / "b"
    for path in ("way/x.py", f"{home}/lib/x.py", f"{storage}/.kernel_exec/x.py",
                 f"{home}/project/env/lib/x.py"):  # fmt: skip
        refused = server.call("export_notebook", path=path, format="py", overwrite=True)
        assert "keeps documents out of" in refused.text, path
    written = server.call("export_notebook", path=f"{home}/project/x.py", format="py")

    assert not written.is_error, written.text
    assert not list((home / "lib").iterdir())


@pytest.mark.kernel
def test_our_own_folder_is_not_moved_away(server: Server) -> None:
    moved = server.run("os.rename('a', 'c')")
    moved_deeper = server.run("os.rename('a/b', 'a/c')")

    assert "OSError" in moved.text
    assert "OSError" in moved_deeper.text


@pytest.mark.kernel
def test_a_socket_of_somebody_else_in_the_working_directory_is_closed(server: Server) -> None:
    refused = server.run("import socket; socket.socket(socket.AF_UNIX).connect('s')")

    assert "ConnectionRefusedError" in refused.text


@pytest.mark.kernel
def test_environments_in_the_working_directory_are_read_only(server: Server) -> None:
    for place in (".venv/lib", "backend/.venv"):
        planted = server.run(f"open('{place}/sitecustomize.py', 'w')")
        assert "Read-only file system" in planted.text


@pytest.mark.kernel
def test_what_the_server_asks_of_an_environment_runs_no_code_of_a_cell(home: Path) -> None:
    require_walls()
    venv, project = make_venv(home / "venv"), home / "editable"
    for each in ("src", "lib"):
        (project / each).mkdir(parents=True)
    (site,) = venv.glob("lib/python*/site-packages")
    # as an editable install leaves it, and where ipykernel is
    (site / "project.pth").write_text(f"{project}/src\n{sysconfig.get_path('purelib')}\n")
    planted = f"try: open({str(home / 'outside')!r}, 'a')\nexcept OSError: pass\n"
    with serving(
        home, "--venv-path", str(venv), "--sandbox", "workspace", "--pass-env", "PYTHONPATH",
        "--working-directory", str(project),
        HOME=str(home), CODE_STORAGE_DIR=str(home / "other"), PYTHONPATH=str(project / "lib"),
    ) as server:  # fmt: skip
        for name in ("src/sitecustomize.py", "lib/sitecustomize.py", "lib/comm.py"):
            assert server.run(f"open({name!r}, 'w').write({planted!r})").outcome == "ok"
        asked = server.call("check_installed_packages", packages=["ipykernel"])
        server.run("1", session="which can't import comm")
        server.run("import os; os.unlink('lib/comm.py')")
        assert server.run("1", session="next").outcome == "ok"

    assert not asked.is_error
    assert not (home / "outside").exists()


@pytest.mark.kernel
def test_a_session_is_run_again_behind_its_own_walls_whoever_asks(home: Path) -> None:
    require_walls()
    project, storage = home / "project", home / "again"
    own = {"HOME": str(home), "CODE_STORAGE_DIR": str(storage)}
    options = ("--python-path", sys.executable, "--working-directory", str(project), "--sandbox")
    code = f"try: open({str(home / 'beyond')!r}, 'a')\nexcept OSError: print('walls')"
    try:
        with (
            serving(home, *options, "off", command=("serve",), **own) as free,
            serving(home, *options, "isolated", command=("serve",), **own) as held,
        ):
            assert "walls" in held.run(code, session="held").text
            path = str(storage / "held.ipynb")
            told = free.call("export_notebook", session="held", path=path, verify=True, within=60)
    finally:
        end_host(storage)
    variables = {**os.environ, **own, "KERNEL_EXEC_CACHE": str(CACHE),
                 "KERNEL_EXEC_WORKING_DIRECTORY": str(project)}  # fmt: skip
    verdicts = [
        subprocess.run(
            [sys.executable, "-m", "kernel_exec", "verify", target],
            env=variables, capture_output=True, text=True, check=False,
        )
        for target in ("held", path)
    ]  # fmt: skip

    assert not told.is_error, told.text
    assert [each.returncode for each in verdicts] == [0, 0], verdicts
    assert not (home / "beyond").exists()


def test_an_environment_that_code_could_replace_is_refused(tmp_path: Path) -> None:
    project, venv = tmp_path / "project", tmp_path / "elsewhere" / "venv"
    for folder in (project, venv / "bin"):
        folder.mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (project / "link").symlink_to(venv)
    launch = replace(launch_in(tmp_path), working_directory=project)
    walls = Sandbox(walls=Walls.WORKSPACE, folder=project)

    private = project / ".kernel_exec"

    def others(*environments: Path) -> tuple[Path, ...]:
        sandbox = replace(walls, environments=environments)
        return policy_for(launch, sandbox, private=private, spill_dir=None).needed

    for each in (project / "link", project / "missing", project / "missing" / "below"):
        with pytest.raises(KernelStartError, match="so code could replace it"):
            others(each)
    assert others(venv, private / "environment") == ()
    venv.rename(project / "venv")
    assert others(project / "venv") == (project / "venv", project / "venv")


@pytest.mark.kernel
def test_a_write_that_was_refused_in_other_words_is_told(server: Server, home: Path) -> None:
    for code in (
        "import sqlite3; sqlite3.connect('/usr/x.db').execute('create table a(b)')",
        f"os.rename('{home}/plain', 'x')",
        f"os.link('{home}/plain', 'x')",
    ):
        told = server.run(code).text
        assert f"the sandbox (workspace) lets code write only in {home}/project" in told, told


@pytest.mark.kernel
def test_a_folder_for_code_that_is_a_link_is_not_used(server: Server, home: Path) -> None:
    (home / "startup").mkdir()
    server.run(f"os.rename('a/b/cells', 'a/b/moved'); os.symlink('{home}/startup', 'a/b/cells')")

    assert server.run("2 * 3").text.startswith("6")
    assert not list((home / "startup").iterdir())
