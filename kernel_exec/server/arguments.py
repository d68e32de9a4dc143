"""The arguments of each tool: names, meanings, bounds, and what a wrong one is told."""

import difflib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kernel_exec.errors import InvalidArgumentError

MOST_CODE = 2_000_000
"""Characters of code in one call; data belongs into files."""

_MOST_WAIT = 3600
_MOST_RUN = 864_000


def _list_from_text(value: object) -> object:
    """Some clients send a list as its JSON text, or one name alone."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return [value]


Session = Annotated[
    str, Field(default="", description="Session name; empty for your own default session.")
]
Wait = Annotated[
    float | None,
    Field(
        default=None,
        ge=0,
        le=_MOST_WAIT,
        description="Seconds to wait for the result; then the call returns an execution_id and"
        " the work goes on.",
    ),
]
Title = Annotated[
    str,
    Field(default="", max_length=300, description="What this step is for; its heading later on."),
]
TimeLimit = Annotated[
    float | None,
    Field(
        default=None,
        ge=0,
        le=_MOST_RUN,
        description="Seconds the code may run; 0 for no limit.",
    ),
]
ExecutionId = Annotated[
    str, Field(default="", description="From a result; empty for the session's latest.")
]
FilePath = Annotated[
    str, Field(description="As another tool returned it, or relative to the storage root.")
]
Names = Annotated[list[Any], BeforeValidator(_list_from_text), Field(max_length=200)]


class Arguments(BaseModel):
    """Of any tool: nothing unknown, nothing infinite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExecuteCode(Arguments):
    """Of `execute_code`."""

    code: str = Field(max_length=MOST_CODE, description="Python, with IPython's % and ! lines.")
    filename: str = Field(default="", description="Stem of the script file the code is kept in.")
    session: Session
    title: Title
    wait_seconds: Wait
    timeout_seconds: TimeLimit


class ExecuteCodeFile(Arguments):
    """Of `execute_code_file`."""

    file_path: FilePath
    mode: Literal["kernel", "isolated"] = Field(
        default="kernel",
        description="kernel: its variables stay for the next call; isolated: in a process of its"
        " own, which sees none of the session's variables and changes none.",
    )
    args: Names = Field(default_factory=list, description="What the script finds in sys.argv[1:].")
    session: Session
    title: Title
    wait_seconds: Wait
    timeout_seconds: TimeLimit


class InitializeCodeFile(Arguments):
    """Of `initialize_code_file`."""

    content: str = Field(max_length=MOST_CODE, description="What the file begins with.")
    filename: str = Field(default="", description="Stem of its name; a unique part is added.")


class AppendToCodeFile(Arguments):
    """Of `append_to_code_file`."""

    file_path: FilePath
    content: str = Field(max_length=MOST_CODE, description="What comes next, from a new line on.")


class ReadCodeFile(Arguments):
    """Of `read_code_file`."""

    file_path: FilePath
    offset: int = Field(default=0, ge=0, description="First line to show, from 0.")
    limit: int = Field(default=2000, ge=1, le=10_000, description="Most lines to show.")


class InstallDependencies(Arguments):
    """Of `install_dependencies`."""

    packages: Names = Field(description='Requirements such as "pandas" or "numpy>=2".')
    upgrade: bool = Field(default=False, description="Also replace versions that would do.")
    allow_build: bool = Field(
        default=False, description="Let packages without a wheel build, which runs their code."
    )
    wait_seconds: Wait


class CheckInstalledPackages(Arguments):
    """Of `check_installed_packages`."""

    packages: Names = Field(description='Names, or requirements such as "pandas>=2".')


class ConfigureEnvironment(Arguments):
    """Of `configure_environment`."""

    type: Literal["conda", "venv", "venv-uv", "python"] | None = Field(
        default=None, description="Kind of the environment; not needed with name."
    )
    conda_name: str = Field(default="", description="Name of a conda environment.")
    venv_path: str = Field(default="", description="Folder of a venv.")
    uv_venv_path: str = Field(default="", description="Folder of a venv made by uv.")
    python_path: str = Field(default="", description="Any Python executable.")
    name: str = Field(default="", description="Name of an environment in kernel_exec.toml.")
    working_directory: str = Field(default="", description="Where kernels started now will work.")


class GetEnvironmentConfig(Arguments):
    """Of `get_environment_config`."""


