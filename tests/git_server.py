"""A git server over HTTP on loopback: git's own `http-backend` behind Python's server, with a token it asks for."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

__all__ = ["GitServer"]


@dataclass
class GitServer:
    """Serves the bare repositories of a folder.

    Args:
        home: the folder.
        token: what the password must be; none is asked for where it is empty.
        port: a fixed one, so that it can come back where it was.
        seen: the password of each request that had one.
        lose: how many pushes are taken without an answer: the connection ends instead.
    """

    home: Path
    token: str = ""
    port: int = 0
    seen: list[str] = field(default_factory=list)
    lose: int = 0

    @property
    def url(self) -> str:
        """Where it answers, once it was up."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def up(self) -> Iterator[str]:
        """Answer until the block ends; gives the address."""
        with ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self)) as server:
            self.port = server.server_port
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield self.url
            finally:
                server.shutdown()
                thread.join()


def _handler(git: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            kind, _, given = self.headers.get("Authorization", "").partition(" ")
            password = base64.b64decode(given).decode().partition(":")[2] if kind == "Basic" else ""
            git.seen += [password] if password else []
            if git.token and password != git.token:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            size = int(self.headers.get("Content-Length") or 0)
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(git.home),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(size),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "infra",
            }
            body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(size)
            done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
            if git.lose and self.command == "POST" and path.endswith("/git-receive-pack"):
                git.lose -= 1
                self.close_connection = True
                return
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
            self.send_response(int(fields.pop("Status", "200").partition(" ")[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            return found

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
