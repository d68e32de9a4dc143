"""Which backend matplotlib gets in a kernel, with a package that stands in for it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Inline: Any = importlib.import_module("kernel_exec.inside.plots").Inline

PACKAGE = "import os\nrcParams = {'backend': os.environ.get('MPLBACKEND') or 'auto'}"


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the package, whose import a kernel looks after."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [Inline("module://inline"), *sys.meta_path])
    monkeypatch.delenv("MPLBACKEND", raising=False)
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name[:10] == "matplotlib"}
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text(PACKAGE)
    yield tmp_path
    sys.modules.pop("matplotlib", None)
    sys.modules.update(before)


@pytest.mark.parametrize(("chosen", "backend"), [("", "module://inline"), ("Agg", "Agg")])
def test_figures_are_shown_in_their_cell_unless_the_user_has_chosen(
    imported: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, backend: str
) -> None:
    if chosen:
        monkeypatch.setenv("MPLBACKEND", chosen)
    library = importlib.import_module("matplotlib")
    assert library.rcParams["backend"] == backend
    library.rcParams["backend"] = "other"
    assert importlib.reload(library).rcParams["backend"] == backend


def test_another_package_of_that_name_is_left_alone(imported: Path) -> None:
    (imported / "matplotlib" / "__init__.py").write_text("own = 1")
    assert not hasattr(importlib.import_module("matplotlib"), "rcParams")


def test_a_package_that_is_missing_is_missing(imported: Path) -> None:
    (imported / "matplotlib" / "__init__.py").unlink()
    (imported / "matplotlib").rmdir()
    sys.meta_path[:] = sys.meta_path[:1]
    assert Inline("module://inline").find_spec("matplotlib") is None
