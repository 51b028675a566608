"""`POST /operator/approve` and `…/resolve`: an operator's decision over HTTP, by their own token.

They are no tools: no model sees them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from infra_mcp.errors import InfraError
from infra_mcp.server.challenge import challenge

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from infra_mcp.model.peer import Caller
    from infra_mcp.server.operator import Operator

METHODS: Final = ("operator/approve", "operator/resolve")
MAX_BODY: Final = 65_536  # bytes; a signature is some hundred
_UNAVAILABLE: Final = 503
_STATUS: Final = {
    "policy-denied": 403,
    "signature-refused": 403,
    "not-found": 404,
    "approval-mismatch": 409,
    "invalid-argument": 400,
    "unknown-argument": 400,
    "internal": 500,
}


class DecisionDoor:
    """Answers decisions.

    Args:
        operator: the methods of operators.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def answer(self, request: Request) -> Response:
        """Answer one decision, by the method that its path names, or with the error as every channel has it."""
        try:
            caller = await self._caller(request.headers.get("authorization", ""))
        except InfraError as error:
            return challenge(error, request.state.endpoint)
        try:
            return JSONResponse(await self._operator.call(caller, request.url.path[1:], await _given(request)))
        except InfraError as error:
            return JSONResponse(error.as_dict(), _STATUS.get(error.code, _UNAVAILABLE))

    async def _caller(self, authorization: str) -> Caller:
        kind, _, token = authorization.partition(" ")
        caller = await self._operator.ledger.caller_for_token(token.strip()) if kind.lower() == "bearer" else None
        if caller is None:
            raise InfraError("unauthenticated", "No valid token came with the decision.")
        return caller


async def _given(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InfraError("invalid-argument", "The content type must be application/json.")
    body = bytearray()
    async for piece in request.stream():  # the guard limits the time for it
        body += piece
        if len(body) > MAX_BODY:
            raise InfraError("invalid-argument", f"The body has more than {MAX_BODY} bytes.")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InfraError("invalid-argument", "The body is not a JSON object.")
    return given
