"""uv, as we call it: never a shell, never the wrong environment, the system's certificates too."""

from collections.abc import Callable, Sequence

from uv import find_uv_bin

from kernel_exec import processes

from .tools import Tools

_UNKNOWN_ISSUER = "invalid peer certificate"

_UNREACHABLE = (
    "failed to fetch",
    "error sending request",
    "dns error",
    "network connectivity",
    "network was disabled",
    "network timeout",
)


async def run_uv(
    arguments: Sequence[str],
    *,
    tools: Tools,
    limit: float,
    on_line: Callable[[str], None] | None = None,
) -> processes.Finished:
    """Run uv in an empty folder, within `limit` seconds.

    uv trusts its own certificates unless told otherwise, and many clients start us without the
    variables that tell it. Behind a proxy that signs for itself, the second try trusts the
    system's.

    Raises:
        ProgramMissingError: uv is missing.
        BusyError: It can't be started now.
        OSError: There is no temporary folder to run it in.
    """
    try:
        argv = [find_uv_bin(), *arguments]
    except FileNotFoundError as error:
        raise processes.ProgramMissingError(f"uv is missing: {error}; reinstall it") from error
    with tools.work_folder() as (cwd, variables):
        # its byte-compiler runs the environment's Python, whose start would leave files there
        env = {**variables, "PYTHONDONTWRITEBYTECODE": "1"}
        finished = await processes.run(argv, env=env, cwd=cwd, limit=limit, on_line=on_line)
        if finished.returncode != 0 and _UNKNOWN_ISSUER in finished.stderr:
            env["UV_SYSTEM_CERTS"] = "1"
            if on_line is not None:
                on_line("trying again with the system's certificates")
            finished = await processes.run(argv, env=env, cwd=cwd, limit=limit, on_line=on_line)
        return finished


def unreachable(finished: processes.Finished) -> bool:
    """True when uv failed because it did not reach the package index."""
    said = finished.stderr.lower()
    return finished.returncode != 0 and any(sign in said for sign in _UNREACHABLE)
