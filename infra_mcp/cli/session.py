"""The HTTP side of a bridge: requests with the headers of their era, over connections that are used again.

Standard library only. May be used by several threads at once.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from infra_mcp.cli.endpoint import Endpoint

_VERSION = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}  # methods whose header names the thing
_IDLE = 2.0  # seconds after which a connection is not used again: the other end may be closing it


@dataclass(eq=False)
class Flight:
    """One request under way.

    Args:
        modern: of the 2026 era, in which ending the connection is how to cancel.
        cancelled: nobody waits for its answer.
        wire: what it travels on.
    """

    modern: bool = False
    cancelled: bool = False
    wire: socket.socket | None = None

    def cut(self) -> None:
        """End its connection, which ends the request at the server."""
        self.cancelled = True
        if self.wire is not None:
            try:
                self.wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself


class Session:
    """Requests to one endpoint. `id` and `version` are of a session of the 2025 era; the 2026 era has none."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.id: str | None = None
        self.version: str | None = None
        self._lock = threading.Lock()
        self._spare: list[tuple[http.client.HTTPConnection, float]] = []

    def exchange(
        self, method: str, frame: dict[str, Any] | None, flight: Flight
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request and wait for the head of its answer.

        Raises:
            InfraError: `server-unreachable`, when there is no connection to be had.
            OSError: the connection ended, or was cut. Also HTTPException.
        """
        headers = self.endpoint.headers() | self._headers(frame)
        if method == "GET":
            headers["Accept"] = "text/event-stream"
        connection = self._connected()
        flight.wire = connection.sock
        if flight.cancelled:
            connection.close()
            raise ConnectionAbortedError
        connection.request(method, self.endpoint.target, json.dumps(frame).encode() if frame else None, headers)
        return connection, connection.getresponse()

    def done(self, connection: http.client.HTTPConnection) -> None:
        """Take back a connection whose answer was read to the end."""
        with self._lock:
            self._spare.append((connection, time.monotonic()))

    def _connected(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._spare:
                connection, used = self._spare.pop()
                if connection.sock is not None and time.monotonic() - used < _IDLE:
                    return connection
                connection.close()
        return self.endpoint.connect()

    def _headers(self, frame: dict[str, Any] | None) -> dict[str, str]:
        """What the transport repeats of a frame (MCP 2026-07-28, Streamable HTTP), or the session it belongs to."""
        version = stated_version(frame) if frame is not None else None
        headers: dict[str, str | None] = {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.version}
        if frame is not None and version is not None:
            headers = {"MCP-Protocol-Version": version, "Mcp-Method": _header(str(frame["method"]))}
            name = frame["params"].get(_NAMED.get(frame["method"], ""))
            headers["Mcp-Name"] = _header(name) if isinstance(name, str) else None
        return {name: value for name, value in headers.items() if value is not None}


def stated_version(frame: dict[str, Any]) -> str | None:
    """The protocol version a frame of the 2026 era states; None for one of a session."""
    params = frame.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(_VERSION) if isinstance(meta, dict) else None
    return version if isinstance(version, str) and version.isascii() and version.isprintable() else None


def _header(value: str) -> str:
    """A value as a header carries it: as it is, or in Base64 where it could not be."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode(errors='replace')).decode()}?="
