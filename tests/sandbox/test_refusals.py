"""A wall that can't be held is a refused start, which names it and the way out."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.errors import KernelStartError
from kernel_exec.kernels import confined
from kernel_exec.kernels.launch import Launch
from kernel_exec.sandbox.policy import Policy
from kernel_exec.sandbox.seccomp import program
from kernel_exec.sandbox.unheld import refused
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.real import all_kernels, prepared
from tests.shared import CACHE
from tests.wire import serving

from .holding import require_walls

HOME = Path("/users/me")


def policy(*writable: Path, needed: Path = Path("/data/env")) -> Policy:
    return Policy(
        walls=Walls.WORKSPACE,
        writable=writable,
        own=(Path("/tmp/kx-1"),),
        temporary=Path("/tmp/kx-1/tmp"),
        needed=(needed,),
        readable=(),
        sockets=frozenset(),
        homes=(HOME,),
        working_directory=writable[0],
        runtime=Path("/tmp"),
        hidden=frozenset(
            {HOME / ".ssh", HOME / ".config" / "gh", HOME / "storage" / ".kernel_exec"}
        ),
        absent=frozenset(),
        ours=(HOME / "storage" / ".kernel_exec",),
    )


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        (Path("/"), "belongs to the system"),
        (Path("/tmp"), "belongs to the system"),
        (HOME, "holds your home folder"),
        (HOME.parent, "holds your home folder"),
        (HOME / ".config", "holds '/users/me/.config/gh'"),
        (HOME / ".ssh" / "below", "is hidden itself"),
        (Path("/data/env/lib"), "is part of '/data/env'"),
    ],
    ids=str,
)
def test_a_folder_that_would_break_a_wall_is_refused(folder: Path, why: str) -> None:
    with pytest.raises(KernelStartError, match="choose another") as refused:
        policy(HOME / "project", folder).check()

    assert why in str(refused.value)
    assert repr(str(folder)) in str(refused.value)


def test_our_own_folder_may_lie_where_code_writes() -> None:
    policy(HOME / "storage").check()


def launch_in(folder: Path) -> Launch:
    return Launch(
        argv=("python",), configuration={}, variables={}, working_directory=folder,
        run_dir=folder, visible=(),
    )  # fmt: skip


def test_without_bubblewrap_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "_PROGRAMS", str(tmp_path))
    launch = launch_in(tmp_path)

    with pytest.raises(KernelStartError, match="install the package bubblewrap") as raised:
        confined.confine(launch, Sandbox(walls=Walls.ISOLATED), private=tmp_path, spill_dir=None)
    assert "so code would reach secrets, files elsewhere, other processes" in str(raised.value)
    assert confined.confine(launch, Sandbox(), private=tmp_path, spill_dir=None) is launch


def test_on_an_unknown_system_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(KernelStartError, match="no walls are known for win32, so code would reach"):
        confined.confine(
            launch_in(tmp_path), Sandbox(walls=Walls.WORKSPACE), private=tmp_path, spill_dir=None
        )


@pytest.mark.parametrize(
    ("stderr", "switch", "told"),
    [
        ("bwrap: setting up uid map: Permission denied\n", "", "Docker's `--security-opt"),
        ("bwrap: No", "kernel/apparmor_restrict_unprivileged_userns=1", "=0` or an AppArmor"),
        ("bwrap: No", "kernel/unprivileged_userns_clone=0", "unprivileged_userns_clone=1"),
        ("bwrap: Unknown option --disable-userns", "", "install bubblewrap 0.8 or newer"),
        ("confine: Landlock: Operation not supported", "", "use Linux 6.12 or newer with Landlock"),
        ("sandbox-exec: unbound variable", "", "so code would reach secrets"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_told_with_the_way_out(
    tmp_path: Path, stderr: str, switch: str, told: str
) -> None:
    name, _, value = switch.partition("=")
    if name:
        (tmp_path / "sys" / name).parent.mkdir(parents=True)
        (tmp_path / "sys" / name).write_text(value + "\n")

    refusal = str(refused(Walls.WORKSPACE, f"noise\n{stderr}", tmp_path))

    assert told in refusal
    assert stderr.partition(": ")[2].strip() in refusal


def test_a_folder_of_ours_that_can_not_be_made_is_not_left_uncovered(tmp_path: Path) -> None:
    require_walls()
    (tmp_path / "work" / "storage").parent.mkdir()
    (tmp_path / "work" / "storage").touch()
    private = tmp_path / "work" / "storage" / ".kernel_exec"
    launch = replace(launch_in(tmp_path / "run"), working_directory=tmp_path / "work")
    with pytest.raises(KernelStartError, match=r"can't hide '.*can't be made \(Not a directory\)"):
        confined.confine(launch, Sandbox(walls=Walls.WORKSPACE), private=private, spill_dir=None)


@pytest.mark.kernel
@pytest.mark.parametrize(("exchanged", "starts"), [(2, True), (3, False)])
async def test_what_code_exchanges_while_walls_are_built_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: int, starts: bool
) -> None:
    """A start looks three times."""
    require_walls()
    work, programs = tmp_path / "work", tmp_path / "programs"
    programs.mkdir()
    for number in range(exchanged):
        (work / f"x{number}").mkdir(parents=True)
        (work / f"x{number}" / "pyvenv.cfg").touch()
    # as if code had exchanged one more folder for a link just while bubblewrap read its arguments
    (programs / "bwrap").write_text(f"""#!{sys.executable}
