import json
from pathlib import Path

import pytest

from kernel_exec.clients.registrations import registrations

OURS = {"command": "/opt/bin/kernel-exec", "args": ["serve"]}


def _write(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


@pytest.mark.parametrize(
    ("client", "file", "content"),
    [
        ("claude-code", ".claude.json", {"mcpServers": {"x": OURS}}),
        ("cursor", ".cursor/mcp.json", {"mcpServers": {"x": OURS}}),
        ("vscode", ".config/Code/User/mcp.json", {"servers": {"x": OURS}}),
        ("vscode", ".config/VSCodium/User/mcp.json", '// mine\n{"servers": {"x": %s,},}'),
        ("windsurf", ".codeium/windsurf/mcp_config.json", {"mcpServers": {"x": OURS}}),
        ("codex", ".codex/config.toml", '[mcp_servers.x]\ncommand = "kernel-exec"\n'),
        ("gemini", ".gemini/settings.json", {"mcpServers": {"x": OURS}}),
        ("copilot", ".copilot/mcp-config.json", {"mcpServers": {"x": OURS}}),
        (
            "opencode",
            ".config/opencode/opencode.json",
            {"mcp": {"x": {"command": ["kernel-exec"]}}},
        ),
    ],
)
def test_a_client_whose_configuration_starts_us_is_found(
    client: str, file: str, content: object, tmp_path: Path, variables: dict[str, str]
) -> None:
    if isinstance(content, str):
        content = content.replace("%s", json.dumps(OURS))
    written = _write(tmp_path / "home" / file, content)

    (found,) = registrations(tmp_path, variables)

    assert (found.client, found.file, found.name) == (client, written, "x")
    assert found.command[0].endswith("kernel-exec")


def test_a_project_and_the_servers_of_a_folder_count(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    _write(tmp_path / ".mcp.json", {"mcpServers": {"shared": OURS}})
    _write(
        tmp_path / "home" / ".claude.json",
        {"projects": {str(tmp_path): {"mcpServers": {"local": OURS}}, "/x": {"mcpServers": 1}}},
    )

    found = registrations(tmp_path, variables)

    assert [each.name for each in found] == ["local", "shared"]


def test_other_servers_and_broken_files_start_nobody(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    _write(tmp_path / "home/.cursor/mcp.json", "{")
    _write(tmp_path / "home/.gemini/settings.json", {"mcpServers": {"x": {"url": "http://x"}}})
    _write(tmp_path / "home/.claude.json", {"mcpServers": {"x": {"command": "other"}, "y": 3}})
    (tmp_path / "home/.copilot/mcp-config.json").mkdir(parents=True)

    assert registrations(tmp_path, variables) == ()
