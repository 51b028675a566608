"""The unix socket: MCP in stdio's framing, and beside it the methods that no model sees.

The socket lies in a directory of mode 0700, so only this user can open it. A connection's first frame may be
`infra/hello` with a token, and then it is that peer's; or it says that a host or an attending session speaks; without
one it is the local operator's. `operator/*` and `infra/*` are answered here; every other frame goes to MCP, in
whichever era the client opens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.server import connections
from infra_mcp.server.auth import Binding, bind, binding_of
from infra_mcp.server.connection_counter import ConnectionCounter
from infra_mcp.server.connections import Place, room
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
_GRACE = 1.0  # seconds that calls under way get at a stop to be answered; their waits end at once
_PARSE_ERROR, _INVALID_REQUEST, _OWN_ERROR = -32700, -32600, -32000


def check_path(path: Path) -> None:
    """Refuse a path that no socket can have.

    Raises:
        InfraError: `setup-failed`.
    """
    if len(str(path).encode()) > MAX_PATH:
        what = f"The socket's path {path} is longer than {MAX_PATH} bytes."
        raise InfraError("setup-failed", what, next_step="Choose a shorter state directory: INFRA_MCP_STATE.")


async def listen(
    path: Path, server: InfraServer, operator: Operator, ready: anyio.Event, counter: ConnectionCounter | None = None
) -> None:
    """Accept connections until the service stops or this is cancelled, then remove the socket.

    At a stop nobody is let in any more, what is under way is answered, within a second, and connections are ended.
    The caller owns the state directory, so a socket found there is a dead server's and is removed.

    Args:
        path: of the socket.
        server: the MCP server behind it.
        operator: the methods beside it.
        ready: set when connections are accepted.
        counter: who is there; told of each connection.
    """
    await anyio.Path(path).unlink(missing_ok=True)
    counter = ConnectionCounter() if counter is None else counter
    among = room("socket")

    async def serve(stream: ByteStream) -> None:
        scope = anyio.CancelScope()
        place = among.enter(scope.cancel)
        async with stream:
            if place is None:
                return
            try:
                with counter.visit(), scope:
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


class _Connection:
    """One connection: its identity, its frames, and the MCP server behind it."""

    def __init__(self, stream: ByteStream, server: InfraServer, operator: Operator, place: Place) -> None:
        self._stream = stream
        self._place = place
        self._server = server
        self._operator = operator
        self._writing = anyio.Lock()
        self._binding = Binding(None)
        self._open: dict[str, object] = {}  # requests that are not answered yet, by their id as JSON
        self._answered = anyio.Event()

    async def run(self) -> None:
        """Serve the connection until the client goes, or the service stops and all that was asked is answered."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._leave, group.cancel_scope)
            await self._converse()
            group.cancel_scope.cancel()

    async def _leave(self, scope: anyio.CancelScope) -> None:
        await self._server.service.stopping.wait()
        while self._open:
            self._answered = anyio.Event()
            await self._answered.wait()
        scope.cancel()

    async def _converse(self) -> None:
        lines = _lines(self._stream)
        first = None
        with anyio.move_on_after(connections.HEAD_SECONDS):
            first = await self._next(lines)
        if first is None:
            return
        if first.get("method") == "infra/hello":
            caller = await self._hello(first)
            if caller is None or not await self._taken(caller):
                return
            first = None
            async with self._seat(caller):
                await self._frames(lines, None)
        elif await self._taken(self._binding.local):
            await self._frames(lines, first)

    async def _taken(self, caller: Caller) -> bool:
        """Count the connection as its caller's; false, and said so, where all that may have are at work."""
        who = "attending" if caller.attendant else f"{caller.circle or ''}/{caller.name}"
        if self._place.take(who):
            return True
        await self._error(None, _OWN_ERROR, "Too many connections of this caller are at work.")
        return False

    def _seat(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """Where an attending session sits as long as its connection lasts; its claims end with it."""
        return self._server.service.attendants.attend(caller) if caller.attendant else nullcontext()

    async def _frames(self, lines: AsyncIterator[bytes], first: dict[str, Any] | None) -> None:
        bind(self._binding)
        to_mcp, mcp_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        mcp_writes, from_mcp = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as group:
            group.start_soon(serve_stream, self._server, mcp_reads, mcp_writes)
            group.start_soon(self._answers, from_mcp)
            async with to_mcp:
                while (frame := first if first is not None else await self._next(lines)) is not None:
                    first = None
                    if not await self._begin(frame):
                        continue
                    if str(frame.get("method", "")).startswith(("operator/", "infra/")):
                        group.start_soon(self._own, frame)
                    else:
                        await self._forward(frame, to_mcp)

    async def _begin(self, frame: dict[str, Any]) -> bool:
        """Note a request as open; false for one whose id another open request has, which could not be told apart."""
        identity = frame.get("id")
        if "method" not in frame or not isinstance(identity, str | int):
            if frame.get("method") == "notifications/cancelled" and isinstance(frame.get("params"), dict):
                self._end(frame["params"].get("requestId"))  # it may be left without an answer
            return True
        if _key(identity) in self._open:
            await self._error(None, _INVALID_REQUEST, "The id is that of a request which is not answered yet.")
            return False
        if not self._open:
            self._place.begin()
        self._open[_key(identity)] = identity
        return True

    def _end(self, identity: object) -> None:
        if self._open.pop(_key(identity), None) is not None and not self._open:
            self._place.done()
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
            identity = frame.get("id")
            await self._error(
                identity if isinstance(identity, str | int) else None,
                _INVALID_REQUEST,
                "The line is not a JSON-RPC message.",
            )
            return
        await to_mcp.send(SessionMessage(message))

    async def _answers(self, from_mcp: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with from_mcp:
            async for item in from_mcp:
                await self._write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())
                if not hasattr(item.message, "method"):
                    self._end(item.message.id)

    async def _hello(self, frame: dict[str, Any]) -> Caller | None:
        """Bind the connection to whom its first frame says, and answer it; None ends the connection."""
        if self._server.service.stopping.is_set():
            return None  # without an answer: whoever asked starts over with the next server
        params = frame.get("params")
        try:
            infra = peer_name(self._server.service.engine)
            self._binding = binding_of(params if isinstance(params, dict) else {}, infra)
            caller = await self._binding.caller(self._operator.ledger)
        except InfraError as error:
            await self._refuse(frame.get("id"), error)
            return None
        shown = {"name": caller.name, "circle": caller.circle, "operator": caller.operator}
        if caller.attendant:
            shown |= {"attendant": True, "session": caller.session}
        await self._result(frame.get("id"), {"caller": shown})
        return caller

    async def _own(self, frame: dict[str, Any]) -> None:
        params = frame.get("params")
        try:
            caller = await self._binding.caller(self._operator.ledger)
            result = await self._operator.call(caller, str(frame["method"]), params if isinstance(params, dict) else {})
        except InfraError as error:
            await self._refuse(frame.get("id"), error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001 - told as a fault of ours, without what was sent
            log.error("an operator method failed: %s", type(error).__name__)  # noqa: TRY400 - frames hold no more
            await self._refuse(frame.get("id"), InfraError("internal", "Something went wrong inside."))
        else:
            await self._result(frame.get("id"), result)

    async def _refuse(self, identity: object, error: InfraError) -> None:
        await self._error(identity, _OWN_ERROR, str(error), error.as_dict() | {"exit": int(error.exit)})

    async def _result(self, identity: object, result: dict[str, Any]) -> None:
        await self._write(json.dumps({"jsonrpc": "2.0", "id": identity, "result": result}).encode())
        self._end(identity)

    async def _error(self, identity: object, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            error["data"] = data
        await self._write(json.dumps({"jsonrpc": "2.0", "id": identity, "error": error}).encode())
        self._end(identity)

    async def _write(self, line: bytes) -> None:
        async with self._writing:
            await self._stream.send(line + b"\n")


def _key(identity: object) -> str:
    return json.dumps(identity, default=repr)  # 1, 1.0, true and "1" are four


class _LineError(Exception):
    """A line went on past its bound, or did not come whole in time."""


async def _lines(stream: ByteStream) -> AsyncIterator[bytes]:
    """The lines of a stream; what is left without an end of line is dropped."""
    buffer = bytearray()
    deadline = inf
    while True:
        searched = len(buffer)
        with anyio.move_on_at(deadline) as late:
            try:
                buffer += await stream.receive(65_536)
            except anyio.EndOfStream:
                return
        if late.cancelled_caught:
            raise _LineError("A line did not come whole in time.")
        begun = searched == 0
        while (end := buffer.find(b"\n", searched)) >= 0:
            line, searched, begun = bytes(buffer[:end]), 0, True
            del buffer[: end + 1]
            yield line
        if len(buffer) > MAX_LINE:
            raise _LineError(f"A line is longer than {MAX_LINE} bytes.")
        if begun:
            deadline = anyio.current_time() + connections.HEAD_SECONDS if buffer else inf
