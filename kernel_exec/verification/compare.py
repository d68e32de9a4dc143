"""A cell's outputs as recorded and as they are now: what is the same, and the first difference.

Pure. Outputs are JSON values as nbformat has them, and may come from anybody: nothing in them
raises. What a stream said is one text, however it was cut up; displays are compared in order.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.notebooks.outputs import BASE64, JSON_MIME, PRIVATE, with_rests
from kernel_exec.notebooks.reading import joined, role_of, writable
from kernel_exec.pictures import picture_difference

from .listings import growth, only_lists
from .normalise import ANY_RERUN, Rerun, alike, renamed, settled, settled_json, undated


class Verdict(StrEnum):
    """How a cell did when it ran again; from `SAME` to `NEW_ERROR` it gets worse."""

    SAME = "same"
    CLOSE = "close"
    DIFFERENT = "different"
    FIXED = "fixed"
    NEW_ERROR = "new error"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A verdict, with the first difference as text that a person reads; "" where there is none."""

    verdict: Verdict
    difference: str = ""


SAME = Comparison(verdict=Verdict.SAME)

_ORDER = tuple(Verdict)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_MARKUP = ("text/html", "image/svg+xml")
_PROGRAM = re.compile(r"application/(?:javascript|vnd\.(?:bokehjs|holoviews)_.*)$")
_WRITES = re.compile(r"\s*%%(?:write)?file\b")
_WRITTEN = re.compile(r"\A(?:Writing|Overwriting|Appending to) ")
"""What IPython says of a file depends on whether an earlier run has left it."""
_PICTURES = ("image/png", "image/jpeg")
_WIDTH = 120
"""Characters of a line that are shown."""
_LINES = 3
"""Lines that are shown of either side."""
_SEARCHED = 5000
"""Lines among which the first that is not even close is looked for."""


