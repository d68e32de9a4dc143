"""The README's parts that show the program itself: `python -m tests.readme` writes them again.

Each stands between `<!-- name -->` and `<!-- end of name -->`.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from kernel_exec.cli.main import COMMANDS
from kernel_exec.options import SETTINGS
from kernel_exec.server.tools import TOOLS
from tests.benchmarks.report import as_markdown, saved
from tests.wire import Result, Server, serving

README = Path(__file__).parents[1] / "README.md"

_CALLS: tuple[tuple[str, Mapping[str, object]], ...] = (
    (
        "execute_code",
        {
            "title": "Load the measurements",
            "code": "import pandas as pd\ndf = pd.read_csv('penguins.csv')\ndf.head(3)",
        },
    ),
    ("execute_code", {"code": "df.groupby('specie')['body_mass_g'].mean()"}),
    (
        "execute_code",
        {
            "title": "Compare the species",
            "code": "masses = df.groupby('species')['body_mass_g'].mean()\nmasses.round(1)",
        },
    ),
    (
        "execute_code",
        {
            "title": "Plot them",
            "code": "ax = masses.plot.bar(ylabel='g')",
        },
    ),
    (
        "execute_code",
        {
            "title": "How sure is the mean?",
            "wait_seconds": 2,
            "code": "import time\n"
            "for part in ('half', 'all'):\n"
            "    means = [df.body_mass_g.sample(frac=1, replace=True, random_state=n).mean()"
            " for n in range(50)]\n"
            "    print(part, 'of the samples drawn')\n"
            "    time.sleep(4)\n"
            "print(f'{min(means):.0f} to {max(means):.0f} g')",
        },
    ),
    ("get_execution", {"wait_seconds": 45}),
    ("execute_code", {"code": "import os\nos.abort()  # as a crashing C extension would"}),
    ("restart_kernel", {"restore": "replay"}),
    ("kernel_status", {"variables": True}),
    ("export_notebook", {"title": "How heavy are penguins?", "verify": True}),
)


def tools() -> str:
    """A row for each tool: the first sentence that a model reads of it."""
    rows = [
        f"| `{spec.name}` | {', '.join(_arguments(spec.listed().input_schema))} "
        f"| {re.split(r'(?<=[.;]) ', spec.description)[0].rstrip('.;')} |"
        for spec in TOOLS
    ]
    return "\n".join(["| tool | arguments | what it does |", "|---|---|---|", *rows])


def settings() -> str:
    """A row for each setting."""
    rows = [f"| `{s.option}` | `{s.variable}` | `{s.key}` | {s.help} |" for s in SETTINGS]
    head = ["| option | variable | key in the file | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def commands() -> str:
    """A row for each command of the command line."""
    rows = [f"| `{name}` | {text.rstrip('.')} |" for name, text in COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def figures() -> str:
    """What the benchmarks measured when they last ran whole."""
    return as_markdown(saved())


def transcript() -> str:
    """A real session: what an agent sends, and all that it reads."""
    with tempfile.TemporaryDirectory(prefix="kx") as folder:
        storage = Path(folder) / "storage"
        storage.mkdir()
        with as_file(files("palmerpenguins") / "data" / "penguins.csv") as data:
            shutil.copy(data, storage)
        with serving(Path(folder)) as server:
            shown = "\n\n".join(_converse(server))
    for path, told in ((str(storage), "/storage"), (sys.executable, "/env/bin/python")):
        shown = shown.replace(path, told)
    return f"```text\n{shown}\n```"


def _converse(server: Server) -> Iterator[str]:
    for tool, arguments in _CALLS:
        result = server.call(tool, within=60, **arguments)
        yield f"{_spelled(tool, arguments)}\n{_read(result)}"


def _spelled(tool: str, arguments: Mapping[str, object]) -> str:
    """The call as an agent's user would note it: code below it, as a cell."""
    others = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if name != "code")
    code = "".join(f"\n| {line}" for line in str(arguments.get("code", "")).splitlines())
    return f"> {tool}({others}){code}"


def _read(result: Result) -> str:
    blocks = [block.get("text", "(picture)\n") for block in result.content]
    return "".join(blocks).rstrip()


def _arguments(schema: Mapping[str, object]) -> Iterator[str]:
    """The names, those that must be given first."""
    properties, required = schema["properties"], schema.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    yield from (f"**`{name}`**" for name in properties if name in required)
    yield from (f"`{name}`" for name in properties if name not in required)


PARTS: Mapping[str, Callable[[], str]] = {
    part.__name__: part for part in (tools, settings, commands, figures, transcript)
}


def shown(text: str, name: str) -> str:
    """What stands in the README under `name`."""
    return _span(text, name)[0]


def _span(text: str, name: str) -> re.Match[str]:
    pattern = f"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"
    found = re.search(pattern, text, re.DOTALL)
    assert found, f"the README has no place for {name}"
    return found


if __name__ == "__main__":
    text = README.read_text("utf-8")
    for name, part in PARTS.items():
        span = _span(text, name)
        text = f"{text[: span.start()]}{part()}\n{text[span.end() :]}"
    README.write_text(text, "utf-8")
