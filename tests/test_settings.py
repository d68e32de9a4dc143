import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.options import SETTINGS
from kernel_exec.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; the user's configuration folder is below `home`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "kernel-exec").mkdir(parents=True)
    return tmp_path


def own() -> Path:
    """The user's own configuration file."""
    return Path.cwd() / "home" / "kernel-exec" / "kernel_exec.toml"


def read(
    toml: str = "", variables: dict[str, str] | None = None, /, **options: str | None
) -> Settings:
    if toml:
        own().write_text(toml, "utf-8")
    return read_settings(options=options, variables=variables or {})


def refusal(toml: str = "", variables: dict[str, str] | None = None, /, **options: str) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        read(toml, variables, **options)
    return str(caught.value)


def test_with_nothing_set_everything_has_a_default() -> None:
    settings = read()

    assert settings.connection.environment is None
    assert settings.connection.named_environments == {}
    assert settings.host.storage_root.is_absolute()
    assert settings.connection.working_directory == settings.host.storage_root
    assert settings.host.cache.is_absolute()
    assert settings.connection.wait_seconds == 45
    assert settings.connection.time_limit == 1800
    assert settings.host.max_kernels == 20
    assert settings.host.idle_limit is None
    assert settings.connection.pass_env == frozenset()
    assert settings.connection.inline_images == 2
    assert settings.host.history_age == 365 * 24 * 3600
    assert settings.host.history_size == 10_000_000_000
    assert settings.connection.notebook_size == 500_000


def test_an_option_beats_a_variable_beats_the_file_beats_the_default() -> None:
    toml = "wait_seconds = 1\ntime_limit = 2\nmax_kernels = 3"
    variables = {"KERNEL_EXEC_WAIT_SECONDS": "11", "KERNEL_EXEC_TIME_LIMIT": "12"}

    settings = read(toml, variables, wait_seconds="21")

    assert (settings.connection.wait_seconds, settings.connection.time_limit) == (21, 12)
    assert (settings.host.max_kernels, settings.connection.inline_images) == (3, 2)


@pytest.mark.parametrize("word", [word for word in SETTINGS if "_path" not in word.key])
def test_every_setting_has_an_option_a_variable_and_a_key_that_are_read(
    word: object, here: Path
) -> None:
    key, variable, option = (getattr(word, name) for name in ("key", "variable", "option"))

    assert option == f"--{key.replace('_', '-')}"
    folders = {"storage_dir", "cache", "working_directory", "sandbox_write", "sandbox_read"}
    if key in {"env_type", "conda_env_name", *folders}:
        value = "venv" if key == "env_type" else "\0"
    else:
        value = "-1"
    assert option in refusal(**{key: value})
    assert variable in refusal("", {variable: value})
    quoted = value.replace("\0", "\\u0000")
    told = refusal(f'{key} = "{quoted}"')
    assert key in told
    assert "kernel_exec.toml" in told


def test_limits_of_history_are_in_days_and_megabytes_and_0_is_none() -> None:
    settings = read("history_days = 0.5\nhistory_size = 20")
    assert (settings.host.history_age, settings.host.history_size) == (12 * 3600, 20_000_000)

    settings = read("", {"KERNEL_EXEC_HISTORY_DAYS": "0", "KERNEL_EXEC_HISTORY_SIZE": "0"})
    assert (settings.host.history_age, settings.host.history_size) == (None, None)


def test_the_size_of_a_notebook_is_in_kilobytes_and_0_is_none() -> None:
    assert read("notebook_size = 1.5").connection.notebook_size == 1500
    assert read("", {"KERNEL_EXEC_NOTEBOOK_SIZE": "0"}).connection.notebook_size is None


def test_an_empty_variable_counts_as_not_set() -> None:
    variables = {word.variable: "" for word in SETTINGS} | {"KERNEL_EXEC_CONFIG": ""}

    assert read("", variables).connection.wait_seconds == 45


