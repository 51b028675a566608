"""Streamable HTTP to a server elsewhere: one POST a request (MCP 2026-07-28), answered as JSON or as events.

Standard library only; where the token may go, `endpoint` says.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from infra_mcp.cli.client import VERSION, BrokenConnectionError, Client
from infra_mcp.cli.endpoint import MAX_ANSWER, Endpoint, events
from infra_mcp.errors import InfraError

_IDLE = 2.0  # seconds after which a connection is not used again: the other end may be closing it
_LONGEST_ERROR = 64 * 1024  # bytes of the body of an error
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
        self._endpoint = Endpoint(url, token)
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
        self._connection = self._endpoint.connect()
        return self._connection

    def _answer(self, connection: http.client.HTTPConnection, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        headers = self._endpoint.headers() | {"MCP-Protocol-Version": VERSION, "Mcp-Method": frame["method"]}
        if frame["method"] == "tools/call":
            headers["Mcp-Name"] = frame["params"]["name"]
        connection.request("POST", self._endpoint.target, json.dumps(frame).encode(), headers)
        response = connection.getresponse()
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if response.status == http.client.OK and kind == _STREAM:
            return self._streamed(response, frame, heard)
        body = response.read(MAX_ANSWER + 1 if response.status == http.client.OK else _LONGEST_ERROR)
        if response.status == http.client.OK and kind == "application/json":
            return _frame(body)
        self.close()
        return self._failed(response.status, kind, body)

    def _streamed(self, response: http.client.HTTPResponse, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        for data in events(response):
            got = _frame(data)
            if "method" not in got and got.get("id") == frame["id"]:
                response.read(_LONGEST_ERROR)  # to the end, so that the connection can be used again
                return got
            heard(got)
        raise BrokenConnectionError

    def _failed(self, status: int, kind: str, body: bytes) -> dict[str, Any]:
        """The answer inside an error's body, where there is one; else what the status says."""
        refusal = self._endpoint.refusal(status)
        if refusal.code == "unauthenticated":
            raise refusal
        if kind == "application/json":
            try:
                answer = _frame(body)
            except ValueError:
                answer = {}
            if isinstance(answer.get("error"), dict):
                return answer
        raise refusal

    def close(self) -> None:
        """End the connection; the next exchange makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _frame(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_ANSWER:
        raise ValueError
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError from None
    if not isinstance(answer, dict):
        raise ValueError  # noqa: TRY004 - not a frame of this protocol, whatever it is
    return answer


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
