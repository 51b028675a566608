"""Sessions of the era before 2026-07-28 over HTTP: a share for each principal, in which its newest ones live.

The SDK bounds all sessions together, and lets one end after half an hour without a call. A client that opens one after
the other and leaves them uses up nobody's places but its own: its oldest session on which no call is under way ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALL: Final = 2_000  # sessions of all principals together
EACH: Final = 100  # sessions of one principal
_HEADER = b"mcp-session-id"
_OK, _UNAVAILABLE = 200, 503


class Sessions:
    """The sessions each principal has.

    Args:
        app: the application that keeps them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[str, dict[bytes, None]] = {}  # of a principal, the one used last at the end
        self._calls: Counter[bytes] = Counter()  # under way

    async def serve(self, who: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a principal, and note which session it used, opened or ended."""
        session = next((value for name, value in scope["headers"] if name == _HEADER), None)
        own = self._open.setdefault(who, {})
        if session in own:
            own[session] = own.pop(session)  # now the one used last
        elif session is None and len(own) >= EACH and all(self._calls[one] for one in own):
            refused = JSONResponse({"error": f"{EACH} sessions of this peer are in use."}, status_code=_UNAVAILABLE)
            await refused(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if session is None and message["type"] == "http.response.start" and message["status"] == _OK:
                own.update((value, None) for name, value in message["headers"] if name.lower() == _HEADER)
            await send(message)

        with self._under_way(session):
            await self._app(scope, receive, watched)
        if scope["method"] == "DELETE" and session is not None:
            own.pop(session, None)
        while len(own) > EACH and (oldest := next((one for one in own if one not in self._calls), None)) is not None:
            del own[oldest]
            await self._end(scope, oldest)

    @contextmanager
    def _under_way(self, session: bytes | None) -> Iterator[None]:
        if session is None:
            yield
            return
        self._calls[session] += 1
        try:
            yield
        finally:
            self._calls[session] -= 1
            if not self._calls[session]:
                del self._calls[session]

    async def _end(self, scope: Scope, session: bytes) -> None:
        """End a session as its client would, with the same credential."""
        kept = [(name, value) for name, value in scope["headers"] if name in {b"host", b"authorization"}]
        request = {key: scope[key] for key in scope if key not in {"user", "auth", "app", "endpoint", "path_params"}}
        request |= {"method": "DELETE", "headers": [*kept, (_HEADER, session)]}

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def unheard(message: Message) -> None:
            pass

        await self._app(request, nothing, unheard)
