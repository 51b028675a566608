"""What the steps of the pipeline work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from infra_mcp.clients.git import Git
from infra_mcp.drivers.manifests.driver import Manifests
from infra_mcp.ledger import Ledger
from infra_mcp.policy.rules import Policy
from infra_mcp.repository.load import load
from infra_mcp.repository.value import Tree

__all__ = ["Tools", "stamp", "utc"]


def utc() -> datetime:
    """The present."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """A time as the ledger writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Tools:
    """Connections and the policy; no state of any request."""

    ledger: Ledger
    git: Git
    driver: Manifests
    policy: Callable[[], Policy]  # the policy in force now; raises when there is none
    cluster: str
    place: str  # the cluster's name and context: where a request was begun is where it ends
    now: Callable[[], datetime] = utc

    async def tree(self, policy: Policy, commit: str) -> Tree:
        """The infra repository at a commit, as a value."""
        return await load(self.git, commit, [root.path for root in policy.tree.roots], self.cluster)
