"""What real programs produce in a real kernel, each in a line of a table."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outcomes import Ending, Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    OutputEvent,
    Stream,
    fold,
)
from tests.real import local_kernels
from tests.waits import patient

pytestmark = pytest.mark.kernel


@dataclass
class Shell:
    """A kernel and all that it has told."""

    kernel: Kernel
    events: dict[str, list[OutputEvent]]
    folder: Path
    count: int = 0

    async def run(
        self, source: str, *, file: str | None = None, limit: float | None = None
    ) -> tuple[Ending, list[Output]]:
        self.count += 1
        request = Request(id=f"x{self.count}", source=source, file_path=file, time_limit=limit)
        with anyio.fail_after(patient(20)):
            ending = await self.kernel.execute(request)
        return ending, self.outputs()

    def outputs(self, *, before: int = 0) -> list[Output]:
        """Those of the last execution, or of one before it."""
        return fold(self.events.get(f"x{self.count - before}", []))


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Shell]:
    events: dict[str, list[OutputEvent]] = {}

    def listen(event: Event) -> None:
        if isinstance(event, Produced):
            events.setdefault(event.execution_id, []).append(event.output)

    start = await local_kernels(folder)
    async with start(listen) as kernel:
        yield Shell(kernel=kernel, events=events, folder=folder)


@pytest.fixture(scope="module")
async def shell(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    """For all that leaves its kernel fit for the next."""
    async with started(tmp_path_factory.mktemp("shell")) as shell:
        yield shell


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Shell]:
    async with started(tmp_path) as shell:
        yield shell


def text_of(outputs: list[Output], name: str = "stdout") -> str:
    return "".join(o.text for o in outputs if isinstance(o, Stream) and o.name == name)


def data_of(outputs: list[Output]) -> list[dict[str, object]]:
    return [dict(o.data) for o in outputs if isinstance(o, (DisplayData, ExecuteResult))]


DISPLAYED = {
    "HTML": ("from IPython.display import HTML; HTML('<b>x</b>')", "text/html", "<b>x</b>"),
    "Markdown": ("from IPython.display import Markdown; Markdown('*x*')", "text/markdown", "*x*"),
    "LaTeX": ("from IPython.display import Latex; Latex('$x$')", "text/latex", "$x$"),
    "JSON": ("from IPython.display import JSON; JSON({'a': [1]})", "application/json", {"a": [1]}),
    "PNG": (
        "from IPython.display import Image; Image(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(30),"
        " format='png', width=1, height=1)",
        "image/png",
        None,
    ),
    "JPEG": (
        "from IPython.display import Image; Image(b'\\xff\\xd8\\xff' + bytes(30), format='jpeg',"
        " width=1, height=1)",
        "image/jpeg",
        None,
    ),
}


@pytest.mark.parametrize("kind", DISPLAYED)
async def test_rich_displays_come_with_their_data(shell: Shell, kind: str) -> None:
    source, mime, expected = DISPLAYED[kind]
    _, outputs = await shell.run(source)
    (data,) = data_of(outputs)
    assert mime in data
    assert expected is None or data[mime] == expected


PROGRAMS: dict[str, tuple[str, Callable[[list[Output]], bool]]] = {
    "a progress bar is left as it ended": (
        "import sys\nfor i in range(5): sys.stderr.write(f'\\r{i * 25}%')",
        lambda outputs: text_of(outputs, "stderr") == "100%",
    ),
    "clear_output leaves what came after it": (
        "from IPython.display import clear_output\nprint('old'); clear_output(); print('new')",
        lambda outputs: text_of(outputs) == "new\n",
    ),
    "clear_output(wait) clears with the next output": (
        "from IPython.display import clear_output\nprint('old'); clear_output(wait=True)",
        lambda outputs: text_of(outputs) == "old\n",
    ),
    "a display handle changes its display": (
        "h = display('first', display_id=True)\nh.update('second')",
        lambda outputs: data_of(outputs) == [{"text/plain": "'second'"}],
    ),
    "help comes as a display": (
        "len?",
        lambda outputs: "Return the number of items" in str(data_of(outputs)),
    ),
    "a child process writes where the cell does": (
        "import subprocess\nsubprocess.run(['sh', '-c', 'echo out; echo err >&2'])",
        lambda outputs: text_of(outputs) == "out\n" and text_of(outputs, "stderr") == "err\n",
    ),
    "C code writes where the cell does": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.puts(b'from C')\nlibc.fflush(None)\nNone",
        lambda outputs: text_of(outputs) == "from C\n",
    ),
    "UTF-8 stays whole across the edges of chunks": (
        "import os\n_ = os.write(1, 'é'.encode() * 40_000)",
        lambda outputs: text_of(outputs) == "é" * 40_000,
    ),
    "invalid UTF-8 is replaced": (
        "import os\n_ = os.write(1, b'a\\xffb')",
        lambda outputs: text_of(outputs) == "a\ufffdb",
    ),
    "a lone surrogate arrives": (
        "print('a\\ud800b')",
        lambda outputs: text_of(outputs) == "a\ud800b\n",
    ),
    "a forked child prints": (
        "import os\npid = os.fork()\nif pid == 0:\n    print('child', flush=True); os._exit(0)\n"
        "_ = os.waitpid(pid, 0)",
        lambda outputs: "child" in text_of(outputs),
    ),
    "a shell command has no terminal and no input": (
        '!read line; echo "[$line]"; test -t 1 || echo plain',
        lambda outputs: text_of(outputs) == "[]\nplain\n",
    ),
    "a shell command knows the cell's variables": (
        "word = 'here'\n!echo {word} $word",
        lambda outputs: text_of(outputs) == "here here\n",
    ),
    "a shell command's output can be assigned": (
        "lines = !printf 'a\\nb\\n'\nprint(list(lines))",
        lambda outputs: text_of(outputs) == "['a', 'b']\n",
    ),
    "magics work": (
        "%config InlineBackend\n%timeit -n1 -r1 -q 1\n%%capture\n",
        lambda outputs: True,
    ),
    "cell magics work": (
        "%%time\nx = 1",
        lambda outputs: "Wall time" in text_of(outputs),
    ),
    "await works at the top level": (
        "import asyncio\nawait asyncio.sleep(0)\nprint('slept')",
        lambda outputs: text_of(outputs) == "slept\n",
    ),
    "nobody sees colours": (
        "import os\nprint(os.environ.get('FORCE_COLOR'), os.environ['TERM'])",
        lambda outputs: text_of(outputs) == "None dumb\n",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_program(shell: Shell, name: str) -> None:
    source, holds = PROGRAMS[name]
    _, outputs = await shell.run(source)
    assert holds(outputs), outputs


REFUSALS = {
    "input": "input('name? ')",
    "getpass": "import getpass; getpass.getpass('key: ')",
    "the debugger": "import pdb; pdb.set_trace()",
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_what_asks_for_input_fails_at_once(shell: Shell, kind: str) -> None:
    ending, _ = await shell.run(REFUSALS[kind])
    assert ending.outcome is Outcome.EXCEPTION
    assert ending.error is not None
    assert ending.error.ename == "StdinNotImplementedError"
    assert "nobody can answer a prompt here" in ending.error.evalue


STOPPED = {
    "a loop": "while True: pass",
    "a sleep": "import time; time.sleep(60)",
    "an await": "import asyncio; await asyncio.sleep(60)",
    "a gather": "import asyncio; await asyncio.gather(*[asyncio.sleep(60) for _ in range(3)])",
    "a child process": "import subprocess; subprocess.run(['sleep', '60'])",
    "a shell command": "!sleep 60",
    "a lock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a regular expression": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.parametrize("kind", STOPPED)
async def test_a_time_limit_stops_it_and_keeps_the_kernel(shell: Shell, kind: str) -> None:
    await shell.run("kept = 1")
    ending, _ = await shell.run(STOPPED[kind], limit=0.3)
    assert ending.outcome is Outcome.TIMEOUT
    assert ending.death is None
    ending, outputs = await shell.run("kept")
    assert data_of(outputs) == [{"text/plain": "1"}]


DEATHS = {
    "SIGKILL": ("import os; print('last words'); os.kill(os.getpid(), 9)", "SIGKILL", None),
    "a fault": ("print('last words'); import ctypes; ctypes.string_at(0)", "SIGSEGV", None),
    "abort": ("print('last words'); import os; os.abort()", "SIGABRT", None),
    "_exit": ("print('last words'); import os; os._exit(7)", None, 7),
}


@pytest.mark.parametrize("kind", DEATHS)
async def test_death_is_told_with_its_cause_and_the_last_words(own: Shell, kind: str) -> None:
    source, signal, code = DEATHS[kind]
    ending, outputs = await own.run(source)
    assert ending.outcome is Outcome.KERNEL_DIED
    assert ending.death is not None
    assert ending.death.signal == signal
    assert code is None or ending.death.exit_code == code
    assert text_of(outputs) == "last words\n"


async def test_a_fault_dumps_the_line_where_it_happened(own: Shell) -> None:
    file = str(own.folder / "crash_1234.py")
    ending, _ = await own.run("import ctypes\nctypes.string_at(0)", file=file)
    assert ending.death is not None
    assert f'File "{file}", line 2' in ending.death.dump


async def test_tracebacks_name_the_script_and_its_line(shell: Shell) -> None:
    file = str(shell.folder / "code_12345678.py")
    _, outputs = await shell.run("def f():\n    return 1 / 0\nf()", file=file)
    (error,) = (o for o in outputs if isinstance(o, ErrorOutput))
    assert f"{file}:2" in "".join(error.traceback).replace("~", str(Path.home()))


async def test_a_group_of_exceptions_is_an_error_like_any_other(shell: Shell) -> None:
    source = "try:\n    raise ExceptionGroup('g', [KeyError('k')])\nexcept* KeyError:\n    1 / 0"
    _, outputs = await shell.run(source)
    (error,) = outputs
    assert isinstance(error, ErrorOutput)
    lines = "\n".join(error.traceback)
    assert "    | KeyError: 'k'" in lines
    assert "ZeroDivisionError: division by zero" in lines
    assert "interactiveshell.py" not in lines


async def test_a_display_of_an_earlier_cell_can_be_updated(shell: Shell) -> None:
    await shell.run("h = display('one', display_id=True)")
    await shell.run("h.update('two')")
    assert data_of(shell.outputs(before=1)) == [{"text/plain": "'two'"}]
    assert shell.outputs() == []


MISUSED_STREAMS = {
    "closed": "import sys; sys.stdout.close()",
    "replaced": "import sys, io; sys.stdout = io.StringIO()",
    "none": "import sys; sys.stdout = None",
    "print deleted": "import builtins; del builtins.print",
}


@pytest.mark.parametrize("kind", MISUSED_STREAMS)
async def test_streams_heal_after_the_cell_that_took_them_and_say_so(
    shell: Shell, kind: str
) -> None:
    _, outputs = await shell.run(MISUSED_STREAMS[kind])
    assert "[kernel-exec]" in text_of(outputs, "stderr")
    _, outputs = await shell.run("print('again')")
    assert outputs == [Stream(name="stdout", text="again\n")]


async def test_a_working_directory_that_was_deleted_is_replaced(shell: Shell) -> None:
    moved, _ = await shell.run("import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); print(d)")
    assert moved.moved_to == text_of(shell.outputs()).strip()
    healed, outputs = await shell.run("os.rmdir(d)")
    assert healed.moved_to == str(shell.folder)
    assert str(shell.folder) in text_of(outputs, "stderr")


async def test_a_cell_that_ipython_itself_fails_on_is_answered(shell: Shell) -> None:
    ending, _ = await shell.run("+".join(["1"] * 100_000))
    assert ending.outcome is Outcome.EXCEPTION
    assert ending.error is not None
    assert ending.error.ename == "RecursionError"
    assert text_of((await shell.run("print('again')"))[1]) == "again\n"


async def test_long_output_goes_on_in_a_file_that_holds_all_of_it(own: Shell) -> None:
    _, outputs = await own.run("for i in range(100_000): print('line', i)")
    (stream,) = outputs
    assert isinstance(stream, Stream)
    assert stream.path is not None
    whole = Path(stream.path).read_text()
    assert whole == "".join(f"line {i}\n" for i in range(100_000))
    assert whole.startswith(stream.text)
    assert len(stream.text) == 256 * 1024


async def test_a_forged_spill_is_no_output(shell: Shell) -> None:
    forged = "{'application/vnd.kernel-exec.spill+json': {'name': 'stdout', 'path': '/dev/zero'}}"
    _, outputs = await shell.run(f"display({forged}, raw=True); print('real')")
    assert outputs == [Stream(name="stdout", text="real\n")]


async def test_many_displays_all_arrive(shell: Shell) -> None:
    _, outputs = await shell.run("for i in range(2_000): display(i)")
    assert [data["text/plain"] for data in data_of(outputs)] == [str(i) for i in range(2_000)]


async def test_names_are_told_as_new_changed_and_gone(own: Shell) -> None:
    ending, _ = await own.run("a = 1; b = 'x'")
    assert dict(ending.names.added) == {"a": "int", "b": "str 1"}
    ending, _ = await own.run("a = 2.5; del b")
    assert (dict(ending.names.changed), ending.names.gone) == ({"a": "float"}, ("b",))


async def test_a_number_at_the_address_of_the_last_one_is_a_change(shell: Shell) -> None:
    await shell.run("x = 5000.5")
    ending, _ = await shell.run("for _ in range(2): x = x + 1.0")
    assert dict(ending.names.changed) == {"x": "float"}


async def test_variables_are_described_while_code_runs(own: Shell) -> None:
    await own.run("data = list(range(1000)); word = 'hi'")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(own.run, "import time; time.sleep(60)")
        with anyio.fail_after(patient(10)):
            while True:  # until its name is there
                told = await own.kernel.variables("*a*")
                if told.total:
                    break
        own.kernel.interrupt(force=False)
    (data,) = told.found
    assert (data.name, data.type, data.length, data.preview) == ("data", "list", 1000, "")
    assert data.size is not None
    assert data.size > 8000


async def test_describing_variables_imports_nothing(own: Shell) -> None:
    await own.run("import sys; before = set(sys.modules)")
    await own.kernel.variables("*")
    _, outputs = await own.run("sorted(set(sys.modules) - before)")
    assert data_of(outputs) == [{"text/plain": "[]"}]


async def test_a_data_frame_comes_in_a_compact_form_too(shell: Shell) -> None:
    await shell.run("import pandas as pd")
    _, outputs = await shell.run("pd.DataFrame({'a': range(100), 'b': [None] + [1.5] * 99})")
    (data,) = data_of(outputs)
    compact = str(data["text/llm+plain"])
    assert compact.startswith("DataFrame 100x2\n,a,b <1 null>\n")
    assert {"text/plain", "text/html"} <= set(data)


async def test_exit_ends_the_kernel_and_says_that_it_was_asked_to(own: Shell) -> None:
    ending, _ = await own.run("exit()")
    assert ending.outcome is Outcome.OK
    assert ending.exit_requested
    with anyio.fail_after(patient(10)):
        death = await own.kernel.wait_death()
    assert death.exit_code == 0
