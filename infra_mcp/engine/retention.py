"""Deletes the texts of old messages, once they are older than the policy keeps them. One task for each server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import anyio

from infra_mcp.engine.dependencies import stamp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.grammar import seconds

_log = logging.getLogger(__name__)
_FIRST = 60.0  # seconds after the start, which has better things to do
_EVERY = 3600.0  # seconds


async def keep_purging(ledger: Ledger, policy: PolicyInForce, now: Callable[[], datetime]) -> None:
    """Purge each hour, until cancelled."""
    await anyio.sleep(_FIRST)
    while True:
        try:
            await purge(ledger, policy, now())
        except InfraError as error:
            _log.warning("old messages could not be deleted: %s", error.what)
        await anyio.sleep(_EVERY)


async def purge(ledger: Ledger, policy: PolicyInForce, now: datetime) -> int:
    """Delete the texts older than `[messages] keep`; returns of how many messages. Without a policy none is deleted.

    Raises:
        InfraError: `ledger-unavailable`.
    """
    try:
        kept = seconds(policy.current().messages.keep)
    except InfraError:
        return 0
    with anyio.CancelScope(shield=True):
        taken = await ledger.mail.purge(stamp(now - timedelta(seconds=kept)))
    return taken  # noqa: RET504 - not inside: to a type checker the scope could swallow it
