"""The door for a forge's webhooks, `POST /hooks/NAME`: bounded, and closed to everything without a hook's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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

    async def answer(self, request: Request) -> Response:
        """Answer one event."""
        if self._open >= _AT_ONCE:
            return JSONResponse({"error": "Too many events are under way."}, _UNAVAILABLE, {"Retry-After": "5"})
        self._open += 1
        try:
            return await self._answer(request)
        finally:
            self._open -= 1

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return JSONResponse({"error": "The content type must be application/json."}, _WRONG_TYPE)
        body = await _body(request)
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
