"""Keeps the text of widgets true; runs in the kernel's process.

Python 3.8 syntax, standard library only. A widget is drawn by a browser, which hears of each
change; its text is made once, so that a bar of tqdm.notebook would stay at 0 % for ever. Here the
text of a widget that is shown follows it: at most once a second, and at the end of each cell.
"""

import sys
from time import monotonic

_VIEW = "application/vnd.jupyter.widget-view+json"
_EVERY = 1.0
_MOST = 50
"""Widgets of a cell whose text is followed."""


class Widgets:
    """The widgets that the cell under way shows."""

    def __init__(self, shell):
        """Follow what `shell` displays."""
        self._publisher = shell.display_pub
        self._shown = {}
        self._refreshed_at = 0.0
        publish = self._publisher.publish

        def publish_followed(data, metadata=None, **kwargs):
            transient = dict(kwargs.pop("transient", None) or {})
            model = (data.get(_VIEW) or {}).get("model_id") if isinstance(data, dict) else None
            follow = _find(model) is not None and len(self._shown) < _MOST
            if follow and not kwargs.get("update"):
                display_id = transient.setdefault("display_id", "widget-" + model)
                self._shown[display_id] = (model, data, data.get("text/plain"))
            return publish(data, metadata, transient=transient, **kwargs)

        self._publisher.publish = publish_followed
        self._publish = publish
        shell.events.register("pre_execute", self.forget)
        shell.events.register("post_execute", self.refresh)

    def forget(self):
        """What earlier cells show changes no more (a method: IPython 7 asks for its signature)."""
        self._shown.clear()

    def note_change(self):
        """A widget has changed."""
        now = monotonic()
        if self._shown and now - self._refreshed_at > _EVERY:
            self._refreshed_at = now
            self.refresh()

    def refresh(self):
        """Publish the text of all that have another one by now."""
        for display_id, (model, data, before) in list(self._shown.items()):
            widget = _find(model)
            now = repr(widget) if widget is not None else ""  # closed, as bars that do not stay
            if now != before:
                self._shown[display_id] = (model, data, now)
                changed = dict(data, **{"text/plain": now})
                self._publish(changed, {}, transient={"display_id": display_id}, update=True)


def _find(model):
    """The widget with this id, None when it is closed."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    found = getattr(module, "_instances", None)
    if found is None:  # before ipywidgets 8
        found = getattr(getattr(module, "Widget", None), "widgets", None) or {}
    return found.get(model)
