"""The rights of the identity that Helm has for a circle: all of a release's objects, and every Secret beside them.

Helm keeps its releases in Secrets, which it lists, creates, updates and deletes; RBAC cannot limit these verbs to its
own. So the identity can read every Secret of a namespace, and is bound only where policy gives the namespace to Helm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from infra_mcp.policy.guard.kinds import RESOURCES
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import CircleRules, ClusterRules

_ALL: Final = ["get", "list", "watch", "create", "update", "patch", "delete"]
_READ: Final = ["get", "list", "watch"]
_RELEASES: Final = "secrets"  # where Helm keeps them


def circles_with_helm(policy: Policy) -> dict[str, CircleRules]:
    """The circles that may use Helm somewhere, by name."""
    return {name: rules for name, rules in sorted(policy.circles.items()) if rules.helm}


def account_of(circle: str) -> str:
    """The name of the service account that Helm has for a circle."""
    return f"circle-{circle}-helm"


def role_of(cluster: ClusterRules, circle: str) -> str:
    """The name of its ClusterRole, which is bound in single namespaces only."""
    return f"{cluster.service_accounts}-helm-{circle}"


def rights(circle: CircleRules) -> list[dict[str, Any]]:
    """The rules of that role: the default kinds, and those that the circle's `kinds` name."""
    found = {group: set(kinds.values()) for group, kinds in RESOURCES.items()}
    found[""].add(_RELEASES)
    for group, resource in _named(circle):
        found.setdefault(group, set()).add(resource)
    rules = [_rule(group, sorted(resources), _ALL) for group, resources in sorted(found.items())]
    # What a rollout is watched by, and why it fails.
    return [*rules, _rule("", ["events", "pods/log"], _READ), _rule("apps", ["controllerrevisions"], _READ)]


def _named(circle: CircleRules) -> Iterator[tuple[str, str]]:
    """Group and resource of each kind that policy names; of a kind that is not known here, all of its group."""
    for kind in circle.kinds or ():
        group, _, name = kind.rpartition("/")
        if name not in RESOURCES.get(group, {}) and group and "*" not in group:
            yield group, "*"


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
