"""What a host and its server have sent each other, as far as the next server has to know it.

Pure bookkeeping over single frames: which requests wait for an answer, how a session of the 2025 era was opened, and
which questions of the server the host still has before it. Standard library only, and little of it.
"""

from __future__ import annotations

import json

from infra_mcp.cli.failures import failure

TYPE_CHECKING = False  # as type checkers know it; typing takes 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from infra_mcp.errors import InfraError

MAX_LINE = 8 * 1024 * 1024  # bytes of one frame of the host's, as at the server's end
_OWN_ERROR = -32000
_REPLAYED = "infra-mcp-connect"  # the id of an `initialize` that the host did not send


class Lines:
    """Cuts what comes in pieces into whole lines, without their ends.

    Args:
        longest: bytes of a line; what is longer is dropped. None for no bound.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._buffer = bytearray()
        self._longest = longest
        self._dropping = False
        self._dropped = False

    @property
    def rest(self) -> bytes:
        """What came after the last whole line."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole with this piece; empty ones are left out."""
        if self._dropping:
            _, end, data = data.partition(b"\n")
            self._dropping = not end
        if b"\n" in data:
            *whole, rest = (bytes(self._buffer) + data).split(b"\n")
            self._buffer = bytearray(rest)
        else:
            whole = []
            self._buffer += data
        if self._longest is not None and len(self._buffer) > self._longest:
            self._buffer.clear()
            self._dropping = self._dropped = True
        return [line for line in whole if line.strip()]

    def refusals(self) -> list[bytes]:
        """The error for a line that was dropped since this was asked last, if one was."""
        dropped, self._dropped = self._dropped, False
        what = f"A line is longer than {self._longest} bytes."
        return [error_frame(None, failure("invalid-argument", what))] if dropped else []


class Conversation:
    """One host's conversation, over as many servers as it takes."""

    def __init__(self) -> None:
        self._servers = 0  # that are gone
        self._asked: dict[str, object] = {}  # the host's requests without an answer: key of the id, id
        self._questions: dict[str, object] = {}  # the server's: key of the id the host has, the server's own id
        self._opening: dict[str, Any] | None = None  # the host's `initialize`
        self._opened = False  # it was answered with a result
        self._ready: bytes | None = None  # the host's `notifications/initialized`

    @property
    def waits(self) -> bool:
        """Whether the host waits for an answer."""
        return bool(self._asked)

    def expects(self, line: bytes) -> bool:
        """Whether a line of the server's is no answer, or one that the host still waits for."""
        frame = parsed(line)
        identity = None if frame is None or "method" in frame else frame.get("id")
        return identity is None or _key(identity) in self._asked

    def to_server(self, line: bytes) -> bytes | None:
        """A line of the host's as the server gets it; None when no server of now waits for it."""
        frame = parsed(line)
        if frame is None:
            return line
        method, identity = frame.get("method"), frame.get("id")
        if method is None:
            return self._answer(line, frame)
        if identity is not None:
            self._asked[_key(identity)] = identity
            if method == "initialize":
                self._opening, self._opened, self._ready = frame, False, None
        elif method == "notifications/initialized":
            self._ready = line
        elif method == "notifications/cancelled":
            self._asked.pop(_key(subject(frame)), None)  # it may be left without an answer
        return line

    def _answer(self, line: bytes, frame: dict[str, Any]) -> bytes | None:
        key = _key(frame.get("id"))
        if key not in self._questions:
            # An answer to a server that is gone: the next one may have asked something else under that id.
            return None if "id" in frame else line
        own = self._questions.pop(key)
        return line if _key(own) == key else _line(frame | {"id": own})

    def to_host(self, line: bytes) -> bytes:
        """A line of the server's as the host gets it."""
        frame = parsed(line)
        if frame is None:
            return line
        identity = frame.get("id")
        if "method" not in frame:
            self._asked.pop(_key(identity), None)
            if self._opening is not None and _key(self._opening["id"]) == _key(identity) and "result" in frame:
                self._opened = True
            return line
        if identity is not None:
            shown = self._shown(identity)
            self._questions[_key(shown)] = identity
            return line if shown is identity else _line(frame | {"id": shown})
        if frame["method"] == "notifications/cancelled" and self._servers:
            shown = self._shown(subject(frame))
            self._questions.pop(_key(shown), None)
            return _line(frame | {"params": {**frame["params"], "requestId": shown}}) if "params" in frame else line
        return line

    def _shown(self, identity: object) -> object:
        """A server's id as the host gets it: another one for each server, so that no answer goes to the wrong one."""
        return f"{self._servers}/{json.dumps(identity)}" if self._servers else identity

    def lost(self, error: InfraError, *, keep: object = None) -> list[bytes]:
        """The server is gone: lines for the host that end each request that waits and each question of the server's.

        Args:
            error: why, with what to do next.
            keep: the id of a request that will be sent again.
        """
        kept = {key: identity for key, identity in self._asked.items() if key == _key(keep)}
        lines = [error_frame(identity, error) for key, identity in self._asked.items() if key not in kept]
        for key in self._questions:
            params = {"requestId": json.loads(key), "reason": str(error)}
            lines.append(_line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        if not self._opened:
            self._opening = self._ready = None
        self._asked = kept
        self._questions.clear()
        self._servers += 1
        return lines

    def opening(self) -> dict[str, Any] | None:
        """How to open the host's session with the next server; None in the 2026 era, which has none."""
        return {**self._opening, "id": _REPLAYED} if self._opening is not None and self._opened else None

    def ready(self) -> bytes | None:
        """What follows when that was answered."""
        return self._ready if self._opened else None


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line as a frame; None when it is none, which the other end reports."""
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None


def error_frame(identity: object, error: InfraError) -> bytes:
    """An error as the answer to a request."""
    shown = {"code": _OWN_ERROR, "message": str(error), "data": error.as_dict() | {"exit": int(error.exit)}}
    return _line({"jsonrpc": "2.0", "id": identity, "error": shown})


def subject(frame: dict[str, Any]) -> object:
    """The id of the request that a `notifications/cancelled` cancels."""
    params = frame.get("params")
    return params.get("requestId") if isinstance(params, dict) else None


def _key(identity: object) -> str:
    return json.dumps(identity)  # 1 and "1" are two


def _line(frame: dict[str, Any]) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()
