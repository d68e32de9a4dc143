"""The conformance scenarios of the protocol that fit a server without fixtures, where they run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from anyio import to_thread

from tests.http.web import Wire, opened
from tests.waits import patient

_SCENARIOS = {
    "0.1.16": (
        "server-initialize", "ping", "tools-list", "server-sse-multiple-streams",
        "dns-rebinding-protection",
    ),
    "0.2.0-alpha.12": (
        "server-session-lifecycle", "tools-list", "http-header-validation",
        "sep-2164-resource-not-found", "dns-rebinding-protection",
        "input-required-result-unsupported-methods",
    ),
}  # fmt: skip
"""Those of `server-stateless` and `caching` want tools and lists that we do not have."""


def _node() -> int:
    if shutil.which("npx") is None or (node := shutil.which("node")) is None:
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(found[1]) if (found := re.match(r"v([0-9]+)\.", said)) else 0


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(_node() < 22, reason="the conformance suite needs npx and Node 22")
@pytest.mark.parametrize("version", _SCENARIOS)
async def test_the_scenarios_of_the_protocol_pass(tmp_path: Path, version: str) -> None:
    program = ["npx", "--yes", f"@modelcontextprotocol/conformance@{version}"]
    if (await _run([*program, "--version"], tmp_path)).returncode:
        pytest.skip("the conformance suite can't be installed")
    async with opened(tmp_path / "storage") as web, Wire(web, carries_token=True) as wire:
        for scenario in _SCENARIOS[version]:
            asked = ["server", "--url", wire.url, "--scenario", scenario]
            finished = await _run([*program, *asked], tmp_path)
            assert finished.returncode == 0, finished.stdout


async def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return await to_thread.run_sync(
        lambda: subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=patient(60),
        )
    )  # fmt: skip
