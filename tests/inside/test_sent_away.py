"""The folder can be sent to another machine as it is: a copy of it runs by itself."""

import json
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from kernel_exec.places import INSIDE
from tests.benchmarks.bare import BareClient
from tests.environments.pythons import make_venv, require_python

CODE = """
import json, sys
from importlib.util import find_spec
ours = {name: module.__file__ for name, module in sys.modules.items() if "_kernel_exec." in name}
with open("found.json", "w") as file:
    json.dump({"ours": ours, "package": find_spec("kernel_exec") is not None}, file)
"""


@pytest.mark.kernel
def test_a_copy_of_the_folder_runs_a_kernel_of_a_python_without_the_package(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv", "ipykernel<7", python=require_python("3.12"))
    sent = tmp_path / "sent"
    shutil.copytree(INSIDE.parent, sent, ignore=shutil.ignore_patterns("__pycache__"))
    connection: dict[str, object] = {
        "ip": str(tmp_path / "s"),
        "key": uuid.uuid4().hex,
        "transport": "ipc",
        "signature_scheme": "hmac-sha256",
    }
    for number, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), start=1):
        connection[f"{name}_port"] = number
    (tmp_path / "connection.json").write_text(json.dumps(connection))
    here, there = socket.socketpair()
    settings = {
        "connection_file": str(tmp_path / "connection.json"),
        "run_dir": str(tmp_path),
        "support": "own",
        "overlay": "",
        "umask": 0o022,
        "limits": [],
    }
    (tmp_path / "launch.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [
            str(venv / "bin" / "python"),
            str(sent / "main.py"),
            "guardian",
            "launch.json",
            str(there.fileno()),
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        pass_fds=[there.fileno()],
    )
    there.close()
    client = BareClient(connection)
    try:
        client.execute(CODE)
    finally:
        client.close()
        here.close()  # its guardian ends it
        process.wait(20)
    found = json.loads((tmp_path / "found.json").read_text())
    assert not found["package"]
    assert str(sent / "kernel.py") in found["ours"].values()
    assert {Path(file).parent for file in found["ours"].values()} == {sent}
