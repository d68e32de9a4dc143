"""A kernel's process on this machine, with its sockets and its files."""

import secrets
from dataclasses import replace

import psutil
from jupyter_client.connect import write_connection_file

from kernel_exec.errors import KernelDeadError

from .channels import Channels
from .driver import Driver
from .flow import Flow
from .guard import Guard
from .kernel import Usage
from .launch import PORTS, SOCKETS, Launch
from .messages import Outgoing
from .outcomes import Death
from .run_dirs import RunDir


class LocalProcess:
    """See `driver.Process`; what its sockets bring goes to its `driver`, and nowhere else."""

    def __init__(self, run_dir: RunDir, flow: Flow) -> None:
        self.driver = Driver(process=self)
        self._run_dir = run_dir
        self._flow = flow
        self._guard = Guard(on_death=self._drain, on_continued=self.driver.note_continued)
        self._channels: Channels | None = None

    @property
    def pid(self) -> int | None:
        """That of the kernel, once its guardian has said so."""
        return self._guard.kernel_pid

    @property
    def root(self) -> int | None:
        """The process below which all others of this kernel are."""
        return self._guard.root_pid

    def start(self, launch: Launch) -> None:
        """Carry out `launch`, and listen; whether the kernel comes up is for others to wait for.

        Raises:
            OSError: It can't be launched.
            KernelExecError: It can't be launched, or there is no room for its sockets.
        """
        key = secrets.token_hex(32).encode("ascii")
        write_connection_file(
            str(launch.connection_file),
            transport="ipc",
            ip=str(launch.run_dir / SOCKETS),
            key=key,
            shell_port=PORTS["shell"],
            iopub_port=PORTS["iopub"],
            stdin_port=PORTS["stdin"],
            control_port=PORTS["control"],
            hb_port=PORTS["hb"],
        )
        self._guard.launch(launch)
        self._channels = Channels(
            addresses=launch.addresses,
            key=key,
            flow=self._flow,
            deliver=self.driver.receive,
            on_closed=self._finish,
        )

    def send(self, outgoing: Outgoing) -> None:
        if self._channels is not None:
            self._channels.send(outgoing)

    def interrupt(self) -> None:
        self._guard.interrupt()

    def kill(self) -> None:
        self._guard.kill()

    def dump_stack(self) -> int:
        start = self._run_dir.stack_size()
        self._guard.dump_stack()
        return start

    def stack(self, start: int) -> str:
        return self._run_dir.stack(start)

    def usage(self) -> Usage:
        """What the kernel's process takes.

        Raises:
            KernelDeadError: There is none.
        """
        try:
            if self.pid is None:
                raise psutil.NoSuchProcess(0)
            process = psutil.Process(self.pid)
            times = process.cpu_times()
            return Usage(
                memory=int(process.memory_info().rss),
                processor=float(times.user + times.system),
                working_directory=process.cwd(),
            )
        except (psutil.Error, OSError) as error:
            raise KernelDeadError(f"the kernel's process can't be seen: {error}") from error

    async def close(self) -> None:
        """End the process, and close all that belongs to it; bounded."""
        if self.driver.conversation.current is None:
            await self._disconnect()  # nothing more can come that anybody waits for
        await self._guard.close()
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._channels is None:
            self._finish()
            return
        self._channels.stop(drain=False)
        await self._channels.wait_closed()

    def _drain(self) -> None:
        """The process has ended: receive what it had sent, then finish."""
        if self._channels is not None:
            self._channels.stop(drain=True)

    def _finish(self) -> None:
        """Nothing more can come: the end, with all that is left to be known of it."""
        failure = self._channels.failure if self._channels is not None else ""
        if failure:
            self._guard.kill()  # it can't be spoken to any more
        death = self._guard.death or Death()
        last_words = replace(
            death,
            reason=failure or death.reason,
            stderr=self._run_dir.stderr(),
            dump=self._run_dir.fault(),
        )
        self.driver.finish(last_words, *self._run_dir.journal())
