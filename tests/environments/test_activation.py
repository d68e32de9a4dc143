"""What a kernel gets of the server's variables."""

import os
from pathlib import Path

import pytest

from kernel_exec.environments.activation import kernel_variables
from kernel_exec.environments.interpreters import Interpreter
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.environments.tools import tool_variables

PREFIX = Path("/envs/ml")
INTERPRETER = Interpreter(
    executable=PREFIX / "bin" / "python",
    version=(3, 12, 1),
    implementation="CPython",
    prefix=PREFIX,
    base_prefix=Path("/usr"),
    platform="linux",
    purelib=PREFIX / "lib",
)
BASE = {"PATH": "/usr/bin", "HOME": "/home/me", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}


def variables(
    kind: EnvironmentKind = EnvironmentKind.VENV,
    passed: tuple[str, ...] = (),
    more: dict[str, str] | None = None,
) -> dict[str, str]:
    environment = Environment(kind=kind, path=PREFIX)
    return kernel_variables(environment, INTERPRETER, base=BASE | (more or {}), passed=passed)


@pytest.mark.parametrize("name", BASE)
def test_what_programs_need_is_kept(name: str) -> None:
    assert BASE[name] in variables()[name]


SECRETS = ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_API_KEY", "DATABASE_URL", "HTTPS_PROXY"]
MISLEADING = ["PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "LD_PRELOAD", "JPY_PARENT_PID"]


@pytest.mark.parametrize("name", SECRETS + MISLEADING)
def test_secrets_and_what_misleads_stay_out(name: str) -> None:
    assert name not in variables(more={name: "x"})


def test_what_is_passed_on_purpose_gets_in() -> None:
    assert variables(passed=("TOKEN",), more={"TOKEN": "x"})["TOKEN"] == "x"


def test_nothing_may_wait_for_a_person_unless_it_is_asked_for() -> None:
    assert variables()["GIT_TERMINAL_PROMPT"] == "0"
    assert variables(passed=("PAGER",), more={"PAGER": "less"})["PAGER"] == "less"


ACTIVATED = {
    EnvironmentKind.VENV: {"VIRTUAL_ENV": str(PREFIX)},
    EnvironmentKind.VENV_UV: {"VIRTUAL_ENV": str(PREFIX)},
    EnvironmentKind.PYTHON: {"VIRTUAL_ENV": str(PREFIX)},
}


@pytest.mark.parametrize("kind", ACTIVATED)
def test_the_environment_is_activated(kind: EnvironmentKind) -> None:
    made = variables(kind)
    assert ACTIVATED[kind].items() <= made.items()
    assert made["PATH"].split(os.pathsep)[0] == str(PREFIX / "bin")


def test_the_venv_that_the_server_was_started_in_is_not_the_kernels() -> None:
    path = os.pathsep.join(["/server/bin", "/usr/bin"])
    made = variables(more={"PATH": path, "VIRTUAL_ENV": "/server"})
    assert made["PATH"].split(os.pathsep) == [str(PREFIX / "bin"), "/usr/bin"]


@pytest.mark.parametrize(
    "name", ["UV_INDEX_LAB_PASSWORD", "PIP_CERT", "CONDA_CHANNELS", "https_proxy"]
)
def test_installers_get_their_own_settings_too(name: str) -> None:
    assert tool_variables({name: "x"}, passed=()) == {name: "x"}


@pytest.mark.parametrize("name", [*SECRETS[:-1], *MISLEADING])
def test_installers_run_foreign_code_and_get_no_secrets(name: str) -> None:
    assert tool_variables({name: "x"}, passed=()) == {}
