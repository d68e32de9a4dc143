"""Figures of matplotlib: shown with their cell, and in words for whoever does not see them.

Loaded in the kernel's process; standard library only, Python 3.8 syntax.
"""

import os
import sys

_AXES = 8
_KEYS = 8
_LONGEST = 100
"""Characters of one title or label."""


def describe_figure(figure):
    """The titles and labels of a figure and of its axes; None when it has none."""
    try:
        above = getattr(figure, "_suptitle", None)
        parts = [_text(above.get_text()) if above else ""]
        parts += [_axes(axes) for axes in figure.axes[:_AXES]]
    except Exception:  # a figure that the user made another class of
        return None
    return ". ".join(part for part in parts if part) or None


def _axes(axes):
    """Such as `Mass by age (x: age, y: mass in g, legend: male, female)`."""
    titles = [_text(axes.get_title(loc=place)) for place in ("left", "center", "right")]
    bar = axes.get_label() == "<colorbar>"
    labels = []
    for name in ("x", "y", "z"):
        label = getattr(axes, "get_%slabel" % name, str)()
        if _text(label):
            labels.append("%s: %s" % ("colours" if bar else name, _text(label)))
    legend = axes.get_legend()
    if legend is not None:
        keys = [_text(key.get_text()) for key in legend.get_texts()[:_KEYS]]
        name = _text(legend.get_title().get_text()) or "legend"
        labels.append("%s: %s" % (name, ", ".join(filter(None, keys))))
    title, axis = ", ".join(filter(None, titles)), ", ".join(labels)
    return "%s (%s)" % (title, axis) if title and axis else title or axis


def _text(written):
    line = " ".join(str(written).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


class InlineBackend:
    """Stands before all finders of modules, and has matplotlib draw into the cell's result.

    ipykernel names its backend in the variable `MPLBACKEND`, which child processes would get, too:
    those have no cell, and may not even have that backend. So matplotlib itself is told, when it is
    imported; it obeys the variable first, and `matplotlib.use`.
    """

    def __init__(self, backend):
        """`backend` is what matplotlib uses unless it is told otherwise."""
        self._backend = backend

    def find_spec(self, name, path=None, target=None):
        """What the other finders find of matplotlib, with a loader that sets its backend."""
        if name != "matplotlib":
            return None
        others = (each for each in sys.meta_path if each is not self and hasattr(each, "find_spec"))
        found = (each.find_spec(name, path, target) for each in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._set_backend(module, load(module))
        return spec

    def _set_backend(self, module, loaded):
        chosen = os.environ.get("MPLBACKEND")
        if module.__name__ == "matplotlib" and not chosen and hasattr(module, "rcParams"):
            module.rcParams["backend"] = self._backend
