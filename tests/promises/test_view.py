"""What a model sees: small, true, and with the exact call for the rest."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.promises.conftest import Agent
from tests.waits import Gate, wait_until
from tests.wire import Server, serving

CALL = re.compile(r"get_execution\(([^)]*)\)")
ARGUMENT = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\d+)')


def arguments(text: str) -> dict[str, Any]:
    """Those of the first `get_execution` that `text` tells to call."""
    found = CALL.search(text)
    assert found is not None, text
    return {name: json.loads(value) for name, value in ARGUMENT.findall(found[1])}


# Text within a budget


def test_a_long_output_shows_head_and_tail_and_its_call_shows_the_rest(shared: Agent) -> None:
    result = shared.run("for i in range(2000): print(i)")
    shown = [int(line) for line in result.text.split("\n") if line.isdigit()]
    assert len(result.text) < 4_500
    assert shown[:3] == [0, 1, 2]
    assert shown[-1] == 1999
    asked = arguments(result.text)
    lines: list[int] = []
    for _ in range(10):
        page = shared.server.call("get_execution", **asked)
        lines += [int(line) for line in page.text.split("\n") if line.isdigit()]
        if "next:" not in page.text:
            break
        asked = arguments(page.text)
    missing = [number for number in range(2000) if number not in set(shown) | set(lines)]
    assert missing == []
    assert lines == sorted(set(lines))


def test_a_result_is_small_whatever_is_put_out(shared: Agent) -> None:
    result = shared.run(
        "import sys\nfor i in range(50):\n"
        "    print('x' * 5000)\n    print('y' * 5000, file=sys.stderr)\n    display('z' * 5000)"
    )
    assert len(result.text) < 12_000
    assert "outputs hidden: get_execution(" in result.text
    assert result.meta["truncated"] is True


def test_one_endless_line_is_shown_by_both_its_ends(shared: Agent) -> None:
    result = shared.run("print('a' * 100_000 + 'z')")
    assert result.text.startswith("aaa")
    assert "aaaz\n" in result.text
    assert len(result.text) < 4_500
    page = shared.call("get_execution", execution_id=result.id, stream="stdout", limit=5)
    assert page.text.startswith("a" * 8_000 + "\n[line 1; 13 lines of stdout (100,002 characters)")
    assert "offset=1)]\n" in page.text
    tail = shared.call("get_execution", execution_id=result.id, tail=1)
    assert "aaaz\n[line 13; " in tail.text


# get_execution

SAID = (
    "import sys\nfor i in range(300): print('line', i)\n"
    "print('careful', file=sys.stderr)\n'the result'\n"
)

PAGES: dict[str, tuple[dict[str, Any], str]] = {
    "a page by line": ({"stream": "stdout", "offset": 100, "limit": 2}, "line 100\nline 101\n"),
    "the tail": ({"stream": "stdout", "tail": 2}, "line 298\nline 299\n"),
    "stderr": ({"stream": "stderr"}, "careful\n"),
    "the result": ({"stream": "result"}, "'the result'\n"),
    "a search": ({"search": r"line 29[89]|careful"}, "298: line 298\n299: line 299\n300: careful"),
    "the first lines": ({"offset": 0, "limit": 2}, "line 0\nline 1\n[lines 1-2; 303 lines ("),
    "the page of all": ({"offset": 0}, "next: get_execution("),
    "a search by pages": (
        {"search": "line 1\\d$", "offset": 8},
        "18: line 18\n19: line 19\n[matches 9-10 of 10; 303 lines (",
    ),
    "a search that finds nothing": ({"search": "nowhere"}, "[no matches; 303 lines ("),
    "a page beyond the end": (
        {"stream": "stdout", "offset": 999},
        "[no line has the offset 999; 300 lines of stdout (",
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_an_execution_is_read_by(shared: Agent, name: str) -> None:
    asked, text = PAGES[name]
    result = shared.run(SAID)
    for _ in range(2):  # as often as asked
        page = shared.call("get_execution", execution_id=result.id, within=5, **asked)
        assert text in page.text
        assert page.id == result.id
        assert page.text.rstrip().endswith(f" · session {shared.session}]")


def test_an_execution_is_read_while_it_runs(agent: Agent, tmp_path: Path) -> None:
    agent.run("1")
    gates = [Gate(tmp_path / f"gate {number}") for number in range(2)]
    code = [f"print('step', {at}, flush=True)\n{gate.passing}" for at, gate in enumerate(gates)]
    running = agent.run("".join(code), wait_seconds=0.1)
    assert running.outcome == "running"

    def is_at(step: int) -> bool:
        page = agent.call("get_execution", execution_id=running.id, tail=1, wait_seconds=0)
        assert page.outcome == "running"
        return page.text.startswith(f"step {step}\n")

    wait_until(lambda: is_at(0))
    gates[0].open()
    wait_until(lambda: is_at(1))
    found = agent.call("get_execution", execution_id=running.id, search="step 1$", wait_seconds=0)
    assert "1: step 1\n" in found.text
    agent.call("interrupt_execution")


def test_a_look_at_what_runs_shows_what_is_new_and_for_how_long(
    agent: Agent, tmp_path: Path
) -> None:
    agent.run("1")
    gates = [Gate(tmp_path / f"gate {number}") for number in range(2)]
    code = "".join(f"print('part', {at}); {gate.passing}" for at, gate in enumerate(gates))
    running = agent.run(code, wait_seconds=0)

    def look(**arguments: Any) -> str:
        return agent.call("get_execution", execution_id=running.id, **arguments).text

    latest = running.text

    def has_said(words: str) -> bool:
        nonlocal latest
        latest = latest if words in latest else look()
        return words in latest

    wait_until(lambda: has_said("part 0\n"))
    silent = look()
    assert re.fullmatch(
        r"\[running for \d+ s · nothing new · step 2 · id \w+ · session \w+\]\n", silent
    )
    gates[0].open()
    wait_until(lambda: has_said("part 1\n"))
    assert latest.startswith("[continued from line 2]\npart 1\n[running")
    assert look(offset=0).startswith("part 0\npart 1\n")
    gates[1].open()
    assert "part" not in look(wait_seconds=30)
    again = agent.call("get_execution", execution_id=running.id)
    assert again.text.startswith("part 0\npart 1\n")
    assert again.outcome == "ok"


def test_an_execution_is_read_after_the_server_was_ended(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        result = server.run("for i in range(60_000): print('line', i)")
    with serving(tmp_path) as server:
        page = server.call("get_execution", execution_id=result.id, stream="stdout", tail=1)
        assert page.text.startswith("line 59999\n")
        found = server.call("get_execution", execution_id=result.id, search="line 50000")
        assert found.text.startswith("50000: line 50000\n")


def test_a_search_that_could_take_for_ever_hangs_nothing(shared: Agent) -> None:
    result = shared.run("print('x' * 1024 + 'a' * 60 + '!')")
    number = shared.server.begin_call("get_execution", execution_id=result.id, search="(a+)+$")
    shared.still_works()
    answer = shared.server.result(number, within=60)
    assert "took too long and was stopped: " in answer.text
    assert answer.is_error


def test_a_search_sees_what_pages_show(shared: Agent) -> None:
    code = "for i in range({}): print('\\x1b[31mERROR\\x1b[0m', i)"
    for lines in (10, 100_000):  # the second goes on in a file
        result = shared.run(code.format(lines), within=60)
        found = shared.call("get_execution", execution_id=result.id, search="^ERROR", limit=1)
        assert f"[matches 1-1 of {lines:,}; " in found.text
        page = shared.call("get_execution", execution_id=result.id, offset=lines - 1, limit=1)
        assert page.text.startswith(f"ERROR {lines - 1}\n")


def test_every_character_of_a_long_line_is_reached(shared: Agent) -> None:
    result = shared.run("line = ' '.join(map(str, range(70_000))); print(line); print('end')")
    assert " characters); all of it is in " in result.text
    said, asked = "", arguments(result.text)
    for _ in range(100):
        page = shared.server.call("get_execution", **asked)
        written, _, told = page.text.partition("\n[line")
        said += written if "counts as several" in told else f"{written}\n"
        if "next:" not in told:
            break
        asked = arguments(told)
    assert said == f"{' '.join(map(str, range(70_000)))}\nend\n"


# Pictures


def drawn(width: int, height: int) -> str:
    """Code that displays a picture of noise."""
    return (
        "import io, os\nfrom PIL import Image as Made\nfrom IPython.display import Image, display\n"
        f"written = io.BytesIO()\n"
        f"Made.frombytes('RGB', ({width}, {height}), os.urandom({width * height * 3}))"
        ".save(written, 'PNG')\ndisplay(Image(written.getvalue()))"
    )


def test_a_large_picture_is_shown_small(shared: Agent) -> None:
    result = shared.run(drawn(2000, 1000), within=20)
    picture = next(block for block in result.content if block["type"] == "image")
    small = base64.b64decode(picture["data"])
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (800, 400)
        assert image.mode == "P"  # few colours
    assert "[picture 1 of 1, 2000x1000]\n" in result.text
    assert sum(len(json.dumps(block)) for block in result.content) < 900_000


def test_two_pictures_are_shown_and_each_can_be_had_by_its_number(shared: Agent) -> None:
    result = shared.run("\n".join([drawn(20, 10)] * 4))
    assert [block["type"] for block in result.content] == ["text", "image", "image", "text"]
    assert len(re.findall(r"\[picture [12] of 4, 20x10\]", result.text)) == 2
    asked = arguments(result.text)
    assert asked == {"execution_id": result.id, "picture": 3}
    assert "[pictures 3 to 4 of 4: " in result.text
    for number in (1, 3, 4):
        third = shared.server.call("get_execution", **asked | {"picture": number})
        assert [block["type"] for block in third.content] == ["image", "text", "text"]
        assert third.text.startswith(f"[picture {number} of 4, 20x10]\n[ok")
    missing = shared.server.call("get_execution", **asked | {"picture": 5})
    assert missing.is_error
    assert "picture 5 does not exist: " in missing.text


def test_a_read_leaves_no_file_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        result = server.run(drawn(20, 10))
        folder = tmp_path / "storage"
        before = {path for path in folder.rglob("*") if ".db" not in path.name}
        server.call("get_execution", execution_id=result.id)
        server.call("get_execution", execution_id=result.id, search="x")
        assert {path for path in folder.rglob("*") if ".db" not in path.name} == before


def test_a_figure_that_is_shown_and_returned_is_one_picture(agent: Agent) -> None:
    agent.run("import matplotlib.pyplot as plt", within=30)
    result = agent.run("fig, ax = plt.subplots(); ax.plot([1, 2])\nfig", within=30)
    assert [block["type"] for block in result.content].count("image") == 1
    assert "[picture 1 of 1, " in result.text


def test_a_figure_of_matplotlib_is_a_picture(agent: Agent) -> None:
    agent.run("import matplotlib.pyplot as plt", within=30)
    code = "plt.plot([1, 2])\nplt.title('Growth')\nplt.ylabel('g');"
    result = agent.run(code, title="Plot", within=30)
    assert [block["type"] for block in result.content].count("image") == 1
    assert re.search(r"\[picture 1 of 1, \d+x\d+\]", result.text)
    pictures = [each["metadata"]["image/png"] for each in exported(agent)[-1]["outputs"]]
    assert pictures == [{"alt": "Growth (y: g)"}]


# Documents


def exported(agent: Agent) -> list[dict[str, Any]]:
    """The cells of the session's notebook."""
    told = agent.call("export_notebook").structured
    cells: list[dict[str, Any]] = json.loads(Path(told["path"]).read_text())["cells"]
    return cells


