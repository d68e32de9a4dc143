"""The script that foreign interpreters run to tell about themselves."""

import ast
import os
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
    "lines": "import sys; print('{}'); print(1, file=sys.stderr)",
    "no line ending": "import sys; sys.stdout.write('noise')",
    "at the end": "import atexit; atexit.register(print, 'bye')",
    "another stdout": "import io, sys; sys.stdout = io.StringIO()",
    "a closed stdout": "import sys; sys.stdout.close()",
    "2 MB on stderr": "import sys; sys.stderr.write('x' * 2_000_000)",
}


@pytest.mark.parametrize("kind", NOISE)
async def test_what_a_start_prints_does_no_harm(tmp_path: Path, kind: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOISE[kind])
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = await ask(Path(sys.executable), variables=variables)
    assert told.version == sys.version_info[:3]
    assert tmp_path in told.path
    assert PROBE.parent not in told.path


async def test_it_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").touch()
    await ask(Path(sys.executable), variables={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert [path.name for path in tmp_path.iterdir()] == ["sitecustomize.py"]


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
