"""Our side of a kernel's guardian (`_launch.py`), as a jupyter_client provisioner.

`AsyncKernelManager` starts and stops kernels through this door; kernels that run elsewhere will
come through it too. The guardian reports the kernel's end within milliseconds and with its true
exit status, and outlives it only to end what it left behind.
"""

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from kernel_exec import processes

from .execution import Death

_COMMANDS = {signal.SIGINT: b"i", signal.SIGTERM: b"t", signal.SIGKILL: b"k"}
_DUMP_STACK = b"u"


class GuardedProvisioner(KernelProvisionerBase):
    """Launches `_launch.py` with a socket to its guardian."""

    def __init__(self, *, launch: dict[str, object], run_dir: Path, **kwargs: Any) -> None:
        """Prepare; `launch` is the launcher's configuration, completed at launch."""
        super().__init__(**kwargs)
        self.death: Death | None = None
        self.kernel_pid: int | None = None
        self.died = anyio.Event()
        self.swept = anyio.Event()
        self.on_death: Callable[[], None] = lambda: None
        self.on_continued: Callable[[], None] = lambda: None
        self._launch = launch
        self._run_dir = run_dir
        self._guardian: processes.Child | None = None
        self._socket: socket.socket | None = None
        self._heard = b""

    @property
    def has_process(self) -> bool:
        """True from launch until the kernel has ended."""
        return self._guardian is not None and self.death is None

    async def poll(self) -> int | None:
        """None while the kernel lives, then its exit code, negative for a signal."""
        if self.death is None:
            return None
        return 1 if self.death.exit_code is None else self.death.exit_code

    async def wait(self) -> int | None:
        """Wait for the kernel's end."""
        await self.died.wait()
        return await self.poll()

    async def send_signal(self, signum: int) -> None:
        """Have the guardian send SIGINT, SIGTERM or SIGKILL."""
        self.command(_COMMANDS[signal.Signals(signum)])

    async def kill(self, restart: bool = False) -> None:
        """End the kernel and everything below it."""
        self.command(b"k")

    async def terminate(self, restart: bool = False) -> None:
        """Ask the kernel to end."""
        self.command(b"t")

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Write the connection file."""
        assert self.parent is not None
        self.parent.write_connection_file()
        self.connection_info = self.parent.get_connection_info()
        return await super().pre_launch(cmd=self.kernel_spec.argv, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the launcher and listen to its guardian."""
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            configuration = self._run_dir / "launch.json"
            configuration.write_text(json.dumps({**self._launch, "guard_fd": theirs.fileno()}))
            try:
                self._guardian = processes.spawn(
                    [*cmd, str(configuration)],
                    env=kwargs["env"],
                    cwd=kwargs["cwd"],
                    stderr=self._run_dir / "stderr",
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)
        return self.connection_info

    async def cleanup(self, restart: bool = False) -> None:
        """End all that is left and let go of the guardian; bounded."""
        if self._guardian is None:
            return
        self.command(b"k")
        with anyio.move_on_after(_SWEEP_LIMIT, shield=True):
            await self.swept.wait()
        if not self.swept.is_set():
            processes.kill(self._guardian)
            self._close()
        self._guardian = None

    def dump_stack(self) -> None:
        """Have the kernel's main thread write its stack to the file `stack`."""
        self.command(_DUMP_STACK)

    def command(self, command: bytes) -> None:
        """Send the guardian one command; without a guardian there is nobody to signal."""
        if self._socket is None:
            return
        with suppress(OSError):  # it has just ended, and its socket will say so
            self._socket.send(command)

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            heard = self._socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            self._understand(*line.decode("ascii").split())
        if not heard:
            self._close()

    def _understand(self, word: str, number: str) -> None:
        if word == "kernel":
            self.kernel_pid = int(number)
        elif word == "continued":
            self.on_continued()
        elif word == "exit":
            self._note_death(Death(exit_code=int(number)))
        else:
            signum = int(number)
            self._note_death(Death(exit_code=-signum, signal=_signal_name(signum)))

    def _note_death(self, death: Death) -> None:
        if self.death is None:
            self.death = death
            self.died.set()
            self.on_death()

    def _close(self) -> None:
        """The guardian is gone, and all that it guarded with it."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        assert self._guardian is not None
        code = processes.reap(self._guardian)
        self._note_death(
            Death(
                exit_code=code if code is None or code >= 0 else None,
                signal=_signal_name(-code) if code is not None and code < 0 else None,
            )
        )
        self.swept.set()


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


_SWEEP_LIMIT = 3.0
"""Seconds that SIGKILL and reaping may take before we end the guardian itself."""
