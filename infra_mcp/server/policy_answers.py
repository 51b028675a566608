"""What operators are shown of policies: their difference, their grants, what is found in one, and one that is tried."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from infra_mcp.errors import InfraError
from infra_mcp.ledger.clock import normal
from infra_mcp.policy.findings import Finding, Known, findings
from infra_mcp.policy.policy import Policy, load
from infra_mcp.policy.tried import Tried, planned_otherwise, tried
from infra_mcp.repository.commit import diff

if TYPE_CHECKING:
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.model.judged import Judged
    from infra_mcp.model.request import Request
    from infra_mcp.server.operator_parameters import PolicyTrial

_PAGE = 50  # requests that a policy is tried on at once
_MAX_PAIRS = 4_000_000  # of lines of two policies that are compared with context


async def found(ledger: Ledger, policy: Policy) -> list[Finding]:
    """What is found in a policy, also about the peers that it names."""
    operators = await ledger.approvals.operators()
    there = frozenset(operators.there)
    peers = frozenset(one.name for one in await ledger.peers())
    return findings(policy, datetime.now(UTC), Known(peers, there, there - operators.uncounted))


async def trial(ledger: Ledger, in_force: Policy | None, given: PolicyTrial) -> dict[str, Any]:
    """What a policy would decide otherwise on stored requests: see `Operator.policy_test`."""
    policy = await to_thread.run_sync(load, given.text)
    try:
        since = normal(given.since) if given.since else ""
    except ValueError:
        what = "since: not an ISO 8601 time."
        raise InfraError("invalid-argument", what, next_step="Send one such as 2026-11-01T00:00:00Z.") from None
    seen: list[Tried] = []
    while len(seen) < given.limit:
        last, wanted = seen[-1].request if seen else None, min(_PAGE, given.limit - len(seen))
        page = await ledger.judged(circle=given.circle, since=since, before=last, limit=wanted)
        seen += await to_thread.run_sync(_tried, policy, page)
        if len(page) < wanted:
            break
    return {
        "policy": policy.digest,
        "tried": len(seen),
        "differ": [one._asdict() for one in seen if one.differs],
        "unknown": [one._asdict() for one in seen if one.unknown],
        "planned_otherwise": planned_otherwise(policy, in_force) if in_force else [],
    }


def _tried(policy: Policy, page: list[tuple[Request, Judged | None]]) -> list[Tried]:
    return [tried(policy, request, judged) for request, judged in page]


def changes(old: str, new: str) -> str:
    """A diff of two policies, with context where that is computed quickly."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) * len(after) > _MAX_PAIRS:
        return diff("infra.toml", old.encode(), new.encode())
    return "\n".join(difflib.unified_diff(before, after, "infra.toml (in force)", "infra.toml", lineterm=""))


def summary(policy: Policy) -> dict[str, Any]:
    """What a policy grants and restricts, in short."""
    return {
        "peer": policy.peer.name,
        "branch": policy.tree.branch,
        "remote": policy.tree.remote if policy.tree.write != "local" else None,
        "clusters": {name: rules.context for name, rules in policy.clusters.items()},
        "circles": {
            name: {key: list(getattr(rules, key)) for key in ("namespaces", "actions", "pull_secrets")}
            for name, rules in policy.circles.items()
        },
        "apps": {name: rules.owner for name, rules in policy.apps.items()},
        "rules": [rule.id for rule in policy.rules],
        "protected": [one.id for one in policy.protected],
        "freezes": [one.id for one in policy.freezes],
    }
