"""The objects that a cluster admin applies to give the peer exactly the rights of the policy.

They are computed from the policy in a fixed order, so that a diff shows the change. The server itself gets no right on
any workload or secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import yaml

from infra_mcp.errors import InfraError
from infra_mcp.model.marks import BINDING, BINDINGS, HELM_BINDING, HELM_SERVER_BINDING, SERVER_BINDING
from infra_mcp.policy.admission_policies import admission_policies
from infra_mcp.policy.helm_rights import account_of, circles_with_helm, rights, role_of
from infra_mcp.policy.impersonation import acting, acting_role, bindings, everywhere, identities
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import ClusterRules

_GROUP: Final = "rbac.authorization.k8s.io"
_API: Final = f"{_GROUP}/v1"
LABEL: Final = {"app.kubernetes.io/part-of": "infra-mcp"}  # of everything that is rendered
_READ: Final = ["get", "list", "watch"]
_SET: Final = ["get", "create", "patch"]
_WRITE: Final = ["get", "list", "watch", "create", "patch"]


def render(
    policy: Policy, cluster: str, namespaces: Sequence[str] = (), *, plain: bool = False
) -> list[dict[str, Any]]:
    """The manifests for an admin, in the order to apply them. The namespaces of pull secrets' sources must exist.

    Args:
        policy: the policy.
        cluster: the cluster's name in the policy.
        namespaces: existing namespaces to give to a circle, as NAME or, where several match, NAME=CIRCLE: each gets
            the bindings that the server creates only in its own namespaces.
        plain: for a cluster without constrained impersonation. One rule differs; see `impersonation`.

    Raises:
        InfraError: `invalid-argument`, for an unknown cluster, or a namespace of no circle or of several.
    """
    rules = policy.clusters.get(cluster)
    if rules is None:
        known = ", ".join(policy.clusters) or "none"
        raise InfraError("invalid-argument", f"The policy has no such cluster; it has {known}.")
    own = rules.service_accounts
    accounts = [f"circle-{circle}" for circle in sorted(policy.circles)]
    accounts += [account_of(circle) for circle in circles_with_helm(policy)]
    impersonate = identities(accounts, plain=plain)
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}},
        *(_account(own, name) for name in ("server", *accounts)),
        *(_rights(f"{own}-impersonate", own, [impersonate], own, ["server"]) if accounts else ()),
        *_server(policy, rules),
        *(twin for role in _namespace_roles(policy, rules) for twin in (role, _twin(role, rules))),
        *_sources(policy, rules),
        *_zones(policy, cluster, rules),
        *admission_policies(policy, rules),
        *(one for name in sorted(set(namespaces)) for one in _bindings(policy, rules, name)),
    ]
    for one in objects:
        one["metadata"]["labels"] = dict(LABEL)
    return objects


def circle_of(policy: Policy, namespace: str) -> str | None:
    """The one circle whose patterns match a namespace; None for none, or for several."""
    circles = [circle for circle in sorted(policy.circles) if policy.reaches(circle, namespace)]
    return circles[0] if len(circles) == 1 else None


def _account(own: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": own}
    # Only the server runs with such an account; circles' accounts are impersonated.
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def _role(kind: str, name: str, namespace: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "rules": rules}


def _bound(role: dict[str, Any], name: str, namespace: str | None, own: str, accounts: list[str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": _API,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _GROUP, "kind": role["kind"], "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": own} for account in accounts],
    }


def _twin(role: dict[str, Any], rules: ClusterRules) -> dict[str, Any]:
    """What the server may do as the accounts that a role is for."""
    name, namespace = role["metadata"]["name"], role["metadata"].get("namespace")
    return _role(role["kind"], acting_role(rules, name), namespace, acting(role["rules"]))


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [group], "resources": resources}
    return rule | ({"resourceNames": names} if names else {}) | {"verbs": list(verbs)}


def _rights(
    name: str, namespace: str | None, rules: list[dict[str, Any]], own: str, accounts: list[str]
) -> list[dict[str, Any]]:
    """A role and its binding."""
    role = _role("Role" if namespace else "ClusterRole", name, namespace, rules)
    return [role, _bound(role, name, namespace, own, accounts)]


def _server(policy: Policy, rules: ClusterRules) -> list[dict[str, Any]]:
    roles = [role["metadata"]["name"] for role in _namespace_roles(policy, rules)]
    named = [BINDING, SERVER_BINDING, *([HELM_BINDING, HELM_SERVER_BINDING] if len(roles) > 1 else [])]
    roles += [acting_role(rules, role) for role in roles]
    granted = [
        # No patch: with it the server could relabel any namespace, pod security included.
        _rule("", ["namespaces"], ["get", "create"]),
        _rule(_GROUP, ["rolebindings"], ["create"]),
        _rule(_GROUP, ["rolebindings"], ["get"], named),
        _rule(_GROUP, ["clusterroles"], ["bind"], roles),
        *everywhere(),
    ]
    return _rights(f"{rules.service_accounts}-server", None, granted, rules.service_accounts, ["server"])


def _circle_role(policy: Policy, rules: ClusterRules) -> dict[str, Any]:
    """A circle's rights in its namespaces: the writes of the actions, and reads to report their result.

    Secrets: RBAC cannot limit create to names (an admission policy does); get and patch are limited to the copies; list
    and watch would expose every Secret of the namespace.
    """
    copies = sorted(
        {policy.pull_secrets[secret].target for circle in policy.circles.values() for secret in circle.pull_secrets}
    )
    secrets = [_rule("", ["secrets"], ["create"]), _rule("", ["secrets"], ["get", "patch"], copies)] if copies else []
    return _role(
        "ClusterRole",
        rules.circle_role,
        None,
        [
            _rule("", ["namespaces"], ["get"]),
            _rule("", ["serviceaccounts", "resourcequotas", "limitranges"], _WRITE),
            *_builds(),
            *secrets,
            _rule("networking.k8s.io", ["networkpolicies"], _WRITE),
            _rule("apps", ["deployments", "statefulsets", "daemonsets"], _WRITE),
            _rule("apps", ["replicasets", "controllerrevisions"], _READ),
            _rule("autoscaling", ["horizontalpodautoscalers"], ["list", *_SET]),
            _rule("", ["pods", "events"], _READ),
        ],
    )


def _namespace_roles(policy: Policy, rules: ClusterRules) -> list[dict[str, Any]]:
    """The roles that are bound in single namespaces: the circles', and those of Helm."""
    helm = circles_with_helm(policy).items()
    named = [_role("ClusterRole", role_of(rules, name), None, rights(its)) for name, its in helm]
    return [_circle_role(policy, rules), *named]


