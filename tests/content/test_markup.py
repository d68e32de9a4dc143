"""HTML as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.content.markup import html_text

PAGES = {
    "words": ("<b>a</b> <i>b</i>", "a b"),
    "blocks": ("<p>a<p>b<div>c</div>d", "a\nb\nc\nd"),
    "a table": (
        "<table><tr><th>a<th>b</th></tr><tr><td>1</td><td>2</td></tr></table>",
        "ab\n1 | 2",
    ),
    "entities": ("&lt;a&gt; &amp; &nbsp;b", "<a> & b"),
    "preformatted": ("<pre>a\n  b</pre>", "a\n  b"),
    "nothing to read": ("<style>p {}</style><script>x()</script><div></div>", ""),
    "something drawn": ("<svg><text>a</text></svg>", "[HTML with svg, 25 characters]"),
    "not closed": ("<div><pre>a", "a"),
    "no HTML": ("a < b", "a < b"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads(name: str) -> None:
    html, text = PAGES[name]
    assert html_text(html) == text


@given(st.text(alphabet="<>/&;!-ab pretdsc\"'=\n"))
def test_whatever_it_is_there_is_a_text(html: str) -> None:
    assert isinstance(html_text(html), str)
