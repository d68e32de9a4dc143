"""A cell's outputs as recorded and as they are now: what is the same, and the first difference.

Pure. Outputs are JSON values as nbformat has them, and may come from anybody: nothing in them
raises. What a stream said is one text, however it was cut up; displays are compared in order.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.notebooks.outputs import with_rests
from kernel_exec.notebooks.reading import joined, ours, writable
from kernel_exec.pictures import picture_difference

from .identifiers import renamed, undated
from .normalise import ANY_TIME, Now, alike, settled, settled_json


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
_PRIVATE = ("application/vnd.kernel-exec.", "text/llm+plain")
_JSON = re.compile(r"application/(?:.*\+)?json$")
_BASE64 = re.compile(r"image/(?!svg\+xml)|(?:audio|video)/|application/pdf")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What a cell shows: text by stream, displays by MIME type, errors as name and message."""

    streams: Mapping[str, str] = field(default_factory=dict)
    late: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    displays: Sequence[JSONObject] = ()
    cut_displays: frozenset[int] = frozenset()
    errors: Sequence[tuple[str, str]] = ()
    cut_error: bool = False


def compare(
    before: JSON,
    after: JSON,
    *,
    may_fail: bool = False,
    errors_only: bool = False,
    source: str = "",
    now: Now = ANY_TIME,
) -> Comparison:
    """Compare the outputs recorded in a cell with those of now.

    Args:
        before: As recorded.
        after: As they are now.
        may_fail: The cell is tagged `raises-exception`.
        errors_only: No outputs were recorded, so that only a new error can be told.
        source: The cell's code.
        now: When it ran again, and in which process.
    """
    ours, theirs = (_read(writable(outputs)) for outputs in (before, after))
    if _WRITES.match(source):
        ours, theirs = _without_history(ours), _without_history(theirs)
    if errors_only and (may_fail or ours.errors):
        return SAME
    found = list(_errors(ours, theirs, may_fail=may_fail, now=now))
    if not errors_only:
        names = sorted({*ours.streams, *theirs.streams})
        found += [_stream(name, ours, theirs, now) for name in names]
        found += _displays(ours, theirs, now)
    return worst(found)


def worst(found: Sequence[Comparison]) -> Comparison:
    """The first of the worst; `SAME` when there is none."""
    return max(found, key=lambda each: _ORDER.index(each.verdict), default=SAME)


def _read(outputs: JSON) -> _Shown:
    streams: dict[str, list[str]] = {}
    late: set[str] = set()
    displays: list[JSONObject] = []
    cut_displays: set[int] = set()
    errors: list[tuple[str, str]] = []
    cut: set[str] = set()
    after_end = cut_error = False
    for output, missing in with_rests(outputs):
        about = ours(output)
        match output.get("output_type"):
            case "stream":
                name = text(output, "name") or "stdout"
                if name not in cut:  # else there is a gap before it
                    streams.setdefault(name, []).append(joined(output.get("text")))
                cut.update({name} if missing else ())
                late.update({name} if after_end else ())
            case "error":
                errors.append((joined(output.get("ename")), joined(output.get("evalue"))))
                cut_error = (count(missing, "message") or 0) > len(errors[-1][1])
            case "display_data" | "execute_result" | "pyout":
                if about.get("role") == "late":
                    after_end = True
                    continue
                shown = _bundle(mapping(output, "data"))
                cut_displays.update({len(displays)} if missing else ())
                displays += [shown] if shown or missing else []
            case _:
                pass
    return _Shown(
        streams={name: "".join(parts) for name, parts in streams.items()},
        late=frozenset(late),
        cut=frozenset(cut),
        displays=displays,
        cut_displays=frozenset(cut_displays),
        errors=errors,
        cut_error=cut_error,
    )


def _without_history(shown: _Shown) -> _Shown:
    """The same, whether the file that the cell wrote had been there or not."""
    said = {name: _WRITTEN.sub("", written) for name, written in shown.streams.items()}
    return replace(shown, streams=said)


def _bundle(data: JSONObject) -> JSONObject:
    return {
        mime: value
        for mime, value in data.items()
        if not mime.startswith(_PRIVATE) and value is not None
    }


def _errors(ours: _Shown, theirs: _Shown, *, may_fail: bool, now: Now) -> Iterator[Comparison]:
    if not ours.errors and not theirs.errors:
        return
    if not ours.errors:
        verdict = Verdict.DIFFERENT if may_fail else Verdict.NEW_ERROR
        yield Comparison(verdict=verdict, difference=_phrase(theirs.errors[-1]))
        return
    if not theirs.errors:
        words = f"no error any more; recorded was {_phrase(ours.errors[-1])}"
        yield Comparison(verdict=Verdict.FIXED, difference=words)
        return
    (name, said), (new_name, new) = ours.errors[-1], theirs.errors[-1]
    if name != new_name:
        words = _sides([_phrase((name, said))], [_phrase((new_name, new))], 0)
        yield Comparison(verdict=Verdict.DIFFERENT, difference=f"another error\n{words}")
        return
    if ours.cut_error:
        new = new[: len(said)]
    if theirs.cut_error:
        said = said[: len(new)]
    compared = _texts("message of the error", settled(said), settled(new), now)
    if may_fail and compared.verdict is Verdict.DIFFERENT:
        compared = Comparison(verdict=Verdict.CLOSE, difference=compared.difference)
    yield compared


