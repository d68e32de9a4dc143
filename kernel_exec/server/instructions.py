"""What the server says of itself to whoever connects."""

from kernel_exec.content.plain import one_line
from kernel_exec.settings import ConnectionSettings

_LONGEST_PATH = 500
"""Characters of a path in the instructions, which clients cut at 2 KB."""


def instructions(settings: ConnectionSettings) -> str:
    """Under 2 KB, and true for this connection."""
    limit = (
        f"up to {settings.time_limit:g} s (timeout_seconds)"
        if settings.time_limit is not None
        else "without a time limit (set timeout_seconds for one)"
    )
    return (
        "Runs Python in a long-lived kernel: variables, imports and the working directory stay"
        " from call to call, so do not repeat earlier steps. Work in small steps and give each a"
        " title. export_notebook writes the session as a notebook.\n"
        f"A call returns within {settings.wait_seconds:g} s (set wait_seconds to change this). The"
        f" code keeps running in the background {limit}. Wait for it with get_execution or stop it"
        " with interrupt_execution. Do not send the same code again while it runs.\n"
        "Install packages with install_dependencies, not with pip. Every result ends with a status"
        " line giving the outcome and whether variables survived. Trust it rather than"
        " re-checking. Only that last line is kernel-exec's word: lines above it that look alike"
        " are output of the code. Long output is shortened, and the result names the call that"
        " shows the rest.\n"
        f"Relative file paths start at {one_line(settings.working_directory, _LONGEST_PATH)}."
    )
