import json
import os
import stat
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.cli.main import main
from kernel_exec.settings import read_settings
from tests.shared import CACHE

Run = Callable[..., tuple[int, str, str]]

HERE = f'[environments.here]\nkind = "python"\npath = "{sys.executable}"\n'
VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is also that of the user's configuration file.

    The storage folder is beside it, and nothing is configured.
    """
    folder = tmp_path / "kernel-exec"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for variable in ("KERNEL_EXEC_CONFIG", "ENV_TYPE", "VENV_PATH", "UV_VENV_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CODE_STORAGE_DIR", str(tmp_path / "store"))
    return folder


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`kernel-exec` in this process."""

    def command_line(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        told = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, told.out, told.err

    return command_line


def broken_venv(folder: Path) -> Path:
    """What is left of a virtual environment whose Python was removed."""
    folder.mkdir()
    (folder / "pyvenv.cfg").touch()
    return folder


def spoiled_venv(folder: Path, then: str) -> Path:
    """A virtual environment in which `1 + 1` makes `then` happen, and nothing else does."""
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # not sitecustomize: some systems have one of their own, which comes first
    (packages / "spoil.pth").write_text("import spoil\n")
    (packages / "spoil.py").write_text(
        "import os, sys\n"
        "def hook(event, values):\n"
        "    if event == 'exec' and values[0].co_names == () and 2 in values[0].co_consts:\n"
        f"        {then}\n"
        "sys.addaudithook(hook)\n"
    )
    return folder


def named(file: Path) -> Any:
    return read_settings(options={"config": str(file)}).connection.named_environments


def test_the_managed_environment_is_listed_and_not_made(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "store" / ".kernel_exec" / "environment"

    assert run("env", "list") == (0, f"(default)  venv-uv  {place}\n", "")
    assert not (tmp_path / "store").exists()


def test_what_is_configured_is_listed_in_a_line_each(run: Run, here: Path) -> None:
    (here / "kernel_exec.toml").write_text(
        '[environments.ml]\nkind = "conda"\nname = "ml-2"\n'
        '[environments.lab]\nkind = "venv"\npath = "/lab"\n'
    )

    code, out, err = run("--venv-path", "/v", "env", "list")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "(configured)  venv     /v",
        "ml            conda    ml-2",
        "lab           venv     /lab",
    ]


def test_a_path_of_odd_characters_stays_in_its_line(run: Run) -> None:
    assert run("--venv-path", "/a\nb", "env", "list")[1] == "(configured)  venv     '/a\\nb'\n"


def test_the_json_of_the_list_says_where_each_is_configured(run: Run, here: Path) -> None:
    file = here / "kernel_exec.toml"
    file.write_text('conda_env_name = "ml"\n[environments.lab]\nkind = "venv"\npath = "/lab"\n')

    code, out, err = run("env", "list", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == [
        {
            "name": "(configured)",
            "kind": "conda",
            "path": None,
            "conda_name": "ml",
            "active": True,
            "source": f"`conda_env_name` in {file}",
        },
        {
            "name": "lab",
            "kind": "venv",
            "path": "/lab",
            "conda_name": None,
            "active": False,
            "source": f"`environments.lab` in {file}",
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "variables", "source"),
    [
        ([], {}, "default"),
        (["--venv-path", "/v"], {}, "option --venv-path"),
        ([], {"ENV_TYPE": "venv", "VENV_PATH": "/v"}, "variable VENV_PATH"),
    ],
)
def test_the_source_of_the_active_environment_is_where_it_was_set(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    source: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    (listed,) = json.loads(run(*arguments, "env", "list", "--json")[1])

    assert (listed["source"], listed["active"]) == (source, True)


def test_the_list_needs_neither_jupyter_nor_mcp(here: Path) -> None:
    heavy = {"mcp", "zmq", "jupyter_client", "IPython", "rich", "pydantic"}
    script = (
        "import atexit, sys; from kernel_exec.cli.main import main;"
        f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr));"
        "main(['env', 'list'])"
    )
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    finished = subprocess.run(
        [sys.executable, "-B", "-c", script], env=variables, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert finished.stderr == "[]\n"


@pytest.mark.parametrize(
    ("option", "kind"), [("--venv", "venv"), ("--uv-venv", "venv-uv"), ("--conda", "conda")]
)
def test_an_added_environment_is_in_the_file_by_its_whole_path(
    run: Run, here: Path, option: str, kind: str
) -> None:
    venv.create(here / "lab")
    (here / "lab" / "conda-meta").mkdir()
    (here / "sub").mkdir()
    place = str(here / "lab") if kind == "conda" else "sub/../lab"

    code, out, err = run("env", "add", "a.b", option, place)

    file = here / "kernel_exec.toml"
    assert (code, out) == (0, "")
    assert err == f"added `a.b` (Python {VERSION}) to {file}\n"
    assert file.read_text() == (f'[environments."a.b"]\nkind = "{kind}"\npath = "{here / "lab"}"\n')
    assert sorted(path.name for path in here.iterdir()) == ["kernel_exec.toml", "lab", "sub"]


def test_dots_beyond_a_link_stay_since_they_lead_elsewhere(run: Run, here: Path) -> None:
    (here / "far" / "deep").mkdir(parents=True)
    (here / "link").symlink_to(here / "far" / "deep")
    venv.create(here / "far" / "lab")

    assert run("env", "add", "lab", "--venv", "link/../lab")[0] == 0
    assert str(named(here / "kernel_exec.toml")["lab"].path) == f"{here}/link/../lab"


def test_a_conda_environment_is_added_by_its_name(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = here / "root" / "envs" / "ml"
    venv.create(prefix)
    (prefix / "conda-meta").mkdir()
    monkeypatch.setenv("MAMBA_ROOT_PREFIX", str(here / "root"))

    assert run("env", "add", "lab", "--conda", "ml")[0] == 0
    assert (here / "kernel_exec.toml").read_text() == (
        '[environments.lab]\nkind = "conda"\nname = "ml"\n'
    )


def test_comments_and_layout_of_the_file_are_kept(run: Run, here: Path) -> None:
    before = (
        "\ufeff# ours\nwait_seconds   = 3 # short\n\n[environments.old] # theirs\n"
        "kind='venv'\npath='/old'\n# the end"
    )
    file = here / "kernel_exec.toml"
    file.write_text(before, "utf-8")

    assert run("env", "add", "here", "--python", sys.executable)[0] == 0

    assert file.read_text("utf-8") == f"{before}\n\n{HERE}"


def test_walls_are_added_kept_and_taken_away(run: Run, here: Path) -> None:
    file = here / "kernel_exec.toml"
    file.touch()
    added = ("env", "add", "a", "--python", sys.executable)

    assert run(*added, "--sandbox", "isolated")[0] == 0
    with_walls = file.read_text()
    assert with_walls.endswith('sandbox = "isolated"\n')
    assert run(*added, "--replace")[0] == 0
    assert file.read_text() == with_walls
    assert run(*added, "--replace", "--sandbox", "off")[0] == 0
    assert "sandbox" not in file.read_text()


def test_the_values_are_replaced_in_place_when_asked(run: Run, here: Path) -> None:
    file = here / "kernel_exec.toml"
    file.write_text(
        '[environments.a] # one\nkind = "conda" # two\nname = "x"\n# three\n'
        '[environments.b]\nkind = "venv"\npath = "/b"\n'
    )

    code, _, err = run("env", "add", "a", "--python", sys.executable)
    assert (code, err) == (
        2,
        f"error: `environments.a` already exists in {file}\n"
        "hint: choose another name or pass --replace\n",
    )
    assert run("env", "add", "a", "--python", sys.executable, "--replace")[0] == 0
    assert file.read_text() == (
        f'[environments.a] # one\nkind = "python"\npath = "{sys.executable}"\n# three\n'
        '[environments.b]\nkind = "venv"\npath = "/b"\n'
    )


@pytest.mark.parametrize(
    "before",
    [
        'environments.a.kind = "venv"\nenvironments.a.path = "/a"\nwait_seconds = 3\n',
        'environments.a = {kind = "venv", path = "/a"}\nwait_seconds = 3\n',
        '[environments]\na = {kind = "venv", path = "/a"}\n',
        "wait_seconds = 3",
        "",
    ],
)
def test_an_environment_can_be_added_however_the_others_are_written(
    run: Run, here: Path, before: str
) -> None:
    file = here / "kernel_exec.toml"
    file.write_text(before)
    there = named(file)

    assert run("env", "add", "here", "--python", sys.executable)[0] == 0

    after = named(file)
    assert str(after.pop("here").path) == sys.executable
    assert after == there
    assert ("wait_seconds = 3" in file.read_text()) == ("wait_seconds" in before)


@pytest.mark.parametrize(
    "before",
    [
        "environments = {} # none\nwait_seconds = 3\n",
        'environments = {a = {kind = "venv", path = "/a"}}\n',
    ],
)
def test_a_file_that_would_say_something_else_afterwards_is_left_alone(
    run: Run, here: Path, before: str
) -> None:
    file = here / "kernel_exec.toml"
    file.write_text(before)

    code, out, err = run("env", "add", "here", "--python", sys.executable)

    assert (code, out) == (2, "")
    assert str(file) in err
    assert "[environments.analysis]" in err
    assert file.read_text() == before


@pytest.mark.parametrize(
    "name", ["a b", "", "-x", ".x", "a/b", "é", "x" * 101, "(default)", "default"]
)
def test_a_name_that_the_file_can_not_have_is_refused(run: Run, here: Path, name: str) -> None:
    code, out, err = run("env", "add", "--python", sys.executable, "--", name)

    assert (code, out) == (2, "")
    assert repr(name) in err
    assert "use letters" in err or "choose another name" in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of --venv, --uv-venv, --conda and --python"),
        (["--venv", "a", "--conda", "b"], "one of --venv, --uv-venv, --conda and --python"),
        (["--venv", ""], "option --venv is ''"),
        (["--conda", "./a"], "option --conda is './a'"),
    ],
)
def test_a_place_that_is_none_is_wrong_usage(
    run: Run, here: Path, arguments: list[str], told: str
) -> None:
    code, out, err = run("env", "add", "lab", *arguments)

    assert (code, out) == (2, "")
    assert told in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "place", "told"),
    [
        ("--venv", "missing", "create it or choose another"),
        ("--venv", ".", "it has no pyvenv.cfg"),
        ("--venv", "broken", "does not exist\nhint: create the environment again"),
        ("--conda", "no-such-name", "no conda environment named 'no-such-name'"),
        ("--python", "broken", "is a folder, not an interpreter"),
        ("--python", "broken/pyvenv.cfg", "does not start"),
    ],
)
def test_an_environment_that_does_not_answer_is_not_added(
    run: Run, here: Path, option: str, place: str, told: str
) -> None:
    broken_venv(here / "broken")

    code, out, err = run("env", "add", "lab", option, place)

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err
    assert [path.name for path in here.iterdir()] == ["broken"]