def test_the_environment_variables_are_those_of_the_process_when_none_are_given() -> None:
    script = "from kernel_exec.settings import *; print(read_settings(options={}).host.max_kernels)"
    variables = {**os.environ, "KERNEL_EXEC_MAX_KERNELS": "5"}
    variables["PYTHONPATH"] = str(Path(__file__).parents[1])

    told = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == "5"


def test_the_variables_for_our_own_tools_are_all_of_them() -> None:
    assert read("", {"SECRET": "x"}).host.variables == {"SECRET": "x"}


@pytest.mark.parametrize(
    ("variables", "kind", "path", "name"),
    [
        ({"ENV_TYPE": "conda", "CONDA_ENV_NAME": "ml"}, "conda", None, "ml"),
        ({"CONDA_ENV_NAME": "ml"}, "conda", None, "ml"),
        ({"CONDA_ENV_NAME": "/opt/ml"}, "conda", "/opt/ml", None),
        ({"ENV_TYPE": "venv", "VENV_PATH": "/v"}, "venv", "/v", None),
        ({"VENV_PATH": "/v"}, "venv", "/v", None),
        ({"ENV_TYPE": "venv-uv", "UV_VENV_PATH": "/v"}, "venv-uv", "/v", None),
        ({"UV_VENV_PATH": "/v"}, "venv-uv", "/v", None),
        ({"ENV_TYPE": "venv", "VENV_PATH": "/v", "UV_VENV_PATH": "/u"}, "venv", "/v", None),
        ({"KERNEL_EXEC_PYTHON_PATH": "/usr/bin/python3"}, "python", "/usr/bin/python3", None),
    ],
)
def test_the_environment_is_what_the_seeds_variables_say(
    variables: dict[str, str], kind: str, path: str | None, name: str | None
) -> None:
    assert read("", variables).connection.environment == Environment(
        kind=EnvironmentKind(kind), path=Path(path) if path else None, name=name
    )


def test_the_strongest_source_that_speaks_of_an_environment_decides() -> None:
    toml = 'env_type = "conda"\nconda_env_name = "ml"'

    settings = read(toml, {"VENV_PATH": "/v"}, python_path="/p")

    assert settings.connection.environment == Environment(
        kind=EnvironmentKind.PYTHON, path=Path("/p")
    )
    assert "ENV_TYPE is 'docker'" in refusal("", {"ENV_TYPE": "docker"}, python_path="/p")


def test_a_kind_given_as_an_option_takes_its_path_from_a_variable() -> None:
    variables = {"ENV_TYPE": "conda", "CONDA_ENV_NAME": "ml", "VENV_PATH": "/v"}

    settings = read("", variables, env_type="venv")

    assert settings.connection.environment == Environment(
        kind=EnvironmentKind.VENV, path=Path("/v")
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ENV_TYPE": "conda"}, "CONDA_ENV_NAME"),
        ({"ENV_TYPE": "venv", "UV_VENV_PATH": "/v"}, "VENV_PATH"),
        ({"ENV_TYPE": "venv-uv"}, "UV_VENV_PATH"),
        ({"ENV_TYPE": "python"}, "KERNEL_EXEC_PYTHON_PATH"),
        ({"VENV_PATH": "/v", "UV_VENV_PATH": "/v"}, "ENV_TYPE"),
        ({"ENV_TYPE": "docker"}, "'docker'"),
        ({"CONDA_ENV_NAME": "x; touch P #"}, "CONDA_ENV_NAME"),
        ({"CONDA_ENV_NAME": "$(id)"}, "CONDA_ENV_NAME"),
        ({"CONDA_ENV_NAME": "../../env"}, "CONDA_ENV_NAME"),
        ({"CONDA_ENV_NAME": "-n base"}, "CONDA_ENV_NAME"),
        ({"VENV_PATH": "a\0b"}, "VENV_PATH"),
    ],
)
def test_an_environment_that_is_not_whole_names_what_is_wrong(
    variables: dict[str, str], told: str
) -> None:
    assert told in refusal("", variables)


