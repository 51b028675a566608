"""Streamable HTTP to a server elsewhere: one POST a request (MCP 2026-07-28), answered as JSON or as events.

Standard library only. The token is sent over https, or over http to this machine itself, and nowhere else: no redirect
is followed, no proxy is asked, and a URL that carries a name or password is refused.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

from infra_mcp.cli.client import VERSION, BrokenConnectionError, Client
from infra_mcp.errors import InfraError

__all__ = ["Remote", "remote"]

_PATH = "/mcp"
_CONNECTING = 10.0  # seconds
_SILENCE = 60.0  # seconds without a byte; the server sends at least a ping every 15
_IDLE = 2.0  # seconds after which a connection is not used again: the other end may be closing it
_LONGEST = 16 * 1024 * 1024  # bytes of an answer
_LONGEST_ERROR = 64 * 1024
_UNAUTHENTICATED, _MISSING = 401, 404
_STREAM = "text/event-stream"
_Heard = Callable[[dict[str, Any]], None]


class Remote:
    """The way to a server by its URL.

    Args:
        url: https, or http on loopback; the path is /mcp when there is none.
        token: the bearer token.

    Raises:
        InfraError: `invalid-argument`, when the token may not be sent to such a URL.
    """

    remote = True

    def __init__(self, url: str, token: str) -> None:
        self._url = _checked(url)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InfraError("unauthenticated", "The token is not one that a server gives out.")
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def exchange(self, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        """Post one request and read what comes until its answer.

        Raises:
            InfraError: `server-unreachable`, `unauthenticated`.
        """
        connection = self._connected()
        try:
            answer = self._answer(connection, frame, heard)
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise BrokenConnectionError from None
        except BaseException:
            self.close()  # what is left of the answer is nobody's
            raise
        self._used = time.monotonic()
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and time.monotonic() - self._used < _IDLE:
            return self._connection
        self.close()
        host, port = self._url.hostname or "", self._url.port
        try:
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                made: http.client.HTTPConnection = http.client.HTTPSConnection(
                    host, port, timeout=_CONNECTING, context=context
                )
            else:
                made = http.client.HTTPConnection(host, port, timeout=_CONNECTING)
            made.connect()
            made.sock.settimeout(_SILENCE)
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._url.scheme == "http" and not _loopback(made.sock.getpeername()[0]):
                made.close()
                raise InfraError(
                    "invalid-argument", f"{host} is not this machine, so http would show the token to others."
                )
        except ssl.SSLCertVerificationError as error:
            what = f"The certificate of {host} is not trusted: {error.verify_message}."
            raise InfraError("server-unreachable", what, next_step="Name its authority: SSL_CERT_FILE.") from None
        except OSError as error:
            reason = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else "no connection")
            what = f"{self._shown()} cannot be reached: {reason}."
            raise InfraError(
                "server-unreachable", what, next_step="Check the URL, and that a server runs there."
            ) from None
        self._connection = made
        return made

    def _answer(self, connection: http.client.HTTPConnection, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": f"application/json, {_STREAM}",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": frame["method"],
        }
        if frame["method"] == "tools/call":
            headers["Mcp-Name"] = frame["params"]["name"]
        target = (self._url.path if self._url.path.strip("/") else _PATH) + (
            f"?{self._url.query}" if self._url.query else ""
        )
        connection.request("POST", target, json.dumps(frame).encode(), headers)
        response = connection.getresponse()
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if response.status == http.client.OK and kind == _STREAM:
            return self._streamed(response, frame, heard)
        body = response.read(_LONGEST + 1 if response.status == http.client.OK else _LONGEST_ERROR)
        if response.status == http.client.OK and kind == "application/json":
            return _frame(body)
        self.close()
        return self._failed(response.status, kind, body)

    def _streamed(self, response: http.client.HTTPResponse, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        for data in _events(response):
            got = _frame(data)
            if "method" not in got and got.get("id") == frame["id"]:
                response.read(_LONGEST_ERROR)  # to the end, so that the connection can be used again
                return got
            heard(got)
        raise BrokenConnectionError

    def _failed(self, status: int, kind: str, body: bytes) -> dict[str, Any]:
        """The answer inside an error's body, where there is one; else what the status says."""
        if status == _UNAUTHENTICATED:
            raise InfraError("unauthenticated", f"{self._shown()} does not take the token.")
        if kind == "application/json":
            try:
                answer = _frame(body)
            except ValueError:
                answer = {}
            if isinstance(answer.get("error"), dict):
                return answer
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            what = f"{self._shown()} sends the caller elsewhere; with a token that is not followed."
            raise InfraError("server-unreachable", what, next_step="Give the server's own URL.")
        what = f"{self._shown()} answers with HTTP {status}."
        if status == _MISSING:
            what = f"There is no MCP endpoint at {self._shown()}."
        raise InfraError("server-unreachable", what, next_step="Check the URL; it usually ends in /mcp.")

    def _shown(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc}"

    def close(self) -> None:
        """End the connection; the next exchange makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InfraError("invalid-argument", "The URL is not one of http or https.", next_step="e.g. https://HOST/mcp")
    if parts.username is not None or parts.password is not None or parts.fragment:
        what = "The URL carries a name, a password or a fragment."
        raise InfraError("invalid-argument", what, next_step="Leave it out; the token comes from INFRA_MCP_TOKEN.")
    if parts.scheme == "http" and host != "localhost" and not _loopback(host):
        what = "With http the token could be read on the way; it is taken for this machine only."
        raise InfraError("invalid-argument", what, next_step="Use https, or a tunnel to 127.0.0.1.")
    return parts


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _frame(body: bytes) -> dict[str, Any]:
    if len(body) > _LONGEST:
        raise ValueError
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError from None
    if not isinstance(answer, dict):
        raise ValueError  # noqa: TRY004 - not a frame of this protocol, whatever it is
    return answer


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of each event; comments (pings) and other fields are passed over. See the HTML standard, 9.2.6."""
    data: list[bytes] = []
    size = 0
    while line := response.readline(_LONGEST + 1):
        line = line.rstrip(b"\r\n")
        if not line:
            if data:
                yield b"\n".join(data)
            data, size = [], 0
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
            size += len(line)
            if size > _LONGEST:
                raise ValueError


@contextmanager
def remote(url: str, token: str | None) -> Iterator[Client]:
    """A client of the server at a URL. Nothing is sent before the first call.

    Raises:
        InfraError: `invalid-argument`, `unauthenticated` without a token.
    """
    if token is None:
        what = "A server is called by its URL with a peer's token, and none is given."
        raise InfraError("unauthenticated", what, next_step="Set INFRA_MCP_TOKEN, or name a file: --token-file.")
    transport = Remote(url, token)
    try:
        yield Client(transport)
    finally:
        transport.close()
