"""Who calls: from the transport, and from nothing else.

Over HTTP the bearer token of the request tells; on the unix socket the token of the connection's first frame, or,
without one, that only this user can open the socket. No argument, header, name or text is ever asked.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Door
from infra_mcp.server.operator import OPERATOR

if TYPE_CHECKING:
    from infra_mcp.ledger.store import Ledger

__all__ = ["Binding", "Tokens", "bind", "caller_of_call", "door_of_call"]


@dataclass(frozen=True)
class Binding:
    """What the first frame of a socket connection said: a token or none, and whether the command line speaks."""

    token: str | None
    door: Door = "tool"

    async def caller(self, ledger: Ledger) -> Caller:
        """The caller, asked anew at each call, so that a revoked token ends at once.

        Raises:
            InfraError: `unauthenticated`.
        """
        if self.token is None:
            return OPERATOR
        known = await ledger.caller_for_token(self.token)
        if known is None:
            raise InfraError("unauthenticated", "The token is not, or no longer, that of a peer.")
        return known


_binding: ContextVar[Binding | None] = ContextVar("infra_mcp_binding", default=None)


def bind(binding: Binding) -> None:
    """Bind the current task, and every task it starts from now on, to one connection's identity."""
    _binding.set(binding)


class PeerToken(AccessToken):
    """A verified bearer token with the peer it belongs to."""

    caller: Caller


class Tokens:
    """The token verifier of the HTTP door: peers' tokens, looked up in the ledger at each request."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def verify_token(self, token: str) -> AccessToken | None:
        """The peer of a token, or None, which the transport answers with 401."""
        caller = await self._ledger.caller_for_token(token)
        if caller is None:
            return None
        # Not the token itself: what hangs on the request may be logged by others.
        return PeerToken(token="-", client_id=caller.name, scopes=[], subject=caller.name, caller=caller)  # noqa: S106


async def caller_of_call(ledger: Ledger) -> Caller:
    """The caller of the call being handled.

    Raises:
        InfraError: `unauthenticated`, also when no transport has said anything.
    """
    token = get_access_token()
    if isinstance(token, PeerToken):
        return token.caller
    binding = _binding.get()
    if binding is None:
        raise InfraError("unauthenticated", "The transport does not say who calls.")
    return await binding.caller(ledger)


def door_of_call() -> Door:
    """Which door the call came through, for the record; it gives no rights."""
    binding = _binding.get()
    return binding.door if binding is not None and get_access_token() is None else "tool"
