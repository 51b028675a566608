"""The admission policies that enforce infra.toml for the peer's identities inside the API server (KEP-3488).

RBAC cannot limit create to names of a pattern. Three policies do: for namespaces and bindings of the server, and for
Secrets of circles. The fourth lets only the server set infra-mcp's labels and annotations of a namespace, since
bindings follow them.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from infra_mcp.model.marks import (
    BINDING,
    CIRCLE,
    HELM_BINDING,
    HELM_SERVER_BINDING,
    ONLY_OURS,
    PREFIX,
    PULL_SECRET_TYPES,
    SERVER_BINDING,
)
from infra_mcp.policy.grants import FREE_LABELS
from infra_mcp.policy.helm_rights import account_of, circles_with_helm, role_of
from infra_mcp.policy.impersonation import acting_role
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import ClusterRules

_API: Final = "admissionregistration.k8s.io/v1"
_RBAC: Final = "rbac.authorization.k8s.io"
_NOTHING = {"": "^$"}  # CEL wants the type of an empty map to be known


def admission_policies(policy: Policy, cluster: ClusterRules) -> list[dict[str, Any]]:
    """The admission policies and their bindings, in a fixed order."""
    found = []
    server, others = _as_server(cluster), _as_anyone_else(cluster)
    for suffix, group, resources, who, variables, validations in (
        ("namespaces", "", ["namespaces"], server, *_namespaces(policy, cluster)),
        ("bindings", _RBAC, ["rolebindings"], server, *_bindings(policy, cluster)),
        ("secrets", "", ["secrets"], _as_circle(policy, cluster), *_secrets(policy, cluster)),
        # A write to a namespace's status or finalizers may change its labels, too.
        ("marks", "", ["namespaces", "namespaces/status", "namespaces/finalize"], others, *_marks()),
    ):
        name = f"{cluster.service_accounts}-{suffix}"
        rule = {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": resources,
            "scope": "*",
        }
        # Defaults are written out, so that comparing and applying again show no difference.
        matched = {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [rule]}
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": matched,
            "matchConditions": [{"name": "who", "expression": who}],
            "variables": [{"name": key, "expression": e} for key, e in variables.items()],
            "validations": [{"expression": e, "message": m, "reason": "Forbidden"} for e, m in validations],
        }
        found += [
            {"apiVersion": _API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
            {
                "apiVersion": _API,
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": name},
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            },
        ]
    return found


Parts = tuple[dict[str, str], list[tuple[str, str]]]


def _all(*conditions: str) -> str:
    return "\n&& ".join(conditions)


_BARE: Final = (
    _all(
        "object.metadata.?finalizers.orValue([]).size() == 0",
        "object.metadata.?ownerReferences.orValue([]).size() == 0",
        "object.metadata.?generateName.orValue('') == ''",
    ),
    "infra-mcp sets no finalizer, owner or generated name",
)


def _as_server(cluster: ClusterRules) -> str:
    return f"request.userInfo.username == {_text(cluster.server)}"


def _as_anyone_else(cluster: ClusterRules) -> str:
    """Everyone but this server and other servers of infra-mcp in the cluster, whose accounts may bind circles."""
    another = _all(
        "request.userInfo.username.startsWith('system:serviceaccount:')",
        "request.userInfo.username.endsWith(':server')",
        f"authorizer.group('{_RBAC}').resource('rolebindings').check('create').allowed()",
    )
    return f"!({_as_server(cluster)}) && !({another})"


def _as_circle(policy: Policy, cluster: ClusterRules) -> str:
    """Every circle's own account; those of Helm write what charts hold and the releases themselves."""
    circle = f"request.userInfo.username.startsWith({_text(_circles(cluster))})"
    helm = [
        f"system:serviceaccount:{cluster.service_accounts}:{account_of(name)}" for name in circles_with_helm(policy)
    ]
    return _all(circle, f"!(request.userInfo.username in {_text(helm)})") if helm else circle


def _circles(cluster: ClusterRules) -> str:
    return f"system:serviceaccount:{cluster.service_accounts}:circle-"


def _namespaces(policy: Policy, cluster: ClusterRules) -> Parts:
    name = "object.metadata.name"
    free, ours = _text(sorted(FREE_LABELS)), _text([CIRCLE, "kubernetes.io/metadata.name"])
    granted = "variables.circle in variables.granted && k.matches(variables.granted[variables.circle])"
    variables = {
        "circle": f"object.metadata.?labels[?{_text(CIRCLE)}].orValue('')",
        "patterns": _text(_patterns(policy)),
        "granted": _text(_patterns(policy, "labels")),
    }
    return variables, [
        ("request.operation == 'CREATE'", "infra-mcp creates namespaces and never changes one"),
        (_within(name, cluster), "the namespace's name is not one of the circle it is labelled with"),
        (
            f"object.metadata.?labels.orValue({{}}).all(k, !k.contains('/') || k in {free} || k in {ours})",
            "infra-mcp sets no label by which a cluster switches protections",
        ),
        (
            f"object.metadata.?labels.orValue({{}}).all(k, k in {ours} || ({granted}))",
            "infra-mcp sets no label that the policy does not grant to the circle",
        ),
        (
            f"object.metadata.?annotations.orValue({{}}).all(k, k.startsWith({_text(PREFIX)}))",
            "infra-mcp sets no annotation but its own",
        ),
        _BARE,
        ("object.?spec.?finalizers.orValue([]).all(f, f == 'kubernetes')", _BARE[1]),
    ]


