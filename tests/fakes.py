"""A kernel without a process. `tests/contracts/test_kernel.py` holds it against a real one."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import anyio

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.driver import DrivenKernel, Driver
from kernel_exec.kernels.kernel import Kernel, KernelInfo, Listener, Usage
from kernel_exec.kernels.messages import Channel, Message, Outgoing
from kernel_exec.kernels.outcomes import Death

STUBBORN = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"


class FakeKernel(DrivenKernel):
    """A kernel over a `FakeProcess`."""

    def __init__(self) -> None:
        self.process = FakeProcess()
        info = KernelInfo(
            pid=None,
            executable="fake",
            python_version="3.12.0",
            ipykernel_version="0",
            support="own",
        )
        super().__init__(self.process.driver, info)

    async def usage(self) -> Usage:
        await anyio.lowlevel.checkpoint()
        self.process.driver.require_alive()
        return Usage(memory=1, processor=0.1, working_directory="/")


class FakeProcess:
    """Knows a few programs by their text and says what IPython would say to them."""

    def __init__(self) -> None:
        self.driver = Driver(process=self)
        self.names: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._blocked_on: str | None = None
        self._stubborn = False

    def send(self, outgoing: Outgoing) -> None:
        if outgoing.msg_type == "question_request":
            self._loop.call_soon(self._answer_question, outgoing)
        elif outgoing.msg_type == "execute_request":
            self._loop.call_soon(self._run, outgoing)

    def interrupt(self) -> None:
        if self._blocked_on is not None and not self._stubborn:
            messages = list(self._close(self._blocked_on, ("KeyboardInterrupt", "")))
            self._blocked_on = None
            self._loop.call_soon(self.driver.receive, messages)

    def kill(self) -> None:
        self._loop.call_soon(self.driver.finish, Death(exit_code=-9, signal="SIGKILL"))

    def dump_stack(self) -> int:
        return 0

    def stack(self, start: int) -> str:
        return "Stack (most recent call first):"

    def _answer_question(self, outgoing: Outgoing) -> None:
        arguments: Any = outgoing.content["arguments"]
        (given,) = arguments
        match outgoing.content["question"]:
            case "variables":
                found = [
                    {"name": name, "type": kind}
                    for name, kind in sorted(self.names.items())
                    if fnmatch(name, given)
                ]
                answer: JSON = {"variables": found, "total": len(found)}
            case "refresh":
                answer = sorted({"sys"} & set(given))
            case _:
                answer = {"ipython": "9"} if "IPython" in given else {}
        content: JSONObject = {"status": "ok", "answer": answer}
        reply = _message(outgoing.msg_id, "question_reply", content, channel=Channel.CONTROL)
        self.driver.receive([reply])

    def _run(self, outgoing: Outgoing) -> None:
        source = str(outgoing.content["code"])
        self._count += 1
        said = [
            _message(outgoing.msg_id, "status", {"execution_state": "busy"}),
            _message(
                outgoing.msg_id, "execute_input", {"code": source, "execution_count": self._count}
            ),
        ]
        self.driver.receive(said)
        if source in {"import time; time.sleep(60)", STUBBORN}:
            self._blocked_on = outgoing.msg_id
            self._stubborn = source == STUBBORN
        elif source == "import os; os._exit(3)":
            self.driver.finish(Death(exit_code=3))
        else:
            self.driver.receive(self._answer(outgoing.msg_id, source))
            if source == "print('a'); import threading; threading.Timer(0.1, print, ['b']).start()":
                self._loop.call_later(
                    0.1, self.driver.receive, [_stream(outgoing.msg_id, "stdout", "b\n")]
                )

    def _answer(self, msg_id: str, source: str) -> Iterator[Message]:
        error: tuple[str, str] | None = None
        match source:
            case "print('a'); import threading; threading.Timer(0.1, print, ['b']).start()":
                yield _stream(msg_id, "stdout", "a\n")
            case "import sys; print('out'); print('err', file=sys.stderr)":
                yield _stream(msg_id, "stdout", "out\n")
                yield _stream(msg_id, "stderr", "err\n")
            case "1 + 1":
                yield _message(
                    msg_id,
                    "execute_result",
                    {
                        "data": {"text/plain": "2"},
                        "metadata": {},
                        "execution_count": self._count,
                    },
                )
            case "print('before'); 1 / 0":
                yield _stream(msg_id, "stdout", "before\n")
                error = ("ZeroDivisionError", "division by zero")
            case "x = 1":
                self.names["x"] = "int"
            case "x":
                if "x" in self.names:
                    yield _message(
                        msg_id,
                        "execute_result",
                        {
                            "data": {"text/plain": "1"},
                            "metadata": {},
                            "execution_count": self._count,
                        },
                    )
                else:
                    error = ("NameError", "name 'x' is not defined")
            case "":
                self._count -= 1
            case _:
                raise AssertionError(f"the fake kernel does not know {source!r}")
        yield from self._close(msg_id, error)

    def _close(self, msg_id: str, error: tuple[str, str] | None) -> Iterator[Message]:
        content: dict[str, JSON] = {"status": "ok", "execution_count": self._count}
        if error is not None:
            told = {"ename": error[0], "evalue": error[1], "traceback": [f"{error[0]}: {error[1]}"]}
            yield _message(msg_id, "error", told)
            content = {**content, **told, "status": "error"}
        yield _message(
            msg_id,
            "execute_reply",
            content,
            channel=Channel.SHELL,
            metadata={"kernel_exec": {"names": dict(self.names), "gone": []}},
        )
        yield _message(msg_id, "status", {"execution_state": "idle"})


class FakeKernels:
    """A `KernelStarter` of fake kernels; `started` holds those it has started."""

    def __init__(self) -> None:
        self.started: list[FakeKernel] = []

    @asynccontextmanager
    async def __call__(self, listener: Listener) -> AsyncIterator[Kernel]:
        async with self.start() as kernel:
            kernel.assign(listener, Path("spill"))
            yield kernel

    @asynccontextmanager
    async def start(self) -> AsyncIterator[FakeKernel]:
        """One that is nobody's yet."""
        await anyio.lowlevel.checkpoint()
        kernel = FakeKernel()
        self.started.append(kernel)
        try:
            yield kernel
        finally:
            kernel.process.driver.finish(Death(reason="the server ended"))


def _message(
    parent: str,
    msg_type: str,
    content: JSONObject,
    *,
    channel: Channel = Channel.IOPUB,
    metadata: JSONObject | None = None,
) -> Message:
    return Message(
        channel=channel,
        msg_type=msg_type,
        content=content,
        parent_id=parent,
        metadata=metadata or {},
        date=dt.datetime.now(dt.UTC).isoformat(),
    )


def _stream(parent: str, name: str, text: str) -> Message:
    return _message(parent, "stream", {"name": name, "text": text})
