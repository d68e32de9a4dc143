"""The tools for code files through a real client in memory; no kernel is needed."""

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from kernel_exec.app import open_app
from kernel_exec.connection import Connection
from kernel_exec.server.create import create_server
from kernel_exec.server.results import RESULT_LIMIT
from kernel_exec.settings import read_settings
from tests.shared import CACHE
from tests.waits import patient

pytestmark = pytest.mark.skipif(
    os.open not in os.supports_dir_fd, reason="files are opened by descriptors of folders"
)


class Agent:
    """Calls tools and reads what a model would read."""

    def __init__(self, client: Client, root: Path) -> None:
        self.client = client
        self.root = root

    async def call(self, tool: str, **arguments: object) -> CallToolResult:
        with anyio.fail_after(patient(30)):
            return await self.client.call_tool(tool, arguments)

    async def done(self, tool: str, **arguments: object) -> dict[str, Any]:
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.content
        fields: dict[str, Any] = result.structured_content or {}
        assert fields["status"] == "success"
        return fields

    async def refused(self, tool: str, **arguments: object) -> str:
        result = await self.call(tool, **arguments)
        assert result.is_error
        (told,) = result.content
        assert isinstance(told, TextContent)
        error = told.text.removesuffix("\n")
        assert result.structured_content == {"status": "error", "error": error}
        return told.text


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    (tmp_path / "real").mkdir()
    (tmp_path / "storage").symlink_to("real")
    settings = read_settings(
        options={"storage_dir": str(tmp_path / "storage"), "python_path": sys.executable},
        variables={**os.environ, "KERNEL_EXEC_CACHE": str(CACHE), "KERNEL_EXEC_SPARE_KERNELS": "0"},
    )
    async with (
        open_app(settings.host) as app,
        Client(create_server(Connection(app=app, settings=settings.connection))) as client,
    ):
        yield Agent(client, tmp_path / "storage")


async def test_a_script_is_begun_added_to_and_read(agent: Agent) -> None:
    made = await agent.done("initialize_code_file", content="a = 1", filename="steps")
    path = Path(made["file_path"])
    assert set(made) == {"status", "message", "file_path", "filename", "generated_filename"}
    assert re.fullmatch(r"steps_[0-9a-f]{8}\.py", made["generated_filename"])
    assert path.is_absolute()
    assert path.name == made["filename"] == made["generated_filename"]
    assert path.stat().st_mode & 0o777 == 0o600

    added = await agent.done("append_to_code_file", file_path=str(path), content="b = 2\n")
    assert set(added) == {"status", "message", "file_path", "lines", "bytes"}
    assert (added["file_path"], added["lines"], added["bytes"]) == (str(path), 2, 12)

    read = await agent.done("read_code_file", file_path=str(path))
    del read["status"]
    assert read == {
        "content": "a = 1\nb = 2\n",
        "file_path": str(path),
        "total_lines": 2,
        "offset": 0,
        "next_offset": None,
        "encoding_errors": False,
    }


async def test_a_file_may_keep_its_name_and_be_written_again(agent: Agent) -> None:
    for content in ("a = 1", "a = 2"):
        made = await agent.done(
            "initialize_code_file", content=content, filename="steps", overwrite=True
        )
        assert made["file_path"] == str(agent.root / "steps.py")
        read = await agent.done("read_code_file", file_path="steps")
        assert read["content"] == content
    told = await agent.refused("initialize_code_file", content="1", overwrite=True)
    assert "overwrite needs filename" in told


async def test_what_can_not_be_shown_as_it_is_is_told(agent: Agent) -> None:
    (agent.root / "odd.py").write_bytes(b"\xff\n" + b"x" * 1_000_000)
    page = await agent.done("read_code_file", file_path="odd.py")
    assert page["encoding_errors"] is True
    assert page["cut_lines"] == [1]
    assert page["content"].startswith("\ufffd\nxxx")
    assert page["content"].endswith(" [line cut here: it has 1,000,000 bytes]\n")


@pytest.mark.parametrize("text", ["\x01", "🙂", "\\", "é", "\u2028", "\U000e0001", "\x7f"])
async def test_a_page_of_any_characters_fits_a_result(agent: Agent, text: str) -> None:
    (agent.root / "full.py").write_text(f"{text * 9999}\n" * 20, "utf-8")
    result = await agent.call("read_code_file", file_path="full.py")
    (shown,) = result.content
    assert isinstance(shown, TextContent)
    fields = result.structured_content or {}
    assert fields["content"] == f"{text * 9999}\n" * fields["next_offset"]
    numbers = [line.partition("\t")[0] for line in shown.text.splitlines()]
    assert numbers[:-1] == [str(number + 1) for number in range(fields["next_offset"])]
    assert len(result.model_dump_json(by_alias=True).encode()) <= RESULT_LIMIT


@pytest.mark.parametrize("tool", ["append_to_code_file", "read_code_file"])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/passwd", "outside of the storage root"),
        ("../secret", "'..' is no name"),
        ("~/.bashrc", "'~' is not a folder here"),
        ("", "it names no file"),
        (".kernel_exec/history.db", "is the server's own"),
        ("link.py", "is a symbolic link"),
        ("up/secret", "is a symbolic link, or leads through one"),
        ("pipe", "is a pipe or a device"),
        ("folder", "is a folder"),
        ("gone.py", "create one with initialize_code_file"),
    ],
)
async def test_no_other_file_is_read_or_written(
    agent: Agent, tool: str, path: str, told: str
) -> None:
    secret = agent.root.parent / "secret"
    secret.write_text("secret")
    (agent.root / "link.py").symlink_to(secret)
    (agent.root / "up").symlink_to("..")
    (agent.root / "folder").mkdir()
    os.mkfifo(agent.root / "pipe")
    content = {"content": "evil"} if tool == "append_to_code_file" else {}

    text = await agent.refused(tool, file_path=path, **content)

    assert told in text
    assert path in text
    assert secret.read_text() == "secret"


async def test_a_storage_root_that_is_gone_is_told(agent: Agent) -> None:
    agent.root.unlink()
    agent.root.touch()
    told = await agent.refused("initialize_code_file", content="1")
    assert "can't be stored" in told
    told = await agent.refused("append_to_code_file", file_path="a.py", content="1")
    assert "leads through one or through a file" in told


async def test_the_tools_say_what_they_change(agent: Agent) -> None:
    tools = {tool.name: tool.annotations for tool in (await agent.client.list_tools()).tools}
    names = list(tools)
    first = names.index("initialize_code_file")
    assert names[first : first + 4] == [
        "initialize_code_file", "append_to_code_file", "read_code_file", "install_dependencies"
    ]  # fmt: skip
    hints = [
        (told.read_only_hint, told.destructive_hint, told.idempotent_hint, told.open_world_hint)
        for name in names[first : first + 3]
        if (told := tools[name]) is not None
    ]
    assert hints == [(False, True, False, False), (False,) * 4, (True, False, True, False)]