@pytest.mark.parametrize("key", ["wait_seconds", "time_limit", "idle_limit", "max_kernels"])
@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1_000",
        "1e12",
        "864001",
        "9" * 5000,
        "banana",
        "1,5",
        "\uff15",
    ],
)
def test_a_number_that_is_not_allowed_is_refused_with_what_is(key: str, value: str) -> None:
    told = refusal(**{key: value})

    assert f"--{key.replace('_', '-')}" in told
    assert repr(value)[:50] in told
    assert " from 0" in told or " from 1" in told
    assert len(told) < 500


@pytest.mark.parametrize("value", ["true", "nan", "inf", "-1", '"x"', "[1]", "{}", "1979-05-27"])
def test_a_value_of_the_wrong_type_in_the_file_is_refused(value: str, here: Path) -> None:
    told = refusal(f"wait_seconds = {value}")

    assert "wait_seconds" in told
    assert str(own()) in told


def test_a_number_too_long_to_print_is_refused() -> None:
    assert "wait_seconds" in refusal(f"wait_seconds = 0x{'f' * 10_000}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_kernels", "0"),
        ("max_kernels", "1.5"),
        ("inline_images", "-1"),
        ("inline_images", "1000"),
    ],
)
def test_a_count_is_a_whole_number_in_bounds(key: str, value: str) -> None:
    assert "a whole number from" in refusal(**{key: value})


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", None), ("0.5", 0.5), (" 7 ", 7), ("864000", 864_000)]
)
def test_zero_means_no_limit(text: str, seconds: float | None) -> None:
    settings = read(time_limit=text, idle_limit=text)

    assert (settings.connection.time_limit, settings.host.idle_limit) == (seconds, seconds)


@pytest.mark.parametrize("text", ["A,B_1", "A B_1", " A , B_1 ,", "A\tB_1"])
def test_names_to_pass_have_commas_or_spaces_between_them(text: str) -> None:
    assert read(pass_env=text).connection.pass_env == {"A", "B_1"}


def test_names_to_pass_are_a_list_in_the_file() -> None:
    assert read('pass_env = ["A", "B"]').connection.pass_env == {"A", "B"}


@pytest.mark.parametrize("text", ["A=1", "*", "1A", "A;B", "é"])
def test_what_can_not_name_a_variable_is_refused(text: str) -> None:
    assert "--pass-env" in refusal(pass_env=text)


def test_relative_paths_are_taken_from_where_they_were_written(here: Path) -> None:
    (here / "conf").mkdir()
    toml = 'cache = "c"\n[environments.lab]\nkind = "venv"\npath = "../lab"'
    (here / "conf" / "my.toml").write_text(toml)

    settings = read("", {"CODE_STORAGE_DIR": "store"}, config="conf/my.toml")

    assert settings.host.storage_root == here / "store"
    assert settings.host.cache == here / "conf" / "c"
    lab = settings.connection.named_environments["lab"].path
    assert lab is not None
    assert lab.resolve() == here / "lab"


def test_the_null_device_stands_for_no_configuration_file() -> None:
    own().write_text("wait_seconds = 3")

    assert read(config=os.devnull).connection.wait_seconds == 45


