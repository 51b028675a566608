"""Who calls: from the transport, and from nothing else.

Over HTTP the bearer token of the request tells; on the unix socket the token of the connection's first frame, or,
without one, that only this user can open the socket. No argument, header, name or text is ever asked.

Without a token the first frame may only give rights up: the command line is the local operator, a host is a reader, and
a session that attends as the infra peer has what it claims. Whoever can open the socket could say any of these.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from pydantic import PrivateAttr

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Channel
from infra_mcp.server.operator import OPERATOR

if TYPE_CHECKING:
    from infra_mcp.ledger.store import Ledger

COMMAND_LINE = "infra-mcp-cli"  # as it calls itself over HTTP
# A host on this machine that shows no token: it may look at what the operator may look at, and no more.
READER = Caller(name="reader", circle=None, strength="same-user", reader=True)


@dataclass(frozen=True)
class Binding:
    """What the first frame of a socket connection said.

    Args:
        token: of a peer, or None.
        channel: whether the command line speaks.
        local: who the connection is without a token.
    """

    token: str | None
    channel: Channel = "tool"
    local: Caller = OPERATOR

    async def caller(self, ledger: Ledger) -> Caller:
        """The caller, asked of the ledger at each call, so that a revoked token ends at once.

        Raises:
            InfraError: `unauthenticated`.
        """
        if self.token is None:
            return self.local
        known = await ledger.caller_for_token(self.token)
        if known is None:
            raise _ended()
        return known


def binding_of(hello: dict[str, Any], infra: str) -> Binding:
    """What a connection's first frame says.

    Args:
        hello: its parameters: `token`, or `attend` with the infra peer's name, or `host`, or none of these; and `door`.
        infra: the infra peer's name.

    Raises:
        InfraError: `unauthenticated` for a token that is no text, `invalid-argument`, `not-found` for another peer to
            attend as. The token itself is looked up at each call.
    """
    token, attend, host = hello.get("token"), hello.get("attend"), hello.get("host", False)
    if token is not None:
        if not isinstance(token, str):
            raise InfraError("unauthenticated", "The token is not a text.")
        if attend is not None:
            what = "A token makes the connection a peer's, so it cannot attend as the infra peer."
            raise InfraError("invalid-argument", what, next_step="Leave out the one or the other.")
        return Binding(token, "cli" if hello.get("door") == "cli" else "tool")
    if attend is not None:
        if attend != infra:
            what = f"attend: only the infra peer is attended, and its name here is {infra}."
            raise InfraError("not-found", what, next_step=f"infra-mcp connect --attend {infra}")
        session = f"session-{secrets.token_hex(8)}"
        local = Caller(name=infra, circle=None, strength="same-user", attendant=True, session=session)
        return Binding(None, local=local)
    if host is not True and host is not False:
        raise InfraError("invalid-argument", "host: must be true or false.")
    if host:
        return Binding(None, local=READER)
    return Binding(None, "cli" if hello.get("door") == "cli" else "tool")


_binding: ContextVar[Binding | None] = ContextVar("infra_mcp_binding", default=None)


def bind(binding: Binding) -> None:
    """Bind the current task, and every task it starts from now on, to one connection's identity."""
    _binding.set(binding)


class PeerToken(AccessToken):
    """A verified bearer token with the peer it belongs to."""

    caller: Caller
    # Whose it is by now. Not the token itself: what hangs on the request may be logged by others.
    _again: Callable[[], Awaitable[Caller | None]] = PrivateAttr()


class Tokens:
    """The token verifier of the HTTP channel: peers' tokens, asked of the ledger at each request."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def verify_token(self, token: str) -> AccessToken | None:
        """The peer of a token, or None, which the transport answers with 401."""
        caller = await self._ledger.caller_for_token(token)
        if caller is None:
            return None
        # Sessions of the older era are bound to this: a name alone may be that of two peers.
        principal = f"{caller.circle or ''}/{caller.name}"
        found = PeerToken(token="-", client_id=principal, scopes=[], subject=principal, caller=caller)  # noqa: S106
        found._again = lambda: self._ledger.caller_for_token(token)  # noqa: SLF001 - pydantic takes no private value
        return found


def _ended() -> InfraError:
    return InfraError("unauthenticated", "The token is not, or no longer, that of a peer.")


async def caller_of_call(ledger: Ledger) -> Caller:
    """The caller of the call being handled, as of this moment: a token may end while the call waits.

    Raises:
        InfraError: `unauthenticated`, also when no transport has said anything.
    """
    token = get_access_token()
    if isinstance(token, PeerToken):
        if await token._again() != token.caller:  # noqa: SLF001 - of this module
            raise _ended()
        return token.caller
    binding = _binding.get()
    if binding is None:
        raise InfraError("unauthenticated", "The transport does not say who calls.")
    return await binding.caller(ledger)


def channel_of_call(client: str | None = None) -> Channel:
    """Which channel the call came through, for the record; it gives no rights.

    Args:
        client: what the client calls itself, which tells the command line over HTTP.
    """
    if get_access_token() is not None:
        return "cli" if client == COMMAND_LINE else "tool"
    binding = _binding.get()
    return binding.channel if binding is not None else "tool"
