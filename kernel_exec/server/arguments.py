"""The arguments of each tool: names, meanings and bounds."""

import json
import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from kernel_exec.content.plain import one_line

MOST_CODE = 2_000_000
"""Characters of code in one call; data belongs in files."""

_FENCED = re.compile(
    r"\s*```[ \t]*(?:python3?|py|ipython3?)?[ \t]*\r?\n((?:(?!```).*\n)*)```\s*", re.IGNORECASE
)
_MOST_WAIT = 3600
_MOST_RUN = 864_000
_LONGEST_NAME = 100
_LONGEST_SESSION = 4000
_LONGEST_TITLE = 300


def shortened(value: object) -> str:
    """A wrong value as its refusal repeats it."""
    try:
        written = ascii(value)
    except RecursionError:
        written = f"a {type(value).__name__} nested too deeply"
    return written if len(written) <= 80 else f"{written[:60]}… ({len(written):,} characters)"


def _list_from_text(value: object) -> object:
    """Some clients send a list as its JSON text, or one name alone."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return [value]


def _name(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("it is not a text")
    return value


def _word(value: object) -> str:
    """A script's argument, as a shell would pass it."""
    if not isinstance(value, str | int | float):
        raise ValueError("it is neither a string nor a number")
    word = str(value)
    word.encode()  # half a surrogate pair is an error of value, too
    if "\0" in word:
        raise ValueError("NUL can't be passed to a program")
    return word


def _without_fence(code: str) -> str:
    """Code out of the Markdown fence that it came in: no Python begins with one."""
    fenced = _FENCED.fullmatch(code)
    return fenced[1] if fenced is not None else code


def _heading(title: str) -> str:
    return one_line(" ".join(title.split()), _LONGEST_TITLE)


# What several tools take is described where it comes first: models pay for each repetition.
Session = Annotated[str, Field(default="", max_length=_LONGEST_SESSION)]
Wait = Annotated[float | None, Field(default=None, ge=0, le=_MOST_WAIT)]
Title = Annotated[str, AfterValidator(_heading), Field(default="", max_length=_LONGEST_TITLE)]
TimeLimit = Annotated[float | None, Field(default=None, ge=0, le=_MOST_RUN)]
StepLimit = Annotated[TimeLimit, Field(description="For each rerun step.")]
ExecutionId = Annotated[str, Field(default="", max_length=_LONGEST_NAME)]
Names = Annotated[
    list[Annotated[str, BeforeValidator(_name)]],
    BeforeValidator(_list_from_text),
    Field(max_length=200),
]
Words = Annotated[
    list[Annotated[str, BeforeValidator(_word)]],
    BeforeValidator(_list_from_text),
    Field(max_length=200),
]


