"""What a kernel displays, within a budget, and the text of widgets; runs in the kernel's process.

Python 3.8 syntax, standard library only. Displays travel until those of one execution come to
`DISPLAY_BUDGET`. What comes then is **held**: an update takes the place of the one before it, a
`clear_output` drops what it clears, so that an animation ends with its last frame, which is sent
when the execution ends. What there is no room to hold goes to files, and what does not even fit
there is dropped and counted.
"""

import collections
import sys
import time

from . import budgets
from .defence import defect, report
from .outlet import outlet

DISPLAY_BUDGET = 32000000
"""Characters of displays, each with what a message costs, that travel as they come."""

_HOLD_BUDGET = 16000000
"""The same for those that wait for the end of their execution."""

_MESSAGE_COST = 1000
_REDUCED = 1000
"""Displays of one execution that travel as the names of their files."""

_UPDATE = "update_display_data"
_DISPLAYS = ("display_data", _UPDATE, "execute_result")
_ORDERED = (*_DISPLAYS, "error", "clear_output", "execute_reply")
_COMMS = ("comm_open", "comm_msg", "comm_close")
_REMEMBERED = 64

_VIEW = "application/vnd.jupyter.widget-view+json"
_WIDGETS_EVERY = 1.0
_MOST_WIDGETS = 50
"""Widgets of a cell whose text is followed."""


class _Shown:
    """What one execution has displayed."""

    def __init__(self):
        self.sent = 0
        self.reduced = 0
        self.dropped = 0
        self.is_over = False
        self._held = collections.OrderedDict()
        self._size = 0

    def hold(self, display):
        """Keep `display` until the end; those that there is no room for any more, oldest first."""
        self.take(display.key)
        self._held[display.key] = display
        self._size += display.size
        crowded_out = []
        while self._size > _HOLD_BUDGET:
            crowded_out.append(self.take(next(iter(self._held))))
        return crowded_out

    def take(self, key):
        """What is held under `key`, no longer; None for nothing."""
        display = self._held.pop(key, None)
        self._size -= display.size if display else 0
        return display

    def take_all(self):
        """What is held, no longer."""
        held, self._held, self._size = self._held, collections.OrderedDict(), 0
        return held.values()


class _Display:
    """A message of a display, or of an error; `transmit` sends it with a content."""

    def __init__(self, kind, body, size, header, transmit):
        self.kind, self.body, self.size = kind, body, size
        self.header, self.transmit = header, transmit
        self.display_id = (body.get("transient") or {}).get("display_id")

    @property
    def key(self):
        """Of two held under the same key the later takes the place of the earlier."""
        if self.kind == _UPDATE:
            return (_UPDATE, self.display_id)
        return self.kind if self.kind == "error" else id(self)


