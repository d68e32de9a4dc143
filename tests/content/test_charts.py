"""Charts in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.charts import describe_chart
from kernel_exec.jsons import JSONObject

PLOTLY = "application/vnd.plotly.v1+json"
VEGA = "application/vnd.vegalite.v5+json"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["data", "layout", "type", "x", "title", "text", "xaxis", "mark",
                             "encoding", "field", "values", "datasets", "dtype", "bdata", "layer"]),
            inner,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"data": [], "layout": {}}, "[Plotly chart: 0 traces]"),
        (
            {
                "data": [
                    {"type": "bar", "x": ["a", "b"], "y": [1, 2]},
                    {"type": "bar", "x": ["a"], "y": [1]},
                    {"y": [1, 2, 3]},
                ],
                "layout": {
                    "title": {"text": "Sales"},
                    "xaxis": {"title": {"text": "region"}},
                    "yaxis": {"title": "EUR"},
                },
            },
            "[Plotly chart 'Sales': 3 traces; 2 bar, 1 scatter; 6 points; x: region; y: EUR]",
        ),
        (
            {
                "data": [
                    {"type": "scatter", "y": {"dtype": "f8", "bdata": "AAAAAAAA8D8AAAAAAAAAQA=="}}
                ]
            },
            "[Plotly chart: 1 trace; 1 scatter; 2 points]",
        ),
        (
            {"data": [{"type": "heatmap", "x": [1, 2], "z": [[1, 2], [3, 4], [5, 6]]}]},
            "[Plotly chart: 1 trace; 1 heatmap; 6 points]",
        ),
        (
            {"data": [{"type": f"kind{at}"} for at in range(10)]},
            "[Plotly chart: 10 traces; "
            f"{', '.join(f'1 kind{at}' for at in range(8))}, 2 more kinds]",
        ),
    ],
)
def test_a_plotly_chart_is_told_by_traces_points_and_axes(spec: JSONObject, line: str) -> None:
    assert describe_chart({"text/html": "<div>", PLOTLY: spec}) == line


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({}, "[Vega chart: composed]"),
        ({"layer": [{}, {}]}, "[Vega chart: 2 layers]"),
        (
            {
                "title": "Cars",
                "mark": {"type": "point", "tooltip": True},
                "encoding": {
                    "x": {"field": "power"},
                    "y": {"aggregate": "count", "type": "quantitative"},
                    "color": {},
                },
                "datasets": {"data-1": [{"power": 1}, {"power": 2}]},
            },
            "[Vega chart 'Cars': point; x: power; y: count; 2 rows]",
        ),
        (
            {
                "mark": "line",
                "encoding": {
                    "x": {"field": "date", "timeUnit": "yearmonth"},
                    "y": {"field": "price", "aggregate": "mean"},
                    "color": {"field": "size", "bin": True},
                },
            },
            "[Vega chart: line; x: yearmonth(date); y: mean(price); color: bin(size)]",
        ),
        (
            {"mark": "bar", "encoding": {f"c{at}": {"field": "a\nb"} for at in range(9)}},
            f"[Vega chart: bar; {'; '.join(f'c{at}: a b' for at in range(8))}; 1 more]",
        ),
        ({"mark": "bar", "data": {"values": [1]}}, "[Vega chart: bar; 1 row]"),
    ],
)
def test_a_vega_chart_is_told_by_mark_channels_and_rows(spec: JSONObject, line: str) -> None:
    assert describe_chart({VEGA: spec}) == line


@pytest.mark.parametrize(
    "data", [{}, {"text/plain": "x"}, {PLOTLY: "text"}, {"application/json": {}}]
)
def test_what_is_no_chart_is_nothing(data: JSONObject) -> None:
    assert describe_chart(data) == ""


@given(values, st.sampled_from([PLOTLY, VEGA]))
def test_no_chart_is_a_reason_to_fail(spec: JSONObject, mime: str) -> None:
    describe_chart({mime: spec})


def test_a_line_stays_short_whatever_the_chart_says() -> None:
    spec: JSONObject = {
        "title": "t" * 9999,
        "mark": "bar",
        "encoding": {f"c{at}": {"field": "f" * 9999} for at in range(99)},
    }
    assert len(describe_chart({VEGA: spec})) < 1000
