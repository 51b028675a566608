"""Who calls: from the transport, and from nothing else.

Over HTTP it is the request's bearer token; on the unix socket the token of the connection's first frame, or, without
one, that only this user can open the socket. No argument, other header, name or text counts.

Without a token the first frame may only give rights up: the command line is the local operator, a host is a reader, and
a session that attends as the infra peer has what it claims. Each process that can open the socket may be any of these.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from pydantic import PrivateAttr

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Channel
from infra_mcp.server.operator import OPERATOR

if TYPE_CHECKING:
    from infra_mcp.server.credentials import Credentials

NOT_KNOWN = frozenset({"unauthenticated", "token-expired"})  # codes of a caller who is not, or no longer, known
COMMAND_LINE = "infra-mcp-cli"  # the client name it sends over HTTP
# A host on this machine without a token: it may read what the operator may read, and no more.
READER = Caller(name="reader", circle=None, strength="same-user", reader=True)


@dataclass(frozen=True)
class Binding:
    """The identity of a socket connection, by its first frame."""

    token: str | None  # of a peer
    channel: Channel = "tool"
    local: Caller = OPERATOR  # the caller without a token

    async def caller(self, credentials: Credentials) -> Caller:
        """The caller, looked up at each call, so that a revoked token ends at once.

        Raises:
            InfraError: `unauthenticated`, `token-expired`.
        """
        if self.token is None:
            return self.local
        known = await credentials.caller(self.token)
        if known is None:
            raise _ended()
        return known


def binding_of(hello: dict[str, Any], infra: str) -> Binding:
    """The identity by a connection's first frame.

    Args:
        hello: its parameters: `token`, or `attend` with the infra peer's name, or `host`, or none of these; and `door`.
        infra: the infra peer's name.

    Raises:
        InfraError: `unauthenticated` for a token that is no text, `invalid-argument`, `not-found` for another peer to
            attend as. The token itself is looked up at each call.
    """
    token, attend, host = hello.get("token"), hello.get("attend"), hello.get("host", False)
    channel: Channel = "cli" if hello.get("door") == "cli" else "tool"
    if token is not None:
        if not isinstance(token, str):
            raise InfraError("unauthenticated", "The token is not a text.")
        if attend is not None:
            what = "A token makes the connection a peer's, so it cannot attend as the infra peer."
            raise InfraError("invalid-argument", what, next_step="Leave out the one or the other.")
        return Binding(token, channel)
    if attend is not None:
        if attend != infra:
            what = f"attend: only the infra peer is attended, and its name here is {infra}."
            raise InfraError("not-found", what, next_step=f"infra-mcp connect --attend {infra}")
        session = f"session-{secrets.token_hex(8)}"
        local = Caller(name=infra, circle=None, strength="same-user", attendant=True, session=session)
        return Binding(None, local=local)
    if not isinstance(host, bool):
        raise InfraError("invalid-argument", "host: must be true or false.")
    if host:
        return Binding(None, local=READER)
    return Binding(None, channel)


_binding: ContextVar[Binding | None] = ContextVar("infra_mcp_binding", default=None)


def bind(binding: Binding) -> None:
    """Bind the current task, and every task it starts from now on, to one connection's identity."""
    _binding.set(binding)


def again(credentials: Credentials) -> Callable[[], Awaitable[Caller]]:
    """What looks the caller of this connection of the socket up as of the moment it is called, also after it ended.

    Raises:
        InfraError: `unauthenticated`, outside a connection.
    """
    binding = _binding.get()
    if binding is None:
        raise InfraError("unauthenticated", "The transport does not identify the caller.")
    return partial(binding.caller, credentials)


def principal_of(caller: Caller) -> str:
    """The name under which a caller has its share, and which sessions of the older era are bound to."""
    return "attending" if caller.attendant else f"{caller.circle or ''}/{caller.name}"


class PeerToken(AccessToken):
    """A verified bearer token with the peer it belongs to."""

    caller: Caller
    # Its caller as of now. Not the token itself: others may log the request's attributes.
    _again: Callable[[], Awaitable[Caller | None]] = PrivateAttr()


class Tokens:
    """The token verifier of the HTTP channel: each token is looked at anew at each request."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def verify_token(self, token: str) -> AccessToken | None:
        """The peer of a token; the transport answers None with 401. The guard in front of it has said why."""
        try:
            caller = await self._credentials.caller(token)
        except InfraError:
            return None
        if caller is None:
            return None
        principal = principal_of(caller)
        found = PeerToken(token="-", client_id=principal, scopes=[], subject=principal, caller=caller)  # noqa: S106
        found._again = lambda: self._credentials.caller(token)  # noqa: SLF001 - pydantic takes no private value
        return found


def _ended() -> InfraError:
    return InfraError("unauthenticated", "The token does not belong to a peer, or was revoked.")


async def caller_of_call(credentials: Credentials) -> Caller:
    """The caller of the current call as of this moment: a token may end while the call waits.

    Raises:
        InfraError: `unauthenticated`, also when no transport has identified the caller; `token-expired`.
    """
    token = get_access_token()
    if isinstance(token, PeerToken):
        if await token._again() != token.caller:  # noqa: SLF001 - of this module
            raise _ended()
        return token.caller
    binding = _binding.get()
    if binding is None:
        raise InfraError("unauthenticated", "The transport does not identify the caller.")
    return await binding.caller(credentials)


def channel_of_call(client: str | None = None) -> Channel:
    """The channel of the call, for the record; it gives no rights.

    Args:
        client: the client's own name, which marks the command line over HTTP.
    """
    if get_access_token() is not None:
        return "cli" if client == COMMAND_LINE else "tool"
    binding = _binding.get()
    return binding.channel if binding is not None else "tool"