@pytest.mark.parametrize("home", [None, "", "/dev/null", "/dev/null/gone"])
def test_without_a_home_only_the_storage_folder_must_be_named(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    if home is not None:
        monkeypatch.setenv("HOME", home)

    found = read(storage_dir="s")

    root = Path.cwd() / "s"
    assert found.host.cache == root / ".kernel_exec" / "cache"
    assert found.connection.variables["HOME"] == str(root)
    assert found.connection.variables["UV_CACHE_DIR"] == str(found.host.cache / "uv")
    assert read(storage_dir="s", cache="c").host.cache == Path.cwd() / "c"
    if not home:
        assert "--storage-dir" in refusal()


def test_a_tilde_is_the_home_folder() -> None:
    assert read(storage_dir="~/store").host.storage_root == Path.home() / "store"


def test_the_home_folder_of_nobody_is_refused() -> None:
    assert "--storage-dir" in refusal(storage_dir="~no-such-user-here/store")


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", "x" * 100_000])
def test_a_path_that_can_not_be_one_is_refused(path: str) -> None:
    told = refusal(storage_dir=path)

    assert "--storage-dir" in told
    assert len(told) < 500


def test_environments_have_names_in_the_file(here: Path) -> None:
    settings = read(
        '[environments.ml]\nkind = "conda"\nname = "ml-2"\n'
        '[environments.lab]\nkind = "venv-uv"\npath = "lab"'
    )

    assert settings.connection.named_environments == {
        "ml": Environment(kind=EnvironmentKind.CONDA, name="ml-2"),
        "lab": Environment(kind=EnvironmentKind.VENV_UV, path=own().parent / "lab"),
    }


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("environments = 3", "environments"),
        ("[environments]\nml = 3", "environments.ml"),
        ("[environments.ml]", "kind"),
        ('[environments.ml]\nkind = "conda"', "name"),
        ('[environments.ml]\nkind = "venv"', "path"),
        ('[environments.ml]\nkind = "venv"\nname = "x"', "path"),
        ('[environments.ml]\nkind = "conda"\nname = "x"\npath = "/y"', "path"),
        ('[environments.ml]\nkind = "conda"\nname = "x; id"', "x; id"),
        ('[environments.ml]\nkind = "docker"', "docker"),
        ('[environments.ml]\nkind = "venv"\npaht = "x"', "`path`"),
        ('[environments."a b"]\nkind = "venv"\npath = "x"', "a b"),
        ('[environments.default]\nkind = "venv"\npath = "x"', "choose another name"),
        ('[environments.configured]\nkind = "venv"\npath = "x"', "choose another name"),
    ],
)
def test_a_named_environment_that_is_not_whole_names_what_is_wrong(toml: str, told: str) -> None:
    message = refusal(toml)

    assert told in message
    assert "kernel_exec.toml" in message


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("wait_second", "wait_seconds"),
        ("WAIT_SECONDS", "wait_seconds"),
        ("CODE_STORAGE_DIR", "storage_dir"),
        ("KERNEL_EXEC_CACHE", "cache"),
        ("environment", "environments"),
    ],
)
def test_an_unknown_key_names_the_nearest_that_is_allowed(key: str, nearest: str) -> None:
    told = refusal(f"{key} = 1")

    assert repr(key) in told
    assert f"did you mean `{nearest}`?" in told
    assert "did you mean" not in refusal("colour = 1")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"wait_seconds = ", id="cut"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"a = 1\na = 2", id="twice"),
        pytest.param(b"x = " + b"[" * 5000, id="deep"),
        pytest.param(b"# " + b"x" * 2_000_000, id="huge"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_by_its_path(content: bytes, here: Path) -> None:
    own().write_bytes(content)

    told = refusal()

    assert str(own()) in told
    assert len(told) < 600


def test_a_byte_order_mark_in_the_file_does_no_harm(here: Path) -> None:
    own().write_bytes(b"\xef\xbb\xbfwait_seconds = 3")

    assert read().connection.wait_seconds == 3


@pytest.mark.parametrize("name", ["missing.toml", ".", "pipe"])
def test_a_file_that_was_asked_for_must_be_there(name: str, here: Path) -> None:
    if name == "pipe":
        os.mkfifo(here / "pipe")

    for told in (refusal(config=name), refusal("", {"KERNEL_EXEC_CONFIG": name})):
        assert str(here) in told
        assert "option --config" in told or "variable KERNEL_EXEC_CONFIG" in told
