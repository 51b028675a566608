"""The unix socket: MCP in stdio's framing, and beside it the methods that no model sees.

The socket lies in a directory of mode 0700, so only this user can open it. A connection's first frame may be
`infra/hello`, which makes it a peer's, a host's or an attending session's; without one it is the local operator's.
`operator/*` and `infra/*` are answered here; every other frame goes to MCP, in the era the client opens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.server import connections
from infra_mcp.server.auth import Binding, bind, binding_of, principal_of
from infra_mcp.server.connections import Place
from infra_mcp.server.protocol import is_answerless, serve_stream

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import ByteStream

    from infra_mcp.model.peer import Caller
    from infra_mcp.server.app import InfraServer
    from infra_mcp.server.operator import Operator

log = logging.getLogger("infra_mcp.server")

MAX_LINE = 8 * 1024 * 1024  # bytes of one frame
MAX_PATH = 104  # bytes of a socket's path that every system takes
_GRACE = 1.0  # seconds for calls under way at a stop, whose waits end at once
_PARSE_ERROR, _INVALID_REQUEST, _OWN_ERROR = -32700, -32600, -32000


def check_path(path: Path) -> None:
    """Refuse a path that no socket can have.

    Raises:
        InfraError: `setup-failed`.
    """
    if len(str(path).encode()) > MAX_PATH:
        what = f"The socket's path {path} is longer than {MAX_PATH} bytes."
        raise InfraError("setup-failed", what, next_step="Choose a shorter state directory: INFRA_MCP_STATE.")


async def listen(path: Path, server: InfraServer, operator: Operator, ready: anyio.Event) -> None:
    """Accept connections until the service stops or this is cancelled, then remove the socket; set `ready` at first.

    At a stop it accepts no more, answers calls under way, within a second, and ends the connections. The caller owns
    the state directory, so an existing socket is a dead server's and is removed.
    """
    await anyio.Path(path).unlink(missing_ok=True)
    places = server.service.connections.room("socket")

    async def serve(stream: ByteStream) -> None:
        scope = anyio.CancelScope()
        place = places.enter(scope.cancel)
        async with stream:
            if place is None:
                return
            try:
                with server.service.connections.visit(), scope:
                    await _serve(stream, server, operator, place)
            finally:
                place.leave()

    async with anyio.create_task_group() as connections:
        try:
            async with (
                await anyio.create_unix_listener(path, mode=0o600) as listener,
                anyio.create_task_group() as accepting,
            ):
                accepting.start_soon(listener.serve, serve, connections)
                ready.set()
                await server.service.stopping.wait()
                accepting.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(path).unlink(missing_ok=True)
        connections.cancel_scope.deadline = anyio.current_time() + _GRACE


async def _serve(stream: ByteStream, server: InfraServer, operator: Operator, place: Place) -> None:
    try:
        await _Connection(stream, server, operator, place).run()
    except* (anyio.BrokenResourceError, anyio.ClosedResourceError):
        log.debug("a client went away")
    except* Exception as several:  # noqa: BLE001 - one connection's fault ends that connection, not the server
        kinds = ", ".join(sorted({type(error).__name__ for error in several.exceptions}))
        log.error("a socket connection failed: %s", kinds)  # noqa: TRY400 - frames hold no more


@dataclass(eq=False)
class _Connection:
    """One connection: its identity, its frames, and the MCP server behind it."""

    stream: ByteStream
    server: InfraServer
    operator: Operator
    place: Place

    def __post_init__(self) -> None:
        self._writing = anyio.Lock()
        self._binding = Binding(None)
        self._open: set[str] = set()  # the ids, as JSON, of requests that are not answered yet
        self._answered = anyio.Event()

    async def run(self) -> None:
        """Serve the connection until the client goes, or the service stops and every request is answered."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_at_stop, group.cancel_scope)
            await self._converse()
            group.cancel_scope.cancel()

    async def _end_at_stop(self, scope: anyio.CancelScope) -> None:
        await self.server.service.stopping.wait()
        while self._open:
            self._answered = anyio.Event()
            await self._answered.wait()
        scope.cancel()

    async def _converse(self) -> None:
        lines = _lines(self.stream)
        first = None
        with anyio.move_on_after(connections.HEAD_SECONDS):
            first = await self._next(lines)
        if first is None:
            return
        caller: Caller | None = self._binding.local
        if first.get("method") == "infra/hello":
            caller, first = await self._hello(first), None
        if caller is None:
            return
        if not self.place.take(principal_of(caller)):
            await self._error(None, _OWN_ERROR, "Too many connections of this caller are at work.")
            return
        # An attending session's claims end with its connection.
        attendants = self.server.service.attendants
        async with attendants.attend(caller) if caller.attendant else nullcontext():
            await self._frames(lines, first)

    async def _frames(self, lines: AsyncIterator[bytes], first: dict[str, Any] | None) -> None:
        bind(self._binding)
        to_mcp, mcp_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        mcp_writes, from_mcp = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as group:
            group.start_soon(serve_stream, self.server, mcp_reads, mcp_writes)
            group.start_soon(self._answers, from_mcp)
            async with to_mcp:
                while (frame := first if first is not None else await self._next(lines)) is not None:
                    first = None
                    if not await self._begin(frame):
                        continue
                    if str(frame.get("method", "")).startswith(("operator/", "infra/")):
                        group.start_soon(self._call_operator, frame)
                    else:
                        await self._forward(frame, to_mcp)

    async def _begin(self, frame: dict[str, Any]) -> bool:
        """Record a request as open; refuse one whose id another open request has."""
        identity = frame.get("id")
        if "method" not in frame or not isinstance(identity, str | int):
            if frame.get("method") == "notifications/cancelled" and isinstance(frame.get("params"), dict):
                self._end(frame["params"].get("requestId"))  # it may get no answer
            return True
        if _key(identity) in self._open:
            await self._error(None, _INVALID_REQUEST, "The id is that of a request which is not answered yet.")
            return False
        self._open.add(_key(identity))
        self.place.begin()
        return True

    def _end(self, identity: object) -> None:
        if _key(identity) in self._open:
            self._open.remove(_key(identity))
            self.place.done()
            if not self._open:
                self._answered.set()

    async def _next(self, lines: AsyncIterator[bytes]) -> dict[str, Any] | None:
        """The next frame that is a JSON object; None at the end, or after a line that ends the connection."""
        try:
            async for line in lines:
                if not line.strip():
                    continue
                try:
                    frame = json.loads(line)
                except (ValueError, RecursionError):
                    await self._error(None, _PARSE_ERROR, "The line is not JSON.")
                    continue
                if isinstance(frame, dict) and not is_answerless(frame):
                    return frame
                await self._error(None, _INVALID_REQUEST, "The line is not a JSON-RPC message of this protocol.")
        except _LineError as error:
            await self._error(None, _INVALID_REQUEST, str(error))
        return None

    async def _forward(self, frame: dict[str, Any], to_mcp: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        try:
            message = jsonrpc_message_adapter.validate_python(frame, by_name=False)
        except (ValidationError, RecursionError):
            identity = frame.get("id") if isinstance(frame.get("id"), str | int) else None
            await self._error(identity, _INVALID_REQUEST, "The line is not a JSON-RPC message.")
            return
        await to_mcp.send(SessionMessage(message))

    async def _answers(self, from_mcp: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with from_mcp:
            async for item in from_mcp:
                await self._write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())
                if not hasattr(item.message, "method"):
                    self._end(item.message.id)

    async def _hello(self, frame: dict[str, Any]) -> Caller | None:
        """Bind the connection to the caller of its first frame, and answer it; None ends the connection."""
        if self.server.service.stopping.is_set():
            return None  # without an answer: the client starts over with the next server
        try:
            infra = peer_name(self.server.service.engine)
            self._binding = binding_of(_params(frame), infra)
            caller = await self._binding.caller(self.server.service.credentials)
        except InfraError as error:
            await self._refuse(frame, error)
            return None
        shown: dict[str, Any] = {"name": caller.name, "circle": caller.circle, "operator": caller.operator}
        if caller.attendant:
            shown |= {"attendant": True, "session": caller.session}
        await self._reply(frame.get("id"), result={"caller": shown})
        return caller

    async def _call_operator(self, frame: dict[str, Any]) -> None:
        try:
            caller = await self._binding.caller(self.server.service.credentials)
            result = await self.operator.call(caller, str(frame["method"]), _params(frame))
        except InfraError as error:
            await self._refuse(frame, error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001 - reported as an internal error, without its message
            log.error("an operator method failed: %s", type(error).__name__)  # noqa: TRY400 - frames hold no more
            await self._refuse(frame, InfraError("internal", "Internal error."))
        else:
            await self._reply(frame.get("id"), result=result)

    async def _refuse(self, frame: dict[str, Any], error: InfraError) -> None:
        await self._error(frame.get("id"), _OWN_ERROR, str(error), data=error.as_dict() | {"exit": int(error.exit)})

    async def _error(self, identity: object, code: int, message: str, **more: Any) -> None:  # noqa: ANN401 - any JSON
        await self._reply(identity, error={"code": code, "message": message, **more})

    async def _reply(self, identity: object, **content: dict[str, Any]) -> None:
        await self._write(json.dumps({"jsonrpc": "2.0", "id": identity, **content}).encode())
        self._end(identity)

    async def _write(self, line: bytes) -> None:
        async with self._writing:
            await self.stream.send(line + b"\n")


def _params(frame: dict[str, Any]) -> dict[str, Any]:
    params = frame.get("params")
    return params if isinstance(params, dict) else {}


def _key(identity: object) -> str:
    return json.dumps(identity, default=repr)  # 1, 1.0, true and "1" are four


class _LineError(Exception):
    """A line is too long, or did not come whole in time."""


async def _lines(stream: ByteStream) -> AsyncIterator[bytes]:
    """The lines of a stream; a last one without an end is dropped."""
    buffered = BufferedByteReceiveStream(stream)
    with suppress(anyio.EndOfStream, anyio.IncompleteRead):
        while True:
            line = await buffered.receive(1)  # the client may wait before a line, but not within one
            try:
                with anyio.fail_after(connections.HEAD_SECONDS):
                    line += b"" if line == b"\n" else await buffered.receive_until(b"\n", MAX_LINE)
            except TimeoutError:
                raise _LineError("A line did not come whole in time.") from None
            except anyio.DelimiterNotFound:
                raise _LineError(f"A line is longer than {MAX_LINE} bytes.") from None
            yield line