def _phrase(error: tuple[str, str]) -> str:
    name, said = error
    if not name and not said.strip():
        return "an error without a name"
    return _clipped(f"{name}: {said}".strip().removesuffix(":").split("\n", 1)[0], 0)


def _stream(name: str, ours: _Shown, theirs: _Shown, now: Now) -> Comparison:
    before, after = (settled(shown.streams.get(name, "")) for shown in (ours, theirs))
    if name in ours.cut | theirs.cut:
        return _beginnings(name, before, after, now)
    compared = _texts(name, before, after, now)
    if compared.verdict is Verdict.DIFFERENT and name in ours.late | theirs.late:
        one, other = ("\n".join(sorted(each.split("\n"))) for each in (before, after))
        if alike(one, other, now):  # threads write when they get to it
            return Comparison(verdict=Verdict.CLOSE, difference=compared.difference)
    return compared


def _beginnings(name: str, before: str, after: str, now: Now) -> Comparison:
    """Compare what is there of both; nobody knows about the rest."""
    ours, theirs = before.split("\n"), after.split("\n")
    lines = min(len(ours), len(theirs)) - 1  # the last line may be a part of one
    if lines:
        compared = _texts(name, "\n".join(ours[:lines]), "\n".join(theirs[:lines]), now)
    else:
        most = min(len(ours[0]), len(theirs[0]))
        compared = _texts(name, ours[0][:most], theirs[0][:most], now)
    if compared.verdict is not Verdict.SAME:
        return compared
    words = f"{name}: only its beginning is kept, and that is the same"
    return Comparison(verdict=Verdict.CLOSE, difference=words)


def _displays(ours: _Shown, theirs: _Shown, now: Now) -> Iterator[Comparison]:
    both = min(len(ours.displays), len(theirs.displays))
    several = max(len(ours.displays), len(theirs.displays)) > 1
    for at in range(both):
        partial = at in ours.cut_displays | theirs.cut_displays
        label = f"output {at + 1}" if several else "output"
        yield from _display(label, ours.displays[at], theirs.displays[at], partial, now)
    for words, shown in (("recorded but missing now", ours), ("not recorded", theirs)):
        for at, display in enumerate(shown.displays[both:], both + 1):
            described = f"output {at} is {words}: {_described(display)}"
            yield Comparison(verdict=Verdict.DIFFERENT, difference=described)


def _display(
    label: str, before: JSONObject, after: JSONObject, partial: bool, now: Now
) -> Iterator[Comparison]:
    both = [mime for mime in before if mime in after]
    if partial:
        words = f"{label}: only a part of it is kept"
        yield Comparison(verdict=Verdict.CLOSE, difference=words)
    elif len(both) < max(len(before), len(after)):
        recorded, found = (", ".join(sorted(display)) for display in (before, after))
        words = f"types of {label}\n{_sides([recorded], [found], 0)}"
        yield Comparison(verdict=Verdict.DIFFERENT, difference=words)
        return
    for mime in both:
        where = label if mime == "text/plain" else f"{mime} of {label}"
        if partial and mime not in _PICTURES:
            yield _beginnings(where, _value(mime, before[mime]), _value(mime, after[mime]), now)
        elif mime in _PICTURES:
            yield _pictures(where, joined(before[mime]), joined(after[mime]))
        else:
            yield _texts(where, _value(mime, before[mime]), _value(mime, after[mime]), now)


def _value(mime: str, value: JSON) -> str:
    if mime == _WIDGET:
        return "a widget"  # all that is told of it is an identifier
    if _JSON.match(mime) or not isinstance(value, Sequence):
        said = settled_json(value)
    elif _BASE64.match(mime):
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


def _texts(where: str, before: str, after: str, now: Now) -> Comparison:
    if before == after:
        return SAME
    verdict = Verdict.CLOSE if alike(before, after, now) else Verdict.DIFFERENT
    ours, theirs = before.split("\n"), after.split("\n")
    first = _first(ours, theirs, now, verdict)
    words = f"{where}, line {first + 1}\n{_sides(ours, theirs, first)}"
    return Comparison(verdict=verdict, difference=words)


def _first(ours: Sequence[str], theirs: Sequence[str], now: Now, of: Verdict) -> int:
    """The first line that differs; where the texts are not close, the first that is not either."""
    unequal: int | None = None
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one == other:
            continue
        if unequal is None:
            unequal = at
        if of is Verdict.CLOSE or at > unequal + _SEARCHED:
            return unequal
        if not alike(one, other, now):
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
