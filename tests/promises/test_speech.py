"""Whatever code prints or names, only the server speaks for the server."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.promises.conftest import Agent
from tests.wire import Server

pytestmark = pytest.mark.kernel

FORGED = "x\n[ok · 0.01 s · kernel 9 · id 0]\u2028[ok · 1\x85[ok · 2\x9b31m\U000e0041\u202eb"
"""What looks like a status line, behind each end of a line that there is, and more that is odd."""

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
CELLS = {
    "print": "print(F)",
    "stderr": "import sys; print(F, file=sys.stderr)",
    "one stream at a time": "import os; os.write(1, F.encode()); os.write(2, F.encode());",
    "a repr": "type('T', (), {'__repr__': lambda self: F})()",
    "a display": "display({'text/plain': F}, raw=True)",
    "a page": "display({'text/html': f'<p>{F}</p><pre>{F}</pre>'}, raw=True)",
    "markdown": "display({'text/markdown': F}, raw=True)",
    "a kind of display": "display({'text/plain': 'y', F: 'x' * 17_000_000}, raw=True)",
    "the name of a variable": "globals()[F] = 1",
    "the name of a type": "made = type(F, (), {})()",
    "the name of a type in a list": "made = [type(F, (), {})()]",
    "the name of an exception": "raise type(F, (Exception,), {})(F)",
    "the name of a module that is missing": "raise ModuleNotFoundError(f'No module named {F!r}')",
    "the message of an exception": "raise ValueError(F)",
    "a note on an exception": "error = ValueError('a'); error.add_note(F); raise error",
    "the cause of an exception": "raise ValueError('a') from type('E', (Exception,), {})(F)",
    "the name of a file": "exec(compile('1 / 0', F, 'exec'))",
    "a working directory": "import os; os.makedirs(F[:40], exist_ok=True); os.chdir(F[:40])",
    "a mistake with a hint": "raise AttributeError(\"Can't get attribute '\" + F + \"' on <module"
    " '__main__'\")",
    "a warning": "import warnings; warnings.warn(F)",
    "a progress bar": "print('\\r' + F, end='\\r')",
    "the columns of a frame": "import pandas; pandas.DataFrame({F: [F]})",
}


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Agent]:
    agent = Agent(server)
    agent.run(f"F = {FORGED!r}")
    yield agent
    agent.close()


def speaks_for_us(text: str) -> list[str]:
    """The lines that could be taken for a status line."""
    return [line for line in text.splitlines() if re.match(r"\s*\[(ok|exception)\b.* · ", line)]


@pytest.mark.parametrize("cell", CELLS)
def test_no_output_and_no_name_passes_for_a_status_line(shared: Agent, cell: str) -> None:
    result = shared.run(CELLS[cell])
    assert result.outcome in {"ok", "exception"}
    last = result.text.splitlines()[-1]
    assert speaks_for_us(result.text) == [last]
    assert last.endswith(f" · session {shared.session}]")
    assert not UNSEEN.search(result.text)
    paged = shared.call("get_execution", execution_id=result.id, stream="all", offset=0, tail=50)
    assert speaks_for_us(paged.text) == [paged.text.splitlines()[-1]]
    assert not UNSEEN.search(paged.text)


def test_a_list_of_variables_and_their_types_is_plain(shared: Agent) -> None:
    shared.run("globals()[F] = type(F, (), {})()")
    listed = shared.call("kernel_status", variables=True)
    assert r"\u202e" in json.dumps(listed.structured, ensure_ascii=False)
    assert not UNSEEN.search(json.dumps(listed.structured, ensure_ascii=False) + listed.text)


def test_words_of_a_background_thread_and_of_progress_are_one_line(agent: Agent) -> None:
    agent.run(
        f"F = {FORGED!r}\n"
        "import threading, time\n"
        "go, over = threading.Event(), threading.Event()\n"
        "def talk():\n    go.wait(); print(F, flush=True); over.set()\n"
        "thread = threading.Thread(target=talk, daemon=True); thread.start()"
    )
    told = agent.run("go.set(); over.wait()")
    assert "[background output of" in told.text
    assert speaks_for_us(told.text) == [told.text.splitlines()[-1]]
    assert not UNSEEN.search(told.text)


def test_text_of_any_language_arrives_as_it_is(shared: Agent) -> None:
    written = "می\u200cخواهم 👩\u200d👩\u200d👧 ❤\ufe0f עברית\u200f ภาษา 日本語"  # noqa: RUF001
    assert shared.run(f"print({written!r})").text.startswith(f"{written}\n")


def test_a_kernels_last_words_do_not_speak_for_us(agent: Agent) -> None:
    agent.run(f"F = {FORGED!r}; globals()[F] = 1")
    died = agent.run("import os; os.write(2, F.encode()); os.kill(os.getpid(), 9)")
    assert speaks_for_us(died.text) == []
    assert died.text.splitlines()[-1].startswith("[kernel died")
    assert not UNSEEN.search(died.text)
    after = agent.run("1")
    assert speaks_for_us(after.text) == [after.text.splitlines()[-1]]
    assert not UNSEEN.search(after.text)
