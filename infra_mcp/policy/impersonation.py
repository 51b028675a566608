"""What the server may do as one of its accounts: constrained impersonation (KEP-5284), from Kubernetes 1.36.

The API server asks two questions about a request with `Impersonate-User` before those about the account itself: may
the server act as this account (`impersonate:serviceaccount`, group authentication.k8s.io), and may it do this as any
account (`impersonate-on:serviceaccount:VERB`, on the request's own resource or path, in the request's namespace). So
each role of an account has a twin: the same rules, verbs with that prefix, bound to the server in the same namespace.

The API server tries the verb `impersonate` last, and it allows everything that the account may: one grant of it voids
the twins. Older clusters know only that verb; the plain form differs from the other in this one rule, so that a cluster
that is upgraded needs one Role changed, and no namespace bound anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from infra_mcp.model.marks import BINDING, HELM_BINDING, HELM_SERVER_BINDING, SERVER_BINDING
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.helm_rights import account_of, role_of
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import ClusterRules

SINCE: Final = (1, 36)  # Kubernetes: beta, on by default
AS_ACCOUNT: Final = "impersonate:serviceaccount"
PLAIN: Final = "impersonate"
_ON: Final = "impersonate-on:serviceaccount:"


def identities(accounts: list[str], *, plain: bool) -> dict[str, Any]:
    """The rule by which the server may act as these accounts of its namespace, and as no other."""
    group, verb = ("", PLAIN) if plain else ("authentication.k8s.io", AS_ACCOUNT)
    return {"apiGroups": [group], "resources": ["serviceaccounts"], "resourceNames": accounts, "verbs": [verb]}


def acting(rules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The twin of an account's rules: what the server may do as the account."""
    return [rule | {"verbs": [_ON + verb for verb in rule["verbs"]]} for rule in rules]


def everywhere() -> list[dict[str, Any]]:
    """What every account may do outside of namespaces: read discovery and schemas, and ask for its own rights."""
    reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    paths = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"]
    return acting(
        [
            {"apiGroups": ["authorization.k8s.io"], "resources": reviews, "verbs": ["create"]},
            {"nonResourceURLs": paths, "verbs": ["get"]},
        ]
    )


def acting_role(cluster: ClusterRules, role: str) -> str:
    """The name of the twin of a role."""
    own = cluster.service_accounts
    return f"{own}-as-{role.removeprefix(f'{own}-')}"


class Bound(NamedTuple):
    """A RoleBinding in a circle's namespace, to a ClusterRole and for one account of the peer's own namespace."""

    name: str
    role: str
    account: str


def bindings(policy: Policy, cluster: ClusterRules, circle: str, namespace: str) -> Iterator[Bound]:
    """The bindings of a circle's namespace, and those of Helm where policy gives the namespace to it.

    Args:
        policy: the policy.
        cluster: the cluster the namespace is in.
        circle: the circle's name.
        namespace: its name.
    """
    role, rules = cluster.circle_role, policy.circle(circle)
    yield Bound(BINDING, role, f"circle-{circle}")
    yield Bound(SERVER_BINDING, acting_role(cluster, role), "server")
    if rules is not None and any(matches(pattern, namespace) for pattern in rules.helm):
        role = role_of(cluster, circle)
        yield Bound(HELM_BINDING, role, account_of(circle))
        yield Bound(HELM_SERVER_BINDING, acting_role(cluster, role), "server")


def is_constrained(version: str) -> bool:
    """Whether a cluster has constrained impersonation by default, by its version: `v1.36.3`, `v1.36.1-gke.4`."""
    major, _, rest = version.removeprefix("v").partition(".")
    minor = rest.partition(".")[0].rstrip("+")
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= SINCE
