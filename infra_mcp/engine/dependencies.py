"""What the steps of the pipeline work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra_mcp.clients.git import Git
from infra_mcp.engine.places import Places
from infra_mcp.engine.run import Run
from infra_mcp.ledger import Ledger
from infra_mcp.model.request import State
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.load import load
from infra_mcp.repository.value import Tree


def utc() -> datetime:
    """The present."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """A time as the ledger writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Dependencies:
    """Connections and the policy; no state of any request."""

    ledger: Ledger
    git: Git
    places: Places
    policy: Callable[[], Policy]  # the policy in force now; raises when there is none
    now: Callable[[], datetime] = utc

    async def tree(self, policy: Policy, commit: str) -> Tree:
        """The infra repository at a commit."""
        roots = policy.tree.roots
        of_objects = [root.path for root in roots if root.holds_objects]
        plain = [root.path for root in roots if not root.holds_objects]
        return await load(self.git, commit, of_objects, policy.cluster_name() or "", plain)

    async def save(self, run: Run, state: State, kind: str, data: dict[str, Any], **ids: str | None) -> None:
        """Record an event of a request with its record; `ids` are its commit, revert and effect digest."""
        await self.ledger.record(run.request.id, state, kind, data, record=run.record.kept(), **ids)