@dataclass(slots=True, kw_only=True)
class _Shown:
    """What a cell shows: texts by stream, displays by MIME type, its last error.

    Of `cut` streams, displays and messages only a beginning is known; in a `late` stream something
    came after the cell's end.
    """

    streams: dict[str, list[str]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    displays: list[tuple[JSONObject, bool]] = field(default_factory=list)
    error: tuple[str, str] | None = None
    cut_message: bool = False


def compare(
    before: JSON,
    after: JSON,
    *,
    may_fail: bool = False,
    errors_only: bool = False,
    source: str = "",
    rerun: Rerun = ANY_RERUN,
) -> Comparison:
    """Compare the outputs recorded in a cell with those of now.

    One that `may_fail` is tagged `raises-exception`. With `errors_only` no outputs were recorded,
    so that only a new error counts.
    """
    recorded, found = (_read(writable(outputs)) for outputs in (before, after))
    rerun = replace(rerun, listing=only_lists(source))
    if errors_only and (may_fail or recorded.error):
        return SAME
    compared = list(_errors(recorded, found, may_fail=may_fail, rerun=rerun))
    if not errors_only:
        writes = _WRITES.match(source) is not None
        for name in sorted({*recorded.streams, *found.streams}):
            before, after = (_said(shown, name, writes=writes) for shown in (recorded, found))
            cut, late = name in recorded.cut | found.cut, name in recorded.late | found.late
            compared.append(_stream(name, before, after, cut=cut, late=late, rerun=rerun))
        compared += _displays(recorded.displays, found.displays, rerun)
    return worst(compared)


def worst(found: Sequence[Comparison]) -> Comparison:
    """The first of the worst; `SAME` when there is none."""
    return max(found, key=lambda each: _ORDER.index(each.verdict), default=SAME)


def _read(outputs: JSON) -> _Shown:
    shown = _Shown()
    after_end = False
    for output, missing in with_rests(outputs):
        match output.get("output_type"):
            case "stream":
                name = text(output, "name") or "stdout"
                parts = shown.streams.setdefault(name, [])
                if name not in shown.cut:  # else there is a gap before it
                    parts.append(joined(output.get("text")))
                shown.cut.update({name} if missing else ())
                shown.late.update({name} if after_end else ())
            case "error":
                name, message = joined(output.get("ename")), joined(output.get("evalue"))
                shown.error = name, message
                shown.cut_message = (count(missing, "message") or 0) > len(message)
            case "display_data" | "execute_result" | "pyout":
                if role_of(output) == "late":
                    after_end = True
                    continue
                display = {
                    mime: value
                    for mime, value in mapping(output, "data").items()
                    if not mime.startswith(PRIVATE) and value is not None
                }
                if display or missing:
                    shown.displays.append((display, bool(missing)))
            case _:
                pass
    return shown


def _said(shown: _Shown, name: str, *, writes: bool) -> str:
    """What a stream said; where the cell `writes` a file, whether that was there or not."""
    said = "".join(shown.streams.get(name, ()))
    return settled(_WRITTEN.sub("", said) if writes else said)


def _errors(
    recorded: _Shown, found: _Shown, *, may_fail: bool, rerun: Rerun
) -> Iterator[Comparison]:
    if found.error and not recorded.error:
        verdict = Verdict.DIFFERENT if may_fail else Verdict.NEW_ERROR
        yield Comparison(verdict=verdict, difference=_phrase(found.error))
    elif recorded.error and not found.error:
        words = f"no error any more; recorded was {_phrase(recorded.error)}"
        yield Comparison(verdict=Verdict.FIXED, difference=words)
    elif recorded.error and found.error:
        (name, message), (new_name, new) = recorded.error, found.error
        if name != new_name:
            words = _sides([_phrase(recorded.error)], [_phrase(found.error)], 0)
            yield Comparison(verdict=Verdict.DIFFERENT, difference=f"another error\n{words}")
            return
        if recorded.cut_message:
            new = new[: len(message)]
        if found.cut_message:
            message = message[: len(new)]
        compared = _texts("message of the error", settled(message), settled(new), rerun)
        if may_fail and compared.verdict is Verdict.DIFFERENT:
            compared = replace(compared, verdict=Verdict.CLOSE)
        yield compared


def _phrase(error: tuple[str, str]) -> str:
    name, message = error
    if not name and not message.strip():
        return "an error without a name"
    return _clipped(f"{name}: {message}".strip().removesuffix(":").split("\n", 1)[0], 0)


def _stream(
    name: str, before: str, after: str, *, cut: bool, late: bool, rerun: Rerun
) -> Comparison:
    if cut:
        return _beginnings(name, before, after, rerun)
    compared = _texts(name, before, after, rerun)
    if compared.verdict is Verdict.DIFFERENT and late:
        one, other = ("\n".join(sorted(each.split("\n"))) for each in (before, after))
        if alike(one, other, rerun):  # threads write when they get to it
            return replace(compared, verdict=Verdict.CLOSE)
    return compared


def _beginnings(name: str, before: str, after: str, rerun: Rerun) -> Comparison:
    """Compare what is there of both; nobody knows about the rest."""
    one, other = before.split("\n"), after.split("\n")
    lines = min(len(one), len(other)) - 1  # the last line may be a part of one
    if lines:
        compared = _texts(name, "\n".join(one[:lines]), "\n".join(other[:lines]), rerun)
    else:
        most = min(len(one[0]), len(other[0]))
        compared = _texts(name, one[0][:most], other[0][:most], rerun)
    if compared.verdict is not Verdict.SAME:
        return compared
    words = f"{name}: only its beginning is kept, and that is the same"
    return Comparison(verdict=Verdict.CLOSE, difference=words)


def _displays(
    recorded: Sequence[tuple[JSONObject, bool]],
    found: Sequence[tuple[JSONObject, bool]],
    rerun: Rerun,
) -> Iterator[Comparison]:
    both = min(len(recorded), len(found))
    several = max(len(recorded), len(found)) > 1
    pairs = zip(recorded, found, strict=False)
    for at, ((before, cut), (after, cut_now)) in enumerate(pairs, 1):
        label = f"output {at}" if several else "output"
        yield from _display(label, before, after, cut or cut_now, rerun)
    for words, shown in (("recorded but missing now", recorded), ("not recorded", found)):
        for at, (display, _) in enumerate(shown[both:], both + 1):
            described = f"output {at} is {words}: {_described(display)}"
            yield Comparison(verdict=Verdict.DIFFERENT, difference=described)


def _display(
    label: str, before: JSONObject, after: JSONObject, cut: bool, rerun: Rerun
) -> Iterator[Comparison]:
    both = [mime for mime in before if mime in after]
    if cut:
        words = f"{label}: only a part of it is kept"
        yield Comparison(verdict=Verdict.CLOSE, difference=words)
    elif len(both) < max(len(before), len(after)):
        types, types_now = ([", ".join(sorted(display))] for display in (before, after))
        words = f"types of {label}\n{_sides(types, types_now, 0)}"
        yield Comparison(verdict=Verdict.DIFFERENT, difference=words)
        return
    compare_texts = _beginnings if cut else _texts
    for mime in both:
        where = label if mime == "text/plain" else f"{mime} of {label}"
        if mime in _PICTURES:
            yield _pictures(where, joined(before[mime]), joined(after[mime]))
        else:
            value, value_now = (_value(mime, display[mime]) for display in (before, after))
            yield compare_texts(where, value, value_now, rerun)


def _value(mime: str, value: JSON) -> str:
    if mime == _WIDGET:
        return "a widget"  # all that a notebook has of it is an identifier
    if JSON_MIME.match(mime) or not isinstance(value, Sequence):
        said = settled_json(value)
    elif BASE64.match(mime):
        packed = "".join(joined(value).split())
        return undated(packed) if mime == "application/pdf" else packed
    else:
        said = settled(joined(value))
    is_markup = mime in _MARKUP
    return renamed(said, markup=is_markup) if is_markup or _PROGRAM.match(mime) else said


def _described(display: JSONObject) -> str:
    shown = joined(display.get("text/plain")).split("\n", 1)[0]
    kinds = ", ".join(sorted(display))
    return f"{_clipped(shown, 0)} ({kinds})" if shown else kinds


def _pictures(where: str, before: str, after: str) -> Comparison:
    if "".join(before.split()) == "".join(after.split()):
        return SAME
    found = picture_difference(before, after)
    if found is None:
        words = f"{where} has other bytes, and is no picture that can be read"
        return Comparison(verdict=Verdict.DIFFERENT, difference=words)
    if not found.words:
        return SAME
    verdict = Verdict.CLOSE if found.close else Verdict.DIFFERENT
    return Comparison(verdict=verdict, difference=f"{where}: {found.words}")


def _texts(where: str, before: str, after: str, rerun: Rerun) -> Comparison:
    if before == after:
        return SAME
    verdict = Verdict.CLOSE if alike(before, after, rerun) else Verdict.DIFFERENT
    if verdict is Verdict.DIFFERENT and rerun.listing and (words := growth(before, after)):
        return Comparison(verdict=Verdict.CLOSE, difference=f"{where}: {words}")
    one, other = before.split("\n"), after.split("\n")
    first = _first(one, other, rerun, verdict)
    words = f"{where}, line {first + 1}\n{_sides(one, other, first)}"
    return Comparison(verdict=verdict, difference=words)


def _first(ours: Sequence[str], theirs: Sequence[str], rerun: Rerun, of: Verdict) -> int:
    """The first line that differs; where the texts are not close, the first that is not either."""
    unequal: int | None = None
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one == other:
            continue
        if unequal is None:
            unequal = at
        if of is Verdict.CLOSE or at > unequal + _SEARCHED:
            return unequal
        if not alike(one, other, rerun):
            return at
    if len(ours) != len(theirs):
        return min(len(ours), len(theirs))
    return unequal or 0


def _sides(ours: Sequence[str], theirs: Sequence[str], first: int) -> str:
    """The lines from the first that differs, recorded (-) and now (+), with their numbers."""
    pairs = zip(ours[first : first + 1], theirs[first : first + 1], strict=False)
    column = next((_column(one, other) for one, other in pairs), 0)
    last = max(
        (
            at
            for at in range(first, min(first + _LINES, max(len(ours), len(theirs))))
            if ours[at : at + 1] != theirs[at : at + 1]
        ),
        default=first,
    )
    width = len(str(last + 1))
    shown = []
    if first:
        shown.append(f"   {first:{width}} | {_clipped(ours[first - 1], 0)}")
    for sign, lines in (("-", ours), ("+", theirs)):
        for at, line in enumerate(lines[first : last + 1], first + 1):
            shown.append(f" {sign} {at:{width}} | {_clipped(line, column)}")
    return "\n".join(line.rstrip() for line in shown)


def _column(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _clipped(line: str, column: int) -> str:
    """So much of a line around a column as a person reads."""
    start = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    part = line[start : start + _WIDTH]
    return f"{'…' if start else ''}{part}{'…' if start + _WIDTH < len(line) else ''}"