OURS = ("[all of it is in nowhere.txt]", "[9 characters left out here; all of it is in nowhere]")


def test_output_that_looks_like_words_of_ours_is_output_like_any_other(agent: Agent) -> None:
    agent.run(f"print({OURS[0]!r})\n{OURS[1]!r}", within=30)
    agent.run(f"print('x' * 300_000)\nprint({OURS[0]!r})", within=30)
    agent.run(f"raise ValueError({OURS[0]!r})")
    outputs = [cell["outputs"] for cell in exported(agent) if cell.get("outputs")]
    small, large = outputs[:2]
    assert small[0]["text"] == f"{OURS[0]}\n"
    assert small[1]["data"]["text/plain"] == repr(OURS[1])
    assert set(large[0]["text"]) == {"x"}
    (path,) = large[1]["metadata"]["kernel_exec"]["files"].values()
    assert path in large[1]["data"]["text/plain"]


def test_a_step_has_one_number_wherever_it_is_named(agent: Agent) -> None:
    assert " · step 1 · " in agent.run("x = 1", title="Begin", within=30).text
    assert agent.call("add_note", markdown="Why").structured["number"] == 2
    assert " · step 3 · " in agent.run("x = 2", title="Go on").text
    headings = [cell["source"] for cell in exported(agent) if cell["cell_type"] == "markdown"]
    assert headings[1:] == ["### Step 1: Begin", "Why", "### Step 3: Go on"]
    page = Path(agent.call("export_notebook", format="html").structured["path"]).read_text()
    assert "<dt>Client</dt><dd>test 1</dd>" in page
    shown = re.findall(r'class="number">(?:Step )?(\d+)<', page)
    assert shown == ["1", "2", "3", "1", "3"]  # in the contents, then above each step