def _marks() -> Parts:
    """Keys with our prefix stay as they were, and are absent in a new namespace."""
    found: list[str] = []
    variables: dict[str, str] = {}
    for what in ("labels", "annotations"):
        now, before = f"variables.{what}", f"variables.{what}Before"
        old = f"oldObject == null ? {{}} : oldObject.metadata.?{what}.orValue({{}})"
        variables |= {what: f"object.metadata.?{what}.orValue({{}})", f"{what}Before": old}
        ours = f"!k.startsWith({_text(PREFIX)})"
        found += [
            f"{now}.all(k, {ours} || (k in {before} && {now}[k] == {before}[k]))",
            f"{before}.all(k, {ours} || k in {now})",
        ]
    return variables, [(_all(*found), ONLY_OURS)]


def _bindings(policy: Policy, cluster: ClusterRules) -> Parts:
    name, binding = "namespaceObject.metadata.name", "object.metadata.name"
    helm = bool(circles_with_helm(policy))
    variables = {
        "circle": f"namespaceObject.metadata.?labels[?{_text(CIRCLE)}].orValue('')",
        "patterns": _text(_patterns(policy)),
        "wanted": _wanted(cluster, helm=helm),
    }
    is_ours = [f"{binding} in variables.wanted"]
    if helm:
        variables |= {"helm": _text(_patterns(policy, "helm"))}
        may_helm = f"variables.circle in variables.helm && {name}.matches(variables.helm[variables.circle])"
        is_ours.append(f"(!({binding} in {_text([HELM_BINDING, HELM_SERVER_BINDING])}) || ({may_helm}))")
    is_role = (
        *is_ours,
        f"object.roleRef.apiGroup == {_text(_RBAC)} && object.roleRef.kind == 'ClusterRole'",
        f"object.roleRef.name == variables.wanted[{binding}][0]",
    )
    is_theirs = (
        "object.subjects.size() == 1 && object.subjects[0].kind == 'ServiceAccount'",
        f"{binding} in variables.wanted && object.subjects[0].name == variables.wanted[{binding}][1]",
        f"object.subjects[0].namespace == {_text(cluster.service_accounts)}",
    )
    return variables, [
        ("request.operation == 'CREATE'", "infra-mcp creates bindings and never changes one"),
        (_within(name, cluster), "this namespace was not made for a circle, or its name is not one of that circle's"),
        (_all(*is_role), "infra-mcp creates only its own bindings, each to its own role"),
        (_all(*is_theirs), "the binding is not for the account of the circle the namespace is labelled with"),
        _BARE,
    ]


def _wanted(cluster: ClusterRules, *, helm: bool) -> str:
    """Role and account of each binding that the server creates, by its name, as a CEL map."""
    circle = "'circle-' + variables.circle"
    found = [
        (BINDING, _text(cluster.circle_role), circle),
        (SERVER_BINDING, _text(acting_role(cluster, cluster.circle_role)), "'server'"),
    ]
    if helm:
        role = role_of(cluster, "")
        found += [
            (HELM_BINDING, f"{_text(role)} + variables.circle", f"{circle} + '-helm'"),
            (HELM_SERVER_BINDING, f"{_text(acting_role(cluster, role))} + variables.circle", "'server'"),
        ]
    return "{" + ",\n".join(f"{_text(name)}: [{role}, {account}]" for name, role, account in found) + "}"


def _secrets(policy: Policy, cluster: ClusterRules) -> Parts:
    granted = {
        _circles(cluster) + name: sorted({policy.pull_secrets[secret].target for secret in circle.pull_secrets})
        for name, circle in sorted(policy.circles.items())
    }
    return {"granted": _text(granted or {"": [""]})}, [
        (
            _all(
                "request.userInfo.username in variables.granted",
                "object.metadata.name in variables.granted[request.userInfo.username]",
            ),
            "a circle writes only copies of the pull secrets it is granted",
        ),
        (f"request.operation != 'CREATE' || ({_BARE[0]})", _BARE[1]),
        (f"object.type in {_text(list(PULL_SECRET_TYPES))}", "a circle writes only Secrets that are pull secrets"),
    ]


def _patterns(policy: Policy, key: Literal["namespaces", "labels", "helm"] = "namespaces") -> dict[str, str]:
    """A regular expression (RE2) for each circle that is granted namespaces, labels, or namespaces for Helm."""
    anything = ".*" if key == "labels" else "[-a-z0-9]*"  # a namespace's name has no dots to quote
    found = {name: getattr(circle, key) for name, circle in sorted(policy.circles.items())}
    return {
        name: "^(" + "|".join(one.replace(".", "[.]").replace("*", anything) for one in patterns) + ")$"
        for name, patterns in found.items()
        if patterns
    } or _NOTHING


def _within(name: str, cluster: ClusterRules) -> str:
    """The name matches the circle's patterns and is not protected."""
    return _all(
        "variables.circle in variables.patterns",
        f"{name}.matches(variables.patterns[variables.circle])",
        f"!{name}.startsWith('kube-') && !({name} in {_text(['default', cluster.service_accounts])})",
    )


def _text(value: Any) -> str:  # noqa: ANN401 - strings, and lists and maps of them
    """A CEL literal. The grammar of names allows no quotes and no backslashes."""
    return json.dumps(value).replace('"', "'")
