"""What registries and clients are told of us is up to date, and as they want it."""

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.server.greeting import VERSION
from tests.shipping.tools import HEAVY, ROOT, UV, run, uvx

BUNDLES = ROOT / "examples" / "bundles"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(BUNDLES / "make.py"))


def test_generated_files_are_up_to_date(program: dict[str, Any]) -> None:
    """If it fails: python examples/bundles/make.py."""
    for path, text in program["files"]().items():
        assert path.read_text("utf-8") == text, path


def test_one_version_and_one_name_are_everywhere(program: dict[str, Any]) -> None:
    server, manifest, plugin = (program[each]() for each in ("server", "manifest", "plugin"))
    assert {server["version"], manifest["version"], plugin["version"]} == {VERSION}
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"mcp-name: (\S+)", readme) == [server["name"]]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert set(re.findall(rf"https://[^\s\"]+?/{server['title']}", project)) == {program["URL"]}


def test_descriptions_fit_where_a_hundred_characters_are_the_limit(program: dict[str, Any]) -> None:
    assert len(program["SHORT"]) <= 100


@pytest.mark.network
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["mcp-registry", "single-plugin"])
def test_the_registry_and_the_plugin_are_as_their_schemas_want(kind: str, tmp_path: Path) -> None:
    """`skillsaw` has the registry's published schemas; the one that `$schema` names counts."""
    shutil.copy(BUNDLES / "server.json", tmp_path)
    shutil.copytree(BUNDLES / "plugin", tmp_path, dirs_exist_ok=True)
    checks = ["lint", "--strict", "--no-custom-rules", "--no-plugins", "--type", kind]
    said = uvx("skillsaw==0.22.0", "skillsaw", *checks, str(tmp_path))
    assert "All checks passed" in said


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.skipif(not HEAVY or shutil.which("npm") is None, reason="needs npm; see tools.py")
def test_the_bundle_is_as_its_format_wants_and_serves(
    program: dict[str, Any], tmp_path: Path
) -> None:
    packed = program["pack"](tmp_path)
    npm = ["npm", "exec", "--yes", "--package=@anthropic-ai/mcpb@2.1.2", "--", "mcpb"]
    assert "validation passes" in run(*npm, "validate", str(BUNDLES / "manifest.json"))
    run(*npm, "unpack", str(packed), str(tmp_path / "unpacked"))

    command = program["manifest"]()["server"]["mcp_config"]
    argv = [each.replace("${__dirname}", str(tmp_path / "unpacked")) for each in command["args"]]
    assert command["command"] == "uv"
    assert VERSION in run(UV, *argv, "--version", cwd=tmp_path)


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.skipif(not HEAVY or shutil.which("npm") is None, reason="needs npm; see tools.py")
def test_claude_code_accepts_the_plugin() -> None:
    npm = ["npm", "exec", "--yes", "--package=@anthropic-ai/claude-code", "--", "claude"]
    assert "Validation passed" in run(*npm, "plugin", "validate", str(BUNDLES / "plugin"))


def test_the_bundle_holds_the_package_and_nothing_else(
    program: dict[str, Any], tmp_path: Path
) -> None:
    with zipfile.ZipFile(program["pack"](tmp_path)) as packed:
        names = packed.namelist()
    outside = {name for name in names if not name.startswith("kernel_exec/")}
    assert outside == {"manifest.json", "pyproject.toml", "README.md", "LICENSE"}
    assert program["manifest"]()["server"]["entry_point"] in names
    assert not [name for name in names if "__pycache__" in name]


def test_the_program_runs_as_a_maintainer_runs_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BUNDLES / "make.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()).suffix == ".mcpb"