def test_the_first_screen_says_what_a_session_is_about_and_whether_it_holds(agent: Agent) -> None:
    folder = f"first_{agent.session}"
    agent.run(f"import os, random, time\nos.makedirs('{folder}', exist_ok=True)", within=30)
    agent.run(f"os.listdir('{folder}')", title="Look <b>around</b>")
    agent.run(f"print(open('{folder}/a', 'w').write('a'))")
    agent.call("add_note", markdown="# Found\n\nIt **is** so.")
    title = "../What\n[is](x)?"
    told = agent.call("export_notebook", within=60, verify=True, title=title).structured
    assert told["verification"]["verdict"] == "close"  # by then the folder has a file
    first = json.loads(Path(told["path"]).read_text())["cells"][0]["source"]
    assert first.startswith("# ../What \\[is\\](x)?\n\n**Verified:** a fresh kernel gave the same")
    assert re.search(r"Trivial differences: \[Step 2\]\(#cell-id=\w+-code\)\n", first)
    assert first.endswith("# Found\n\nIt **is** so.")

    agent.run("random.random()", title="Draw")
    path = str(Path(told["path"]).with_suffix(".html"))
    told = agent.call("export_notebook", within=60, verify=True, title=title, path=path).structured
    page = Path(told["path"]).read_text()
    assert Path(told["path"]).parent.name == "notebooks"
    assert "<h1>../What [is](x)?</h1>" in page
    assert "1 of 4 steps differs in a fresh kernel" in page
    (link,) = re.findall(r'<li><a href="#(cell-\d+)">Step \d</a> Draw', page)
    assert f'<section class="step " id="{link}"' in page


