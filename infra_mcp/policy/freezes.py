"""Whether something may not be changed at the moment, whoever asks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from infra_mcp.policy.matching import about
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.rules import Freeze

__all__ = ["Freeze", "frozen"]


def frozen(
    policy: Policy, *, app: str | None, namespaces: Iterable[str], circle: str | None, now: datetime
) -> Freeze | None:
    """The freeze that a change would fall into.

    A direct change in it is refused (`decide`); a release that came by a notify is held until it ends, and then due
    by its schedule again. What has begun is not stopped by it.

    Args:
        policy: the policy in force.
        app: the app that is deployed; None for a change of something else, which a freeze of apps is not about.
        namespaces: the namespaces that are touched.
        circle: the circle of whoever asks.
        now: the present, with its offset.

    Returns:
        The one that ends last, where several hold now; None when none does.
    """
    held = [
        one
        for one in policy.freeze
        if one.begins <= now < one.until
        and about(one.match.apps, () if app is None else (app,))
        and about(one.match.namespaces, namespaces)
        and about(one.match.circles, (circle or "",))
    ]
    return max(held, key=lambda one: one.until, default=None)
