"""The client side of the socket: standard library only, so that a command is up in tens of milliseconds.

It speaks MCP 2026-07-28 (stateless: each request carries its own version) in stdio's framing, and beside it the
methods of the socket. The token comes from the environment or a file, never from an argument.
"""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra_mcp import __version__
from infra_mcp.errors import CODES, InfraError
from infra_mcp.settings import Settings, given_token

__all__ = ["Client", "connect", "token_of"]

VERSION = "2026-07-28"
_META = "io.modelcontextprotocol/"
_START = "Start one in the infra repository: `infra-mcp serve`."


def token_of(token_file: str | None) -> str | None:
    """The token a command acts with: from the file named, else from INFRA_MCP_TOKEN, else none.

    Raises:
        InfraError: `setup-failed`, when the file cannot be read.
    """
    if token_file:
        try:
            return Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise InfraError("setup-failed", f"The token file {token_file} cannot be read.") from None
    return given_token()


class Client:
    """One connection to a running server.

    Args:
        stream: the connected socket as a file for reading and writing lines.
    """

    def __init__(self, stream: io.BufferedRWPair[Any, Any]) -> None:
        self._stream = stream
        self._next = 0

    def method(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call a method of the socket.

        Raises:
            InfraError: what the server says, or `server-unreachable` when the connection ends first.
        """
        return self._exchange(name, params, None)

    def call(self, tool: str, arguments: dict[str, Any], told: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Call a tool and return its result: `content`, `structuredContent`, `isError`.

        Args:
            tool: the tool's name.
            arguments: its arguments.
            told: called with each progress message.
        """
        return self._exchange("tools/call", {"name": tool, "arguments": arguments}, told)

    def tools(self) -> list[dict[str, Any]]:
        """The tools this caller sees."""
        listed: list[dict[str, Any]] = self._exchange("tools/list", {}, None)["tools"]
        return listed

    def _exchange(self, method: str, params: dict[str, Any], told: Callable[[str], None] | None) -> dict[str, Any]:
        self._next += 1
        if method.startswith("tools/"):
            meta: dict[str, Any] = {
                _META + "protocolVersion": VERSION,
                _META + "clientCapabilities": {},
                _META + "clientInfo": {"name": "infra-mcp-cli", "version": __version__},
            }
            if told is not None:
                meta["progressToken"] = self._next
            params = {**params, "_meta": meta}
        frame = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}
        try:
            self._stream.write(json.dumps(frame).encode() + b"\n")
            self._stream.flush()
            for line in self._stream:
                answer = json.loads(line)
                if answer.get("method") == "notifications/progress" and told is not None:
                    told(str(answer.get("params", {}).get("message", "")))
                elif answer.get("id") == self._next and "method" not in answer:
                    return self._result(answer)
        except (OSError, ValueError):
            pass
        what = "The server ended the connection before it answered; what was asked may go on."
        raise InfraError("server-unreachable", what, next_step="Look with `infra-mcp request list` when it runs again.")

    @staticmethod
    def _result(answer: dict[str, Any]) -> dict[str, Any]:
        if "error" not in answer:
            result: dict[str, Any] = answer.get("result") or {}
            return result
        error = answer["error"]
        data = error.get("data")
        if isinstance(data, dict) and data.get("code") in CODES:
            raise InfraError(data["code"], data.get("what", ""), next_step=data.get("next"), rule=data.get("rule"))
        raise InfraError("internal", f"The server answered: {str(error.get('message', ''))[:300]}")


@contextmanager
def connect(settings: Settings, token: str | None) -> Iterator[Client]:
    """Connect to the server of this repository, as the token's peer or as the operator.

    Raises:
        InfraError: `server-unreachable` when none runs, `unauthenticated`.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            connection.connect(str(settings.socket))
        except OSError:
            what = f"No infra-mcp server runs for {settings.repo}."
            raise InfraError("server-unreachable", what, next_step=_START) from None
        with connection.makefile("rwb") as stream:
            client = Client(stream)
            hello: dict[str, Any] = {"door": "cli"}
            client.method("infra/hello", hello | ({"token": token} if token else {}))
            yield client
    finally:
        connection.close()
