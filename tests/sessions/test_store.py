import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.errors import StorageError
from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.outputs import DisplayData, ExecuteResult, OutputEvent, Stream
from kernel_exec.sessions.history import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.sessions.store import Store, open_store

ROOT = Path(__file__).parents[2]
SESSION = SessionRecord(id="s1", name="main", environment="venv:/v", created=1.0)
ENTRY = Entry(
    id="e1",
    session_id="s1",
    number=1,
    kind=EntryKind.CODE,
    source="print(1)",
    outcome=Outcome.OK,
    queued=2.0,
)
KERNEL = KernelRecord(
    session_id="s1",
    generation=1,
    started=1.0,
    executable="/v/bin/python",
    python_version="3.12.1",
    support="own",
)


def output(text: str) -> Stream:
    return Stream(name="stdout", text=text)


def folder(root: Path) -> Path:
    return root / ".kernel_exec"


def asides(root: Path) -> list[str]:
    return sorted(
        path.name for path in folder(root).iterdir() if path.name.startswith("history.db.corrupt")
    )


@contextmanager
def program(code: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` with `store` open at `root`, killed in the end."""
    lines = "\n".join(f"        {line}" for line in code.strip().splitlines())
    whole = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from dataclasses import replace\n"
        "from tests_store import SESSION, ENTRY, output\n"
        "from kernel_exec.kernels.execution import Outcome\n"
        "from kernel_exec.sessions.store import open_store\n"
        "async def main():\n"
        "    async with open_store(Path(sys.argv[1])) as store:\n"
        f"{lines}\n"
        "asyncio.run(main())\n"
    ).replace("from tests_store import", "_ns = {}\nfrom test_store import")
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
    process = subprocess.Popen(
        [sys.executable, "-c", path + whole, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()
