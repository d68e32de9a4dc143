"""A model of the server without state that kernel-exec replaces: what it sends for a piece of code.

Each call writes a script and runs it in a fresh process of the environment. The result is JSON in
one line: what is on stderr, or else on stdout, and the script's path twice; of a script that fails
only stderr, with the command. There are no pictures, and nothing comes before the end.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path


class Stateless:
    """Runs scripts in a folder; counts what it was asked, in calls and characters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.calls = 0
        self.sent = 0

    def run(self, code: str) -> str:
        """What a model reads after `execute_code`."""
        self.calls += 1
        self.sent += len(code)
        path = self._folder / f"code_{secrets.token_hex(4)}.py"
        path.write_text(code)
        command = f'source {Path(sys.prefix) / "bin" / "activate"} && python3 -u "{path}"'
        ended = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self._folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "MPLBACKEND": "agg"},
            check=False,
        )
        said = {"status": "error" if ended.stderr else "success"}
        if ended.returncode:
            said["error"] = f"Command failed: {command}\n{ended.stderr}"
        else:
            said["output"] = ended.stderr or ended.stdout
        said |= {"file_path": str(path), "generated_filename": path.name}
        return _json(said)

    def read(self, code: str) -> str:
        """What a model reads after `read_code_file` of a script with this code."""
        self.calls += 1
        path = self._folder / "code_00000000.py"
        return _json({"status": "success", "content": code, "file_path": str(path)})

    def installed(self, packages: list[str]) -> str:
        """What a model reads after `check_installed_packages`."""
        self.calls += 1
        look = "import json\nfound = {}\n" + "".join(
            f"import {each}\n"
            f"found[{each!r}] = dict(installed=True, version={each}.__version__,"
            f" location={each}.__file__)\n"
            for each in packages
        )
        ended = subprocess.run(
            [sys.executable, "-c", look + "print(json.dumps(found))"],
            capture_output=True,
            text=True,
            check=True,
        )
        facts = {"status": "success", "env_type": "venv", "all_installed": True}
        return _json({**facts, "not_installed": [], "package_details": json.loads(ended.stdout)})


def _json(said: object) -> str:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))