# Tables, errors, warnings


def test_a_frame_is_its_shape_types_nulls_and_a_few_rows(shared: Agent) -> None:
    shared.run("import pandas as pd", within=30)
    result = shared.run("pd.DataFrame({'a': range(1000), 'b': [1.5, None] * 500})", within=30)
    assert result.text.startswith("DataFrame 1000x2\n,a,b <500 null>\n0,0,1.5\n")
    assert "… 992 rows …\n998,998,1.5\n999,999,NaN\n" in result.text
    assert len(result.text) < 600


def test_a_traceback_shows_own_frames_and_all_of_them_on_request(shared: Agent) -> None:
    code = (
        "import json\ndef read(text):\n    return json.loads(text)\n"
        "def main():\n    return read('{')\nmain()"
    )
    result = shared.run(code)
    first, place, *_ = result.text.split("\n")
    assert first.startswith("JSONDecodeError: Expecting property name")
    assert place.endswith("line 3, in read: return json.loads(text)")
    assert "line 5, in main: return read('{')" in result.text
    assert "decoder.py" not in result.text
    whole = shared.server.call("get_execution", **arguments(result.text))
    assert "decoder.py" in whole.text


def test_a_warning_that_is_repeated_is_counted(agent: Agent) -> None:
    code = "import warnings\nwarnings.simplefilter('always')\n"
    result = agent.run(code + "for _ in range(50): warnings.warn('old')")
    assert result.text.count("UserWarning: old") == 1
    assert "UserWarning: old [50 times]\n" in result.text
    between = agent.run(code + "for _ in range(50): warnings.warn('old'); print('retrying')")
    assert "UserWarning: old [50 times]\n" in between.text
    assert "\nretrying [50 times]\n" in between.text


