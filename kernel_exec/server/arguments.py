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


Session = Annotated[
    str,
    Field(
        default="",
        max_length=_LONGEST_SESSION,
        description="Session name, id or name@environment; empty for your own default session.",
    ),
]
Wait = Annotated[
    float | None,
    Field(
        default=None,
        ge=0,
        le=_MOST_WAIT,
        description="Seconds to wait for the result; then the call returns an execution_id and"
        " the work continues.",
    ),
]
Title = Annotated[
    str,
    AfterValidator(_heading),
    Field(
        default="",
        max_length=_LONGEST_TITLE,
        description="Purpose of this step; becomes its heading in the notebook.",
    ),
]
TimeLimit = Annotated[
    float | None,
    Field(
        default=None,
        ge=0,
        le=_MOST_RUN,
        description="How long the code may run, in seconds; 0 for no limit.",
    ),
]
StepLimit = Annotated[
    float | None,
    Field(
        default=None,
        ge=0,
        le=_MOST_RUN,
        description="Time limit of each step that is rerun, in seconds; 0 for no limit.",
    ),
]
ExecutionId = Annotated[
    str,
    Field(
        default="",
        max_length=_LONGEST_NAME,
        description="An id from a result; empty for the session's latest execution.",
    ),
]
FilePath = Annotated[
    str, Field(description="Path returned by another tool, or relative to the storage root.")
]
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

    code: Annotated[str, AfterValidator(_without_fence)] = Field(
        max_length=MOST_CODE, description="Python, with IPython's % and ! lines."
    )
    filename: str = Field(
        default="", description="Stem of the name of the file that keeps the code."
    )
    session: Session
    title: Title
    wait_seconds: Wait
    timeout_seconds: TimeLimit


class ExecuteCodeFile(Arguments):
    """Of `execute_code_file`."""

    file_path: FilePath
    mode: Literal["kernel", "isolated"] = Field(
        default="kernel",
        description="kernel: variables stay for the next call; isolated: run in a separate"
        " process that neither sees nor changes the session's variables.",
    )
    args: Words = Field(default_factory=list, description="The script's sys.argv[1:].")
    session: Session
    title: Title
    wait_seconds: Wait
    timeout_seconds: TimeLimit


class InitializeCodeFile(Arguments):
    """Of `initialize_code_file`."""

    content: str = Field(max_length=MOST_CODE, description="First content of the file.")
    filename: str = Field(default="", description="Stem of the file name; a unique part is added.")


class AppendToCodeFile(Arguments):
    """Of `append_to_code_file`."""

    file_path: FilePath
    content: str = Field(
        max_length=MOST_CODE, description="Code to append, starting on a new line."
    )


class ReadCodeFile(Arguments):
    """Of `read_code_file`."""

    file_path: FilePath
    offset: int = Field(default=0, ge=0, description="First line to show, from 0.")
    limit: int = Field(
        default=2000, ge=1, le=10_000, description="Maximum number of lines to show."
    )


class InstallDependencies(Arguments):
    """Of `install_dependencies`."""

    packages: Names = Field(description='Requirements such as "pandas" or "numpy>=2".')
    upgrade: bool = Field(
        default=False,
        description="Also upgrade packages whose installed version already satisfies the"
        " requirement.",
    )
    allow_build: bool = Field(
        default=False,
        description="Allow packages without a wheel to be built, which runs their code.",
    )
    wait_seconds: Wait


class CheckInstalledPackages(Arguments):
    """Of `check_installed_packages`."""

    packages: Names = Field(description='Names, or requirements such as "pandas>=2".')


class ConfigureEnvironment(Arguments):
    """Of `configure_environment`."""

    type: Literal["conda", "venv", "venv-uv", "python"] | None = Field(
        default=None, description="Kind of environment; not needed with name."
    )
    conda_name: str = Field(default="", description="Name of a conda environment.")
    venv_path: str = Field(default="", description="Folder of a venv.")
    uv_venv_path: str = Field(default="", description="Folder of a venv created by uv.")
    python_path: str = Field(default="", description="Path of a Python executable.")
    name: str = Field(default="", description="Name of an environment in the configuration file.")
    working_directory: str = Field(
        default="", description="Working directory of kernels started from now on."
    )


class GetEnvironmentConfig(Arguments):
    """Of `get_environment_config`."""


class GetExecution(Arguments):
    """Of `get_execution`."""

    execution_id: ExecutionId
    session: Session
    wait_seconds: float = Field(
        default=0,
        ge=0,
        le=_MOST_WAIT,
        description="How long to wait for the execution to end, in seconds.",
    )
    stream: Literal["all", "stdout", "stderr", "result", "error"] = Field(
        default="all", description="Which output to show; error shows complete tracebacks."
    )
    offset: int | None = Field(
        default=None, ge=0, description="Show lines, beginning with this one (the first is 0)."
    )
    limit: int | None = Field(
        default=None, ge=1, le=5000, description="Maximum number of lines to show (default 200)."
    )
    tail: int = Field(default=0, ge=0, le=5000, description="Show only the last N lines.")
    search: str = Field(
        default="",
        max_length=1000,
        description="Show only lines that match this Python regular expression, each with its"
        " offset.",
    )
    picture: int | None = Field(
        default=None, ge=1, description="Show this picture (the first is 1)."
    )


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
    timeout_seconds: StepLimit


class KernelStatus(Arguments):
    """Of `kernel_status`."""

    session: Session
    variables: bool = Field(default=False, description="Also list the variables.")
    pattern: str = Field(
        default="*",
        max_length=200,
        description="Glob pattern for variable names, e.g. `df*`; also lists the variables.",
    )


class ExportNotebook(Arguments):
    """Of `export_notebook`."""

    session: Session
    path: str = Field(
        default="", description="Output path, absolute or relative to the storage root."
    )
    format: Literal["ipynb", "html", "py", "md"] | None = Field(
        default=None,
        description="ipynb: notebook; html: page for review; py: percent script; md: report."
        " By default the extension of path decides, otherwise ipynb.",
    )
    verify: bool = Field(
        default=False,
        description="First rerun it in a fresh kernel, compare the results and record the verdict;"
        " an earlier verdict is reused if nothing has changed.",
    )
    verify_again: bool = Field(
        default=False, description="Like verify, but always rerun, even if nothing has changed."
    )
    wait_seconds: Wait
    timeout_seconds: StepLimit
    overwrite: bool = Field(
        default=False, description="Replace an existing file that is not an export of this session."
    )


class AddNote(Arguments):
    """Of `add_note`."""

    markdown: str = Field(min_length=1, max_length=MOST_CODE, description="Markdown text.")
    session: Session
