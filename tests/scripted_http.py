"""A web server on loopback that answers as a test scripts it, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["Answer", "Asked", "scripted"]


@dataclass(frozen=True)
class Answer:
    """What is answered: a body of JSON, or raw bytes; None ends the connection without an answer."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    broken: bool = False


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str]
    body: Any


@contextmanager
def scripted(answer: Callable[[Asked], Answer]) -> Iterator[tuple[str, list[Asked]]]:
    """Answer until the block ends; gives the address, and the requests as they come."""
    seen: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), json.loads(data) if data else None)
            seen.append(asked)
            said = answer(asked)
            if said.broken:
                self.close_connection = True
                return
            text = said.raw if said.raw is not None else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(text)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _any  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()
