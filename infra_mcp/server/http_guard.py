"""What stands before the HTTP channel's application: this machine's names, one identity, a share each, no echo."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from mcp.types import INVALID_REQUEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from infra_mcp.server.connection_counter import ConnectionCounter
from infra_mcp.server.protocol import is_answerless
from infra_mcp.server.sessions import Sessions

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from infra_mcp.server.connections import Place

BODY_SECONDS = 20.0  # a body has to be there whole; the largest taken is 4 MiB
_ENDPOINT = "/mcp"
_ACCEPTED, _BAD_REQUEST, _FORBIDDEN, _NOT_ACCEPTABLE, _REQUEST_TIMEOUT = 202, 400, 403, 406, 408
_MISDIRECTED, _UNAVAILABLE = 421, 503
# Whole, with any port: a tunnel, or a page on this machine, has another than ours.
_HERE = rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?"
_HOST, _ORIGIN = re.compile(_HERE), re.compile(rb"https?://" + _HERE)
_PORTS = 65_536


class HttpGuard:
    """An ASGI application before another one.

    A Host or Origin that is not this machine is refused here, before anyone logs it. Two Authorization headers are
    refused: which of them counts would be up to whoever stands in between. A peer's calls and sessions are bounded by
    its share. A body that trickles ends its request. The body of a 400 that repeats what was sent is replaced: the SDK
    puts rejected values into it. And at a stop the streams end on which the server might say something by itself.

    Args:
        app: the application.
        principal: whose a token is; None for nobody's.
        counter: told of each call of the MCP endpoint, as long as it lasts.
        stopping: set at a stop.
    """

    def __init__(
        self,
        app: ASGIApp,
        principal: Callable[[str], Awaitable[str | None]],
        counter: ConnectionCounter,
        stopping: anyio.Event,
    ) -> None:
        self._app = app
        self._principal = principal
        self._sessions = Sessions(app)
        self._visitors = counter
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refused := _turned_away(scope)) is not None:
            await refused(scope, receive, send)
        elif scope["path"] != _ENDPOINT:
            await self._app(scope, _limit_body_time(receive), _silent(send))
        else:
            # The server keeps no events that a stream could go on after, and the SDK then answers nothing at all.
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"last-event-id"]
            with self._visitors.visit():
                await self._call(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A call of the MCP endpoint: its connection is held as long as it lasts, within its principal's share."""
        kind, _, token = _header(scope, b"authorization").decode("latin-1").partition(" ")
        who = await self._principal(token.strip()) if kind.lower() == "bearer" else None
        if who is None:
            await self._app(scope, _limit_body_time(receive), _silent(send))  # which refuses it
            return
        place: Place | None = scope.get("state", {}).get("place")
        if place is not None and not place.take(who):
            headers = {"Retry-After": "1"}
            busy = JSONResponse({"error": "Too many calls of this peer are under way."}, _UNAVAILABLE, headers)
            await busy(scope, receive, send)
            return
        if place is not None:
            place.begin()
        try:
            if scope["method"] == "GET":
                await self._stream(who, scope, receive, send)
            else:
                await self._sessions.serve(who, scope, *_explained(scope, _limit_body_time(receive), _silent(send)))
        finally:
            if place is not None:
                place.done()
                if place.idle:
                    place.take(None)

    async def _stream(self, who: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream that nothing waits for: it ends with the service, properly."""
        open_ended = False

        async def passed(message: Message) -> None:
            nonlocal open_ended
            open_ended = message["type"] == "http.response.start" or bool(message.get("more_body"))
            await send(message)

        async with anyio.create_task_group() as group:

            async def end() -> None:
                await self._stopping.wait()
                group.cancel_scope.cancel()

            group.start_soon(end)
            await self._sessions.serve(who, scope, _limit_body_time(receive), _silent(passed))
            group.cancel_scope.cancel()
        if open_ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _header(scope: Scope, name: bytes) -> bytes:
    return b"".join(value for key, value in scope["headers"] if key == name)


def _is_here(form: re.Pattern[bytes], name: bytes) -> bool:
    found = form.fullmatch(name)
    return found is not None and int(found[1] or 0) < _PORTS


def _turned_away(scope: Scope) -> JSONResponse | None:
    """Why a request is not looked at, by its head; nothing of it is repeated."""
    names = [name for name, _ in scope["headers"]]
    if names.count(b"authorization") > 1:
        return JSONResponse({"error": "More than one Authorization header."}, _BAD_REQUEST)
    if not _is_here(_HOST, _header(scope, b"host")):
        return JSONResponse({"error": "The Host header does not name this machine."}, _MISDIRECTED)
    if b"origin" in names and not _is_here(_ORIGIN, _header(scope, b"origin")):
        return JSONResponse({"error": "The Origin header is not a page of this machine."}, _FORBIDDEN)
    return None


def _limit_body_time(receive: Receive) -> Receive:
    """The messages of a request, with an end to the wait for its body."""
    deadline = anyio.current_time() + BODY_SECONDS
    whole = False

    async def received() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        with anyio.move_on_after(deadline - anyio.current_time()):
            message = await receive()
            whole = not message.get("more_body", False)
            return message
        whole = True
        raise HTTPException(_REQUEST_TIMEOUT, "The body did not come in time.", {"Connection": "close"})

    return received


def _explained(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Answer with an error what the SDK leaves without: a request whose id is none, and media types it cannot use."""
    body = bytearray()
    replaced = False

    async def received() -> Message:
        message = await receive()
        body.extend(message.get("body", b""))  # no more than the SDK asks for, which bounds it
        return message

    async def passed(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start" and (refusal := _refusal(message["status"], body)):
            replaced = True
            await refusal(scope, receive, send)
        elif not replaced:
            await send(message)

    return received, passed


def _refusal(status: int, body: bytearray) -> JSONResponse | None:
    if status == _NOT_ACCEPTABLE:
        what = "The Accept header must list both application/json and text/event-stream."
    elif status == _ACCEPTED and is_answerless(_parsed(body)):
        status, what = _BAD_REQUEST, "The id of a request is a string or an integer, and not null."
    else:
        return None
    error = {"code": INVALID_REQUEST, "message": what}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=status)


def _parsed(body: bytearray) -> object:
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):  # such as a number of 5,000 digits, which the SDK's reader takes
        return None
    return parsed


def _silent(send: Send) -> Send:
    """Pass an answer on, a 400 only once it is whole and without what was sent."""
    held: list[Message] = []

    async def passed(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _BAD_REQUEST:
            held.append(message)
            return
        if not held:
            await send(message)
            return
        held.append(message)
        if not message.get("more_body"):
            for part in _without_echo(held):
                await send(part)

    return passed


def _without_echo(held: list[Message]) -> list[Message]:
    start, *parts = held
    body = b"".join(part.get("body", b"") for part in parts)
    try:
        answer: Any = json.loads(body)
        message = answer["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return held
    if not isinstance(message, str) or not message.startswith("Validation error"):
        return held
    answer["error"]["message"] = "The body is not a JSON-RPC message of this protocol."
    answer["error"].pop("data", None)
    body = json.dumps(answer).encode()
    headers = [(k, v) for k, v in start.get("headers", ()) if k.lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    return [{**start, "headers": headers}, {"type": "http.response.body", "body": body}]