def _builds() -> list[dict[str, Any]]:
    """What a build may bring beside workloads, by the kinds of `guard.kinds`; the guardrails judge its content."""
    return [
        _rule("", ["configmaps", "services", "persistentvolumeclaims"], _SET),
        _rule("batch", ["cronjobs", "jobs"], _SET),
        _rule("policy", ["poddisruptionbudgets"], _SET),
        _rule("networking.k8s.io", ["ingresses"], _SET),
        _rule("gateway.networking.k8s.io", ["httproutes", "grpcroutes", "tlsroutes"], _SET),
        _rule("route.openshift.io", ["routes", "routes/custom-host"], _SET),
        _rule("traefik.io", ["ingressroutes"], _SET),
    ]


def _sources(policy: Policy, rules: ClusterRules) -> list[dict[str, Any]]:
    """The circles with a pull secret read its source as themselves; the server reads none."""
    objects: list[dict[str, Any]] = []
    for name, secret in sorted(policy.pull_secrets.items()):
        circles = [f"circle-{circle}" for circle, its in sorted(policy.circles.items()) if name in its.pull_secrets]
        if circles:
            reads = [_rule("", ["secrets"], ["get"], [secret.place.name])]
            objects += _shared(f"pull-{name}", secret.place.namespace, reads, rules, circles)
    return objects


def _zones(policy: Policy, cluster: str, rules: ClusterRules) -> list[dict[str, Any]]:
    """The circles of a zone whose records are in an object: they may read and change this one object, and make none."""
    objects: list[dict[str, Any]] = []
    for name, zone in sorted(policy.zones.items()):
        circles = [f"circle-{circle}" for circle, its in sorted(policy.circles.items()) if name in its.zones]
        if zone.cluster == cluster and zone.object and circles:
            namespace, _, named = zone.object.partition("/")
            kind = ("", "configmaps") if zone.backend == "coredns" else ("externaldns.k8s.io", "dnsendpoints")
            changes = [_rule(kind[0], [kind[1]], ["get", "patch"], [named])]
            objects += _shared(f"zone-{name}", namespace, changes, rules, circles)
    return objects


