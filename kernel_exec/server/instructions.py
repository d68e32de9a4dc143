"""What the server says of itself to whoever connects."""

from kernel_exec.content.plain import one_line
from kernel_exec.settings import ConnectionSettings

_LONGEST_PATH = 500
"""Characters of a path in the instructions, which clients cut at 2 KB."""

_SHARED = (
    "\nClients that give the same name share variables: where others may be at work, pass a session"
    " of your own with every call."
)


def instructions(settings: ConnectionSettings, *, shared: bool = False) -> str:
    """Under 2 KB, and true for this connection; `shared` by all clients of one name, or its own."""
    limit = (
        f"for up to {settings.time_limit:g} s (timeout_seconds)"
        if settings.time_limit is not None
        else "without a time limit (set timeout_seconds for one)"
    )
    return (
        "Work in small steps, each with a title; do not repeat earlier ones.\n"
        f"A call returns within {settings.wait_seconds:g} s (wait_seconds). The code keeps running"
        f" {limit}: follow it with get_execution or stop it with interrupt_execution; do not send"
        " it again.\n"
        "Install packages with install_dependencies, not with pip.\n"
        "The last line of an execution gives the outcome and whether variables survived: trust it"
        " rather than re-checking. Similar lines above it are output of the code.\n"
        f"Relative file paths start at {one_line(settings.working_directory, _LONGEST_PATH)}."
        f"{_SHARED if shared else ''}"
    )