def test_a_traceback_that_is_printed_and_raised_is_shown_once(agent: Agent) -> None:
    code = (
        "import traceback\ndef f():\n    1 / 0\n"
        "try:\n    f()\nexcept Exception:\n    traceback.print_exc()\n"
    )
    result = agent.run(f"{code}    raise")
    assert result.text.count("ZeroDivisionError: division by zero") == 1
    assert "line 3, in f: 1 / 0" in result.text
    assert agent.run(code).text.count("ZeroDivisionError: division by zero") == 1


def test_the_status_line_says_what_the_next_call_needs(agent: Agent) -> None:
    last = agent.run("x = 1").text.splitlines()[-1]
    assert last == f"[ok · step 1 · session {agent.session}]"
    failed = agent.run("1 / 0")
    assert failed.text.splitlines()[-1] == (
        f"[exception · step 2 · id {failed.id} · session {agent.session}]"
    )
    agent.call("restart_kernel")
    assert " · step 3 · kernel 2 · " in agent.run("x = 2").text
    assert "kernel" not in agent.run("x").text


def test_one_line_names_what_is_new_changed_or_gone(agent: Agent) -> None:
    assert "\nnames: + a int, b list 1\n" in "\n" + agent.run("a = 1; b = [2]").text
    told = agent.run("a = 'x'; del b; c = {1: 2}").text
    (line,) = [line for line in told.split("\n") if line.startswith("names:")]
    assert re.fullmatch(r"names: \+ c dict 1  ~ a str 1  - b", line)
    assert "names:" not in agent.run("a").text
    assert "names:" not in agent.run("import math\ndef f(): pass\nclass C: pass").text


# Progress

PROGRESS = {
    "tqdm": (
        "for i in range(101): sys.stderr.write(f'\\r{i:3}%|{\"█\" * (i // 10):10}| {i}/100')\n"
        "sys.stderr.write('\\n');",
        ["[stderr]", "100%|██████████| 100/100"],
    ),
    "two bars of tqdm": (
        "def bar(at, i): sys.stderr.write('\\n' * at + f'\\r{at}: {i}/9' + '\\x1b[A' * at)\n"
        "for i in range(10):\n    bar(0, i)\n    for j in range(10): bar(1, j)\n"
        "sys.stderr.write('\\n\\n');",
        ["[stderr]", "0: 9/9", "1: 9/9"],
    ),
    "tqdm.write": (
        "for i in range(3):\n"
        "    sys.stderr.write('\\r' + ' ' * 9 + '\\r'); print('line', i)\n"
        "    sys.stderr.write(f'\\r{i}/2 done'); sys.stderr.flush(); time.sleep(0.25)\n"
        "sys.stderr.write('\\n');",
        ["line 0", "line 1", "line 2", "[stderr]", "2/2 done"],
    ),
    "pip": (
        "for i in range(5):\n"
        "    sys.stdout.write(f'\\r   \\x1b[38;5;197m━━━\\x1b[0m {i}/4 MB\\x1b[?25l')\n"
        "print('\\x1b[?25h')",
        ["   ━━━ 4/4 MB"],
    ),
    "keras": (
        "for i in range(11): sys.stdout.write('\\b' * 40 + f'{i:2}/10 [====] loss: {10 - i}')\n"
        "sys.stdout.write(' \\n');",
        ["10/10 [====] loss: 0"],
    ),
    "a live display of rich": (
        "from IPython.display import clear_output\n"
        "for i in range(5):\n    clear_output(wait=True)\n"
        "    display({'text/plain': f'\\x1b[1mWorking\\x1b[0m {i}/4\\n', 'text/html': '<pre>'},"
        " raw=True)\n"
        "display({'text/plain': '', 'text/html': '<pre style=\"x\"></pre>\\n'}, raw=True)",
        ["Working 4/4"],
    ),
    "a display that is updated": (
        "handle = display('0 %', display_id=True)\nfor i in range(101): handle.update(f'{i} %')",
        ["'100 %'"],
    ),
}


