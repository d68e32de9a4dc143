"""What registries and clients want to know of kernel-exec, made from where names and versions are.

python examples/bundles/make.py          writes the files beside this program
python examples/bundles/make.py FOLDER   puts the MCP bundle (.mcpb) there
"""

import json
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

from kernel_exec.options import SETTINGS
from kernel_exec.server.tools import TOOLS

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

NAME, VERSION, URL = PROJECT["name"], PROJECT["version"], PROJECT["urls"]["Repository"]
AUTHOR: Final = {"name": PROJECT["authors"][0]["name"], "url": URL}
SHORT: Final = "A long-lived Python kernel for your agent, and a notebook you can check."
"""The description where a hundred characters are the limit."""

BUNDLED: Final = ("pyproject.toml", "README.md", "LICENSE", "kernel_exec/**/*")
"""What an MCP bundle holds beside its manifest: what the package is built from."""


def registry_name() -> str:
    """Our name in the MCP registry, with the project's host backwards; the README has it too."""
    host, *path = URL.removeprefix("https://").split("/")
    return f"{'.'.join(reversed(host.split('.')))}/{path[-1]}"


def server() -> dict[str, Any]:
    """`server.json`: the entry in the MCP registry."""
    variables = [
        {"name": setting.variable, "description": setting.help, "isRequired": False}
        for setting in SETTINGS
    ]
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": registry_name(),
        "title": NAME,
        "description": SHORT,
        "version": VERSION,
        "websiteUrl": URL,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": NAME,
                "version": VERSION,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": variables,
            }
        ],
    }


def manifest() -> dict[str, Any]:
    """`manifest.json` of the MCP bundle: uv installs what the bundle's `pyproject.toml` lists."""
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": NAME,
        "version": VERSION,
        "description": SHORT,
        "long_description": PROJECT["description"] + ".",
        "author": AUTHOR,
        "homepage": URL,
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "kernel_exec/__main__.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--no-dev", "--project", "${__dirname}", NAME],
                "env": {"CODE_STORAGE_DIR": "${user_config.storage_dir}"},
            },
        },
        "user_config": {
            "storage_dir": {
                "type": "directory",
                "title": "Storage folder",
                "description": "Where scripts, history and notebooks are kept.",
                "default": "${HOME}/kernel-exec",
                "required": True,
            }
        },
        "tools": [{"name": tool.name, "description": tool.description} for tool in TOOLS],
        "compatibility": {
            "platforms": ["darwin", "linux"],
            "runtimes": {"python": PROJECT["requires-python"]},
        },
    }


def plugin() -> dict[str, Any]:
    """`plugin.json` of the Claude Code plugin; relative paths mean the project."""
    return {
        "name": NAME,
        "version": VERSION,
        "description": SHORT,
        "author": AUTHOR,
        "homepage": URL,
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "mcpServers": {
            NAME: {"command": "uvx", "args": [f"{NAME}@{VERSION}", "--working-directory", "."]}
        },
    }


def files() -> dict[Path, str]:
    """Each generated file, and what has to be in it."""
    made = {
        HERE / "server.json": server(),
        HERE / "manifest.json": manifest(),
        HERE / "plugin" / ".claude-plugin" / "plugin.json": plugin(),
    }
    return {path: json.dumps(content, indent=2) + "\n" for path, content in made.items()}


def pack(folder: Path) -> Path:
    """The MCP bundle, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / f"{NAME}-{VERSION}.mcpb"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(HERE / "manifest.json", "manifest.json")
        for path in sorted(path for pattern in BUNDLED for path in ROOT.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                packed.write(path, path.relative_to(ROOT))
    return bundle


if __name__ == "__main__":
    for file, text in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    print(*(map(pack, map(Path, sys.argv[1:])) if sys.argv[1:] else files()), sep="\n")
