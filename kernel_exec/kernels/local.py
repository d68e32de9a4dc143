"""A kernel on this machine: its process, its channels and the conversation between them."""

import errno
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from jupyter_client.connect import write_connection_file

from kernel_exec import processes
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.support import KERNEL_TAKES
from kernel_exec.errors import BusyError, KernelDeadError, KernelStartError
from kernel_exec.jsons import JSONObject, mapping, text
from kernel_exec.places import INSIDE

from .channels import Channels
from .driver import Driver
from .flow import Flow
from .guard import Guard
from .kernel import Kernel, KernelInfo, Listener
from .messages import Channel, Message, Outgoing, cell_name, evaluate_request, request
from .outcomes import Death, Ending, Event, Produced, Request
from .outputs import Spill, Stream, files, without_files
from .pulse import Pulse
from .run_dirs import make_run_dir, remove_run_dir
from .stopping import Action
from .traces import Traces

_START_LIMIT = 60.0
"""Seconds from launch to ready: a cold cache on a loaded machine takes ten."""

_PROBE_INTERVAL = 0.1
"""Seconds between `kernel_info` requests while nothing has come on iopub (JEP 65)."""

_EVALUATE_LIMIT = 5.0
"""Seconds to wait for the value of an expression: C code may hold the interpreter."""

_ANSWER_LIMIT = 3.0
"""Seconds that the thread of the control channel may take to answer."""

_CONTINUED = "[kernel-exec] a signal had stopped the kernel; it was made to go on\n"

_DESCRIPTORS = 60
"""Those that a kernel takes of ours, twenty, and some for all else that goes on."""

