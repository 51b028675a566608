"""The HTTP channel's guard: names of this machine only, one identity, a share for each principal, no echo."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import anyio
from mcp.types import INVALID_REQUEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from infra_mcp.errors import InfraError
from infra_mcp.server.challenge import challenge
from infra_mcp.server.protocol import is_answerless
from infra_mcp.server.tools.call import until

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from infra_mcp.server.connections import ConnectionCounter, Place

ALL_SESSIONS, OWN_SESSIONS = 2_000, 100  # of all principals, and of one
BODY_SECONDS = 20.0  # for a whole body; the largest accepted is 4 MiB
_ENDPOINT = "/mcp"
_SESSION = b"mcp-session-id"
_OK, _ACCEPTED, _BAD_REQUEST, _FORBIDDEN, _NOT_ACCEPTABLE, _REQUEST_TIMEOUT = 200, 202, 400, 403, 406, 408
_UNAUTHORIZED, _MISDIRECTED, _UNAVAILABLE = 401, 421, 503
_CORRECTED = {_ACCEPTED, _BAD_REQUEST, _NOT_ACCEPTABLE}
_HERE = rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::([0-9]{1,5}))?"
_PORTS = 65_536
_HEADERS, _HEAD_BYTES, _HEAD_TOO_LARGE = 100, 32 * 1024, 431
_NO_TOKEN = InfraError("unauthenticated", "No valid token came with the call.")


@dataclass(frozen=True)
class Names:
    """Under which names the channel is called, and whose pages may call it."""

    hosts: re.Pattern[bytes]
    origins: re.Pattern[bytes]

    def refusal(self, scope: Scope) -> JSONResponse | None:
        """The answer to a head that cannot be meant for this server; None for all others."""
        names = [name for name, _ in scope["headers"]]
        # uvicorn bounds a head that is not complete; one that came in one piece may be longer.
        if len(names) > _HEADERS or sum(len(name) + len(value) for name, value in scope["headers"]) > _HEAD_BYTES:
            return JSONResponse({"error": "The head of the request is too large."}, _HEAD_TOO_LARGE)
        if names.count(b"authorization") > 1:
            return JSONResponse({"error": "More than one Authorization header."}, _BAD_REQUEST)
        if not _fits(self.hosts, _header(scope, b"host")):
            where = "this machine" if self is HERE else "this server"
            return JSONResponse({"error": f"The Host header does not name {where}."}, _MISDIRECTED)
        if b"origin" in names and not _fits(self.origins, _header(scope, b"origin")):
            where = "this machine" if self is HERE else "this server"
            return JSONResponse({"error": f"The Origin header is not a page of {where}."}, _FORBIDDEN)
        return None


HERE: Final = Names(re.compile(_HERE), re.compile(rb"https?://" + _HERE))  # any port: a tunnel has another than ours


def names_of(url: str) -> Names:
    """The names of a server that clients know by a URL: its host, with its port where that is not 443.

    Args:
        url: https, of a host alone.
    """
    place = re.escape(urlsplit(url).netloc.lower().removesuffix(":443").encode())
    either = rb"(?i:" + place + rb"(?::443)?)" if b":" not in place.rpartition(rb"]")[2] else rb"(?i:" + place + rb")"
    return Names(re.compile(either), re.compile(rb"https://" + either))


def _fits(form: re.Pattern[bytes], name: bytes) -> bool:
    found = form.fullmatch(name)
    return found is not None and (not form.groups or int(found[1] or 0) < _PORTS)


@dataclass(eq=False)
class HttpGuard:
    """An ASGI application in front of another one.

    It refuses a Host or Origin that is not this machine before it is logged, and two Authorization headers, since a
    proxy could choose either. It bounds a peer's calls and sessions by its share, and the time for a body. It replaces
    the body of a 400 that repeats rejected values, as the SDK's does. At a stop it ends the streams that no call owns.
    """

    app: ASGIApp
    principal: Callable[[str], Awaitable[str | None]]  # of a token; raises why one is refused
    counter: ConnectionCounter  # of the calls of the MCP endpoint, and of what is answered with 401
    stopping: anyio.Event
    url: str  # of the MCP endpoint
    names: Names = HERE

    def __post_init__(self) -> None:
        self._sessions = Sessions(self.app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["state"] |= {"endpoint": self.url, "is_here": self.names is HERE}  # for what is beside the endpoint
        send = self._counting(send)
        if (refusal := self.names.refusal(scope)) is not None:
            self.counter.refused["head"] += 1
            await refusal(scope, receive, send)
            return
        with suppress(ClientDisconnect):  # it left in the middle of its body: no one is there to answer
            if scope["path"] != _ENDPOINT:
                await self.app(scope, *_corrected(scope, receive, send))
                return
            # The server keeps no events after which a stream could resume, and the SDK then answers nothing at all.
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"last-event-id"]
            with self.counter.visit():
                await self._call(scope, receive, send)

    def _counting(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _UNAUTHORIZED:
                self.counter.unauthenticated += 1
            await send(message)

        return sent

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A call of the MCP endpoint: it keeps its connection's place, within its principal's share."""
        kind, _, token = _header(scope, b"authorization").decode("latin-1").partition(" ")
        try:
            who = await self.principal(token.strip()) if kind.lower() == "bearer" else None
        except InfraError as error:
            await challenge(error, self.url)(scope, receive, send)
            return
        if who is None and self.names is not HERE:  # the SDK's refusal names the address on this machine
            await challenge(_NO_TOKEN, self.url)(scope, receive, send)
            return
        if who is None:
            await self.app(scope, *_corrected(scope, receive, send))  # which refuses it
            return
        place: Place = scope["state"]["place"]
        if not place.take(who):
            headers = {"Retry-After": "1"}
            busy = JSONResponse({"error": "Too many calls of this peer are under way."}, _UNAVAILABLE, headers)
            await busy(scope, receive, send)
            return
        with place.call():
            if scope["method"] == "GET":
                await self._stream(who, scope, receive, send)
            else:
                await self._sessions.serve(who, scope, *_corrected(scope, receive, send))

    async def _stream(self, who: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream that no call owns: it ends with the service, properly."""
        unfinished = False

        async def passed(message: Message) -> None:
            nonlocal unfinished
            unfinished = message["type"] == "http.response.start" or bool(message.get("more_body"))
            await send(message)

        serve = partial(self._sessions.serve, who, scope, *_corrected(scope, receive, passed))
        await until(self.stopping, serve)
        if unfinished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Sessions:
    """Sessions of the era before 2026-07-28, in front of the application that has them: a principal keeps its newest.

    The SDK only bounds all sessions together, and ends one after half an hour without a call. Here a client that opens
    one after the other loses its own oldest one without a call under way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[str, dict[bytes, None]] = {}  # of a principal, the one used last at the end
        self._calls: Counter[bytes | None] = Counter()  # under way

    async def serve(self, who: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a principal, and record which session it used, opened or ended."""
        session = next((value for name, value in scope["headers"] if name == _SESSION), None)
        own = self._open.setdefault(who, {})
        if session in own:
            own[session] = own.pop(session)  # now the one used last
        elif session is None and len(own) >= OWN_SESSIONS and all(self._calls[one] for one in own):
            refused = JSONResponse({"error": f"{OWN_SESSIONS} sessions of this peer are in use."}, _UNAVAILABLE)
            await refused(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if session is None and message["type"] == "http.response.start" and message["status"] == _OK:
                own.update((value, None) for name, value in message["headers"] if name.lower() == _SESSION)
            await send(message)

        self._calls[session] += 1
        try:
            await self._app(scope, receive, watched)
        finally:
            self._calls[session] -= 1
            if not self._calls[session]:
                del self._calls[session]
        if scope["method"] == "DELETE" and session is not None:
            own.pop(session, None)
        while (
            len(own) > OWN_SESSIONS
            and (oldest := next((one for one in own if one not in self._calls), None)) is not None
        ):
            del own[oldest]
            await self._end(scope, oldest)

    async def _end(self, scope: Scope, session: bytes) -> None:
        """End a session as its client would, with the same credential."""
        kept = [(name, value) for name, value in scope["headers"] if name in {b"host", b"authorization"}]
        request = {key: scope[key] for key in scope if key not in {"user", "auth", "app", "endpoint", "path_params"}}
        request |= {"method": "DELETE", "headers": [*kept, (_SESSION, session)]}

        async def no_body() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def ignore(message: Message) -> None:
            pass

        await self._app(request, no_body, ignore)


def _header(scope: Scope, name: bytes) -> bytes:
    return b"".join(value for key, value in scope["headers"] if key == name)


def _limit_body_time(receive: Receive) -> Receive:
    """The messages of a request, with a limit to the wait for its body."""
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


def _corrected(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Limit the time for a request's body, and replace answers that repeat rejected values or say nothing."""
    receive = _limit_body_time(receive)
    request = bytearray()
    held: list[Message] = []

    async def received() -> Message:
        message = await receive()
        request.extend(message.get("body", b""))  # no more than the SDK asks for, which bounds it
        return message

    async def passed(message: Message) -> None:
        if not held and (message["type"] != "http.response.start" or message["status"] not in _CORRECTED):
            await send(message)
            return
        held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answer = b"".join(part.get("body", b"") for part in held)
            replacement = _replacement(scope["method"], held[0]["status"], request, answer)
            if replacement is None:
                for part in held:
                    await send(part)
            else:
                await replacement(scope, receive, send)

    return received, passed


def _replacement(method: str, status: int, request: bytearray, answer: bytes) -> JSONResponse | None:
    code, identity = INVALID_REQUEST, None
    if status == _BAD_REQUEST:
        found: Any = _parsed(answer)
        try:
            if not found["error"]["message"].startswith("Validation error"):
                return None
            code, identity = found["error"]["code"], found.get("id")
        except (AttributeError, TypeError, KeyError):
            return None
        what = "The body is not a JSON-RPC message of this protocol."
    elif method != "POST":
        return None
    elif status == _NOT_ACCEPTABLE:
        what = "The Accept header must list both application/json and text/event-stream."
    elif is_answerless(_parsed(request)):
        status, what = _BAD_REQUEST, "The id of a request is a string or an integer, and not null."
    else:
        return None
    error = {"code": code, "message": what}
    return JSONResponse({"jsonrpc": "2.0", "id": identity, "error": error}, status_code=status)


def _parsed(body: bytes | bytearray) -> object:
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError):  # such as a number of 5,000 digits, which the SDK's reader takes
        return None
