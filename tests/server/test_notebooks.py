"""`export_notebook` and `add_note` through a real client."""

import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.server.test_tools import Agent, agent_in, text_of

pytestmark = pytest.mark.kernel


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_in(tmp_path) as opened:
        yield opened


async def export(agent: Agent, **asked: Any) -> dict[str, Any]:
    result = await agent.call("export_notebook", **asked)
    assert not result.is_error, text_of(result)
    return dict(result.structured_content or {})


def read(path: str) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(Path(path).read_text())
    nbformat.validate(notebook)
    return notebook


async def test_a_session_is_written_in_every_format(agent: Agent, tmp_path: Path) -> None:
    await agent.run("print(6 * 7)", title="Multiply")
    root = tmp_path / "storage"
    told = {form: Path((await export(agent, format=form))["path"]) for form in ("html", "md")}
    told["py"] = Path((await export(agent, path="mine/s.py"))["path"])
    told["ipynb"] = Path((await export(agent, path=str(tmp_path / "s.ipynb")))["path"])

    assert told["py"] == root / "mine" / "s.py"
    assert {told["html"].parent, told["md"].parent} == {root / "notebooks"}
    for path in told.values():
        assert "Multiply" in path.read_text()
    assert "42" in told["html"].read_text()
    assert "```text\n42\n```" in told["md"].read_text()


@pytest.mark.parametrize(
    "asked",
    [{"path": "../x.ipynb"}, {"path": "~/x.ipynb"}, {"path": "a/../../x.ipynb"},
     {"path": "x.md", "format": "html"}, {"format": "pdf"},
     {"path": "../x.ipynb", "verify": True}],
)  # fmt: skip
async def test_what_leads_elsewhere_or_is_no_format_is_refused(
    agent: Agent, tmp_path: Path, asked: dict[str, object]
) -> None:
    before = sorted(tmp_path.rglob("*.ipynb"))
    result = await agent.call("export_notebook", **asked)
    assert result.is_error
    assert "defect" not in text_of(result)
    assert next(iter(asked)) in text_of(result)
    assert sorted(tmp_path.rglob("*.ipynb")) == before
    assert not (tmp_path / "storage" / "~").exists()


async def test_a_title_is_bounded_and_of_one_line(agent: Agent) -> None:
    await agent.run("1")
    path = Path((await export(agent, title="A\n<b> \u202e" + "x" * 500, format="html"))["path"])
    assert re.search(r"<h1>A &lt;b&gt; \\u202ex{100,110}…</h1>", path.read_text())


async def test_a_verified_notebook_tells_how_it_ran_again(agent: Agent) -> None:
    await agent.run("import random")
    await agent.run("x = 1\nx", title="Settled")
    await agent.run("random.random()", title="Random")

    told = (await export(agent, verify=True))["verification"]

    assert (told["verdict"], told["counts"]["same"]) == ("different", 2)
    (difference,) = told["differences"]
    assert (difference["title"], difference["verdict"]) == ("Random", "different")
    path = (await export(agent, verify=True))["path"]
    stamped = read(path)["metadata"]["kernel_exec"]["verification"]
    assert stamped["verdict"] == "different"
    assert stamped["executable"] == sys.executable


async def test_two_exports_of_one_session_differ_in_what_came_between_only(agent: Agent) -> None:
    await agent.run("x = 1", title="Begin")
    await agent.call("add_note", markdown="**Because**")
    before = read((await export(agent))["path"])["cells"]
    await agent.run("y = 2")
    after = read((await export(agent))["path"])["cells"]
    assert after[: len(before)] == before
    assert [cell["source"] for cell in after[-2:]] == ["**Because**", "y = 2"]


async def test_a_display_that_a_later_cell_changed_is_shown_as_it_is_now(agent: Agent) -> None:
    await agent.run("shown = display('before', display_id=True)")
    await agent.run("from IPython.display import clear_output\nprint('gone')\nclear_output()")
    await agent.run("shown.update('after')")
    written = Path((await export(agent))["path"]).read_text()
    assert "'after'" in written
    assert "'before'" in written  # in the source
    (output,) = [out for cell in read_cells(written) for out in cell.get("outputs", ())]
    assert output["data"]["text/plain"] == "'after'"


def read_cells(written: str) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(written)["cells"]
    return cells
