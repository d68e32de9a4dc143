"""The host process: owns the services, and serves every client whose relay comes to its door.

It lives as long as it has a client or a kernel, and a while longer.
"""

import json
import logging
import os
import select
import socket
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from typing import Any, TypeAlias

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError
from kernel_exec.jsons import JSONObject
from kernel_exec.log import begin, open_log
from kernel_exec.places import Places
from kernel_exec.relay.door import CODE, HANDSHAKE, is_ours, line_of
from kernel_exec.server.greeting import VERSION, instructions, serve_tools
from kernel_exec.settings import HostSettings

from .opening import UNSERVED, AwaitedTools, Opening, reason_of
from .start import Door, divert, settings_of
from .stdio import converse, exit_now, leave_on_signal
from .wire import TooLong, Wire, lines_of, wire_on

_Reply: TypeAlias = Callable[[JSONObject], Awaitable[None]]

_GREETING_LIMIT = 10.0
"""Seconds for a relay to say who it is; it does so at once."""

_LOOKS = 6
"""How often the host looks after itself in the time for which it lingers."""

_OFTEN = 5.0
"""Seconds between two looks at most: a socket that was removed is missed for no longer."""

_NO_ROOM = 0.2
"""Seconds to wait when no descriptor is to be had for another client."""

_SAID_AT_ONCE = 4096
"""Bytes that a pipe takes whole where it takes any."""

_MOST_DESCRIPTORS = 16
"""Descriptors that are taken with a greeting, to be closed if they are not three."""

_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_VERSION = (HANDSHAKE, CODE)
"""Of a relay that this host serves in any case; for another one it leaves, if nobody needs it."""

_log = logging.getLogger(__name__)


def run(settings: HostSettings, door: Door) -> None:
    """Be the host behind `door`, and end the process afterwards."""
    begin(Places(settings.storage_root).log, settings.log_level)
    _log.info("the host process begins, kernel-exec %s", VERSION)
    code = 0
    try:
        anyio.run(_live, settings, door, backend="asyncio")
    except Exception:  # noqa: BLE001 - nobody else hears of it
        code = 1
        _log.exception("the host process fails")
    _log.info("the host process ends")
    exit_now(code)


async def _live(settings: HostSettings, door: Door) -> None:
    with anyio.CancelScope() as scope:
        leave_on_signal(scope)
        with closing(door):
            await _Host(settings, door).serve()
    door.lease.drop()


