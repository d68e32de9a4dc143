"""Sessions of many kinds, as agents lead them; the real server records them.

Each is a function that calls the tools for one session.
"""

import base64
import hashlib
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.environments.pythons import make_venv
from tests.wire import Result, Server, serving

_PATIENCE = 60.0
"""Seconds that a call may take: an environment may have to be made ready, beside other tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One who leads the session `name`; `folder` is for what it needs beside the server's.

    What belongs to an environment, such as an install, is in its `main` session.
    """

    server: Server
    name: str
    folder: Path
    session: str = ""

    def run(self, code: str, **arguments: object) -> Result:
        return self.call("execute_code", code=code, **arguments)

    def call(self, tool: str, **arguments: object) -> Result:
        return self.server.call(
            tool, within=_PATIENCE, session=self.session or self.name, **arguments
        )

    def wait_for(self, words: str) -> None:
        """Until the latest execution has printed `words`."""
        for _ in range(1000):
            if words in self.call("get_execution", wait_seconds=0.05).text:
                return
        raise AssertionError(f"{words!r} was never printed")

    def script(self, content: str, **arguments: object) -> Result:
        begun = self.server.call("initialize_code_file", content=content, filename=self.name)
        path = begun.structured["file_path"]
        return self.call("execute_code_file", file_path=path, **arguments)

    def configure(self, **arguments: object) -> None:
        done = self.server.call("configure_environment", within=_PATIENCE, **arguments)
        assert not done.is_error, done.text

    def install(self, package: str) -> Result:
        return self.server.call("install_dependencies", within=_PATIENCE, packages=[package])

    def export(self, name: str = "") -> Path:
        """Write the session's notebook below `notebooks`, where judges find it."""
        done = self.call("export_notebook", path=f"notebooks/{name or self.name}.ipynb")
        assert not done.is_error, done.text
        return Path(done.structured["path"])


def plain(agent: Agent) -> None:
    agent.run("import math\nr = 2.0", title="Begin")
    agent.call("add_note", markdown="The *radius* is given.\n\n- and [linked](https://e.org)")
    agent.run("area = math.pi * r ** 2\nprint('area', round(area, 3))", title="Area of the disc")
    agent.run("area")
    agent.run("import sys\nprint('careful', file=sys.stderr)")


def needed_failures(agent: Agent) -> None:
    agent.run("rows = [{'x': n} for n in range(3)]")
    agent.run("total = 0\nfor row in rows:\n    total += row['x']\n    row['y'] = 1 / row['x']")
    agent.run("import random\nrandom.seed(3)\nlabels = ['a', 'b']\nlabels[7]")
    agent.run("def half(n):\n    return n / 2\n\nhalf('x')", title="Half of a word")
    agent.run("print(total, rows, labels, half(8), random.random())")


def folded_failures(agent: Agent) -> None:
    agent.run("data = {'a': [1, 2, 3]}")
    agent.run("data['b']")
    agent.run("print(data.get('b').upper())")
    agent.run("x = = 1")
    agent.run("import no_such_module_at_all")
    agent.run("    indented = 1\n  badly = 2")
    agent.run("with open('made.csv', 'w') as file:\n    file.write('1,2')\nraise SystemExit(3)")
    agent.run("input('why?')")
    agent.run("print(open('made.csv').read())")
    agent.run("class Odd(Exception):\n    def __str__(self): raise ValueError\n\nraise Odd()")
    agent.run("assert sum(data['a']) == 6\nlen(data)")


def restarted(agent: Agent) -> None:
    agent.run("x = 'of the first kernel'")
    agent.run("1 / 0")
    agent.call("restart_kernel")
    agent.run("try:\n    x\nexcept NameError:\n    x = 'of the second'\nprint(x)")
    agent.run("n = 1")
    agent.run("n += 1\nn / 0")
    agent.run("values = [n, n]\nvalues")
    agent.call("restart_kernel", restore="replay")
    agent.run("print(values)")
    agent.run("exit()")
    agent.run("kept = 1")
    agent.run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    agent.run("kept = 2\nprint(kept)")


def asynchronous(agent: Agent) -> None:
    agent.run("import asyncio\n\nasync def twice(n):\n    await asyncio.sleep(0)\n    return 2 * n")
    agent.run("await twice(4)")
    agent.run("async with asyncio.timeout(5):\n    print([await twice(n) for n in range(3)])")
    agent.run("results = await asyncio.gather(*(twice(n) for n in range(3)))\nresults")
    agent.run("done = await twice(1)\nawait asyncio.wait_for(asyncio.Event().wait(), 0.01)")
    agent.run("task = asyncio.create_task(twice(done))")
    agent.run("await task")
    agent.run("import threading\ngo, over = threading.Event(), threading.Event()")
    agent.run(
        "def say():\n    go.wait(20)\n    print('from a thread')\n    over.set()\n\n"
        "thread = threading.Thread(target=say)\nthread.start()"
    )
    agent.run("go.set()\nassert over.wait(20)\nthread.join()")


