"""A server of states with locks, as the `http` backend expects it: a lock stays until it is taken back by its id."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

__all__ = ["StateServer", "state_server"]


class StateServer:
    """What it holds."""

    def __init__(self) -> None:
        self.state: bytes | None = None
        self.lock: dict[str, str] | None = None
        self.refused = 0  # how often somebody met the lock of another
        self.address = ""
        self.password = ""  # where it is set, a request without it is refused


class _Handler(BaseHTTPRequestHandler):
    held: ClassVar[StateServer]
    one: ClassVar[threading.Lock]

    def parse_request(self) -> bool:
        """Refuse a request without the password."""
        if not super().parse_request():
            return False
        given = base64.b64decode((self.headers.get("Authorization") or "").removeprefix("Basic ")).decode()
        if self.held.password and given.partition(":")[2] != self.held.password:
            self._answer(401, b"who are you?")
            return False
        return True

    def do_GET(self):
        with self.one:
            self._answer(200 if self.held.state else 204, self.held.state or b"")

    def do_POST(self):
        body = self._body()
        with self.one:
            self.held.state = body
            self._answer(200)

    def do_LOCK(self):
        wanted = json.loads(self._body())
        with self.one:
            if self.held.lock is not None:
                self.held.refused += 1
                self._answer(423, json.dumps(self.held.lock).encode())
                return
            self.held.lock = wanted
            self._answer(200)

    def do_UNLOCK(self):
        body = self._body()
        with self.one:
            given = json.loads(body) if body else {}
            if self.held.lock is not None and given and given.get("ID") != self.held.lock["ID"]:
                self._answer(409, json.dumps(self.held.lock).encode())
                return
            self.held.lock = None
            self._answer(200)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def state_server() -> Iterator[StateServer]:
    """A server on a loopback port."""
    held = StateServer()
    handler = type("Handler", (_Handler,), {"held": held, "one": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    held.address = f"http://127.0.0.1:{server.server_address[1]}/state"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