_SOCKETS = "s"
"""The sockets' file names are this and a number: their paths may have 107 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalKernels:
    """Starts kernels of one environment: a `KernelStarter`.

    `spill_dir` takes what streams write beyond their budget; `runtime_dir` must have a short path.
    `unwritten` are the bytes of output that history has yet to write: above a limit kernels wait.
    """

    prepared: PreparedEnvironment
    working_directory: Path
    spill_dir: Path
    runtime_dir: Path
    unwritten: Callable[[], int] = lambda: 0

    def __call__(self, listener: Listener) -> AbstractAsyncContextManager[Kernel]:
        """Start one."""
        return _open(self, listener)


@asynccontextmanager
async def _open(plan: LocalKernels, listener: Listener) -> AsyncIterator[Kernel]:
    processes.require_descriptors(_DESCRIPTORS)
    processes.require_threads(KERNEL_TAKES, what="a kernel")
    run_dir, lease = make_run_dir(plan.runtime_dir)
    try:
        kernel = LocalKernel(plan, run_dir, listener)
        try:
            await _start(plan, kernel, run_dir)
            yield kernel
        finally:
            with anyio.CancelScope(shield=True):
                await kernel.close()
    finally:
        remove_run_dir(run_dir, lease)


async def _start(plan: LocalKernels, kernel: "LocalKernel", run_dir: Path) -> None:
    what = f"the kernel of {str(plan.prepared.interpreter.executable)!r}"
    try:
        with anyio.fail_after(_START_LIMIT):
            await kernel.start()
    except TimeoutError as error:
        raise KernelStartError(
            f"{what} did not answer within {_START_LIMIT:.0f} seconds; its stderr:\n"
            f"{Traces(run_dir).stderr()}"
        ) from error
    except OSError as error:
        room = f"; make room in {str(run_dir.parent)!r}" if error.errno == errno.ENOSPC else ""
        raise KernelStartError(f"{what} can't be launched: {error}{room}") from error


class LocalKernel:
    """See `Kernel`; made by `LocalKernels`."""

    def __init__(self, plan: LocalKernels, run_dir: Path, listener: Listener) -> None:
        """Nothing is started yet."""
        self._plan = plan
        self._run_dir = run_dir
        self._guard = Guard(on_death=self._on_exit, on_continued=self._tell_continued)
        self._traces = Traces(run_dir)
        self._flow = Flow(run_dir / "taken", plan.unwritten)
        self._listener = listener
        self._driver = Driver(listener=self._listen, send=self._send, act=self._act)
        self._channels: Channels | None = None
        self._pulse = Pulse(
            answers=self._answers,
            stack=self._read_stack,
            on_broken=lambda: self._driver.give_up("it no longer answers, and runs no code"),
        )
        self._heard_iopub = anyio.Event()
        self._stack_from: int | None = None
        self._kill_reason = ""
        self._subshell: str | None = None
        self._supports_subshells = False
        self._info: KernelInfo | None = None

    @property
    def info(self) -> KernelInfo:
        """What it is."""
        assert self._info is not None
        return self._info

    @property
    def death(self) -> Death | None:
        """How it ended, once it has and all that it sent was received."""
        return self._driver.death

    @property
    def busy(self) -> bool:
        """True while an execution is under way."""
        return self._driver.current is not None

    @property
    def names(self) -> Mapping[str, str]:
        """The user's names and their descriptions."""
        return self._driver.names

    async def execute(self, request: Request) -> Ending:
        """Run `request` to its end."""
        self._stack_from = None
        if request.file_path is not None:
            self._traces.name_cell(cell_name(request.source), request.file_path)
        self._driver.require_alive()
        async with self._pulse.watching(self._guard.kernel_pid or 0):
            return await self._driver.execute(request)

    def interrupt(self, *, force: bool) -> None:
        """Stop the execution under way."""
        self._driver.interrupt(force=force)

    def kill(self, reason: str) -> None:
        """End the process now."""
        self._kill_reason = reason
        self._guard.kill()

    async def evaluate(self, expression: str) -> str:
        """The `str` of `expression`."""
        if self._supports_subshells and self._subshell is None:
            create = request(Channel.CONTROL, "create_subshell_request", msg_id=_new_id())
            reply = await self._driver.ask(create, limit=_EVALUATE_LIMIT)
            self._subshell = text(reply.content, "subshell_id") or None
        if self._subshell is None and self._driver.current is not None:
            raise BusyError("this kernel's ipykernel answers no questions while code runs")
        question = evaluate_request(
            msg_id=_new_id(), expression=expression, subshell_id=self._subshell
        )
        reply = await self._driver.ask(question, limit=_EVALUATE_LIMIT)
        value = mapping(mapping(reply.content, "user_expressions"), "value")
        if text(value, "status") != "ok":
            raise BusyError(
                f"the kernel could not tell: {text(value, 'ename')}: {text(value, 'evalue')}"
            )
        return text(mapping(value, "data"), "text/plain")

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""
        return await self._driver.wait_death()

    async def start(self) -> None:
        """Launch the process and wait until it answers.

        Raises:
            KernelStartError: It ended instead.
            OSError: It can't be launched.
        """
        key = secrets.token_hex(32).encode("ascii")
        file, connection = write_connection_file(
            str(self._run_dir / "connection.json"),
            transport="ipc",
            ip=str(self._run_dir / _SOCKETS),
            key=key,
        )
        self._launch(file)
        ports = {
            Channel.SHELL: connection["shell_port"],
            Channel.CONTROL: connection["control_port"],
            Channel.IOPUB: connection["iopub_port"],
        }
        self._channels = Channels(
            addresses={
                channel: f"ipc://{connection['ip']}-{port}" for channel, port in ports.items()
            },
            key=key,
            deliver=self._deliver,
            on_closed=self._on_closed,
        )
        if self._guard.death is not None:
            self._on_exit()
        hello = request(Channel.SHELL, "kernel_info_request", msg_id=_new_id())
        try:
            reply = await self._driver.ask(hello, limit=_START_LIMIT)
            while not self._heard_iopub.is_set() and self.death is None:
                self._nudge()
                with anyio.move_on_after(_PROBE_INTERVAL):
                    await self._heard_iopub.wait()
        except KernelDeadError as error:
            stderr = self.death.stderr if self.death is not None else ""
            raise KernelStartError(
                f"the kernel of {str(self._plan.prepared.interpreter.executable)!r} ended at its"
                f" start ({self.death}); its stderr:\n{stderr}"
            ) from error
        self._note_info(reply.content)

    def _tell_continued(self) -> None:
        """Say in the execution under way, if there is one, that a signal had held the kernel."""
        if (current := self._driver.current) is not None:
            told = Stream(name="stderr", text=_CONTINUED)
            self._listener(Produced(execution_id=current, output=told))

    async def close(self) -> None:
        """End the process, and close all that belongs to it."""
        self._kill_reason = self._kill_reason or "it was closed"
        if not self.busy:
            await self._disconnect()  # nothing more can come that anybody waits for
        await self._guard.close()
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._channels is None:
            self._on_closed()
            return
        self._channels.stop(drain=False)
        await self._channels.wait_closed()

    def _launch(self, connection_file: str) -> None:
        support = self._plan.prepared.support
        self._guard.launch(
            # -B: a .pth file may import before our launcher does, and must leave no trace either
            [str(self._plan.prepared.interpreter.executable), "-B", str(INSIDE), "launch"],
            configuration=self._run_dir / "launch.json",
            settings={
                "connection_file": connection_file,
                "run_dir": str(self._run_dir),
                "spill_dir": str(self._plan.spill_dir),
                "support": support.kind.value,
                "overlay": str(support.path) if support.path is not None else "",
                "descriptors": processes.DESCRIPTORS,
            },
            env=self._plan.prepared.variables,
            cwd=self._plan.working_directory,
        )

    async def _answers(self) -> bool:
        hello = request(Channel.CONTROL, "kernel_info_request", msg_id=_new_id())
        try:
            await self._driver.ask(hello, limit=_ANSWER_LIMIT)
        except (BusyError, KernelDeadError) as error:
            return isinstance(error, KernelDeadError)  # nobody needs to find out any more
        return True

    async def _read_stack(self) -> str:
        start = self._traces.stack_size()
        self._guard.dump_stack()
        return await self._traces.next_stack(start)

    def _note_info(self, content: JSONObject) -> None:
        features = content.get("supported_features")
        self._supports_subshells = isinstance(features, list) and "kernel subshells" in features
        self._info = KernelInfo(
            pid=self._guard.kernel_pid or 0,
            executable=str(self._plan.prepared.interpreter.executable),
            python_version=text(mapping(content, "language_info"), "version"),
            ipykernel_version=self._plan.prepared.support.ipykernel_version,
            support=self._plan.prepared.support.kind.value,
        )

    def _listen(self, event: Event) -> None:
        """Pass an event on; a file in it that user code forged is not ours to read."""
        if isinstance(event, Produced):
            paths = files(event.output).values()
            if any(Path(path).parent != self._plan.spill_dir for path in paths):
                if isinstance(event.output, Spill):
                    return
                event = replace(event, output=without_files(event.output))
        self._listener(event)

    def _send(self, outgoing: Outgoing) -> None:
        if self._channels is not None:
            self._channels.send(outgoing)

    def _nudge(self) -> None:
        self._send(request(Channel.SHELL, "kernel_info_request", msg_id=_new_id()))

    def _deliver(self, messages: Sequence[Message | None]) -> None:
        if any(message is not None and message.channel is Channel.IOPUB for message in messages):
            self._heard_iopub.set()
        self._note_stack()
        self._driver.receive(messages)
        heard = [each for each in messages if each is not None and each.channel is Channel.IOPUB]
        self._flow.take(sum(each.size for each in heard))

    def _act(self, action: Action) -> None:
        match action:
            case Action.DUMP_STACK:
                self._stack_from = self._traces.stack_size()
                self._guard.dump_stack()
            case Action.INTERRUPT:
                self._guard.interrupt()
            case Action.NUDGE:
                self._nudge()
            case Action.KILL:
                self._guard.kill()
            case Action.ABANDON:
                self._driver.finish(Death(reason="it did not end after SIGKILL"))

    def _note_stack(self) -> None:
        """Take note of a stack that was asked for, once it is written.

        That is before the code ends: no Python runs between the signal and the dump.
        """
        if self._stack_from is None:
            return
        if stack := self._traces.stack(self._stack_from):
            self._driver.note_stack(stack)
            self._stack_from = None

    def _on_exit(self) -> None:
        """The process has ended: receive what it had sent, then finish."""
        if self._channels is not None:
            self._channels.stop(drain=True)

    def _on_closed(self) -> None:
        self._note_stack()
        self._flow.close()
        death = self._guard.death or Death()
        failure = self._channels.failure if self._channels is not None else ""
        if failure:
            self._guard.kill()  # it can't be spoken to any more
        execution_id, written = self._traces.journal()
        if execution_id and execution_id == self._driver.current:
            self._driver.recover(written)
        self._driver.finish(
            replace(
                death,
                reason=failure or self._kill_reason or death.reason,
                stderr=self._traces.stderr(),
                dump=self._traces.fault(),
            )
        )


def _new_id() -> str:
    return uuid.uuid4().hex
