"""What a notebook needs, told as PEP 723 has it."""

import re
import tomllib
from typing import Any

import pytest

from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.notebooks.needs import Needs, block, imports, needs
from tests.notebooks.steps import entry

# the reference implementation's, from PEP 723
REFERENCE = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"

INVENTORY = {
    "pandas": [("pandas", "2.3.1")],
    "sklearn": [("scikit-learn", "1.7.0")],
    "PIL": [("pillow", "12.0")],
    "torch": [("torch", "2.9.0+cpu")],
    "google": [("google-auth", "2.0"), ("google-cloud-storage", "3.0")],
    "attr": [("attrs", "25.1")],
    "attrs": [("attrs", "25.1")],
    "pyarrow": [("pyarrow", "20.0")],
    "odd": [("odd", "not a version")],
}


def install(requirements: str, number: int = 1, **details: Any) -> Entry:
    return entry(requirements, number, kind=EntryKind.INSTALL, details=details)


def read(source: str) -> dict[str, object]:
    (match,) = [found for found in re.finditer(REFERENCE, source) if found["type"] == "script"]
    lines = match["content"].splitlines(keepends=True)
    told = "".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    return tomllib.loads(told)


@pytest.mark.parametrize(
    ("needed", "known"),
    [
        (Needs(python="3.12"), True),
        (Needs(python="3.12", dependencies=("a==1", "b")), True),
        (Needs(python="3.12", dependencies=("a==1",), unknown=("x", "y")), True),
        (Needs(python="3.12", unknown=("x",)), False),
        (Needs(python=""), False),
    ],
)
def test_a_block_is_what_the_pep_says_whatever_comes_after_it(needed: Needs, known: bool) -> None:
    source = block(needed, known=known)

    told = read(source)
    assert told["dependencies"] == list(needed.dependencies)
    assert told.get("requires-python", "") == (f"=={needed.python}.*" if needed.python else "")
    assert all(line.startswith("#") for line in source.splitlines())
    assert all(name in source for name in needed.unknown)
    assert ("interpreter is gone" in source) is not known


IMPORTS: dict[str, tuple[str, list[str]]] = {
    "plain": ("import a, b.c as d", ["a", "b"]),
    "from": ("from a.b import c\nfrom . import near\nfrom .x import y", ["a"]),
    "inside": ("def f():\n    try:\n        import a\n    except ImportError: pass", ["a"]),
    "beside magics": ("%matplotlib inline\n!ls\nimport a", ["a"]),
    "in text": ("'''\nimport no\n'''", []),
    "not Python at all": ("import a b c (", []),
    "another language": ("%%bash\nimport -window root x.png", []),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_imports_are_found(name: str) -> None:
    source, expected = IMPORTS[name]
    assert sorted(imports(source)) == expected


NEEDED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "what is imported by another name": (
        "import sklearn.svm\nfrom PIL import Image\nimport attr",
        ("attrs==25.1", "pillow==12.0", "scikit-learn==1.7.0"),
        (),
    ),
    "nothing of the standard library or the kernel": (
        "import os, IPython, distutils, tomllib",
        (),
        (),
    ),
    "a local version, which no index has": ("import torch", ("torch==2.9.0",), ()),
    "all that share a name": (
        "import google.cloud",
        ("google-auth==2.0", "google-cloud-storage==3.0"),
        (),
    ),
    "a version that is none": ("import odd", ("odd",), ()),
    "what is in no distribution": ("import pandas, helpers", ("pandas==2.3.1",), ("helpers",)),
}


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_imported_is_pinned(name: str) -> None:
    source, dependencies, unknown = NEEDED[name]
    found = needs([entry(source)], python_version="3.12.1", inventory=INVENTORY)
    assert (found.python, found.dependencies, found.unknown) == ("3.12", dependencies, unknown)


def test_what_was_asked_to_be_installed_is_needed_though_nothing_imports_it() -> None:
    steps = [install("pyarrow>=3\nPy_Arrow\nnot-there"), entry("x", 2)]
    found = needs(steps, python_version="3.12.1", inventory=INVENTORY)
    assert found.dependencies == ("pyarrow==20.0",)


def test_a_package_replaced_after_its_import_counts_as_it_was() -> None:
    upgrade = install("", 2, before={"pandas": "2.2.0"}, after={"pandas": "2.3.1"})
    before = needs([entry("import pandas"), upgrade], python_version="", inventory=INVENTORY)
    after = needs([upgrade, entry("import pandas", 3)], python_version="", inventory=INVENTORY)
    assert (before.dependencies, after.dependencies) == (("pandas==2.2.0",), ("pandas==2.3.1",))


def test_an_interpreter_that_is_gone_makes_no_requirement_of_a_name() -> None:
    """A package that is called as a local module may be anybody's."""
    steps = [install("six", after={"six": "1.17.0"}), entry("import helpers, six", 2)]
    found = needs(steps, python_version="3.9.1", inventory=None)
    assert found.dependencies == ("six==1.17.0",)
    assert found.unknown == ("helpers", "six")


def test_a_name_of_a_distribution_can_not_end_the_block() -> None:
    inventory = {"x": [('x"\n# ///\n# evil', "1")]}
    found = needs([entry("import x")], python_version="3.12.1", inventory=inventory)
    assert len(block(found, known=True).splitlines()) == 6
    assert read(block(found, known=True))["requires-python"] == "==3.12.*"