def rich(agent: Agent) -> None:
    agent.run(
        "from IPython.display import (\n"
        "    HTML, JSON, SVG, Audio, Image, Javascript, Latex, Markdown,\n"
        "    clear_output, display, update_display,\n)\n"
        "display(HTML('<b onclick=\"1\">bold</b><script>1</script>'), Markdown('# *title*'))"
    )
    agent.run("Latex(r'$\\frac{1}{2}$')", title="A formula")
    agent.run("JSON({'a': [1, None, {'b': 'ü'}], 'nan': 1.5})")
    agent.run('SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>\')')
    agent.run(f"import base64\nImage(data=base64.b64decode('{_PIXEL}'), format='png')")
    agent.run("handle = display({'text/plain': 'before'}, raw=True, display_id='one')")
    agent.run("update_display({'text/plain': 'after'}, raw=True, display_id='one')")
    agent.run("for n in range(3):\n    clear_output(wait=True)\n    print('frame', n)")
    agent.run("print('gone')\nclear_output()\nprint('10 %\\r100 %')\nprint('\\x1b[31mred\\x1b[0m')")
    agent.run("Javascript('1 + 1')")
    agent.run("display({'application/vnd.x+json': {'a': 1}, 'text/plain': 'x'}, raw=True)")
    agent.run("Audio(data=b'RIFF', rate=8000) if False else display(*[])")
    agent.run("class Shown:\n    def _repr_html_(self): raise ValueError('no')\n\nShown()")
    agent.run("import ipywidgets as w\nslider = w.IntSlider(value=3, max=9)\nslider")
    agent.run("slider.value = 5\nprint(slider.value)")
    agent.run("from IPython.display import display\nout = w.Output()\ndisplay(out)")
    agent.run("with out:\n    print('inside')")
    agent.run("w.interact(lambda n: n * 2, n=(0, 4))")
    agent.run(
        "from comm import create_comm\ncomm = create_comm('x', data={'a': 1})\n"
        "comm.send({'b': 2}, buffers=[b'xx'])\ncomm.close()"
    )


def unicode(agent: Agent) -> None:
    agent.run("größe = 'naïve 🐍 日本語'\nprint(größe)", title="Größe & <größer> 🐍")
    agent.run("print('a\\x00b', 'עברית مرحبا', '\\u202eevil\\u202c', '\\u200b', '👩‍👩‍👧')")
    agent.run("'\\udfff'")
    agent.run("\U0001d4b3 = 1\nprint(X)\nraise ValueError('ß' * 5 + '\\x07\\x1b]0;title\\x07')")
    agent.run("print('\\x0b\\x0c\\x1c\\x85\\u2028\\u2029|')\n{'k\\n': '\\t'}")
    agent.call("add_note", markdown="Ein Hinweis: `größe` — ✓ \u2028 end")
    agent.run("s = '''\u2028 \x0c'''\nprint(len(s))")
    agent.run("x = 1\r\ny = 2\r\nprint(x + y)\r\n")
    agent.run("\n\n  \n")
    agent.run("# a comment only")
    agent.run(">>> z = 3\n>>> print(z)")
    agent.run("w = 1; w  # no result;")
    agent.run("print('</script></details>```')\nw;")


def surrogates(agent: Agent) -> None:
    """Other kernels can not send what this one prints; it is lost, or comes late."""
    agent.run("print('\\ud800 alone')")
    agent.run("print('next')")


def stopped(agent: Agent) -> None:
    agent.run("import time\nbefore = 1")
    agent.run("loaded = [1, 2]\nwhile True:\n    time.sleep(0.01)", timeout_seconds=0.5)
    agent.run("kept = 3\nprint('begun')\ntime.sleep(60)", wait_seconds=0)
    agent.wait_for("begun")
    agent.call("interrupt_execution")
    agent.run("print(before)")
    agent.run("state = {'n': 0}")
    agent.run("while True:\n    state['n'] += 1\n    time.sleep(0.01)", timeout_seconds=0.5)
    agent.run("state['n'] > 0")


