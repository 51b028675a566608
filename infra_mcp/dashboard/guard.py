"""What the dashboard asks of a request before anything is looked up, and the headers of every answer.

The HTTP channel's guard has refused other hosts and pages of other machines already. Here a page may not be framed, and
a decision must come from a page of this very address: another server of this machine is another origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_FORM: Final = 16_384  # bytes
_FRAMES: Final = {"iframe", "frame", "embed", "object", "fencedframe"}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Under `no-referrer` a browser sends `Origin: null` with our own forms (Fetch standard, "append a request Origin").
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def check_look(request: Request) -> None:
    """Check a request that only looks.

    Raises:
        InfraError: `policy-denied`, for a page in a frame and for one fetched in advance.
    """
    if request.headers.get("sec-fetch-dest", "") in _FRAMES:
        raise _denied("A page of the dashboard is not shown inside another one.", "page.framed")
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        raise _denied("A page of the dashboard is not fetched in advance.", "page.prefetch")


def check_post(request: Request) -> None:
    """Check a request that decides.

    Raises:
        InfraError: `policy-denied`, unless it comes from a page of this very address.
    """
    check_look(request)
    here = f"http://{request.headers.get('host', '')}"
    if request.headers.getlist("origin") != [here]:
        raise _denied("A decision comes from a page of the dashboard itself, by its Origin header.", "page.origin")
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise _denied("A decision comes from a page of the dashboard itself.", "page.origin")


async def form_of(request: Request) -> bytes:
    """The body of a form, bounded.

    Raises:
        InfraError: `invalid-argument`, where it is too large or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    if kind == "application/x-www-form-urlencoded":
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_FORM:
                break
        else:
            return bytes(body)
    raise InfraError("invalid-argument", f"The body is not a form of at most {MAX_FORM} bytes.")


def _denied(what: str, rule: str) -> InfraError:
    return InfraError("policy-denied", what, next_step="Open it from the dashboard's own pages.", rule=rule)
