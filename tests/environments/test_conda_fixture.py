"""The prefixes that tests make are genuine, and the stand-in for conda does what conda does."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.environments.conda import (
    NATIVE_LIB_VARIABLES,
    make_prefix,
    make_root,
    shared_channel,
    stand_in,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DISCARD = "http://127.0.0.1:9/channel"
"""A channel that nobody serves."""


@pytest.fixture(scope="module", autouse=True)
def the_channel_is_built() -> None:
    shared_channel()


async def make_ml(place: Path) -> Path:
    channel = shared_channel()
    return await make_prefix(place / "ml", channel, "python", "native-lib", "demo-noarch=1.0")


def conda(
    prefix: Path, command: str, *packages: str, channel: str = ""
) -> subprocess.CompletedProcess[str]:
    program = stand_in(prefix.parent / "root")
    return subprocess.run(
        [str(program), command, "--prefix", str(prefix), "--yes", *packages],
        env={"CONDA_CHANNELS": channel or shared_channel().as_uri()},
        capture_output=True,
        text=True,
        check=False,
    )


def said(prefix: Path, code: str) -> str:
    """What the Python of a prefix prints."""
    argv = [str(prefix / "bin" / "python"), "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def demo_version(prefix: Path) -> str:
    return said(prefix, "import demo_noarch; print(demo_noarch.__version__)")


async def test_a_prefix_knows_what_is_installed(tmp_path: Path) -> None:
    meta = await make_ml(tmp_path) / "conda-meta"

    records = [json.loads(path.read_text("utf-8")) for path in meta.glob("*.json")]
    assert {each["name"] for each in records} == {"python", "native-lib", "demo-noarch"}
    assert all(each["files"] and each["channel"] for each in records)
    assert (meta / "history").is_file()


async def test_a_prefix_has_what_its_activation_needs(tmp_path: Path) -> None:
    etc = await make_ml(tmp_path) / "etc" / "conda"

    variables = json.loads((etc / "env_vars.d" / "native-lib.json").read_text("utf-8"))
    assert variables == NATIVE_LIB_VARIABLES
    assert (etc / "activate.d" / "native-lib.sh").is_file()
    assert (etc / "deactivate.d" / "native-lib.sh").is_file()


async def test_the_python_of_a_prefix_runs_from_there(tmp_path: Path) -> None:
    prefix = await make_ml(tmp_path)
    modules = [name for name in ("_ssl", "_sqlite3", "_ctypes", "json") if find_spec(name)]

    told = said(
        prefix,
        f"import sys, json, demo_noarch, {', '.join(modules)}\n"
        "print(json.dumps([sys.prefix, sys.base_prefix, json.__file__, demo_noarch.__file__]))",
    )

    assert all(Path(each).is_relative_to(prefix) for each in json.loads(told))


async def test_a_package_of_a_prefix_was_installed_by_conda(tmp_path: Path) -> None:
    prefix = await make_ml(tmp_path)

    told = said(
        prefix,
        "from importlib.metadata import distribution\n"
        "demo = distribution('demo-noarch')\n"
        "print(demo.version, demo.read_text('INSTALLER'), len(demo.files))",
    )

    assert told.split() == ["1.0", "conda", "4"]


def test_a_root_looks_like_one(tmp_path: Path) -> None:
    root = make_root(tmp_path / "a root")

    argv = [str(root / "condabin" / "conda"), "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("conda ")
    assert (root / "conda-meta" / "history").is_file()


async def test_conda_installs_and_says_what(tmp_path: Path) -> None:
    prefix = await make_prefix(tmp_path / "bare", shared_channel(), "python")

    done = conda(prefix, "install", "demo-noarch=1.0")

    assert done.returncode == 0, done.stderr
    for line in ("## Package Plan ##", "demo-noarch-1.0-py_0", "Executing transaction: done"):
        assert line in done.stdout
    assert demo_version(prefix) == "1.0"


async def test_conda_leaves_what_is_there(tmp_path: Path) -> None:
    prefix = await make_ml(tmp_path)

    done = conda(prefix, "install", "demo-noarch")

    assert done.returncode == 0, done.stderr
    assert "# All requested packages already installed." in done.stdout
    assert demo_version(prefix) == "1.0"


async def test_conda_updates_what_it_is_asked_to(tmp_path: Path) -> None:
    prefix = await make_ml(tmp_path)

    done = conda(prefix, "update", "demo-noarch")

    assert done.returncode == 0, done.stderr
    assert "1.0-py_0 --> 2.0-py_0" in done.stdout
    assert demo_version(prefix) == "2.0"
    assert (prefix / "conda-meta" / "native-lib-1.0-0.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "channel", "message"),
    [
        (["install", "nothere"], "", "PackagesNotFoundError: The following packages"),
        (["install", "demo-noarch=9"], "", "PackagesNotFoundError: The following packages"),
        (["install", "needs-missing"], "", "LibMambaUnsatisfiableError: Encountered problems"),
        (["install", "nothere"], DISCARD, "CondaHTTPError: HTTP 000 CONNECTION FAILED for url <"),
        (["update", "demo-noarch=2.0"], "", "CondaError: Invalid spec for 'conda update'"),
        (["update", "needs-missing"], "", "PackageNotInstalledError: Package is not installed"),
    ],
)
async def test_conda_refuses(
    tmp_path: Path, arguments: list[str], channel: str, message: str
) -> None:
    prefix = await make_ml(tmp_path)

    done = conda(prefix, *arguments, channel=channel)

    assert done.returncode == 1
    assert done.stderr.strip().startswith(message)
    assert demo_version(prefix) == "1.0"


async def test_conda_refuses_a_folder_that_is_no_prefix(tmp_path: Path) -> None:
    done = conda(tmp_path / "nowhere", "install", "native-lib")

    assert done.returncode == 1
    assert done.stderr.strip().startswith("EnvironmentLocationNotFound: ")