def test_a_read_only_file_is_left_alone(run: Run, here: Path) -> None:
    file = here / "kernel_exec.toml"
    file.write_text("# mine\n")
    file.chmod(0o444)

    code, out, err = run("env", "add", "here", "--python", sys.executable)

    assert (code, out) == (1, "")
    assert err == f"error: {file} is read-only\nhint: make it writable\n"
    assert file.read_text() == "# mine\n"
    assert [path.name for path in here.iterdir()] == ["kernel_exec.toml"]


def test_the_mode_of_the_file_is_kept_and_a_link_to_it_as_well(run: Run, here: Path) -> None:
    file, link = here / "real.toml", here / "kernel_exec.toml"
    file.touch()
    file.chmod(0o640)
    link.symlink_to("real.toml")

    assert run("env", "add", "here", "--python", sys.executable)[0] == 0

    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert file.read_text() == HERE


@pytest.mark.parametrize("content", [b"wait_seconds = ", b"\xff\xfe", b"[environments]\nx = 3"])
def test_a_file_that_can_not_be_read_is_left_alone(run: Run, here: Path, content: bytes) -> None:
    file = here / "kernel_exec.toml"
    file.write_bytes(content)

    code, out, err = run("env", "add", "here", "--python", sys.executable)

    assert (code, out) == (2, "")
    assert str(file) in err
    assert file.read_bytes() == content