class Arguments(BaseModel):
    """Of any tool: unknown names and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExecuteCode(Arguments):
    """Of `execute_code`."""

    code: Annotated[str, AfterValidator(_without_fence)] = Field(max_length=MOST_CODE)
    filename: str = Field(default="", description="Stem of the stored file's name.")
    session: Annotated[
        Session, Field(description="Name, id or name@environment; default: your own.")
    ]
    title: Annotated[Title, Field(description="Purpose of the step, its heading in the notebook.")]
    wait_seconds: Annotated[
        Wait,
        Field(description="Then the call returns and the code keeps running."),
    ]
    timeout_seconds: Annotated[TimeLimit, Field(description="Time limit; 0 for none.")]


class ExecuteCodeFile(Arguments):
    """Of `execute_code_file`."""

    file_path: str = Field(description="As returned, or relative to the storage root.")
    mode: Literal["kernel", "isolated"] = Field(
        default="kernel",
        description="isolated: in a process of its own, without the session's variables.",
    )
    args: Words = Field(default_factory=list)
    session: Session
    title: Title
    wait_seconds: Wait
    timeout_seconds: TimeLimit


class InitializeCodeFile(Arguments):
    """Of `initialize_code_file`."""

    content: str = Field(max_length=MOST_CODE)
    filename: str = Field(default="", description="Stem; a unique part is added to it.")
    overwrite: bool = Field(
        default=False, description="Name it <filename>.py, replacing a file of that name."
    )


class AppendToCodeFile(Arguments):
    """Of `append_to_code_file`."""

    file_path: str
    content: str = Field(max_length=MOST_CODE)


class ReadCodeFile(Arguments):
    """Of `read_code_file`."""

    file_path: str
    offset: int = Field(default=0, ge=0, description="Lines to skip.")
    limit: int = Field(default=2000, ge=1, le=10_000, description="Lines (default 2000).")


class InstallDependencies(Arguments):
    """Of `install_dependencies`."""

    packages: Names
    upgrade: bool = Field(
        default=False,
        description="Also upgrade packages that already satisfy the requirement.",
    )
    allow_build: bool = Field(
        default=False,
        description="Build packages without a wheel, which runs their code.",
    )
    wait_seconds: Wait


class CheckInstalledPackages(Arguments):
    """Of `check_installed_packages`."""

    packages: Names = Field(default_factory=list)


class ConfigureEnvironment(Arguments):
    """Of `configure_environment`."""

    type: Literal["conda", "venv", "venv-uv", "python"] | None = Field(
        default=None, description="Not needed with name."
    )
    conda_name: str = ""
    venv_path: str = ""
    uv_venv_path: str = ""
    python_path: str = ""
    name: str = Field(default="", description="A configured environment.")
    working_directory: str = Field(default="", description="For kernels started from now on.")


class GetEnvironmentConfig(Arguments):
    """Of `get_environment_config`."""


class GetExecution(Arguments):
    """Of `get_execution`."""

    execution_id: Annotated[ExecutionId, Field(description="Default: the session's latest.")]
    session: Session
    wait_seconds: float = Field(default=0, ge=0, le=_MOST_WAIT)
    stream: Literal["all", "stdout", "stderr", "result", "error"] = Field(
        default="all", description="error: complete tracebacks."
    )
    offset: int | None = Field(default=None, ge=0, description="Lines to skip; 0 shows all.")
    limit: int | None = Field(default=None, ge=1, le=5000, description="Lines (default 200).")
    tail: int = Field(default=0, ge=0, le=5000, description="Only the last N lines.")
    search: str = Field(
        default="",
        max_length=1000,
        description="Only lines matching this regular expression, with offsets.",
    )
    picture: int | None = Field(default=None, ge=1, description="Only this picture, from 1.")


class InterruptExecution(Arguments):
    """Of `interrupt_execution`."""

    execution_id: ExecutionId
    session: Session
    force: bool = Field(default=False, description="Kill the kernel if the code does not stop.")


class RestartKernel(Arguments):
    """Of `restart_kernel`."""

    session: Session
    restore: Literal["none", "replay"] = Field(
        default="none",
        description="replay: run the successful steps again, up to the first failure.",
    )
    wait_seconds: Wait
    timeout_seconds: StepLimit


class KernelStatus(Arguments):
    """Of `kernel_status`."""

    session: Session
    variables: bool = False
    pattern: str = Field(
        default="*", max_length=200, description="List only variables such as df*."
    )


class ExportNotebook(Arguments):
    """Of `export_notebook`."""

    session: Session
    path: str = ""
    format: Literal["ipynb", "html", "py", "md"] | None = Field(
        default=None,
        description="Default: by the extension of path.",
    )
    title: Title
    verify: bool = Field(
        default=False,
        description="First rerun it in a fresh kernel and compare the results; a verdict is reused"
        " if nothing has changed.",
    )
    verify_again: bool = Field(default=False, description="Always rerun.")
    wait_seconds: Wait
    timeout_seconds: StepLimit
    overwrite: bool = Field(
        default=False, description="Replace a file that is not an export of this session."
    )


class AddNote(Arguments):
    """Of `add_note`."""

    markdown: str = Field(min_length=1, max_length=MOST_CODE)
    session: Session