import glob, os, sys, tempfile
at = sys.argv.index("--args") + 1
words = os.read(int(sys.argv[at]), 1 << 20)
for place in sorted(map(os.path.dirname, glob.glob("{work}/x?/pyvenv.cfg"))):
    os.rename(place, "{programs}/" + place[-1])
    os.mkdir(place)
    words = words.replace(b"--ro-bind\\0" + place.encode(), b"--ro-bind\\0{programs}")
    break
changed = tempfile.TemporaryFile()
changed.write(words)
changed.seek(0)
os.set_inheritable(changed.fileno(), True)
sys.argv[at] = str(changed.fileno())
os.execv("{shutil.which("bwrap")}", sys.argv)
""")
    (programs / "bwrap").chmod(0o755)
    monkeypatch.setattr(confined, "_PROGRAMS", str(programs))
    found = replace(await prepared(tmp_path), sandbox=Sandbox(walls=Walls.ISOLATED))
    with nullcontext() if starts else pytest.raises(KernelStartError, match="exchanged meanwhile"):
        async with all_kernels(tmp_path).start(found, work) as kernel:
            view = Path(f"/proc/{kernel.info.pid}/mountinfo").read_text()
            assert str(work) in view
            assert str(programs) not in view


def test_a_kernel_that_fails_behind_walls_is_no_refusal() -> None:
    assert refused(Walls.WORKSPACE, "Traceback") is None
    assert refused(Walls.WORKSPACE, "bwrap: execvp /env/bin/python: No such file") is None


@pytest.mark.kernel
def test_without_namespaces_starts_and_doctor_say_what_would_be_open(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    prefix = ("unshare", "-Ur", "sh", "-ec", forbid, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespace can be made in which none can be made")
    with serving(
        tmp_path, "--python-path", sys.executable, "--sandbox", "workspace", prefix=prefix
    ) as server:
        result = server.run("1")
    doctor = subprocess.run(
        [*prefix, sys.executable, "-m", "kernel_exec", "doctor", "--json"],
        capture_output=True, text=True, check=False, env={
            **os.environ, "KERNEL_EXEC_CACHE": str(CACHE), "CODE_STORAGE_DIR": str(tmp_path / "s")
        },
    )  # fmt: skip

    checks = {each["name"]: each for each in json.loads(doctor.stdout)["checks"]}
    found = checks["sandbox workspace"]
    assert result.is_error
    assert "so code would reach secrets, files elsewhere, other processes" in result.text
    assert found["text"] in result.text
    assert "`sysctl -w user.max_user_namespaces=10000`" in found["fix"]
    assert found["fix"] in result.text


@pytest.mark.kernel
def test_an_agent_is_told_which_folder_and_what_to_do(tmp_path: Path) -> None:
    with serving(
        tmp_path, "--python-path", sys.executable, "--sandbox", "workspace",
        "--working-directory", "/tmp",
    ) as server:  # fmt: skip
        result = server.run("1")

    assert "sandbox 'workspace'" in result.text
    assert "'/tmp'" in result.text
    assert "choose another working directory" in result.text


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("walls", [Walls.WORKSPACE, Walls.ISOLATED])
def test_every_jump_of_the_filter_ends_inside_of_it(walls: Walls, machine: str) -> None:
    filtered = program(walls, machine)
    assert filtered is not None
    steps = [filtered[at : at + 8] for at in range(0, len(filtered), 8)]

    assert len(steps) < 4096
    assert all(at + 1 + max(step[2:4]) < len(steps) for at, step in enumerate(steps[:-1]))
    assert steps[-1] == bytes.fromhex("060000000000ff7f")  # allow


def test_an_unknown_machine_has_no_filter() -> None:
    assert program(Walls.ISOLATED, "sparc") is None
