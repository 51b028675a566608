"""Streamable HTTP to a server elsewhere: requests with the headers of their era, over connections that are used again.

Standard library only. May be used by several threads at once. Where the token may go, `endpoint` says.
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from infra_mcp.cli.conversation import parsed
from infra_mcp.cli.endpoint import Endpoint

_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}  # methods whose header names the thing
_IDLE = 2.0  # seconds after which a connection is not used again: the other end may be closing it
_MAX_ANSWER = 16 * 1024 * 1024  # bytes
_MAX_ERROR = 64 * 1024  # bytes of the body of an error
_UNAUTHENTICATED, _MISSING = 401, 404


class SessionGoneError(Exception):
    """The server does not know the session any more."""


@dataclass(eq=False)
class Flight:
    """One request under way.

    Args:
        modern: of the 2026 era, in which ending the connection is how to cancel.
        cancelled: its answer is not wanted any more.
        wire: what it travels on.
    """

    modern: bool = False
    cancelled: bool = False
    wire: socket.socket | None = None

    def cut(self) -> None:
        """End its connection, which ends the request at the server."""
        self.cancelled = True
        if self.wire is not None:
            with suppress(OSError):  # it has ended already
                self.wire.shutdown(socket.SHUT_RDWR)


class Session:
    """Requests to one endpoint. `id` and `version` are of a session of the 2025 era; the 2026 era has none."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.id: str | None = None
        self.version: str | None = None
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._spare: list[tuple[http.client.HTTPConnection, float]] = []

    def answers(self, frame: dict[str, Any], flight: Flight) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Post a request and yield each frame that comes, its line first; the last one is the answer.

        A session of the 2025 era begins with the answer to `initialize`.

        Raises:
            InfraError: what the endpoint refuses it with; `server-unreachable`.
            SessionGoneError: the server does not know the session any more.
            OSError: the connection ended before the answer, was cut, or brought something else.
        """
        with self.request("POST", frame, flight) as response:
            kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            done = response.status == http.client.OK
            if done and kind == "text/event-stream":
                for data in events(response):
                    got = _frame(data)
                    answered = "method" not in got and got.get("id") == frame["id"]
                    if answered:
                        self._begin(frame, got, response)
                    yield b" ".join(data.split(b"\n")), got
                    if answered:
                        response.read(_MAX_ERROR)  # to the end, so that the connection can be used again
                        return
                raise ConnectionResetError
            body = response.read(_MAX_ANSWER + 1 if done else _MAX_ERROR)
            if response.status == _MISSING and self.id is not None and not flight.modern:
                raise SessionGoneError
            if done and kind == "application/json":
                answer = _frame(body)
                if "result" not in answer and not isinstance(answer.get("error"), dict):
                    raise ValueError
            else:
                answer = parsed(body) or {}
                if response.status == _UNAUTHENTICATED or not isinstance(answer.get("error"), dict):
                    raise self._endpoint.refusal(response.status, answer)
            self._begin(frame, answer, response)
            answer["id"] = frame["id"]
            yield json.dumps(answer).encode(), answer

    def post(self, path: str, body: dict[str, Any], flight: Flight) -> dict[str, Any]:
        """Post to an address beside the endpoint, and return the answer.

        Raises:
            InfraError: what it is refused with; `server-unreachable`.
            OSError: the connection ended before the answer.
        """
        with self.request("POST", body, flight, beside=path) as response:
            answer = parsed(response.read(_MAX_ANSWER)) or {}
            if response.status != http.client.OK:
                raise self._endpoint.refusal(response.status, answer)
            return answer

    def _begin(self, frame: dict[str, Any], answer: dict[str, Any], response: http.client.HTTPResponse) -> None:
        """From an answered `initialize` on, every request names its session."""
        if frame["method"] == "initialize" and isinstance(answer.get("result"), dict):
            self.id = response.getheader("Mcp-Session-Id")
            self.version = str(answer["result"].get("protocolVersion"))

    @contextmanager
    def request(
        self, method: str, frame: dict[str, Any] | None, flight: Flight, beside: str = ""
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and wait for the head of its answer. A connection whose answer was read whole is used again.

        With `beside` it goes to that path beside the endpoint, and is no frame.

        Raises:
            InfraError: `server-unreachable`, when there is no connection to be had.
            OSError: the connection ended, was cut, or brought something else than HTTP and frames.
        """
        headers = self._endpoint.headers() | ({} if beside else self._headers(frame))
        target = self._endpoint.beside(beside) if beside else self._endpoint.target
        if method == "GET":
            headers["Accept"] = "text/event-stream"
        connection, whole = self._connected(), False
        flight.wire = connection.sock
        try:
            if flight.cancelled:
                raise ConnectionAbortedError
            connection.request(method, target, json.dumps(frame).encode() if frame else None, headers)
            response = connection.getresponse()
            yield response
            whole = response.isclosed()
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionError from error
        finally:
            if whole:
                with self._lock:
                    self._spare.append((connection, time.monotonic()))
            else:
                connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._spare:
                connection, used = self._spare.pop()
                if connection.sock is not None and time.monotonic() - used < _IDLE and _quiet(connection.sock):
                    return connection
                connection.close()
        return self._endpoint.connect()

    def close(self) -> None:
        """End the connections that are not in use."""
        with self._lock:
            while self._spare:
                self._spare.pop()[0].close()

    def _headers(self, frame: dict[str, Any] | None) -> dict[str, str]:
        """What the transport repeats of a frame (MCP 2026-07-28, Streamable HTTP), or the session it belongs to."""
        version = stated_version(frame) if frame is not None else None
        headers: dict[str, str | None] = {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.version}
        if frame is not None and version is not None:
            headers = {"MCP-Protocol-Version": version, "Mcp-Method": _header(str(frame["method"]))}
            name = frame["params"].get(_NAMED.get(frame["method"], ""))
            headers["Mcp-Name"] = _header(name) if isinstance(name, str) else None
        return {name: value for name, value in headers.items() if value is not None}


def events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of each event that has any; comments (pings) and other fields are skipped (HTML standard, 9.2.6).

    Raises:
        ValueError: an event is too long.
    """
    data = bytearray()
    while line := response.readline(_MAX_ANSWER + 1):
        line = line.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data += line[5:].removeprefix(b" ") + b"\n"
            if len(data) > _MAX_ANSWER:
                raise ValueError
        elif not line:
            if data.strip():
                yield bytes(data[:-1])
            data.clear()


def stated_version(frame: dict[str, Any]) -> str | None:
    """The protocol version a frame of the 2026 era states; None for one of a session."""
    params = frame.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(_VERSION) if isinstance(meta, dict) else None
    return version if isinstance(version, str) and version.isascii() and version.isprintable() else None


def _frame(data: bytes) -> dict[str, Any]:
    frame = parsed(data) if len(data) <= _MAX_ANSWER else None
    if frame is None:
        raise ValueError
    return frame


def _quiet(wire: socket.socket) -> bool:
    """Whether the other end has sent nothing since its last answer, not even the end of the connection."""
    poll = select.poll()
    poll.register(wire, select.POLLIN)
    return not poll.poll(0)


def _header(value: str) -> str:
    """A value as a header carries it: as it is, or in Base64 where it could not be."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode(errors='replace')).decode()}?="
