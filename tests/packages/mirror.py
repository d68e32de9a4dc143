"""A package index on loopback, also reached as a proxy is, with one package and nothing else."""

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PACKAGE = "kernel_exec_test_package"
_WHEEL = f"{PACKAGE}-1.0-py3-none-any.whl"


def _wheel() -> bytes:
    folder = f"{PACKAGE}-1.0.dist-info"
    files = {
        f"{PACKAGE}.py": "WHERE = 'the mirror'\n",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    sums = [
        f"{name},sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()},{len(text)}\n"
        for name, text in files.items()
        for digest in [hashlib.sha256(text.encode()).digest()]
    ]
    files[f"{folder}/RECORD"] = "".join([*sums, f"{folder}/RECORD,,\n"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return packed.getvalue()


class _Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = urlsplit(self.path).path
        kind, body = "text/html", b""
        if path == f"/simple/{PACKAGE.replace('_', '-')}/":
            body = f'<a href="/files/{_WHEEL}">{_WHEEL}</a>'.encode()
        elif path == f"/files/{_WHEEL}":
            kind, body = "application/octet-stream", _wheel()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        """It is quiet."""


@contextmanager
def mirror() -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it is asked for: whole addresses by those who take it for a proxy."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
