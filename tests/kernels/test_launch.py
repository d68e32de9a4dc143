"""A start is decided before anything happens: the same environment gives the same value."""

from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.interpreters import Interpreter
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.environments.support import KernelSupport, SupportKind
from kernel_exec.kernels.launch import Launch, plan_launch
from kernel_exec.kernels.messages import Channel
from kernel_exec.places import INSIDE

PYTHON = Path("/envs/ml/bin/python")
PREPARED = PreparedEnvironment(
    environment=Environment(kind=EnvironmentKind.PYTHON, path=PYTHON),
    interpreter=Interpreter(
        executable=PYTHON,
        version=(3, 12, 1),
        implementation="cpython",
        prefix=Path("/envs/ml"),
        base_prefix=Path("/usr"),
        platform="linux-x86_64",
        purelib=Path("/envs/ml/lib"),
    ),
    support=KernelSupport(kind=SupportKind.OWN, path=None, ipykernel_version="6.29"),
    variables={"PATH": "/envs/ml/bin"},
)


def planned(prepared: PreparedEnvironment = PREPARED) -> Launch:
    return plan_launch(
        prepared,
        working_directory=Path("/data"),
        run_dir=Path("/run/kx-1"),
    )


def test_a_start_runs_our_launcher_with_the_interpreter_and_variables_of_the_environment() -> None:
    launch = planned()
    assert launch.argv == (str(PYTHON), "-B", str(INSIDE), "guardian")
    assert launch.variables == {"PATH": "/envs/ml/bin"}
    assert launch.working_directory == Path("/data")
    assert launch.configuration["connection_file"] == str(launch.connection_file)
    assert launch.configuration["overlay"] == ""


def test_each_channel_has_a_socket_of_its_own_in_the_run_directory() -> None:
    addresses = planned().addresses
    assert set(addresses) == set(Channel)
    assert len(set(addresses.values())) == len(Channel)
    assert all(address.startswith("ipc:///run/kx-1/") for address in addresses.values())


@pytest.mark.parametrize("kind", [SupportKind.OVERLAY, SupportKind.SHADOW])
def test_what_the_process_reads_is_named(kind: SupportKind) -> None:
    overlay = Path("/cache/overlay")
    support = KernelSupport(kind=kind, path=overlay, ipykernel_version="6.29")
    launch = planned(replace(PREPARED, support=support))
    assert launch.configuration["support"] == kind.value
    assert launch.configuration["overlay"] == str(overlay)
    expected = {PYTHON, Path("/envs/ml"), Path("/usr"), INSIDE.parent, overlay}
    assert set(launch.visible) == expected
