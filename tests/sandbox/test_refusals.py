"""A wall that can't be held is a refused start, which names it and the way out."""

import sys
from pathlib import Path

import pytest

from kernel_exec.errors import KernelStartError
from kernel_exec.kernels import confined
from kernel_exec.kernels.launch import Launch
from kernel_exec.sandbox.policy import Policy
from kernel_exec.sandbox.seccomp import program
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.wire import serving

HOME = Path("/users/me")


def policy(*writable: Path, needed: Path = Path("/data/env")) -> Policy:
    return Policy(
        walls=Walls.WORKSPACE,
        writable=writable,
        own=(Path("/tmp/kx-1"),),
        temporary=Path("/tmp/kx-1/tmp"),
        needed=(needed,),
        readable=(),
        hidden=frozenset({HOME / ".ssh", HOME / "storage" / ".kernel_exec"}),
        ours=HOME / "storage" / ".kernel_exec",
    )


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        (Path("/"), "belongs to the system"),
        (Path("/tmp"), "belongs to the system"),
        (HOME, "holds '/users/me/.ssh'"),
        (HOME.parent, "holds '/users/me/.ssh'"),
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


def test_without_bubblewrap_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confined, "_PROGRAMS", str(tmp_path))
    launch = Launch(
        argv=("python",), configuration={}, variables={}, working_directory=tmp_path,
        run_dir=tmp_path, visible=(),
    )  # fmt: skip

    with pytest.raises(KernelStartError, match="install the package bubblewrap"):
        confined.confine(launch, Sandbox(walls=Walls.ISOLATED), private=tmp_path, spill_dir=None)
    assert confined.confine(launch, Sandbox(), private=tmp_path, spill_dir=None) is launch


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