def _shared(
    rest: str, namespace: str, granted: list[dict[str, Any]], rules: ClusterRules, circles: list[str]
) -> list[dict[str, Any]]:
    """Rights of circles in a namespace of no circle, and what the server may do there as them."""
    own = rules.service_accounts
    role, binding = _rights(f"{own}-{rest}", namespace, granted, own, circles)
    twin = _twin(role, rules)
    return [role, binding, twin, _bound(twin, twin["metadata"]["name"], namespace, own, ["server"])]


def _bindings(policy: Policy, rules: ClusterRules, namespace: str) -> list[dict[str, Any]]:
    """The bindings of the namespace's circle, and those of Helm where policy gives the namespace to it."""
    namespace, _, named = namespace.partition("=")
    circle = named if named in policy.circles and policy.reaches(named, namespace) else None
    if circle is None and (named or (circle := circle_of(policy, namespace)) is None):
        shown = namespace if re.fullmatch(r"[-a-z0-9]{1,63}", namespace) else "with an invalid name"
        several = not named and any(policy.reaches(one, namespace) for one in policy.circles)
        count = "more than one circle" if several else "no circle" if not named else "another circle or to none"
        step = f"Say which one: {shown}=CIRCLE." if several else None
        what = f"The namespace {shown} belongs to {count}, so it gets no binding."
        raise InfraError("invalid-argument", what, next_step=step)
    return [
        _bound(_role("ClusterRole", one.role, None, []), one.name, namespace, rules.service_accounts, [one.account])
        for one in bindings(policy, rules, circle, namespace)
    ]


# -- as text ---------------------------------------------------------------------------------------------------------

_WHY: Final = {
    "Namespace": "The namespace of the peer's identities. Circles cannot change anything in it.",
    "ServiceAccount": "An identity: infra-mcp runs as `server`, and acts for a circle as `circle-NAME`.",
    "impersonate": "The server may act as these circles' accounts, and as no other.",
    "server": "All rights of the server itself: read and create namespaces and bindings; ask what an account may.",
    "as": "What the server may do while it acts as such an account, by constrained impersonation (KEP-5284).",
    "circle": "The rights of a circle, in its own namespaces only.",
    "helm": "The rights of Helm for a circle, where policy gives a namespace to it. It can read ALL Secrets there.",
    "pull": "A pull secret's source: only its circles may read it, by its name.",
    "zone": "The object that holds a DNS zone's records: its circles may read and change it, and make no other.",
    "namespaces": "Limits the namespaces that the server creates to the circles' name patterns.",
    "bindings": "Limits the bindings that the server creates to that circle's account, in namespaces made for it.",
    "marks": "Lets only infra-mcp set or change its labels and annotations of a namespace.",
    "secrets": "Limits the Secrets that a circle writes to copies of its granted pull secrets.",
    BINDING: "An existing namespace: this circle may work in it from now on.",
    HELM_BINDING: "Helm may work for this circle in the namespace, and can read ALL Secrets of it.",
    SERVER_BINDING: "The server may act as that account here.",
    HELM_SERVER_BINDING: "The server may act as that account here.",
}


def _why(one: dict[str, Any]) -> str:
    if one["kind"] in _WHY:
        return _WHY[one["kind"]]
    name = one["metadata"]["name"]
    if one["kind"] == "RoleBinding" and name in BINDINGS:
        return _WHY[name]
    part = re.search(r"-(impersonate|as|server|circle|namespaces|bindings|secrets|marks|pull|helm|zone)(-|$)", name)
    return _WHY[part.group(1)] if part else ""


class _Dumper(yaml.SafeDumper):
    """Writes several lines as several lines, and equal lists in full."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - the base class's signature
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _string)


def to_yaml(objects: Sequence[dict[str, Any]], *, plain: bool = False) -> str:
    """One YAML stream for `kubectl apply -f -`, each kind of object with a comment on its purpose."""
    head = (
        "# Impersonation: plain, for Kubernetes before 1.36: the server may do all that its accounts may.\n"
        if plain
        else "# Impersonation: constrained, for Kubernetes 1.36 or newer; for an older one print it with --plain.\n"
    )
    head = (
        "# What infra-mcp needs in this cluster, computed from its policy file. Apply it as a cluster admin:\n"
        "#   infra-mcp rbac render | kubectl apply -f -\n"
        "# Print and apply it again when circles, namespaces or pull secrets of the policy change.\n"
    ) + head
    parts, last = [], ""
    for one in objects:
        why = _why(one)
        note = f"# {why}\n" if why and why != last else ""
        last = why
        parts.append(f"---\n{note}{yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=110)}")
    return head + "".join(parts)
