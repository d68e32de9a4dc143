"""The services of a host: opened when somebody needs them, tried again when that fails."""

from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from mcp import Client

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.host.opening import AwaitedTools, Opening
from kernel_exec.server.greeting import instructions, serve_tools
from kernel_exec.settings import Settings, read_settings


def settings_for(root: Path) -> Settings:
    return read_settings(options={"storage_dir": str(root), "config": "/dev/null"})


async def test_they_are_opened_once_for_all_that_ask_at_once(tmp_path: Path) -> None:
    async with Opening(settings_for(tmp_path).host, stopping=anyio.Event()) as opening:
        assert not opening.are_used
        opened = set()

        async def ask() -> None:
            opened.add(await opening.get())

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
        assert len(opened) == 1


async def test_who_leaves_meanwhile_takes_nothing_from_those_who_wait(tmp_path: Path) -> None:
    async with Opening(settings_for(tmp_path).host, stopping=anyio.Event()) as opening:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opening.get)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert await opening.get()


async def test_tools_say_why_they_do_not_work_and_work_once_that_is_corrected(
    tmp_path: Path,
) -> None:
    root = tmp_path / "storage"
    root.write_text("a file")
    settings = settings_for(root)
    async with Opening(settings.host, stopping=anyio.Event()) as opening:
        with ExitStack() as stack:
            async with anyio.create_task_group() as tasks:
                tools = AwaitedTools(opening, settings, stack, tasks)
                async with Client(serve_tools(tools, instructions(settings.connection))) as client:
                    assert len((await client.list_tools()).tools) > 10
                    refused = await client.call_tool("get_environment_config", {})
                    assert refused.is_error
                    assert "can't be used as a folder" in str(refused.content)
                    assert "run `kernel-exec doctor`" in str(refused.content)
                    with pytest.raises(InvalidArgumentError):
                        await opening.get()
                    root.unlink()
                    assert not (await client.call_tool("get_environment_config", {})).is_error
