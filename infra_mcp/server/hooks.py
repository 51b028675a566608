"""The door for a forge's webhooks, `POST /hooks/NAME`: bounded, and closed to everything without a hook's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
from starlette.responses import JSONResponse

from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from infra_mcp.mesh.hooks import Hooks

PATH: Final = "/hooks/{name}"
MAX_BODY: Final = 1 << 20  # bytes; GitHub's events have some 10 to 100 KiB
_AT_ONCE: Final = 16
_STATUS: Final = {"policy-denied": 403, "invalid-argument": 400, "too-many": 429}
_TOO_LARGE, _WRONG_TYPE, _UNAVAILABLE = 413, 415, 503
# GitHub, "Validating webhook deliveries"; Gitea, "Webhooks": both are HMAC-SHA256 of the body. Forgejo sends both.
_GITHUB, _GITEA, _PREFIX = "x-hub-signature-256", "x-gitea-signature", "sha256="


class HookDoor:
    """Answers for the hooks.

    Args:
        hooks: what an event does.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._open = 0
        self._reading: dict[anyio.CancelScope, None] = {}  # a body that is not there yet, the oldest first

    async def answer(self, request: Request) -> Response:
        """Answer one event. Where all places are taken, the body that has been awaited for longest gives up its own."""
        if self._open >= _AT_ONCE and not self._end_oldest():
            return JSONResponse({"error": "Too many events are under way."}, _UNAVAILABLE, {"Retry-After": "5"})
        self._open += 1
        try:
            return await self._answer(request)
        finally:
            self._open -= 1

    def _end_oldest(self) -> bool:
        reading = next(iter(self._reading), None)
        if reading is not None:
            del self._reading[reading]
            reading.cancel()
        return reading is not None

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"error": "The content type must be application/json."}, _WRONG_TYPE)
        with anyio.CancelScope() as reading:
            self._reading[reading] = None
            try:
                body = await _body(request)
            finally:
                self._reading.pop(reading, None)
        if reading.cancelled_caught:
            slow, later = "The body came too slowly, and others wait.", {"Retry-After": "5", "Connection": "close"}
            return JSONResponse({"error": slow}, _UNAVAILABLE, later)
        if body is None:
            what = f"The body has more than {MAX_BODY} bytes."
            return JSONResponse({"error": what}, _TOO_LARGE, {"Connection": "close"})
        try:
            notify = await self._hooks.take(request.path_params["name"], _signature(request), body)
        except InfraError as error:
            status = _STATUS.get(error.code, _UNAVAILABLE)
            headers = (
                {"Retry-After": str(error.retry_after or 5)} if status in (_STATUS["too-many"], _UNAVAILABLE) else None
            )
            return JSONResponse({"error": error.what}, status, headers)
        return JSONResponse({"ok": True} | ({"notify": notify} if notify else {}))


async def _body(request: Request) -> bytes | None:
    """The body; None as soon as it is too large. The guard limits the time for it."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > MAX_BODY:
        return None
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _signature(request: Request) -> str:
    headers = request.headers
    return headers.get(_GITHUB, "").removeprefix(_PREFIX) if _GITHUB in headers else headers.get(_GITEA, "")
