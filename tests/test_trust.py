import os
from pathlib import Path

import pytest

from kernel_exec.cli.main import main
from kernel_exec.settings import Settings, read_settings

FILE = "kernel_exec.toml"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder; the current folder is another one."""
    folder = tmp_path / "home" / "kernel-exec"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return folder


def read(variables: dict[str, str] | None = None) -> Settings:
    return read_settings(options={}, variables=variables or {})


def trust(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["trust", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    "content",
    ['python_path = "./python"\npass_env = ["SECRET"]', "no TOML", "\0", "x" * 2_000_000, None],
)
def test_a_file_in_the_current_folder_is_ignored_and_reported(
    own: Path, content: str | None
) -> None:
    if content is None:
        os.mkfifo(FILE)
    else:
        Path(FILE).write_text(content)

    settings = read()

    assert settings.connection.environment is None
    assert settings.connection.pass_env == frozenset()
    assert settings.connection.config_files == []
    assert f"`kernel-exec trust {Path.cwd() / FILE}`" in settings.connection.notice


def test_a_trusted_file_holds_until_its_content_changes(own: Path) -> None:
    Path(FILE).write_text("wait_seconds = 3")

    assert trust() == 0
    assert (read().connection.wait_seconds, read().connection.notice) == (3, "")

    Path(FILE).write_text("wait_seconds = 4")
    assert read().connection.wait_seconds == 45
    assert read().connection.notice


def test_trust_belongs_to_a_path(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(FILE).write_text("wait_seconds = 3")
    assert trust(FILE) == 0
    elsewhere = own.parents[1] / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / FILE).write_text("wait_seconds = 3")

    monkeypatch.chdir(elsewhere)

    assert read().connection.wait_seconds == 45


def test_a_trusted_file_beats_the_users_own_and_adds_to_its_environments(own: Path) -> None:
    own.mkdir(parents=True)
    environment = '[environments.{0}]\nkind = "venv"\npath = "{0}"\n'
    (own / FILE).write_text(
        "wait_seconds = 3\ntime_limit = 9\n" + environment.format("a") + environment.format("b")
    )
    Path(FILE).write_text("wait_seconds = 4\n" + environment.format("b") + environment.format("c"))
    assert trust() == 0

    settings = read()

    assert (settings.connection.wait_seconds, settings.connection.time_limit) == (4, 9)
    assert {name: each.path for name, each in settings.connection.named_environments.items()} == {
        "a": own / "a",
        "b": Path.cwd() / "b",
        "c": Path.cwd() / "c",
    }
    assert settings.environment_files["a"] == own / FILE
    assert settings.environment_files["b"] == Path.cwd() / FILE
    assert settings.connection.config_files == [Path.cwd() / FILE, own / FILE]


def test_a_file_that_was_named_needs_no_trust_and_holds_alone(own: Path) -> None:
    own.mkdir(parents=True)
    (own / FILE).write_text("time_limit = 9")
    Path(FILE).write_text("wait_seconds = 3")

    settings = read({"KERNEL_EXEC_CONFIG": FILE})

    assert (
        settings.connection.wait_seconds,
        settings.connection.time_limit,
        settings.connection.notice,
    ) == (3, 1800, "")


def test_trust_is_listed_and_taken_back(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(FILE).absolute()
    file.write_text("wait_seconds = 3")
    assert trust(str(file.parent)) == 0
    assert capsys.readouterr().err == f"trusted {file}, which sets 'wait_seconds'\n"

    assert trust("--list") == 0
    assert capsys.readouterr().out == f"{file}\n"
    file.unlink()
    assert trust("--list") == 0
    assert capsys.readouterr().out == f"{file} (changed since)\n"

    assert trust("--remove") == 0
    assert trust("--list") == 0
    assert capsys.readouterr().out == ""
    assert trust("--remove") == 1


@pytest.mark.parametrize("content", ["no TOML", "wait_second = 3", "environments = 3"])
def test_a_file_that_could_not_hold_is_not_trusted(own: Path, content: str) -> None:
    Path(FILE).write_text(content)

    assert trust() == 2
    assert not own.exists()


def test_a_broken_list_of_trust_trusts_nothing(own: Path) -> None:
    Path(FILE).write_text("wait_seconds = 3")
    assert trust() == 0

    for broken in ("", "[]", "{", '{"a": 3}', "[" * 100_000):
        (own / "trusted.json").write_text(broken)
        assert read().connection.wait_seconds == 45


def test_a_user_without_a_home_has_no_file_in_the_current_folder_for_one(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    folder = Path("~", ".config", "kernel-exec")
    folder.mkdir(parents=True)
    (folder / FILE).write_text("wait_seconds = 3")
    named = {"storage_dir": "s", "cache": "c"}

    assert read_settings(options=named, variables={}).connection.wait_seconds == 45
    assert trust("--list") == 2
