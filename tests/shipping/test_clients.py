"""The clients themselves read what `kernel-exec init` writes, and start the server by it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shipping.tools import HEAVY, ROOT

CLIENTS = {
    "claude-code": ("@anthropic-ai/claude-code", "claude", "Connected"),
    "codex": ("@openai/codex", "codex", "enabled"),
    "copilot": ("@github/copilot", "copilot", "kernel-exec (local)"),
    "opencode": ("opencode-ai", "opencode", "connected"),
}
"""Each with its npm package, its program, and what that says of a server that it knows."""


@pytest.mark.network
@pytest.mark.kernel
@pytest.mark.timeout(400)
@pytest.mark.skipif(not HEAVY or shutil.which("npm") is None, reason="needs npm; see tools.py")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_lists_the_server_that_was_registered_with_it(client: str, tmp_path: Path) -> None:
    package, program, said = CLIENTS[client]
    variables = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "npm_config_cache": str(Path("~/.npm").expanduser()),
        "CODEX_HOME": str(tmp_path / ".codex"),
    }
    for folder in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CLAUDE_CONFIG_DIR", "COPILOT_HOME"):
        variables.pop(folder, None)

    def run(*argv: str) -> str:
        return subprocess.run(
            argv, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        ).stdout  # fmt: skip

    (tmp_path / ".codex").mkdir()
    run(sys.executable, "-m", "kernel_exec", "init", "--yes", client)

    listed = run("npm", "exec", "--yes", f"--package={package}", "--", program, "mcp", "list")

    if "native binary not installed" in listed or "ENOENT" in listed:
        pytest.skip(f"npm does not install {package} here")
    assert "kernel-exec" in listed
    assert said in listed
