"""Our side of a kernel's guardian (`inside/guardian.py`).

The guardian reports the kernel's end within milliseconds and with its true exit status, and
outlives it only to end what it left behind.
"""

import asyncio
import json
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio import to_thread

from kernel_exec import processes

from .launch import Launch
from .outcomes import Death

_SWEEP_LIMIT = 3.0
"""Seconds that SIGKILL and reaping may take before we end the guardian itself."""

_LOOKS, _INTERVAL = 100, 0.02
"""How often, and seconds apart, we look for the exit status of a guardian that hung up."""

_DUMP_STACK, _INTERRUPT, _KILL = b"u", b"i", b"k"

_SENDER = struct.Struct("iII")
"""Process, user and group of whoever sent a message."""


class Guard:
    """Launches a kernel under its guardian and hears how it ends."""

    def __init__(self, *, on_death: Callable[[], None], on_continued: Callable[[], None]) -> None:
        """Both are called on the loop: when the kernel has ended, and when it was made to go on."""
        self.death: Death | None = None
        self.kernel_pid: int | None = None
        self._on_death = on_death
        self._on_continued = on_continued
        self._swept = anyio.Event()
        self._guardian: processes.Child | None = None
        self._socket: socket.socket | None = None
        self._heard = b""

    def launch(self, launch: Launch) -> None:
        """Start the launcher, and listen to its guardian; its configuration is written here.

        Raises:
            OSError: A file can't be written.
            KernelExecError: The program can't be started.
        """
        ours, theirs = socket.socketpair()
        if sys.platform == "linux":  # who speaks, in our numbers, whatever namespace it lives in
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with theirs:
            theirs.set_inheritable(True)
            try:
                file = launch.run_dir / "launch.json"
                file.write_text(json.dumps(launch.configuration))
                self._guardian = processes.spawn(
                    [*launch.argv, str(file), str(theirs.fileno())],
                    env=launch.variables,
                    cwd=launch.working_directory,
                    stderr=launch.run_dir / "stderr",
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)

    @property
    def root_pid(self) -> int | None:
        """The process that was launched; all others are below it."""
        return None if self._guardian is None else self._guardian.pid

    async def close(self) -> None:
        """End all that is left, and let go of the guardian; bounded."""
        guardian = self._guardian
        if guardian is None:
            return
        self.kill()
        with anyio.move_on_after(_SWEEP_LIMIT, shield=True):
            await self._swept.wait()
        end = processes.reap if self._swept.is_set() else processes.kill
        self._hang_up()
        self._note_death(Death(reason="its guardian did not end it"))
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(end, guardian)
        self._guardian = None

    def interrupt(self) -> None:
        """Send SIGINT to the kernel's main thread and to all that it has started."""
        self._command(_INTERRUPT)

    def kill(self) -> None:
        """End the kernel and everything below it."""
        self._command(_KILL)

    def dump_stack(self) -> None:
        """Have the kernel's main thread write its stack to the file `stack`."""
        self._command(_DUMP_STACK)

    def _command(self, command: bytes) -> None:
        """Send the guardian one command; without a guardian there is nobody to signal."""
        if self._socket is None:
            return
        with suppress(OSError):  # it has just ended, and its socket will say so
            self._socket.send(command)

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            heard, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_SENDER.size))
        except BlockingIOError:
            return
        except OSError:
            heard, ancillary = b"", []
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            self._understand(*line.decode("ascii").split(), sender=_sender(ancillary))
        if not heard:
            self._hang_up()
            self._look_for_end(_LOOKS)

    def _understand(self, word: str, number: str, *, sender: int | None) -> None:
        if word == "kernel":
            self.kernel_pid = sender or int(number)
        elif word == "continued":
            self._on_continued()
        elif word == "exit":
            self._note_death(Death(exit_code=int(number)))
        else:
            signum = int(number)
            self._note_death(Death(exit_code=-signum, signal=_signal_name(signum)))

    def _note_death(self, death: Death) -> None:
        if self.death is None:
            self.death = death
            self._on_death()

    def _hang_up(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _look_for_end(self, looks: int) -> None:
        """The guardian is at its end, and all that it guarded with it.

        If it never reported how the kernel ended, as when Python itself does not start, its own end
        says so; that follows its last word within milliseconds.
        """
        code = self._guardian.poll() if self._guardian is not None else None
        if code is None and looks and self.death is None:
            asyncio.get_running_loop().call_later(_INTERVAL, self._look_for_end, looks - 1)
            return
        if code is None:
            self._note_death(Death(reason="its guardian ended before it"))
        elif code < 0:
            self._note_death(Death(exit_code=code, signal=_signal_name(-code)))
        else:
            self._note_death(Death(exit_code=code))
        self._swept.set()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The process that has sent a message, where the system says so."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, getattr(socket, "SCM_CREDENTIALS", None)):
            return int(_SENDER.unpack(content)[0])
    return None


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
