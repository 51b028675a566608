"""Sessions of the dashboard: opened from the command line by a link that works once, kept in memory only.

A session is its operator's, and ends with the token it was opened by. Cookies know no ports: a page of another server
on this machine would be sent ours, were it not for the path. So a session's addresses begin with a random part that
only it has.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller

LINK_SECONDS: Final = 120.0  # for a link to be opened
SESSION_SECONDS: Final = 12 * 3600.0
FORM_SECONDS: Final = 3600.0  # from the page that was shown to its decision
_MOST: Final = 100  # links, and sessions; the oldest goes
Again = Callable[[], Awaitable[Caller]]  # looks the caller up as of now


@dataclass(frozen=True)
class Session:
    """One browser of one operator."""

    key: str  # the part of its addresses
    caller: Caller
    again: Again
    until: float  # by the clock of its sessions
    cookie: bytes  # SHA-256 of the cookie's value
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self, request: str, digest: str, shown: float) -> str:
        """The token of a form that decides about one effect of one request, shown at a time of the clock."""
        return f"{shown:.3f}-{self._sign(request, digest, f'{shown:.3f}')}"

    def shown(self, token: str, request: str, digest: str, now: float) -> float:
        """Seconds since the form with this token was shown.

        Raises:
            InfraError: `policy-denied`: the token is not one of this session for this effect, or it is too old.
        """
        at, _, signature = token.partition("-")
        if not hmac.compare_digest(signature.encode(), self._sign(request, digest, at).encode()):
            what = "The form is not one of this session for this very effect."
            raise InfraError("policy-denied", what, next_step="Open the page anew and decide there.", rule="page.form")
        passed = now - float(at)
        if passed > FORM_SECONDS:
            what = "The form was shown more than an hour ago."
            raise InfraError("policy-denied", what, next_step="Open the page anew and decide there.", rule="page.form")
        return max(0.0, passed)

    def _sign(self, request: str, digest: str, at: str) -> str:
        return hmac.new(self.secret, f"{request}\n{digest}\n{at}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class _Link:
    caller: Caller
    again: Again
    page: str
    until: float


class Sessions:
    """The links and sessions of one server.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._links: dict[bytes, _Link] = {}
        self._open: dict[str, Session] = {}

    def link(self, caller: Caller, again: Again, page: str) -> str:
        """A token that opens one session of this caller at a page, once, within two minutes."""
        token = secrets.token_urlsafe(32)
        self._links[_hash(token)] = _Link(caller, again, page, self.clock() + LINK_SECONDS)
        _bound(self._links)
        return token

    async def enter(self, token: str) -> tuple[Session, str, str] | None:
        """Use a link up: its session, the cookie's value and the page; None where it is used, too old or unknown."""
        link = self._links.pop(_hash(token), None)
        if link is None or self.clock() > link.until or not await _is(link.caller, link.again):
            return None
        cookie, until = secrets.token_urlsafe(32), self.clock() + SESSION_SECONDS
        session = Session(secrets.token_hex(16), link.caller, link.again, until, _hash(cookie))
        self._open[session.key] = session
        _bound(self._open)
        return session, cookie, link.page

    async def find(self, key: str, cookie: str) -> Session | None:
        """The session of an address and a cookie, as long as its caller is an operator as it was opened by."""
        session = self._open.get(key)
        if session is None or not hmac.compare_digest(session.cookie, _hash(cookie)):
            return None
        if self.clock() > session.until or not await _is(session.caller, session.again):
            self.end(key)
            return None
        return session

    def end(self, key: str) -> None:
        """End a session."""
        self._open.pop(key, None)


async def _is(caller: Caller, again: Again) -> bool:
    try:
        return caller.operator and await again() == caller
    except InfraError:
        return False


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _bound(those: dict[bytes, _Link] | dict[str, Session]) -> None:
    while len(those) > _MOST:
        del those[next(iter(those))]  # type: ignore[arg-type]