class GetExecution(Arguments):
    """Of `get_execution`."""

    execution_id: ExecutionId
    session: Session
    wait_seconds: float = Field(
        default=0, ge=0, le=_MOST_WAIT, description="Seconds to wait for its end before returning."
    )
    stream: Literal["all", "stdout", "stderr", "result", "error"] = Field(
        default="all", description="Which output to page; error shows whole tracebacks."
    )
    offset: int = Field(default=0, ge=0, description="First line to show, from 0.")
    limit: int = Field(default=200, ge=1, le=5000, description="Most lines to show.")
    tail: int = Field(default=0, ge=0, le=5000, description="Show this many last lines instead.")
    search: str = Field(default="", description="Show only lines that match this expression.")


class InterruptExecution(Arguments):
    """Of `interrupt_execution`."""

    execution_id: ExecutionId
    session: Session
    force: bool = Field(
        default=False, description="Kill the kernel if the code ignores the interrupt."
    )


class RestartKernel(Arguments):
    """Of `restart_kernel`."""

    session: Session
    restore: Literal["none", "replay"] = Field(
        default="none",
        description="replay: run the successful steps again, in order, up to the first failure.",
    )
    wait_seconds: Wait
    timeout_seconds: Annotated[
        float | None,
        Field(
            default=None,
            ge=0,
            le=_MOST_RUN,
            description="Time limit of each replayed step, in seconds; 0 for no limit.",
        ),
    ]


class KernelStatus(Arguments):
    """Of `kernel_status`."""

    session: Session
    variables: bool = Field(default=False, description="Also list the variables.")
    pattern: str = Field(
        default="*",
        max_length=200,
        description="Glob pattern for variable names, e.g. df*; also lists them.",
    )


class ExportNotebook(Arguments):
    """Of `export_notebook`."""

    session: Session
    path: str = Field(default="", description="Where to; relative to the storage root.")
    format: Literal["ipynb", "html", "py", "md"] | None = Field(
        default=None,
        description="ipynb: notebook; html: page to review; py: percent script; md: report."
        " Without it, the path's ending says, or it is a notebook.",
    )
    include_failed: bool = Field(
        default=True, description="Keep failures that nothing needs, folded."
    )
    verify: bool = Field(
        default=False,
        description="Run it again in a fresh kernel first, compare, and note the verdict in it.",
    )
    overwrite: bool = Field(default=False, description="Replace a file that is not an export.")


class AddNote(Arguments):
    """Of `add_note`."""

    markdown: str = Field(min_length=1, max_length=MOST_CODE, description="Markdown text.")
    session: Session


def parse(model: type[Arguments], given: dict[str, Any] | None) -> Arguments:
    """Validated arguments; null stands for one that is left out, as some models write it.

    Raises:
        InvalidArgumentError: One line for each that is wrong: its name, the value, what is allowed.
    """
    fields = model.model_fields
    meant = {
        name: value
        for name, value in (given or {}).items()
        if value is not None or name not in fields or fields[name].is_required()
    }
    try:
        return model.model_validate(meant)
    except ValidationError as error:
        allowed = list(fields)
        raise InvalidArgumentError(
            "\n".join(_complain(dict(problem), allowed) for problem in error.errors())
        ) from error


def schema(model: type[Arguments]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, as plain as clients need it."""
    made = model.model_json_schema()
    plain: dict[str, Any] = {
        "type": "object",
        "properties": {
            name: _plain(described) for name, described in made.get("properties", {}).items()
        },
        "additionalProperties": False,
    }
    # an empty list is none in JSON Schema draft 4, which some clients still check against
    return plain | ({"required": made["required"]} if "required" in made else {})


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    """Without titles, and with one type: that an argument may be null says nothing of use."""
    plain = {key: value for key, value in described.items() if key != "title"}
    options = [each for each in plain.pop("anyOf", ()) if each.get("type") != "null"]
    if options:
        plain = {**options[0], **plain}
    if plain.get("default", 0) is None:
        del plain["default"]
    if plain.get("type") == "array":
        plain["items"] = {"type": "string"}
    return plain


def _complain(problem: dict[str, Any], allowed: list[str]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(allowed) or 'none'}"
        return f"unknown argument {_short(name)}: {hint}"
    if problem["type"] == "missing":
        return f"argument {name!r} is missing"
    if problem["type"] == "string_unicode":
        return (
            f"argument {name!r} holds half a surrogate pair, which is no character:"
            " write it as an escape"
        )
    return f"argument {name!r} is {_short(problem['input'])}: {problem['msg']}"


def _short(value: object) -> str:
    written = ascii(value)
    return written if len(written) <= 80 else f"{written[:60]}… ({len(written):,} characters)"