@pytest.mark.parametrize("name", PROGRESS)
def test_progress_is_shown_as_it_was_left(shared: Agent, name: str) -> None:
    code, lines = PROGRESS[name]
    shared.run("import sys, time\ni = j = 0\ndef bar(at, i): pass")
    result = shared.run(code, within=20)
    shown = result.text.split("\nnames: ")[0].split("\n[ok")[0].rstrip().split("\n")
    assert [line.rstrip() for line in shown if line.strip()] == lines


WIDGETS = """
import sys, types
class Widget:
    _instances = {}
    def __init__(self):
        self.done = 0
        self._instances["a1"] = self
    def __repr__(self): return f"{self.done}%|##| {self.done}/100"
    def close(self): del self._instances["a1"]
module = types.ModuleType("ipywidgets.widgets.widget")
module._instances = Widget._instances
sys.modules[module.__name__] = module
bar = Widget()
view = {"version_major": 2, "version_minor": 0, "model_id": "a1"}
display({"text/plain": repr(bar), "application/vnd.jupyter.widget-view+json": view}, raw=True)
bar.done = 100
"""


def test_a_widget_is_told_as_it_was_left(shared: Agent) -> None:
    result = shared.run(WIDGETS)  # as tqdm.notebook does, where ipywidgets is installed
    assert result.text.startswith("100%|##| 100/100\n")


# Displays of other kinds, as their libraries send them