class Displays:
    """Stands between a kernel and its session."""

    def __init__(self, session, on_widget=lambda: None, ends_cell=lambda: False):
        """Take the place of `session.send`; `on_widget` is called after a change of a widget.

        `ends_cell` says whether a cell does nothing more after it had a result.
        """
        self._session, self._really_send = session, session.send
        self._on_widget, self._ends_cell = on_widget, ends_cell
        self._shown = collections.OrderedDict()
        session.send = self.send
        outlet.on_cleared = self._drop_held

    def send(self, stream, msg_or_type, content=None, parent=None, *args, **kwargs):
        """Send a message, in the place of `Session.send`, whose arguments these are."""
        message = msg_or_type
        if not isinstance(message, dict):
            made_of = {key: kwargs.pop(key, None) for key in ("header", "metadata")}
            message = self._session.msg(msg_or_type, content, parent, **made_of)
        kind = message["header"]["msg_type"]
        if kind in _COMMS:  # nobody answers a widget here, its text comes as a display
            self._on_widget()
            return None

        def transmit(body):
            return self._really_send(
                stream, dict(message, content=body), None, parent, *args, **kwargs
            )

        if stream is outlet.sender or not outlet.is_ours or kind not in _ORDERED:
            return transmit(message["content"])
        try:
            return self._order(message, transmit)
        except Exception as error:  # an interrupt is for the code that displays
            report(defect(self._order, error))
            return transmit(message["content"])

    def _order(self, message, transmit):
        kind, content = message["header"]["msg_type"], message["content"]
        header = message["parent_header"]
        execution_id = header.get("msg_id", "")
        if kind == "clear_output":
            outlet.clear(header, bool(content.get("wait")))
            return None
        if kind == "execute_reply":
            with outlet.lock:
                outlet.captured.drain()
                outlet.send()
                self._end(execution_id)
            return transmit(budgets.bounded_reply(content, execution_id))
        if budgets.SPILL_MIME in content.get("data", ()):
            return transmit(content)
        body, size = budgets.bounded(kind, content, execution_id)
        with outlet.lock:
            shown = self._of(execution_id)
            sent = self._show(shown, _Display(kind, body, _MESSAGE_COST + size, header, transmit))
        outlet.wait_for_server()
        return sent

    def _show(self, shown, display):
        """Send a display, or hold it, while there is room for it."""
        before = shown.take((_UPDATE, display.display_id))
        if before is not None and display.kind != _UPDATE:
            _send(before, before.body)  # sent later, it would change the new display, too
        if shown.sent + display.size <= DISPLAY_BUDGET:
            shown.sent += display.size
            outlet.sender.may_wait = display.kind == "execute_result" and self._ends_cell()
            try:
                return _send(display, display.body)
            finally:
                outlet.sender.may_wait = False
        if shown.is_over:
            return self._reduce(shown, display)
        if display.kind != _UPDATE:
            outlet.perform_clear(display.header)
        for crowded_out in shown.hold(display):
            self._reduce(shown, crowded_out)
        return None

    def _reduce(self, shown, display):
        """Send the names of a display's files, or count it as dropped."""
        if display.kind == "error":
            return _send(display, budgets.shortest_error(display.body))
        if shown.reduced < _REDUCED:
            shown.reduced += 1
            execution_id = display.header.get("msg_id", "")
            body, _ = budgets.bounded(display.kind, display.body, execution_id, reduced=True)
            return _send(display, body)
        shown.dropped += 1
        if shown.dropped & (shown.dropped - 1):
            return None
        note = "[%s or more displays dropped from here on: an execution may show %s characters]"
        note %= format(shown.dropped, ","), format(DISPLAY_BUDGET, ",")
        return _send(display, dict(display.body, data={"text/plain": note}))

    def _end(self, execution_id):
        """Send what is held: the execution ends."""
        shown = self._shown.get(execution_id)
        if shown is not None:
            shown.is_over = True
            for display in shown.take_all():
                _send(display, display.body)

    def _drop_held(self, execution_id):
        if execution_id in self._shown:
            self._shown[execution_id].take_all()

    def _of(self, execution_id):
        shown = self._shown.get(execution_id)
        if shown is None:
            shown = self._shown[execution_id] = _Shown()
            while len(self._shown) > _REMEMBERED:
                self._shown.popitem(last=False)
        return shown


def _send(display, body):
    """Send a display with this content, after all text that was written before."""
    if display.kind == _UPDATE:
        outlet.captured.drain()
        outlet.send()
    else:
        outlet.send_before_display(display.header)
    return display.transmit(body)


class Widgets:
    """The widgets that the cell under way shows, whose text is kept true.

    A widget is drawn by a browser, which hears of each change; its text is made once, so that a bar
    of tqdm.notebook would stay at 0 % for ever. Here the text follows the widget: at most once a
    second, and at the end of each cell.
    """

    def __init__(self, shell):
        """Follow what `shell` displays."""
        self._publisher = shell.display_pub
        self._shown = {}
        self._refreshed_at = 0.0
        publish = self._publisher.publish

        def publish_followed(data, metadata=None, **kwargs):
            transient = dict(kwargs.pop("transient", None) or {})
            model = (data.get(_VIEW) or {}).get("model_id") if isinstance(data, dict) else None
            follow = _widget(model) is not None and len(self._shown) < _MOST_WIDGETS
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
        now = time.monotonic()
        if self._shown and now - self._refreshed_at > _WIDGETS_EVERY:
            self._refreshed_at = now
            self.refresh()

    def refresh(self):
        """Publish the text of all that have another one by now."""
        for display_id, (model, data, before) in list(self._shown.items()):
            widget = _widget(model)
            now = repr(widget) if widget is not None else ""  # closed, as bars that do not stay
            if now != before:
                self._shown[display_id] = (model, data, now)
                changed = dict(data, **{"text/plain": now})
                self._publish(changed, {}, transient={"display_id": display_id}, update=True)


def _widget(model):
    """The widget with this id, None when it is closed."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    found = getattr(module, "_instances", None)
    if found is None:  # before ipywidgets 8
        found = getattr(getattr(module, "Widget", None), "widgets", None) or {}
    return found.get(model)
