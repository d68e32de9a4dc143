"""Figures of matplotlib in words."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest

figures = importlib.import_module("kernel_exec.inside.figures")
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