def installed(agent: Agent) -> None:
    """In an environment of its own, `installed` beside `folder`."""
    agent = replace(agent, session="main")
    wheel(agent.folder, "spam_of_tests", "1.2")
    agent.configure(type="venv", venv_path=str(make_venv(agent.folder / "installed")))
    agent.install("no-such-package-of-tests")
    agent.install("spam-of-tests")
    agent.run("import spam_of_tests\nspam_of_tests.eggs(3)", title="Use it")
    agent.run("from importlib.metadata import version\nprint(version('spam-of-tests'))")
    agent.export()
    agent.configure(type="python", python_path=sys.executable)


def files(agent: Agent) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n\nname = Path(__file__).suffix\n"
        "if __name__ == '__main__':\n    print(name, sys.argv[1:])\n"
    )
    agent.run("first = 1")
    agent.script(script, args=["a b", "--c"], title="Run the script")
    agent.script(script + "by_itself = 1\n", mode="isolated", args=["x"])
    agent.script("y = 5\nraise ValueError(y)\n")
    agent.run("print(name, first, y)\n'by_itself' in globals()")
    agent.run("%%writefile note.txt\nhello\n")
    agent.run("from pathlib import Path\nprint(Path('note.txt').read_text())")


def magics(agent: Agent) -> None:
    agent.run("!echo shell")
    agent.run("listed = !printf 'a\\nb\\n'\nlisted")
    agent.run("%%time\ntimed = sum(range(10))\ntimed")
    agent.run("%timeit -n 2 -r 2 sum([1, 2])")
    agent.run("%%bash\necho from bash\nexit 0")
    agent.run("%%bash\nexit 3")
    agent.run("timed?")
    agent.run("%%capture said\nprint('captured')")
    agent.run("said.stdout")
    agent.run("%no_such_magic")
    agent.run("%pwd\n%who\nprint(timed)")


def numbered(agent: Agent) -> None:
    agent.run("'first'")
    agent.run("1 / 0")
    agent.run("= 1")
    agent.run("'fourth'")
    agent.run("print(Out[4], _4, _, In[1])")


def plots(agent: Agent) -> None:
    agent.run("import matplotlib.pyplot as plt\nimport pandas as pd", title="Begin")
    agent.run("frame = pd.DataFrame({'city': list('abc'), 'n': [1.5, 2, 3]})\nframe")
    agent.run("frame.groupby('no')")
    agent.run("frame['twice'] = frame['n'] * 2\nframe['missing']")
    agent.run("fig, ax = plt.subplots(figsize=(2, 1))\nax.plot(frame['n'])", title="Growth")
    agent.run("frame.describe()\nframe.plot(x='city', kind='bar', figsize=(2, 1));")
    agent.run("plt.plot([1, 2], [1, 2, 3])")
    agent.run("frame.twice.sum()")


def huge(agent: Agent) -> None:
    agent.run("for n in range(40_000):\n    print('line', n)", title="Much")
    agent.run("'x' * 400_000")
    agent.run("raise ValueError('y' * 200_000)")
    agent.run("def deep():\n    deep()\n\ndeep()")
    agent.run("print('still', deep.__name__)")


def two_environments(agent: Agent) -> None:
    agent = replace(agent, session="main")
    agent.run("where = 'the first'")
    agent.configure(type="venv", venv_path=str(make_venv(agent.folder / "other")))
    agent.run("where = 'the other'\nimport sys\nprint(where, sys.prefix != sys.base_prefix)")
    agent.export(f"{agent.name}_other")
    agent.configure(type="python", python_path=sys.executable)
    agent.run("print(where)")
    agent.export()


SESSIONS: Mapping[str, Callable[[Agent], None]] = {
    each.__name__: each
    for each in (
        plain, needed_failures, folded_failures, numbered, restarted, asynchronous, rich, unicode,
        surrogates, stopped, installed, files, magics, plots, huge, two_environments,
    )
}  # fmt: skip

_EXPORTED = {"installed", "two_environments"}
"""Sessions that export themselves, while their environment is in use."""

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJg"
    "gg=="
)


@contextmanager
def recording(folder: Path) -> Iterator[Server]:
    """A server for these sessions; packages come from wheels in `folder`, and nowhere else."""
    with serving(
        folder, KERNEL_EXEC_MAX_KERNELS="100", UV_FIND_LINKS=str(folder), UV_NO_INDEX="1"
    ) as server:
        yield server


def record(server: Server, folder: Path, name: str) -> None:
    """Lead the session `name` and export it."""
    agent = Agent(server=server, name=name, folder=folder)
    SESSIONS[name](agent)
    if name not in _EXPORTED:
        agent.export()


def wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel with one module of one function, made in `folder`."""
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": "def eggs(n):\n    return ['egg'] * n\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    lines = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as file:
        for path, text in content.items():
            file.writestr(path, text)
    return made


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