class _Host:
    """Takes visitors in: relays with their clients, and the command line."""

    def __init__(self, settings: HostSettings, door: Door) -> None:
        """The services are opened when a visitor needs them."""
        self._settings = settings
        self._door = door
        self._clients = 0
        self._over = anyio.Event()
        self._services = Opening(settings, stopping=self._over)

    async def serve(self) -> None:
        """Serve until nobody needs it any more, or it is told to end."""
        self._door.is_ready = True
        self._door.announce()
        self._services.leave_to_warden(self._door.place)
        async with self._services, anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(self._look_after_itself)
                tasks.start_soon(self._take_in, tasks)
                await self._over.wait()
            finally:
                # before anybody's conversation ends: who is sent away finds the next host
                anyio.notify_closing(self._door.listener)
                self._door.close()
                tasks.cancel_scope.cancel()

    async def _look_after_itself(self) -> None:
        """End when nobody needs us; keep door and log as they should be."""
        linger = self._settings.linger
        needed = anyio.current_time()
        while True:
            await anyio.sleep(min(_OFTEN, linger / _LOOKS))
            if self._is_needed:
                needed = anyio.current_time()
            elif anyio.current_time() - needed >= linger:
                self._over.set()
                return
            self._keep_door_and_log()

    def _keep_door_and_log(self) -> None:
        """Make again what somebody has removed of them."""
        if not self._door.is_open and (self._is_needed or self._door.lease.is_valid):
            try:
                before = self._door.open_again()
            except (OSError, KernelExecError) as error:
                _log.warning("the socket was removed and can't be made again now: %s", error)
                return
            if before is not None:
                _log.warning("the socket or the way to it was removed; it was made again")
                anyio.notify_closing(before)  # while it is open: whoever waits for it is woken
                before.close()
                self._services.leave_to_warden(self._door.place)
        with suppress(OSError):  # what writes to the log itself says so on the old one
            divert(open_log(Places(self._settings.storage_root).log))

    @property
    def _is_needed(self) -> bool:
        """True while somebody is served, or could come back to a kernel."""
        return self._clients > 0 or (self._services.are_used and self._door.lease.is_valid)

    async def _take_in(self, tasks: TaskGroup) -> None:
        while self._door.listener.fileno() >= 0:
            try:
                await anyio.wait_readable(self._door.listener)
                connection, _ = self._door.listener.accept()
            except (BlockingIOError, ConnectionError, anyio.ClosedResourceError):
                continue  # it has left again, or the door was made again
            except OSError as error:
                _log.warning("a client can't be served now: %s", error)
                await anyio.sleep(_NO_ROOM)
                continue
            tasks.start_soon(self._visited, connection)

    async def _visited(self, connection: socket.socket) -> None:
        """Serve one visitor; what goes wrong costs nobody else anything."""
        with connection:
            connection.setblocking(False)
            if not is_ours(connection):
                return
            try:
                with wire_on(connection.fileno(), connection.fileno()) as wire:
                    lines = lines_of(wire.chunks())
                    greeting: dict[str, Any] = {}
                    with anyio.move_on_after(_GREETING_LIMIT):
                        greeting = _object(await anext(lines, b""))
                    if "relay" in greeting:
                        await self._relay(connection, wire, greeting)
                    elif "control" in greeting:
                        await self._command_line(connection, wire, greeting, lines)
            except OSError:
                pass  # it hung up
            except Exception:  # noqa: BLE001 - a defect must not cost the others their kernels
                _log.exception("a conversation failed")

    async def _command_line(
        self,
        connection: socket.socket,
        wire: Wire,
        greeting: Mapping[str, Any],
        lines: AsyncIterator[bytes | TooLong],
    ) -> None:
        """Answer requests, one after the other, until the other end hangs up."""

        async def reply(message: JSONObject) -> None:
            await _send(wire, dict(message))

        async for line in lines:
            request = _object(line)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_hung_up, connection, tasks.cancel_scope)
                if greeting["control"] != HANDSHAKE:
                    await reply({"error": self._other_version(), "end": True})
                elif request.get("command") == "ping":  # however long it takes to do anything else
                    await reply({"end": True})
                else:
                    await self._do(request, reply)
                tasks.cancel_scope.cancel()

    async def _do(self, request: JSONObject, reply: _Reply) -> None:
        """Carry out what the command line asks for."""
        with self._counted():
            try:
                services = await self._services.get()
            except UNSERVED as error:
                await reply({"error": reason_of(error), "end": True})
            else:
                await services.answer(request, reply)

    async def _relay(
        self, connection: socket.socket, wire: Wire, greeting: Mapping[str, Any]
    ) -> None:
        """Serve the client that a relay speaks for, or say why not."""
        if not self._is_needed and (greeting["relay"], greeting.get("code")) != _VERSION:
            self._over.set()
            await _send(wire, {"again": True})
        elif greeting["relay"] != HANDSHAKE:
            await _send(wire, {"refused": self._other_version()})
        else:
            with self._counted():
                await self._client(connection, wire, greeting)

    async def _client(
        self, connection: socket.socket, wire: Wire, greeting: Mapping[str, Any]
    ) -> None:
        try:
            settings = await to_thread.run_sync(settings_of, greeting)
        except KernelExecError:
            await _send(wire, {"refused": ""})  # read there once more, it is told why
            return
        await _send(wire, {"served": str(Places(self._settings.storage_root).log)})
        async with _handed_over(connection) as (reading, writing, errors):
            _warn(errors, settings.connection.notice)
            code = 0
            try:
                with ExitStack() as stack:
                    async with anyio.create_task_group() as tasks:
                        tools = AwaitedTools(self._services, settings, stack, tasks)
                        server = serve_tools(tools, instructions(settings.connection))
                        tasks.start_soon(_until_hung_up, connection, tasks.cancel_scope)
                        with wire_on(reading, writing) as client:
                            await converse(server, client)
                        tasks.cancel_scope.cancel()
            except Exception:
                code = 1
                raise
            finally:
                with suppress(OSError):
                    connection.send(line_of({"exit": code}))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._clients += 1
        try:
            yield
        finally:
            self._clients -= 1

    def _other_version(self) -> str:
        return (
            f"the host process {os.getpid()} of this storage folder is of another version of"
            f" kernel-exec ({VERSION}) and in use: close its clients and end its kernels, or run"
            " `kernel-exec stop --all` of that version, then start again"
        )


@asynccontextmanager
async def _handed_over(connection: socket.socket) -> AsyncIterator[Sequence[int]]:
    """The three descriptors that a relay hands over, closed afterwards.

    Raises:
        OSError: It hung up.
    """
    descriptors = array("i")
    try:
        with anyio.fail_after(_GREETING_LIMIT):
            await anyio.wait_readable(connection)
        room = socket.CMSG_LEN(_MOST_DESCRIPTORS * descriptors.itemsize)
        _, passed, *_ = connection.recvmsg(1, room, _CLOSE_ON_EXEC)
        for level, kind, numbers in passed:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(numbers[: len(numbers) // 4 * 4])
        if len(descriptors) != 3:
            raise ConnectionError("stdin, stdout and stderr were not handed over")
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def _until_hung_up(connection: socket.socket, scope: anyio.CancelScope) -> None:
    """Cancel `scope` when the other end is gone, or has nothing more to say; return when it has."""
    await anyio.wait_readable(connection)
    try:
        if connection.recv(1, socket.MSG_PEEK):
            return
    except OSError:
        pass
    scope.cancel()


async def _send(wire: Wire, message: dict[str, Any]) -> None:
    await wire.send(line_of(message).rstrip())


def _object(line: bytes | TooLong) -> dict[str, Any]:
    """The object in a line; an empty one for anything else."""
    try:
        read = json.loads(line) if isinstance(line, bytes) else {}
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _warn(descriptor: int, sentence: str) -> None:
    """Say something on a client's stderr, unless it does not read that."""
    if sentence and select.select([], [descriptor], [], 0)[1]:
        with suppress(OSError):
            os.write(descriptor, f"warning: {clean(sentence)}\n".encode()[:_SAID_AT_ONCE])
