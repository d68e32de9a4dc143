"""Results of executions, and whose time they take."""

import time
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.server.test_tools import agent_in, text_of

pytestmark = pytest.mark.kernel

HEAVY = {
    "tables": "rows = ''.join(f'<tr><td>{i}</td><td>{i * i}</td></tr>' for i in range(40_000))\n"
    "for _ in range(3): display(HTML(f'<table>{rows}</table>'))",
    "displays": "for i in range(5_000): display(HTML(f'<div><i></i></div>'))",
    "hostile HTML": "for i in range(2): display(HTML('<table>' + '<p>' * 60_000))",
    "pictures": "import io, os\nfrom PIL import Image as Made\nfrom IPython.display import Image\n"
    "written = io.BytesIO()\n"
    "Made.frombytes('RGB', (1500, 1500), os.urandom(6_750_000)).save(written, 'PNG')\n"
    "for _ in range(3): display(Image(written.getvalue()))",
}


@pytest.mark.parametrize("name", HEAVY)
async def test_a_heavy_result_leaves_the_loop_to_others(tmp_path: Path, name: str) -> None:
    """Measured in work of the loop's thread: a busy machine does not change that."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        before = time.thread_time()
        while True:
            await checkpoint()
            now = time.thread_time()
            longest, before = max(longest, now - before), now

    async with agent_in(tmp_path) as agent:
        await agent.run(f"from IPython.display import HTML, display\n{HEAVY[name]}")
        began = time.process_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat)
            await agent.call("get_execution")
            tasks.cancel_scope.cancel()
        worked = time.process_time() - began

    assert longest < 0.1 or longest < worked / 10


async def test_a_page_counts_lines_and_a_picture_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with agent_in(tmp_path) as agent:
        await agent.run("for i in range(3): print(i)")
        page = text_of(await agent.call("get_execution", offset=0, limit=2))
        assert page.startswith("0\n1\n[lines 1-2; 3 lines (6 characters) in total; next: ")
        last = text_of(await agent.call("get_execution", offset=2))
        assert last.startswith("2\n[line 3; 3 lines (6 characters) in total]\n[ok")
        none = await agent.call("get_execution", picture=1)
        assert none.is_error
        assert "has no pictures" in text_of(none)
