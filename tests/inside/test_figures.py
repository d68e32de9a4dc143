"""Figures of matplotlib in words, and which backend draws them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

figures = importlib.import_module("kernel_exec.inside.figures")
InlineBackend: Any = figures.InlineBackend
matplotlib: Any = importlib.import_module("matplotlib.figure")  # it has no types of its own


def titled(figure: Any) -> None:
    figure.suptitle("Two\nviews")
    left, right = figure.subplots(1, 2)
    left.set(title="Mass", xlabel="row", ylabel="kg")
    right.plot([1], label="male")
    right.plot([2], label="female")
    right.legend(title="sex")


def colours(figure: Any) -> None:
    axes = figure.subplots()
    axes.set_title("at the left", loc="left")
    figure.colorbar(axes.imshow([[1, 2]]), label="depth")


def solid(figure: Any) -> None:
    figure.add_subplot(projection="3d").set_zlabel("height")


def many(figure: Any) -> None:
    for axes in figure.subplots(4, 5).flat:
        axes.set_title("y" * 500)


FIGURES: dict[Callable[[Any], None], str | None] = {
    titled: "Two views. Mass (x: row, y: kg). sex: male, female",
    colours: "at the left. colours: depth",
    solid: "z: height",
    many: ". ".join([f"{'y' * 100}…"] * 8),
    lambda figure: figure.subplots(): None,
    lambda figure: setattr(figure, "_suptitle", 3): None,
}


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_is_described_by_its_own_titles_and_labels(draw: Callable[[Any], None]) -> None:
    figure = matplotlib.Figure()
    draw(figure)
    assert figures.describe_figure(figure) == FIGURES[draw]


PACKAGE = "import os\nrcParams = {'backend': os.environ.get('MPLBACKEND') or 'auto'}"


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the package, whose import a kernel looks after."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [InlineBackend("module://inline"), *sys.meta_path])
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
    assert InlineBackend("module://inline").find_spec("matplotlib") is None
