"""The measuring stick: a stock ipykernel and the least client that can talk to it."""

import hashlib
import hmac
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

_DELIMITER = b"<IDS|MSG>"


class BareClient:
    """Sends execute requests and waits for reply and idle; signs, but checks nothing."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._key = connection["key"].encode()
        self._session = uuid.uuid4().hex
        self._context = zmq.Context()
        self._shell = self._connect(zmq.DEALER, connection, "shell_port")
        self._iopub = self._connect(zmq.SUB, connection, "iopub_port")
        self._poller = zmq.Poller()
        self._poller.register(self._shell, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)

    def _connect(self, kind: int, connection: dict[str, Any], port: str) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.linger = 0
        made.set(zmq.RECONNECT_IVL, 5)
        if kind == zmq.SUB:
            made.set(zmq.RCVHWM, 0)
            made.set(zmq.SUBSCRIBE, b"")
        made.connect(f"ipc://{connection['ip']}-{connection[port]}")
        return made

    def request(self, msg_type: str, content: dict[str, Any]) -> int:
        """Send, wait for reply and idle; the characters of stream text that came."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "session": self._session,
            "username": "",
            "version": "5.3",
            "date": "2026-01-01T00:00:00+00:00",
        }
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        signature = hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        self._shell.send_multipart([_DELIMITER, signature, *parts])
        replied = idle = False
        received = 0
        while not (replied and idle):
            for ready, _ in self._poller.poll():
                frames = ready.recv_multipart()
                at = frames.index(_DELIMITER)
                kind = json.loads(frames[at + 2])["msg_type"]
                if json.loads(frames[at + 3]).get("msg_id") != msg_id:
                    continue
                told = json.loads(frames[at + 5])
                if ready is self._shell:
                    replied = True
                elif kind == "status":
                    idle = told["execution_state"] == "idle"
                elif kind == "stream":
                    received += len(told["text"])
        return received

    def execute(self, code: str) -> int:
        """Run `code`; the characters of stream text that came."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        return self.request("execute_request", content)

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def stock_kernel() -> Iterator[BareClient]:
    """A client of a kernel that was started as `python -m ipykernel_launcher`."""
    with tempfile.TemporaryDirectory() as folder:
        connection = {
            "ip": f"{folder}/s",
            "key": uuid.uuid4().hex,
            "transport": "ipc",
            "signature_scheme": "hmac-sha256",
            **{f"{name}_port": at for at, name in enumerate(_CHANNELS, start=1)},
        }
        file = Path(folder) / "connection.json"
        file.write_text(json.dumps(connection))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ipykernel_launcher", "-f", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        client = BareClient(connection)
        try:
            client.request("kernel_info_request", {})
            yield client
        finally:
            client.close()
            process.kill()
            process.wait()


_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
