"""Whose a bearer token is: a peer's own, which the ledger has, or one that an issuer of policy signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra_mcp.proof import is_signed
from infra_mcp.server.oidc import OidcTokens

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Caller


class Credentials:
    """The tokens that one server takes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._oidc = OidcTokens(engine)

    async def caller(self, token: str) -> Caller | None:
        """Whose it is as of now; None for an unknown token, and one that ended.

        Raises:
            InfraError: `token-expired`; `unauthenticated`, with what is wrong with a pipeline's token;
                `issuer-unreachable`; `ledger-unavailable`.
        """
        if is_signed(token):  # no token of the ledger has this form
            return await self._oidc.caller(token)
        return await self._engine.ledger.caller_for_token(token)
