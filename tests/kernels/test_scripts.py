"""A script runs in a kernel as Python would run it, and its names stay."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outcomes import Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import ErrorOutput, OutputEvent, Stream, fold
from tests.real import local_kernels
from tests.waits import patient

pytestmark = pytest.mark.kernel


class Runner:
    def __init__(self, kernel: Kernel, folder: Path, events: list[OutputEvent]) -> None:
        self.folder = folder
        self._kernel = kernel
        self._events = events
        self._count = 0

    async def script(self, source: str, *arguments: str) -> tuple[Outcome, str]:
        path = self.folder / "scripts" / "job.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return await self._run(source, str(path), arguments)

    async def cell(self, source: str) -> tuple[Outcome, str]:
        return await self._run(source, None, None)

    async def _run(
        self, source: str, path: str | None, arguments: tuple[str, ...] | None
    ) -> tuple[Outcome, str]:
        self._events.clear()
        self._count += 1
        request = Request(id=f"s{self._count}", source=source, file_path=path, arguments=arguments)
        with anyio.fail_after(patient(20)):
            ending = await self._kernel.execute(request)
        told = ""
        for output in fold(self._events):
            if isinstance(output, Stream):
                told += output.text
            elif isinstance(output, ErrorOutput):
                told += "\n".join([*output.traceback, f"{output.ename}: {output.evalue}"])
            else:
                told += "[shown]"
        return ending.outcome, told


@pytest.fixture(scope="module")
async def runner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    events: list[OutputEvent] = []

    def listen(event: Event) -> None:
        if isinstance(event, Produced):
            events.append(event.output)

    start = await local_kernels(folder)
    async with start(listen) as kernel:
        yield Runner(kernel, folder, events)


SCRIPT = '''"""What it is for."""
from __future__ import annotations
import sys
from pathlib import Path
import beside
def main() -> int:
    print(sys.argv[1:], Path(__file__).name, beside.WORD)
    return 0
"not shown"
if __name__ == "__main__":
    sys.exit(main())
'''


async def test_a_script_finds_what_it_expects(runner: Runner) -> None:
    (runner.folder / "scripts").mkdir(exist_ok=True)
    (runner.folder / "scripts" / "beside.py").write_text("WORD = 'helper'\n")
    outcome, told = await runner.script(SCRIPT, "--fast", "a b")
    assert (outcome, told) == (Outcome.OK, "['--fast', 'a b'] job.py helper\n")
    leftovers = "print(sys.argv, '__file__' in globals(), any('scripts' in at for at in sys.path))"
    assert await runner.cell(f"{leftovers}\nmain") == (Outcome.OK, "[''] False False\n[shown]")


async def test_a_script_that_fails_is_shown_with_its_own_lines(runner: Runner) -> None:
    outcome, told = await runner.script("def f():\n    return 1 / 0\n\nf()\n")
    assert outcome is Outcome.EXCEPTION
    assert "job.py" in told
    assert "line 2" in told or "----> 2" in told
    assert told.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ("sys.exit()", Outcome.OK),
        ("sys.exit(0)", Outcome.OK),
        ("sys.exit(3)", Outcome.EXCEPTION),
        ("sys.exit('no')", Outcome.EXCEPTION),
        ("raise SystemExit", Outcome.OK),
    ],
)
async def test_only_an_exit_with_a_code_is_a_failure(
    runner: Runner, ending: str, outcome: Outcome
) -> None:
    ended, told = await runner.script(f"import sys\nx = 1\n{ending}\nx = 2")
    assert ended is outcome
    assert ("SystemExit" in told) is (outcome is Outcome.EXCEPTION)
    assert await runner.cell("print(x)") == (Outcome.OK, "1\n")


@pytest.mark.parametrize("source", ["", "# nothing", '"""Only words."""', "import sys"])
async def test_a_script_may_do_nothing(runner: Runner, source: str) -> None:
    assert await runner.script(source) == (Outcome.OK, "")


async def test_what_a_script_does_to_its_surroundings_ends_with_it(runner: Runner) -> None:
    outcome, _ = await runner.script("import sys\nsys.path.clear()\nsys.argv = None\ndel __file__")
    assert outcome is Outcome.OK
    assert await runner.cell("__file__ = 'mine'") == (Outcome.OK, "")
    assert (await runner.script("assert __file__ != 'mine'"))[0] is Outcome.OK
    assert await runner.cell("print(__file__); del __file__\n1") == (Outcome.OK, "mine\n[shown]")