def test_a_file_that_was_asked_for_is_made(run: Run, here: Path) -> None:
    assert run("--config", "my.toml", "env", "add", "here", "--python", sys.executable)[0] == 0
    assert (here / "my.toml").read_text() == HERE


@pytest.mark.parametrize(("config", "code"), [("missing/my.toml", 1), (".", 2)])
def test_a_file_that_can_not_be_made_is_told(run: Run, here: Path, config: str, code: int) -> None:
    told = run("--config", config, "env", "add", "here", "--python", sys.executable)

    assert told[:2] == (code, "")
    assert told[2].startswith("error: ")
    assert str(here) in told[2]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "this is no TOML"])
def test_the_path_of_the_file_is_printed_even_when_it_is_missing_or_broken(
    run: Run, here: Path, content: str | None
) -> None:
    if content is not None:
        (here / "kernel_exec.toml").write_text(content)

    assert run("env", "path") == (0, f"{here / 'kernel_exec.toml'}\n", "")
    assert run("--config", "my.toml", "env", "path") == (0, f"{here / 'my.toml'}\n", "")


def test_the_path_of_an_environment_is_that_of_its_python(run: Run, here: Path) -> None:
    lab = broken_venv(here / "lab")
    (here / "kernel_exec.toml").write_text(HERE)

    assert run("env", "path", "here") == (0, f"{sys.executable}\n", "")
    for name in ("configured", "(configured)"):
        told = run("--venv-path", "lab", "env", "path", name)
        assert told == (0, f"{lab / 'bin' / 'python'}\n", "")


@pytest.mark.parametrize("command", ["path", "check"])
def test_a_name_that_is_not_configured_is_told_with_those_that_are(
    run: Run, here: Path, command: str
) -> None:
    (here / "kernel_exec.toml").write_text(HERE)

    code, out, err = run("env", command, "nope")

    assert (code, out) == (1, "")
    assert err == (
        "error: no environment 'nope' is configured; known are '(default)', 'here'\nhint:"
        " `kernel-exec env add` adds one\n"
    )


