"""One line of advice, where it is known."""

import pytest

from kernel_exec.content.hints import hint, hints
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, Stream

KNOWN = {
    "a module": ("ModuleNotFoundError", "No module named 'nope'", '["nope"]'),
    "a part of a package": ("ModuleNotFoundError", "No module named 'sklearn.externals'", ""),
    "a part of a namespace": ("ModuleNotFoundError", "No module named 'google.cloud'", ""),
    "a namespace": ("ModuleNotFoundError", "No module named 'google'", ""),
    "a part with a distribution": (
        "ModuleNotFoundError",
        "No module named 'google.cloud.big_query.x'",
        '["google-cloud-big-query"]',
    ),
    "no package": ("ModuleNotFoundError", "No module named 'math.x'; 'math' is not a package", ""),
    "another name": ("ModuleNotFoundError", "No module named 'yaml'", '["PyYAML"]'),
    "a picture's name": ("ModuleNotFoundError", "No module named 'PIL'", '["pillow"]'),
    "memory": ("MemoryError", "", "restart_kernel"),
    "memory of numpy": ("_ArrayMemoryError", "Unable to allocate 8 GiB", "restart_kernel"),
    "a loop": ("RuntimeError", "This event loop is already running", "await"),
    "a command": ("CalledProcessError", "Command 'x' returned 1", "sys.last_value.stderr"),
    "what pandas had once": (
        "AttributeError",
        "'DataFrame' object has no attribute 'append'",
        "pd.concat",
    ),
    "anything else": ("ValueError", "no module named x", ""),
}


@pytest.mark.parametrize("name", KNOWN)
def test_an_error_comes_with(name: str) -> None:
    ename, evalue, advice = KNOWN[name]
    told = hint([ErrorOutput(ename=ename, evalue=evalue, traceback=())])
    assert advice in told if advice else told == ""


def test_only_stderr_is_looked_at() -> None:
    words = "AttributeError: Can't get attribute 'f' on <module '__main__' (built-in)>"
    assert "`f` is defined" in hint([Stream(name="stderr", text=words)])
    assert hint([Stream(name="stdout", text=words)]) == ""


def test_a_figure_that_is_only_a_drawing_is_noticed() -> None:
    data = {"text/plain": "<Figure size 640x480 with 1 Axes>", "image/svg+xml": "<svg/>"}
    assert "figure_formats" in hint([DisplayData(data=data, metadata={})])
    assert hint([DisplayData(data=data | {"image/png": "aGk="}, metadata={})]) == ""


def ran(source: str, details: JSONObject | None = None) -> Entry:
    return Entry(
        id="e1",
        session_id="s1",
        number=1,
        kind=EntryKind.CODE,
        source=source,
        outcome=Outcome.EXCEPTION,
        queued=0.0,
        details=details or {},
    )


WRONG = ErrorOutput(ename="SyntaxError", evalue="invalid syntax", traceback=())
MISSING = ErrorOutput(ename="ModuleNotFoundError", evalue="No module named 'numpi'", traceback=())


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("Here:\n```python\nx\n```", True),
        ("```bash\nls\n```", True),
        ("x = (\n```", True),
        ("x = ``", False),
        ("print('```')) ", False),
    ],
)
def test_a_fence_is_named_where_it_is_a_line_of_code_that_cant_be_parsed(
    source: str, advice: bool
) -> None:
    assert ("Markdown fence" in "".join(hints(ran(source), [WRONG]))) == advice
    assert hints(ran(source), []) == []


def test_what_the_kernel_knows_takes_the_place_of_a_guess() -> None:
    known = ran("import numpi", {"help": "did you mean `numpy`?\n`!x` ended\x9b with exit code 1"})
    assert hints(known, [MISSING]) == [
        "did you mean `numpy`?",
        r"`!x` ended\x9b with exit code 1",
    ]
    assert hints(ran("import numpi"), [MISSING]) == [
        'if it is not installed: install_dependencies(packages=["numpi"])'
    ]


def test_another_session_that_has_the_name_is_named_as_an_argument() -> None:
    assert hints(ran("x"), [], held_in="main@conda:x") == [
        'that name exists in another session: pass session="main@conda:x"'
    ]


def test_another_session_that_has_the_name_hides_nothing_that_the_kernel_knows() -> None:
    known, elsewhere = hints(ran("amont", {"help": "did you mean `amount`?"}), [], held_in="b")
    assert known == "did you mean `amount`?"
    assert elsewhere.endswith('pass session="b"')


@pytest.mark.parametrize(
    ("walls", "said", "told"),
    [
        ("workspace", "touch: '/x': Read-only file system", "(workspace) lets commands"),
        ("isolated", "rm: cannot remove 'x': Read-only file system", "(isolated) lets commands"),
        ("workspace", "Errno 30] Read-only file system: '/e/site-packages/x'", "install_depend"),
        ("isolated", "curl: (6) Could not resolve host: example.org", "(isolated) has no network"),
        ("workspace", "curl: (6) Could not resolve host: example.org", ""),
        ("off", "touch: cannot touch '/x': Read-only file system", ""),
        ("", "touch: cannot touch '/x': Read-only file system", ""),
    ],
)  # fmt: skip
def test_a_command_that_met_a_wall_is_told_which(walls: str, said: str, told: str) -> None:
    failed = ran("!x", {"help": "`!x` ended with exit code 1"})

    _, *advice = hints(failed, [Stream(name="stderr", text=said)], walls=walls)

    assert all(told in line for line in advice)
    assert len(advice) == bool(told)


def test_an_error_that_names_the_wall_is_not_explained_twice() -> None:
    known = ran("x", {"help": "the sandbox (workspace) lets code write only in /w"})
    said = Stream(name="stderr", text="Read-only file system")

    assert len(hints(known, [said], walls="workspace")) == 1
