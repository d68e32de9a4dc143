"""After a mistake, the next step is in the result itself."""

import sys
from pathlib import Path

import pytest

from tests.promises.conftest import Agent
from tests.wire import Result, Server, serving


def advice(result: Result) -> list[str]:
    """The hints of a result."""
    lines = result.text.split("\n")
    return [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]


MISTAKES = {
    "a name": ("amount = 1\namont", ["did you mean `amount`?"]),
    "an attribute": ("'a'.uper()", ["did you mean `upper`?"]),
    "a keyword": ("def f(colour): 0\nf(color=1)", ["did you mean `colour`?"]),
    "an import": ("from math import squrt", ["did you mean `sqrt`?"]),
    "a module": ("import numpi", ["did you mean `numpy`?"]),
    "a module without an import": ("math.pi", ["did you forget `import math`?"]),
    "a column of pandas": (
        "import pandas; pandas.DataFrame({'Sales': [1]})['sales']",
        ["did you mean the column 'Sales'?"],
    ),
    "a column of polars": (
        "import polars; polars.DataFrame({'Sales': [1]})['sales']",
        ["did you mean the column 'Sales'?"],
    ),
    "a label of a row": (
        "import pandas; pandas.DataFrame({'Sales': [1]}).iloc[0]['sales']",
        ["did you mean the label 'Sales'?"],
    ),
    "a key": (
        "prices = {'a': {'price': 1}}\nprices['a']['pric']",
        ["did you mean the key 'price'?"],
    ),
    "a package": (
        "import sklearn",
        ['if it is not installed: install_dependencies(packages=["scikit-learn"])'],
    ),
    "a command": ("!exit 3", ["`!exit 3` ended with exit code 3"]),
    "a command with output kept": ("x = !exit 4", ["`!exit 4` ended with exit code 4"]),
    "a fence": ("So:\n```\nx\n```", ["send the code alone, without its Markdown fence (```)"]),
    "nothing": ("print(1)", []),
    "anything else": ("1 / 0", []),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_comes_with_the_next_step(shared: Agent, name: str) -> None:
    code, expected = MISTAKES[name]
    assert advice(shared.run(code)) == expected


def test_a_missing_file_comes_with_those_near_it(shared: Agent) -> None:
    (said,) = advice(shared.run("open('near_1.csv', 'w').close()\nopen('near_2.csv')"))
    assert said.startswith("did you mean 'near_1.csv' (working directory /")


def test_a_module_written_again_is_told_to_run_its_old_code(shared: Agent) -> None:
    write = "open('written.py', 'w').write('x = {}')\nimport written\nwritten.x"
    assert advice(shared.run(write.format(1))) == []
    again = shared.run(write.format(22))
    (said,) = advice(again)
    assert again.text.startswith("1\n")
    assert "importlib.reload(written)" in said


def test_pip_comes_with_the_tool_that_installs_for_the_kernel(shared: Agent) -> None:
    said = advice(shared.run("%pip install --no-index kernel-exec-has-no-such"))
    assert said[-1].startswith("use install_dependencies")


def test_code_in_a_markdown_fence_runs(shared: Agent) -> None:
    assert shared.run("```python\nprint(6 * 7)\n```").text.startswith("42\n")


def test_another_tools_argument_is_taken_or_named(shared: Agent) -> None:
    assert (
        shared.server.call("execute_code", source="6 * 7", session_id=shared.session).text[:3]
        == "42\n"
    )
    refused = shared.run("1", timeout=5)
    assert refused.is_error
    assert "timeout_seconds how long the code runs" in refused.text


def test_a_name_that_an_earlier_kernel_had_is_told(agent: Agent) -> None:
    agent.run("earlier = 1\ndeleted = 2")
    agent.call("restart_kernel")
    told = "`earlier` was lost with kernel 1: run the code that made it again"
    assert advice(agent.run("earlier")) == [told]
    agent.run("deleted = 2")
    agent.run("del deleted")
    assert advice(agent.run("deleted")) == []


def test_a_name_that_another_session_has_is_told(server: Server, agent: Agent) -> None:
    agent.run("only_there = 1")
    other = Agent(server)
    assert advice(other.run("only_there")) == [
        f'that name exists in another session: pass session="{agent.session}"'
    ]
    other.close()


def test_a_name_that_another_environment_has_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("only_there = 1")
        server.call("configure_environment", type="venv", venv_path=sys.prefix)
        (said,) = advice(server.run("only_there"))
    assert said.startswith('that name exists in another session: pass session="main@')


def test_hints_run_no_code_of_the_users_and_cost_no_result(agent: Agent) -> None:
    agent.run(
        "class Trap:\n"
        "    def __getattribute__(self, name): print('ran', name); raise SystemExit\n"
        "    def __dir__(self): print('ran dir'); raise SystemExit\n"
        "trap = Trap()\n"
        "class Mine(NameError):\n"
        "    def __getattribute__(self, name): raise SystemExit\n"
    )
    assert "NameError: name 'trapp'" in agent.run("trapp").text
    assert agent.run("raise Mine").outcome == "exception"
    assert "ran" not in agent.run("str.trp").text
    agent.still_works()