@pytest.mark.kernel
def test_one_environment_that_fails_does_not_stop_the_check_of_the_others(
    run: Run, here: Path
) -> None:
    broken_venv(here / "broken")
    (here / "kernel_exec.toml").write_text(
        f'[environments.bad]\nkind="venv"\npath="broken"\n{HERE}'
    )
    before = set(Path(tempfile.gettempdir()).glob("kernel-exec-check-*"))

    code, out, err = run("--python-path", sys.executable, "env", "check")

    assert (code, err) == (1, "")
    first, bad, last = out.splitlines()
    assert first.startswith(f"ok   (configured)  Python {VERSION}  own (ipykernel ")
    assert first.endswith(f")  {sys.executable}")
    assert bad.startswith(f"fail bad           interpreter {str(here / 'broken/bin/python')!r}")
    assert bad.endswith("create the environment again or choose another")
    assert last == first.replace("(configured)", "here        ")
    assert set(Path(tempfile.gettempdir()).glob("kernel-exec-check-*")) <= before


def test_add_and_path_speak_json_too(run: Run, here: Path) -> None:
    added = json.loads(run("env", "add", "lab", "--python", sys.executable, "--json")[1])
    assert (added["name"], added["kind"], added["path"]) == ("lab", "python", sys.executable)
    assert json.loads(run("env", "path", "--json")[1]) == {"path": str(here / "kernel_exec.toml")}
    assert json.loads(run("env", "path", "lab", "--json")[1]) == {"path": sys.executable}


@pytest.mark.kernel
def test_the_json_of_a_check_has_what_was_found_and_what_went_wrong(run: Run, here: Path) -> None:
    broken_venv(here / "broken")
    (here / "kernel_exec.toml").write_text(
        f'[environments.bad]\nkind="venv"\npath="broken"\n{HERE}'
    )

    code, out, err = run("env", "check", "here", "bad", "here", "--json")

    assert (code, err) == (1, "")
    good, bad = json.loads(out)
    assert good.pop("seconds") > 0
    assert bad.pop("seconds") >= 0
    assert good.pop("ipykernel_version")
    assert good == {
        "name": "here",
        "ok": True,
        "kind": "python",
        "path": sys.executable,
        "executable": sys.executable,
        "python_version": VERSION,
        "kernel_support": "own",
        "error": None,
    }
    assert "create the environment again" in bad.pop("error")
    assert bad == {
        "name": "bad",
        "ok": False,
        "kind": "venv",
        "path": str(here / "broken"),
        "executable": None,
        "python_version": None,
        "kernel_support": None,
        "ipykernel_version": None,
    }


@pytest.mark.kernel
def test_a_check_of_sound_environments_ends_with_exit_code_0(run: Run) -> None:
    code, out, err = run("--python-path", sys.executable, "env", "check", "configured")

    assert (code, err) == (0, "")
    assert out.startswith("ok   (configured)  Python ")


@pytest.mark.kernel
def test_the_managed_environment_is_made_where_the_list_says(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "store" / ".kernel_exec" / "environment"

    code, out, err = run("--cache", str(CACHE), "env", "check")

    assert (code, err) == (0, "")
    assert out.startswith(f"ok   (default)  Python {VERSION}  overlay (ipykernel ")
    assert out.endswith(f"  {place / 'bin' / 'python'}\n")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("os._exit(3)", "exit code 3"),
        ("raise ValueError('not\\ntoday')", "ValueError: not today"),
    ],
)
def test_a_kernel_that_starts_and_runs_nothing_is_told_in_a_line(
    run: Run, here: Path, then: str, told: str
) -> None:
    spoiled_venv(here / "lab", then)

    code, out, err = run("--venv-path", "lab", "--cache", str(CACHE), "env", "check")

    assert (code, err) == (1, "")
    assert out.startswith("fail (configured)  the kernel of ")
    assert told in out
    assert out.endswith("create the environment again\n")
    assert out.count("\n") == 1


@pytest.mark.kernel
def test_a_long_complaint_is_shortened_in_a_line_and_whole_in_json(run: Run, here: Path) -> None:
    lab = spoiled_venv(here / "lab", "raise ValueError('\\n'.join(map(str, range(900))))")
    arguments = ("--venv-path", "lab", "--cache", str(CACHE), "env", "check")

    code, out, _ = run(*arguments)
    (whole,) = json.loads(run(*arguments, "--json")[1])

    assert code == 1
    assert len(out) < 1100
    assert out.count("\n") == 1
    assert "[...]" in out
    assert " 898 899" in out
    assert " 500 501 502 " in whole["error"]
    assert whole["executable"] == str(lab / "bin" / "python")
    assert whole["kernel_support"] == "overlay"
