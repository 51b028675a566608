"""The client side of both channels: standard library only, so that a command is up in tens of milliseconds.

It speaks MCP 2026-07-28 (stateless: each request carries its own version), over the unix socket in stdio's framing, and
over HTTP to a server elsewhere. Beside MCP the socket has methods of its own; a URL has none.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Protocol

from infra_mcp import __version__
from infra_mcp.cli.failures import raise_refusal
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

NAME = "infra-mcp-cli"  # how the client calls itself
VERSION = "2026-07-28"
OnProgress = Callable[[str], None]
BY_URL = ("operator/approve", "operator/resolve")
_META = "io.modelcontextprotocol/"
_Heard = Callable[[dict[str, Any]], None]


class BrokenConnectionError(InfraError):
    """The connection ended before the answer: the outcome of the request is unknown."""

    def __init__(self) -> None:
        what = "The server ended the connection before it answered; what was asked may go on."
        super().__init__("server-unreachable", what, next_step="Look with `infra-mcp request list` when it runs again.")


class Transport(Protocol):
    """How frames get to a server and back."""

    remote: bool

    def exchange(self, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        """Send a request and return the frame that answers it; `heard` gets every other frame before that."""

    def close(self) -> None:
        """End the connection; the next exchange makes a new one."""


class Client:
    """Calls of a running server.

    Args:
        transport: the way to it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._next = 0

    @property
    def remote(self) -> bool:
        """Whether the server is reached by a URL, where the socket's own methods are not."""
        return self._transport.remote

    def method(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call a method of the socket. Over a URL there are decisions alone: `BY_URL`.

        Raises:
            InfraError: what the server says; `invalid-argument` over a URL; `server-unreachable`.
        """
        if self.remote and isinstance(self._transport, Remote) and name in BY_URL:
            return self._transport.post(name, params)
        if self.remote:
            what = "This works on the server's own machine only, not over a URL."
            raise InfraError("invalid-argument", what, next_step="Run it there, without --url and INFRA_MCP_URL.")
        return self._exchange(name, params, None)

    def call(self, tool: str, arguments: dict[str, Any], progress: OnProgress | None = None) -> dict[str, Any]:
        """Call a tool and return its result: `content`, `structuredContent`, `isError`.

        Args:
            tool: the tool's name.
            arguments: its arguments.
            progress: called with each progress message.

        Raises:
            InfraError: `server-unreachable`, `unauthenticated`.
        """
        return self._exchange("tools/call", {"name": tool, "arguments": arguments}, progress)

    def data(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool and return its result's data.

        Raises:
            InfraError: what the call ended in; `server-unreachable`, `unauthenticated`.
        """
        result = self.call(tool, arguments)
        data: dict[str, Any] = result.get("structuredContent") or {}
        if result.get("isError"):
            raise InfraError.from_data(data)
        return data

    def tools(self) -> list[dict[str, Any]]:
        """The tools this caller sees."""
        listed: list[dict[str, Any]] = self._exchange("tools/list", {}, None)["tools"]
        return listed

    def _exchange(self, method: str, params: dict[str, Any], progress: OnProgress | None) -> dict[str, Any]:
        self._next += 1
        if method.startswith("tools/"):
            meta: dict[str, Any] = {
                _META + "protocolVersion": VERSION,
                _META + "clientCapabilities": {},
                _META + "clientInfo": {"name": NAME, "version": __version__},
            }
            if progress is not None:
                meta["progressToken"] = self._next
            params = {**params, "_meta": meta}

        def heard(frame: dict[str, Any]) -> None:
            if progress is not None and frame.get("method") == "notifications/progress":
                progress(str((frame.get("params") or {}).get("message") or ""))

        frame = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}
        answer = self._transport.exchange(frame, heard)
        raise_refusal(answer)
        result = answer.get("result")
        return result if isinstance(result, dict) else {}


class _Socket:
    """The unix socket: one line a frame, after a first line that says who calls."""

    remote = False

    def __init__(self, settings: Settings, token: str | None, start: Callable[[Settings], None] | None) -> None:
        self._settings = settings
        self._start = start
        self._hello: dict[str, Any] = {"door": "cli"} | ({"token": token} if token else {})
        self._connection: socket.socket | None = None
        self._stream: Any = None

    def open(self) -> None:
        """Connect and say who calls, unless that is done. Where no server runs one is started, if that can be."""
        if self._connection is not None:
            return
        try:
            self._connect()
        except InfraError as error:
            if self._start is None or error.code != "server-unreachable":
                raise
            self._start(self._settings)
            self._connect()

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self._settings.socket))
        except OSError:
            connection.close()
            what = f"No infra-mcp server runs for {self._settings.repo}."
            step = "Start one in the infra repository: `infra-mcp serve`."
            raise InfraError("server-unreachable", what, next_step=step) from None
        self._connection, self._stream = connection, connection.makefile("rwb")
        try:
            hello = {"jsonrpc": "2.0", "id": "hello", "method": "infra/hello", "params": self._hello}
            raise_refusal(self._line(hello, lambda _: None))
        except InfraError:
            self.close()
            raise

    def exchange(self, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        self.open()
        return self._line(frame, heard)

    def _line(self, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        try:
            self._stream.write(json.dumps(frame).encode() + b"\n")
            self._stream.flush()
            for line in self._stream:
                answer = json.loads(line)
                if "method" not in answer and answer.get("id") == frame["id"]:
                    return dict(answer)
                heard(answer)
        except (OSError, ValueError):
            pass
        self.close()
        raise BrokenConnectionError

    def close(self) -> None:
        if self._connection is not None:
            with suppress(OSError):  # what was still to be sent is lost
                self._stream.close()
            self._connection.close()
            self._connection = None


class Remote:
    """Streamable HTTP to a server elsewhere, one POST a request. Nothing is sent before the first one.

    Args:
        url: https, or http on loopback; the path is /mcp when there is none.
        token: the bearer token.

    Raises:
        InfraError: `invalid-argument`, when the token may not be sent to such a URL; `unauthenticated` without one.
    """

    remote = True

    def __init__(self, url: str, token: str | None) -> None:
        from infra_mcp.cli.endpoint import Endpoint  # noqa: PLC0415 - HTTP and TLS, which the socket does not need
        from infra_mcp.cli.session import Flight, Session  # noqa: PLC0415 - the same

        self._http, self._flight = Session(Endpoint(url, token)), Flight
        self.close = self._http.close

    def exchange(self, frame: dict[str, Any], heard: _Heard) -> dict[str, Any]:
        """Post a request and return its answer."""
        answer: dict[str, Any] = {}
        try:
            for _, answer in self._http.answers(frame, self._flight(modern=True)):
                if "method" in answer:
                    heard(answer)
        except OSError:
            raise BrokenConnectionError from None
        return answer

    def post(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call a method that has an address of its own beside the endpoint.

        Raises:
            InfraError: what it is refused with.
        """
        try:
            return self._http.post(f"/{method}", params, self._flight(modern=True))
        except OSError:
            raise BrokenConnectionError from None


@contextmanager
def connect(
    settings: Settings, token: str | None, *, start: Callable[[Settings], None] | None = None
) -> Iterator[Client]:
    """Connect to the server of this repository, as the token's peer or as the operator.

    Args:
        settings: where its socket is.
        token: the peer's token; None for the local operator.
        start: starts a server where none runs, and returns when it takes calls.

    Raises:
        InfraError: `server-unreachable` when none runs, `unauthenticated`.
    """
    with closing(_Socket(settings, token, start)) as transport:
        transport.open()
        yield Client(transport)
