"""What tools take, and what a caller is told who gets it wrong."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.server.arguments import (
    AddNote,
    AppendToCodeFile,
    Arguments,
    CheckInstalledPackages,
    ConfigureEnvironment,
    ExecuteCode,
    ExecuteCodeFile,
    ExportNotebook,
    GetEnvironmentConfig,
    GetExecution,
    InitializeCodeFile,
    InstallDependencies,
    InterruptExecution,
    KernelStatus,
    ReadCodeFile,
    RestartKernel,
)
from kernel_exec.server.tools import TOOLS
from kernel_exec.server.validation import parse, schema

MODELS: list[type[Arguments]] = [
    AddNote,
    AppendToCodeFile,
    CheckInstalledPackages,
    ConfigureEnvironment,
    ExecuteCode,
    ExecuteCodeFile,
    ExportNotebook,
    GetEnvironmentConfig,
    GetExecution,
    InitializeCodeFile,
    InstallDependencies,
    InterruptExecution,
    KernelStatus,
    ReadCodeFile,
    RestartKernel,
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=5,
)


def parsed(model: type[Arguments], **asked: object) -> dict[str, object]:
    return parse(model, asked).model_dump(exclude_unset=True)


def refusal(model: type[Arguments], **asked: object) -> str:
    with pytest.raises(InvalidArgumentError) as refused:
        parse(model, asked)
    return str(refused.value)


@pytest.mark.parametrize("code", ["", "[1, 2]", '{"a": 1}', "true", "\0", "null", "\ufeffx"])
def test_code_is_taken_as_it_is(code: str) -> None:
    assert parsed(ExecuteCode, code=code) == {"code": code}


@pytest.mark.parametrize(
    ("model", "asked", "meant"),
    [
        (ExecuteCode, {"code": "x", "wait_seconds": "12"}, {"code": "x", "wait_seconds": 12}),
        (ExecuteCode, {"code": "x", "timeout_seconds": "0"}, {"code": "x", "timeout_seconds": 0}),
        (GetExecution, {"offset": "12"}, {"offset": 12}),
        (GetExecution, {"tail": 3.0}, {"tail": 3}),
        (InterruptExecution, {"force": "true"}, {"force": True}),
        (InterruptExecution, {"force": "False"}, {"force": False}),
        (InstallDependencies, {"packages": '["a", "b"]'}, {"packages": ["a", "b"]}),
        (InstallDependencies, {"packages": "a"}, {"packages": ["a"]}),
        (CheckInstalledPackages, {"packages": " [] "}, {"packages": []}),
        (ConfigureEnvironment, {"type": "venv-uv"}, {"type": "venv-uv"}),
    ],
)
def test_texts_stand_for_numbers_truths_and_lists(
    model: type[Arguments], asked: dict[str, object], meant: dict[str, object]
) -> None:
    assert parsed(model, **asked) == meant


@pytest.mark.parametrize(
    ("model", "asked", "meant"),
    [
        (ExecuteCode, {"source": "x"}, {"code": "x"}),
        (ExecuteCode, {"code": "x", "session_id": "a"}, {"code": "x", "session": "a"}),
        (ExecuteCode, {"code": "x", "wait": 5}, {"code": "x", "wait_seconds": 5}),
        (ExecuteCodeFile, {"path": "a.py"}, {"file_path": "a.py"}),
        (ReadCodeFile, {"filename": "a.py"}, {"file_path": "a.py"}),
        (AppendToCodeFile, {"file": "a", "code": "x"}, {"file_path": "a", "content": "x"}),
        (InitializeCodeFile, {"text": "x"}, {"content": "x"}),
        (InstallDependencies, {"dependencies": ["a"]}, {"packages": ["a"]}),
        (
            InstallDependencies,
            {"package": "a", "timeout_seconds": 9},
            {"packages": ["a"], "wait_seconds": 9},
        ),
        (GetExecution, {"id": "a", "timeout": 9}, {"execution_id": "a", "wait_seconds": 9}),
        (ExportNotebook, {"filename": "a.html"}, {"path": "a.html"}),
        (ConfigureEnvironment, {"cwd": "a"}, {"working_directory": "a"}),
        (AddNote, {"text": "x"}, {"markdown": "x"}),
        (GetExecution, {"session_id": None}, {}),
    ],
)
def test_another_tools_name_is_taken_where_only_one_argument_can_be_meant(
    model: type[Arguments], asked: dict[str, object], meant: dict[str, object]
) -> None:
    assert parsed(model, **asked) == meant


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        (ReadCodeFile, {"path": "a", "file": "b"}, "unknown argument 'path'"),
        (ReadCodeFile, {"file_path": "a", "path": "b"}, "unknown argument 'path'"),
        (ExecuteCode, {"code": "x", "source": "y"}, "unknown argument 'source'"),
    ],
)
def test_of_two_names_for_one_argument_none_is_preferred(
    model: type[Arguments], asked: dict[str, object], told: str
) -> None:
    assert told in refusal(model, **asked)


@pytest.mark.parametrize(
    ("code", "runs"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("\n``` Py\r\nx = 1\n```\n\n", "x = 1\n"),
        ("```\n```", ""),
        ("```python\nx\n```\nthen\n```python\ny\n```",) * 2,
        ("```bash\nls\n```", "```bash\nls\n```"),
        ("'''\n```python\n```\n'''", "'''\n```python\n```\n'''"),
        ("```python\nprint(1)", "```python\nprint(1)"),
    ],
)
def test_code_in_a_markdown_fence_is_taken_out_of_it(code: str, runs: str) -> None:
    assert parsed(ExecuteCode, code=code) == {"code": runs}


HALVES = ["\ud83d", "\udcff", "a\udc80b"]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("model", "name"),
    [
        (model, name)
        for model in MODELS
        for name, field in model.model_fields.items()
        if field.annotation in {str, list[str]}
    ],
)
def test_half_a_surrogate_pair_is_refused_by_name_in_any_argument(
    model: type[Arguments], name: str, half: str
) -> None:
    told = f"argument '{name}' holds half a surrogate pair"
    for value in (half, [half], [["a", {"b": half}]], {half: 1}):
        assert told in refusal(model, **{name: value})
    assert "holds half a surrogate pair" in refusal(model, **{half: 1})


def test_a_script_gets_its_arguments_as_a_shell_would_pass_them() -> None:
    asked = {"file_path": "a", "args": ["a", 1, 1.5, True]}
    assert parsed(ExecuteCodeFile, **asked)["args"] == ["a", "1", "1.5", "True"]


def test_a_title_is_one_line() -> None:
    asked = {"code": "", "title": " a\n\tb\u2028[ok\x9b "}
    assert parsed(ExecuteCode, **asked)["title"] == r"a b [ok\x9b"


def test_what_is_wrong_many_times_is_told_in_a_few_lines() -> None:
    told = refusal(ExecuteCode, code="", **{f"a{at}": 1 for at in range(3000)})
    assert len(told) < 2000
    assert told.endswith("\n2,990 more arguments are wrong")


def test_null_is_an_argument_left_out_unless_it_is_needed() -> None:
    assert parsed(ExecuteCode, code="x", filename=None, wait_seconds=None) == {"code": "x"}
    assert parsed(GetExecution, stream=None, limit=None) == {}
    assert (
        refusal(ExecuteCode, code=None) == "argument 'code' is None: Input should be a valid string"
    )
    assert "unknown argument 'cde'" in refusal(ExecuteCode, code="x", cde=None)


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        (ExecuteCode, {}, "argument 'code' is missing"),
        (ExecuteCode, {"code": 5}, "argument 'code' is 5: Input should be a valid string"),
        (ExecuteCode, {"code": "x", "wait_seconds": -1}, "is -1: Input should be greater than or"),
        (ExecuteCode, {"code": "x", "wait_seconds": 1e9}, "less than or equal to 3600"),
        (ExecuteCode, {"code": "x", "wait_seconds": math.nan}, "is nan: Input should be a finite"),
        (ExecuteCode, {"code": "x", "wait_seconds": "inf"}, "Input should be a finite number"),
        (
            ExecuteCode,
            {"code": "x", "wait_seconds": "soon"},
            "is 'soon': Input should be a valid n",
        ),
        (ExecuteCode, {"code": "x", "timeout_seconds": 1e7}, "less than or equal to 864000"),
        (ExecuteCode, {"code": "x", "timeout_seconds": 10**400}, "Input should be a valid number"),
        (ExecuteCode, {"code": "\ud83d"}, "argument 'code' holds half a surrogate pair"),
        (GetExecution, {"offset": -1}, "argument 'offset' is -1: "),
        (GetExecution, {"limit": 0}, "argument 'limit' is 0: "),
        (GetExecution, {"stream": "out"}, "'all', 'stdout', 'stderr', 'result' or 'error'"),
        (InstallDependencies, {"packages": {}}, "is {}: Input should be a valid list"),
        (InstallDependencies, {"packages": "[a"}, "is '[a': Input should be a valid list"),
        (InstallDependencies, {"packages": ["a"] * 201}, "at most 200 items"),
        (InterruptExecution, {"force": "maybe"}, "is 'maybe': Input should be a valid boolean"),
        (ConfigureEnvironment, {"type": "docker"}, "'conda', 'venv', 'venv-uv' or 'python'"),
        (AddNote, {"markdown": ""}, "at least 1 character"),
        (AppendToCodeFile, {"content": "x"}, "argument 'file_path' is missing"),
        (ReadCodeFile, {"file_path": "a", "offset": -1}, "argument 'offset' is -1: "),
        (ReadCodeFile, {"file_path": "a", "limit": 0}, "argument 'limit' is 0: "),
        (RestartKernel, {"restore": "all"}, "'none' or 'replay'"),
        (InstallDependencies, {"packages": [None]}, "argument 'packages.0' is None: it is not"),
        (InstallDependencies, {"packages": f"[{'9' * 5000}]"}, "Input should be a valid list"),
        (CheckInstalledPackages, {"packages": "[" * 9999}, "Input should be a valid list"),
        (
            ExecuteCodeFile,
            {"file_path": "a", "args": [{}]},
            "is {}: it is neither a string nor a number",
        ),
        (ExecuteCodeFile, {"file_path": "a", "args": ["a\0"]}, "NUL can't be passed to a program"),
        (ExecuteCodeFile, {"file_path": "a", "args": '["\\ud83d"]'}, "surrogates not allowed"),
        (KernelStatus, {"session": "x" * 4001}, "at most 4000 characters"),
    ],
)
def test_a_wrong_argument_is_told_with_its_name_its_value_and_what_is_allowed(
    model: type[Arguments], asked: dict[str, object], told: str
) -> None:
    assert told in refusal(model, **asked)


@pytest.mark.parametrize(
    ("model", "name", "told"),
    [
        (
            ExecuteCode,
            "timeout",
            "unknown argument 'timeout': wait_seconds limits how long this call waits,"
            " timeout_seconds how long the code runs",
        ),
        (ExecuteCode, "command", "unknown argument 'command': did you mean 'code'?"),
        (ExecuteCode, "text", "unknown argument 'text': did you mean 'code'?"),
        (ExecuteCode, "path", "unknown argument 'path': did you mean 'filename'?"),
        (ExecuteCodeFile, "script", "unknown argument 'script': did you mean 'file_path'?"),
        (ReadCodeFile, "start_line", "unknown argument 'start_line': did you mean 'offset'?"),
        (ConfigureEnvironment, "env", "unknown argument 'env': did you mean 'name'?"),
        (KernelStatus, "xyz", "unknown argument 'xyz': it takes session, variables, pattern"),
        (GetEnvironmentConfig, "x", "unknown argument 'x': it takes none"),
    ],
)
def test_an_unknown_argument_is_told_what_there_is(
    model: type[Arguments], name: str, told: str
) -> None:
    assert told in refusal(model, **{name: 1}).splitlines()


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refusal(ExecuteCode, cod="x", wait_seconds="soon")
    assert told.splitlines() == [
        "argument 'code' is missing",
        "argument 'wait_seconds' is 'soon': Input should be a valid number,"
        " unable to parse string as a number",
        "unknown argument 'cod': did you mean 'code'?",
    ]


def test_long_values_and_names_are_shortened() -> None:
    assert len(refusal(ExecuteCode, code="x" * 2_000_001)) < 200
    assert len(refusal(ExecuteCode, code="x", **{"y" * 5000: 1})) < 300


@pytest.mark.parametrize("model", MODELS)
def test_schemas_are_plain(model: type[Arguments]) -> None:
    described = schema(model)
    assert set(described) <= {"type", "properties", "required"}
    assert described.get("required") != []
    assert not [word for word in ("$ref", "anyOf", "null") if f'"{word}"' in json.dumps(described)]
    for name, argument in described["properties"].items():
        assert argument["type"] in {"string", "number", "integer", "boolean", "array"}, name
        assert argument.get("default", "") is not None, name
        assert "title" not in argument
        assert "" not in argument.get("enum", [])  # which Gemini refuses


def test_an_argument_is_described_where_it_comes_first_unless_its_name_says_all() -> None:
    described: dict[str, bool] = {}
    for spec in TOOLS:
        for name, argument in schema(spec.model)["properties"].items():
            described.setdefault(name, "description" in argument)

    assert {name for name, told in described.items() if not told} == {
        *("code", "content", "markdown", "packages", "args", "path", "variables"),
        *("conda_name", "venv_path", "uv_venv_path", "python_path"),
    }


@given(st.sampled_from(MODELS), st.dictionaries(st.text(st.characters()), json_values))
def test_whatever_is_sent_is_taken_or_refused(
    model: type[Arguments], asked: dict[str, object]
) -> None:
    names = list(model.model_fields)
    renamed = {names[at] if at < len(names) else key: asked[key] for at, key in enumerate(asked)}
    try:
        told = repr(parse(model, renamed))
    except InvalidArgumentError as refused:
        told = str(refused)
    assert told is not None