DISPLAYS: dict[str, tuple[object, str]] = {
    "plotly": (
        {
            "application/vnd.plotly.v1+json": {
                "data": [{"type": "bar", "x": ["a", "b"], "y": [1, 2]}],
                "layout": {"title": {"text": "Sales"}, "yaxis": {"title": {"text": "EUR"}}},
            },
            "text/html": "<div>…</div>",
        },
        "[Plotly chart 'Sales': 1 trace; 1 bar; 2 points; y: EUR]",
    ),
    "altair with a renderer for hosts": (
        {
            "application/vnd.vegalite.v5+json": {
                "mark": {"type": "bar"},
                "encoding": {"x": {"field": "a"}},
            },
            "text/plain": "<VegaLite 5 object>",
        },
        "[Vega chart: bar; x: a]",
    ),
    "altair as it is": (
        {
            "text/html": '<div id="v"></div><script>(function(spec){ vegaEmbed(spec) })({"$schema":'
            ' "https://vega.github.io/schema/vega-lite/v6.1.0.json", "mark": {"type": "line"},'
            ' "encoding": {"y": {"aggregate": "mean", "field": "b"}}}, {"mode": "vega-lite"});'
            "</script>",
            "text/plain": "alt.Chart(...)",
        },
        "[Vega chart: line; y: mean(b)]",
    ),
    "bokeh": (
        {
            "application/javascript": '{"glyph":{"type":"object","name":"Line"},'
            '"title":{"type":"object","name":"Title","id":"p1","attributes":{"text":"B"}}}',
            "application/vnd.bokehjs_exec.v0+json": "",
        },
        "[Bokeh chart 'B': 1 Line]",
    ),
    "bokeh's loader": (
        {"application/javascript": "…", "application/vnd.bokehjs_load.v0+json": "…"},
        "",
    ),
    "a map": (
        {
            "application/geo+json": {
                "type": "FeatureCollection",
                "features": [{"geometry": {"type": "Point"}}] * 3,
            },
            "text/plain": "<IPython.display.GeoJSON object>",
        },
        "[GeoJSON FeatureCollection: 3 Point]",
    ),
    "JSON": (
        {"application/json": {"rows": [{"a": 1}] * 5000}},
        "[JSON of 50,010 characters: {rows: list of 5,000 {a: 1}}]",
    ),
    "a widget": (
        {
            "text/plain": "IntSlider(value=3)",
            "application/vnd.jupyter.widget-view+json": {"model_id": "b2"},
        },
        "IntSlider(value=3)",
    ),
    "HTML alone": (
        {
            "text/html": "<style>p {}</style><h1>Title</h1><table><tr><th>a</th><th>b</th></tr>"
            "<tr><td>1</td><td>&lt;2</td></tr></table><script>x()</script>",
            "text/plain": "<IPython.core.display.HTML object>",
        },
        "Title\na | b\n1 | <2",
    ),
    "a drawing": (
        {"image/svg+xml": "<svg/>", "text/plain": "<IPython.core.display.SVG object>"},
        "[drawing, 6 characters of SVG]",
    ),
    "a table rather than LaTeX": (
        {"text/html": "<table>", "text/latex": "\\toprule", "text/plain": "a  b\n1  2"},
        "a  b\n1  2",
    ),
    "what an object shows of itself": (
        {"text/html": "<b>full</b>", "text/plain": "<lib.Box at 0x7F00>"},
        "full",
    ),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_is_told_in_a_line(shared: Agent, name: str) -> None:
    data, text = DISPLAYS[name]
    result = shared.run(f"display({data!r}, raw=True)")
    assert result.text.split("\n[ok")[0].removesuffix("\n").startswith(text)
    assert text or result.text.startswith("[ok")


# Hints

HINTS = {
    "a loop in a loop": ("import asyncio\nasyncio.run(asyncio.sleep(0))", "use `await ...`"),
    "waiting for a loop": (
        "import asyncio\nasyncio.get_event_loop().run_until_complete(asyncio.sleep(0))",
        "use `await ...`",
    ),
    "a spawned process": (
        "import multiprocessing\ndef mine(): pass\n"
        "process = multiprocessing.get_context('spawn').Process(target=mine)\n"
        "process.start(); process.join()",
        "hint: `mine` is defined in this session",
    ),
    "memory": ("large = bytearray(1 << 60)", "restart_kernel"),
    "a module that is named otherwise": (
        "import skimage.io",
        'install_dependencies(packages=["scikit-image"])',
    ),
    "a module": ("import not_there_xyz", 'install_dependencies(packages=["not_there_xyz"])'),
}


@pytest.mark.parametrize("name", HINTS)
def test_a_mistake_that_many_make_comes_with_a_hint(agent: Agent, name: str) -> None:
    code, advice = HINTS[name]
    result = agent.run(code, within=20)
    (line,) = [line for line in result.text.split("\n") if line.startswith("hint: ")]
    assert advice in line
    agent.still_works()


def test_an_error_that_says_enough_has_no_hint(shared: Agent) -> None:
    assert "hint" not in shared.run("1 / 0").text


def test_the_server_answers_others_while_it_searches_a_large_output(server: Server) -> None:
    one = Agent(server)
    try:
        result = one.run("print('a b c\\n' * 3_000_000)", within=60)
        number = server.begin_call("get_execution", execution_id=result.id, search="z{3}")
        for _ in range(5):
            server.request("ping")
            assert not server.has_answered(number)
        found = server.result(number, within=60)
        assert "[no matches; 3,000,001 lines (18,000,001 characters) in total]\n" in found.text
    finally:
        one.close()


HTML = "from IPython.display import HTML, display\n"
HOSTILE = {
    "attributes": ("display(HTML('<a b=c ' * 40_000))", "[HTML that is nested too deeply"),
    "a declaration that is none": ("display(HTML('<p>a</p><![x y]>'))", "a\n[ok"),
    "large tables": (
        "rows = ''.join(f'<tr><td>{i}</td><td>{i * i}</td></tr>' for i in range(40_000))\n"
        "for _ in range(3): display(HTML(f'<table>{rows}</table>'))",
        "0 | 0\n1 | 1\n",
    ),
    "many displays": (
        "for i in range(5_000): display(HTML(f'<p>{i}</p>'))",
        "0\n1\n2\n",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_html_is_shown_or_told(shared: Agent, name: str) -> None:
    code, text = HOSTILE[name]
    result = shared.run(HTML + code, within=30)
    assert result.text.startswith(text)
    assert result.outcome == "ok"
