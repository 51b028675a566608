"""The refusal of a bearer token over HTTP, which says why and where to look (RFC 6750, 3; RFC 9728, 5.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mcp.server.auth.routes import build_resource_metadata_url
from pydantic import AnyHttpUrl
from starlette.responses import JSONResponse

from infra_mcp.codes import Exit

if TYPE_CHECKING:
    from infra_mcp.errors import InfraError

_UNAUTHORIZED, _UNAVAILABLE = 401, 503
_AGAIN = "5"  # seconds
_UNQUOTED = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # no character of a description (RFC 6750, 3)


def challenge(error: InfraError, url: str) -> JSONResponse:
    """The answer to a call whose token is refused: 401, or 503 where it could not be checked.

    Args:
        error: why.
        url: of the MCP endpoint.
    """
    if error.exit is Exit.UNREACHABLE:
        return JSONResponse({"error": "unavailable"} | error.as_dict(), _UNAVAILABLE, {"Retry-After": _AGAIN})
    said = _UNQUOTED.sub("'", f"{error.what} {error.next_step}")
    parts = ['error="invalid_token"', f'error_description="{said}"']
    parts.append(f'resource_metadata="{build_resource_metadata_url(AnyHttpUrl(url))}"')
    body = {"error": "invalid_token", "error_description": said} | error.as_dict()
    return JSONResponse(body, _UNAUTHORIZED, {"WWW-Authenticate": f"Bearer {', '.join(parts)}"})
