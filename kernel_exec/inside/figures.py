"""Figures of matplotlib in words, by their own titles and labels; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Whoever does not see a figure reads these words.
"""

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
    title, told = ", ".join(filter(None, titles)), ", ".join(labels)
    return "%s (%s)" % (title, told) if title and told else title or told


def _text(written):
    line = " ".join(str(written).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
