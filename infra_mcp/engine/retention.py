"""Takes the words of what is done with away, once they are as old as policy keeps them. One task for each server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import anyio

from infra_mcp.engine.dependencies import stamp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce

_log = logging.getLogger(__name__)
_FIRST = 60.0  # seconds after the start, which has better things to do
_EVERY = 3600.0  # seconds


class Retention:
    """Looks each hour for messages whose time is over, by `[messages] keep` of the policy in force.

    Without a policy in force nothing is taken.

    Args:
        ledger: where the messages are.
        policy: the policy in force.
        now: tells the time.
    """

    def __init__(self, ledger: Ledger, policy: PolicyInForce, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._policy = policy
        self._now = now

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await anyio.sleep(_FIRST)
        while True:
            try:
                await self.look()
            except InfraError as error:
                _log.warning("old messages could not be taken away: %s", error.what)
            await anyio.sleep(_EVERY)

    async def look(self) -> int:
        """Take away what is over its time; returns how many messages lost their words.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        try:
            seconds = self._policy.current().messages.keep_seconds
        except InfraError:
            return 0
        with anyio.CancelScope(shield=True):
            taken = await self._ledger.mail.purge(stamp(self._now() - timedelta(seconds=seconds)))
        return taken  # noqa: RET504 - not inside: to a type checker the scope could swallow it
