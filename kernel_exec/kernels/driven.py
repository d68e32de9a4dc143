"""What all kernels have in common that are driven through Jupyter's messages."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath

from kernel_exec.errors import BusyError
from kernel_exec.jsons import JSON, JSONObject, count, text

from .driver import Driver
from .kernel import KernelInfo, Listener, Variable, Variables
from .messages import question_request
from .outcomes import Death, Ending, Request

_LIMIT = 5.0
"""Seconds to wait for an answer: C code may hold the interpreter."""


class DrivenKernel:
    """All of a `Kernel` but its usage, whatever the process is that its driver has.

    What it is asked is answered by `inside/questions.py`.
    """

    def __init__(self, driver: Driver, info: KernelInfo) -> None:
        """The process answers."""
        self.info = info
        self._driver = driver

    def assign(self, listener: Listener, spill_dir: PurePath) -> None:
        """See `UnassignedKernel.assign`."""
        self._driver.assign(listener, spill_dir)

    @property
    def death(self) -> Death | None:
        """How it ended, once it has and all that it sent was received."""
        return self._driver.death

    @property
    def names(self) -> Mapping[str, str]:
        """The user's names and their descriptions."""
        return self._driver.conversation.names

    async def execute(self, request: Request) -> Ending:
        """Run `request` to its end."""
        return await self._driver.begin(request)

    def interrupt(self, *, force: bool) -> None:
        """Stop the execution under way."""
        self._driver.interrupt(force=force)

    def kill(self, reason: str) -> None:
        """End the process now."""
        self._driver.kill(reason)

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""
        return await self._driver.wait_death()

    async def variables(self, pattern: str) -> Variables:
        """See `Inspection.variables`."""
        answer = await self._ask("variables", pattern)
        described = answer.get("variables") if isinstance(answer, Mapping) else None
        found = [_variable(each) for each in _items(described) if isinstance(each, Mapping)]
        total = count(answer, "total") if isinstance(answer, Mapping) else None
        return Variables(found=found, total=len(found) if total is None else total)

    async def refresh_imports(self, modules: Collection[str]) -> Sequence[str]:
        """See `Inspection.refresh_imports`."""
        answer = await self._ask("refresh", list(modules))
        return [name for name in _items(answer) if isinstance(name, str)]

    async def versions(self, modules: Collection[str]) -> Mapping[str, str]:
        """See `Inspection.versions`."""
        answer = await self._ask("versions", list(modules))
        known = answer if isinstance(answer, Mapping) else {}
        return {name: version for name, version in known.items() if isinstance(version, str)}

    async def _ask(self, question: str, *arguments: JSON) -> JSON:
        asked = question_request(question, *arguments)
        reply = (await self._driver.answers.ask(asked, limit=_LIMIT)).content
        if text(reply, "status") != "ok":
            why = f"{text(reply, 'ename')}: {text(reply, 'evalue')}"
            raise BusyError(f"the kernel could not answer: {why}")
        return reply.get("answer")


def _variable(described: JSONObject) -> Variable:
    shape = described.get("shape")
    return Variable(
        name=text(described, "name"),
        type=text(described, "type"),
        shape=[_extent(each) for each in _items(shape)] if isinstance(shape, Sequence) else None,
        length=count(described, "length"),
        size=count(described, "size"),
        preview=text(described, "preview"),
        note=text(described, "note"),
    )


def _extent(value: JSON) -> int | None:
    return value if isinstance(value, int) else None


def _items(value: JSON) -> Sequence[JSON]:
    return value if isinstance(value, (list, tuple)) else ()
