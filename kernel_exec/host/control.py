"""What the command line asks of a running host: one request, answered by messages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from kernel_exec.app import App
from kernel_exec.errors import KernelExecError
from kernel_exec.jsons import JSONObject, text

Reply: TypeAlias = Callable[[JSONObject], Awaitable[None]]
_Command: TypeAlias = Callable[[App, JSONObject, Reply], Awaitable[None]]


async def answer(app: App, request: JSONObject, reply: Reply) -> None:
    """Carry out `request`; the last message has `end`, and `error` when it could not be done."""
    try:
        command = COMMANDS.get(text(request, "command"))
        if command is None:
            await reply({"error": f"no such command: {request.get('command')!r}", "end": True})
            return
        await command(app, request, reply)
    except KernelExecError as error:
        await reply({"error": str(error), "end": True})
    else:
        await reply({"end": True})


async def _ping(app: App, request: JSONObject, reply: Reply) -> None:
    """Nothing but the end of the answer."""


async def _stop(app: App, request: JSONObject, reply: Reply) -> None:
    """End the host with all that it runs."""
    app.stopping.set()


COMMANDS: Final[Mapping[str, _Command]] = {"ping": _ping, "stop": _stop}
"""What can be asked, by name."""
