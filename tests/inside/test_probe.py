"""The script that foreign interpreters run to tell about themselves."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.environments.interpreters import Distribution, ask, distributions
from kernel_exec.places import INSIDE
from tests.environments.pythons import require_python

PROBE = INSIDE.with_name("probe.py")


def test_it_is_old_python_in_ascii() -> None:
    for each in PROBE, INSIDE:
        ast.parse(each.read_text("ascii"), feature_version=(3, 6))


NOISE = {
    "lines": ("echo '{}'; echo 1 >&2", ""),
    "no line ending": ("printf noise", ""),
    "at the end": ("", "echo bye"),
    "2 MB on stderr": ("head -c 2000000 /dev/zero >&2", ""),
}
"""What a script says that starts an interpreter, before and after it."""


@pytest.mark.parametrize("kind", NOISE)
async def test_what_a_start_prints_does_no_harm(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "python"
    before, after = NOISE[kind]
    script.write_text(f'#!/bin/sh\n{before}\n{sys.executable} "$@"\n{after}\n')
    script.chmod(0o755)
    told = await ask(script, variables=os.environ)
    assert told.version == sys.version_info[:3]


_SHOWN = (
    "import json, sys, sysconfig; print(json.dumps([[each for each in sys.path if each],"
    " sys.prefix, sys.base_prefix, sys.executable, sysconfig.get_path('purelib')]))"
)


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(8, 15)])
@pytest.mark.parametrize("user_site", ["", "none"])
async def test_it_finds_what_a_start_does_and_runs_nothing_that_is_installed(
    tmp_path: Path, version: str, user_site: str
) -> None:
    python = require_python(version)
    venv, other = tmp_path / "venv", tmp_path / "other"
    make = ["-m", "venv", "--without-pip", "--system-site-packages"]
    subprocess.run([str(python), *make, str(venv)], check=True)
    user = tmp_path / "user" / "lib" / f"python{version}" / "site-packages"
    (site,) = venv.glob("lib/python*/site-packages")
    for folder in (user, other, tmp_path / "first"):
        folder.mkdir(parents=True)
    (site / "a.pth").write_text(f"# a comment\n{other}\n{tmp_path}/missing\n")
    variables = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "first"),
        "PYTHONUSERBASE": str(tmp_path / "user"),
        "PYTHONNOUSERSITE": user_site,
    }
    executable = venv / "bin" / "python"
    argv = [str(executable), "-c", _SHOWN]
    shown = subprocess.run(argv, env=variables, capture_output=True, check=True, text=True).stdout
    runs = f"open({str(tmp_path / 'ran')!r}, 'a').write('x')"
    (user / "u.pth").write_text(f"import os; {runs}\n")
    (site / "b.pth").write_text(f"import os; {runs}\n")
    for name in ("sitecustomize.py", "usercustomize.py", "json.py"):
        (tmp_path / "first" / name).write_text(runs)
        (other / name).write_text(runs)

    told = await ask(executable, variables=variables)
    await distributions(executable, variables=variables)

    path, *rest = json.loads(shown)
    assert list(map(str, told.path)) == path
    assert (user in told.path) is not bool(user_site)
    found = (told.prefix, told.base_prefix, told.executable, told.purelib)
    assert list(map(str, found)) == rest
    assert not (tmp_path / "ran").exists()


async def found(python: Path, *path: Path) -> dict[str, Distribution]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return {each.name: each for each in await distributions(python, variables=variables)}


def distribution(folder: Path, name: str, metadata: str | bytes, **files: str) -> None:
    place = folder / f"{name}.dist-info"
    place.mkdir(parents=True)
    content = metadata.encode() if isinstance(metadata, str) else metadata
    (place / "METADATA").write_bytes(content)
    for each, text in files.items():
        (place / {"record": "RECORD", "top_level": "top_level.txt"}[each]).write_text(text)


async def test_import_names_come_from_a_list_or_from_the_files(tmp_path: Path) -> None:
    distribution(tmp_path, "a-1", "Name: a\nVersion: 1\n", top_level="one\ntwo\n")
    record = "three/__init__.py,,\nfour.abi3.so,,\n../bin/x.py,,\nb-1.data/x.py,,\na-b.py,,\n"
    distribution(tmp_path, "b-1", "Name: b\nVersion: 1\n", record=record)
    told = await found(Path(sys.executable), tmp_path)
    assert told["a"].modules == ("one", "two")
    assert told["b"].modules == ("four", "three")
    assert told["Pillow" if "Pillow" in told else "pillow"].modules == ("PIL",)


async def test_the_first_on_the_path_is_the_one_that_counts(tmp_path: Path) -> None:
    distribution(tmp_path / "first", "foo_bar-1", "Name: Foo_Bar\nVersion: 1\n")
    distribution(tmp_path / "second", "foo.bar-2", "Name: foo.bar\nVersion: 2\n")
    told = await found(Path(sys.executable), tmp_path / "first", tmp_path / "second")
    assert told["Foo_Bar"].version == "1"
    assert "foo.bar" not in told


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(8, 15)])
async def test_odd_metadata_hides_nothing_else(tmp_path: Path, version: str) -> None:
    python = require_python(version)
    distribution(tmp_path, "nameless-1", "Version: 1\n")
    distribution(tmp_path, "versionless", "Name: versionless\n")
    distribution(tmp_path, "empty-1", "")
    distribution(tmp_path, "latin-1", b"Name: latin\nVersion: 1\nSummary: \xff\n")
    distribution(tmp_path, "torn-1", "Name: torn\nVersion: 1\n", record='"' + "\0" * 9)
    (tmp_path / "left-1.dist-info").mkdir()
    (tmp_path / "file-1.dist-info").touch()
    distribution(tmp_path, "sound-1", "Name: sound\nVersion: 1\n", top_level="sound\n")
    told = await found(python, tmp_path)
    assert told["sound"].modules == ("sound",)
    assert not {"nameless", "versionless", "empty", "left"} & set(told)
