"""Interactive charts in a line of text: their kind, their axes, how much data they show. Pure."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from kernel_exec.jsons import JSON, JSONObject, mapping, text

from .media import decoded_size
from .plain import counted

_MOST_FIELDS = 8
_LONGEST = 80


def describe_chart(data: JSONObject) -> str:
    """A line on the chart or the map in a display, "" when there is none."""
    for mime, spec in data.items():
        if isinstance(spec, Mapping):
            if mime.startswith("application/vnd.plotly."):
                return _plotly(spec)
            if mime.startswith(("application/vnd.vegalite.", "application/vnd.vega.")):
                return _vega(spec)
            if mime == "application/geo+json":
                return _geojson(spec)
    if any(mime.startswith("application/vnd.bokehjs_exec.") for mime in data):
        return _bokeh(text(data, "application/javascript"))
    html = text(data, "text/html")
    return _vega(spec) if "vegaEmbed" in html and (spec := _embedded(html)) else ""


def _embedded(html: str) -> JSONObject:
    """The Vega chart that is the argument of a script, as Altair writes it."""
    for called in _CALLED.finditer(html):
        try:
            spec, _ = json.JSONDecoder().raw_decode(html, called.start(1))
        except ValueError:
            continue
        if isinstance(spec, dict) and "vega" in str(spec.get("$schema")):
            return spec
    return {}


def _bokeh(script: str) -> str:
    glyphs = Counter(_GLYPH.findall(script))
    title = _BOKEH_TITLE.search(script)
    return _line("Bokeh chart", _short(title[1]) if title else "", [_counted(glyphs)])


def _geojson(spec: JSONObject) -> str:
    features = list(_objects(spec.get("features")))
    kinds = Counter(text(mapping(feature, "geometry"), "type") for feature in features)
    return _line(f"GeoJSON {_short(text(spec, 'type'))}", "", [_counted(kinds)])


def _plotly(spec: JSONObject) -> str:
    traces = list(_objects(spec.get("data")))
    kinds = Counter(text(trace, "type") or "scatter" for trace in traces)
    points = sum(max(_size(trace.get(axis)) for axis in _AXES) for trace in traces)
    layout = mapping(spec, "layout")
    parts = [
        counted(len(traces), "trace"),
        _counted(kinds),
        counted(points, "point") if points else "",
        *(
            f"{name[0]}: {title}"
            for name in ("xaxis", "yaxis")
            if (title := _title(mapping(layout, name)))
        ),
    ]
    return _line("Plotly chart", _title(layout), parts)


def _vega(spec: JSONObject) -> str:
    mark = spec.get("mark")
    kind = text(mark, "type") if isinstance(mark, Mapping) else mark
    layers = sum(1 for _ in _objects(spec.get("layer")))
    encoded = [
        f"{_short(channel)}: {shown}"
        for channel, how in mapping(spec, "encoding").items()
        if isinstance(how, Mapping) and (shown := _encoded(how))
    ]
    rows = _length(mapping(spec, "data").get("values"))
    rows += sum(_length(rows_of) for rows_of in mapping(spec, "datasets").values())
    parts = [
        _short(kind) if isinstance(kind, str) else _composed(spec, layers),
        *encoded[:_MOST_FIELDS],
        f"{len(encoded) - _MOST_FIELDS} more" if len(encoded) > _MOST_FIELDS else "",
        counted(rows, "row") if rows else "",
    ]
    return _line("Vega chart", _title(spec), parts)


def _encoded(how: JSONObject) -> str:
    """What a channel shows: a field, or what is made of it, as `mean(price)`."""
    shown = _short(text(how, "field"))
    for made in ("timeUnit", "aggregate"):
        if name := _short(text(how, made)):
            shown = f"{name}({shown})" if shown else name
    return f"bin({shown})" if how.get("bin") else shown


def _composed(spec: JSONObject, layers: int) -> str:
    if layers:
        return counted(layers, "layer")
    for how in ("hconcat", "vconcat", "concat"):
        if charts := sum(1 for _ in _objects(spec.get(how))):
            return counted(charts, "chart")
    return "composed"


def _counted(kinds: Counter[str]) -> str:
    """How many there are of each kind, the most frequent first."""
    shown = [f"{count:,} {_short(kind)}" for kind, count in kinds.most_common() if kind]
    left = len(shown) - _MOST_FIELDS
    more = [counted(left, "more kind")] if left > 0 else []
    return ", ".join([*shown[:_MOST_FIELDS], *more])


_CALLED = re.compile(r"\}\)\((\{)")
_GLYPH = re.compile(r'"glyph":\{"type":"object","name":"(\w{1,40})"')
_BOKEH_TITLE = re.compile(r'"name":"Title","id":"[^"]{1,40}","attributes":\{"text":"([^"]{1,200})"')
_AXES = ("x", "y", "z", "values", "lat", "locations")


def _line(kind: str, title: str, parts: list[str]) -> str:
    named = f"{kind} {title!r}" if title else kind
    facts = "; ".join(part for part in parts if part)
    return f"[{named}: {facts}]" if facts else f"[{named}]"


def _title(described: JSONObject) -> str:
    title = described.get("title")
    return _short(text(title, "text") if isinstance(title, Mapping) else str(title or ""))


def _short(written: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(written[: 2 * _LONGEST].split())
    return line if len(written) <= _LONGEST else f"{line[:_LONGEST]}…"


def _objects(value: JSON) -> Iterator[JSONObject]:
    if isinstance(value, (list, tuple)):
        yield from (each for each in value if isinstance(each, Mapping))


def _size(value: JSON) -> int:
    """The same for a grid, which is a list of rows."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
        return sum(map(_length, value))
    return _length(value)


def _length(value: JSON) -> int:
    """The number of values in a list, or in an array that Plotly writes as base64."""
    if isinstance(value, (list, tuple)):
        return len(value)
    if not isinstance(value, Mapping):
        return 0
    size = text(value, "dtype")[-1:]
    return decoded_size(text(value, "bdata")) // int(size) if size in {"1", "2", "4", "8"} else 0
