"""What ties an object to others: our marks, finalizers, owner references, service accounts and tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.marks import BINDINGS, PREFIX
from infra_mcp.policy.guard.kinds import delivers
from infra_mcp.policy.guard.pods import Finding
from infra_mcp.policy.guard.rules import ACCOUNT, FINALIZERS, IDENTITY, OWN, OWNERS

# What an object may have already: only what a change adds is judged.
KEPT: Final = frozenset({OWN, FINALIZERS, OWNERS, ACCOUNT})
_ANY: Final = frozenset({"foregroundDeletion", "orphan"})  # the garbage collector removes them
_REMOVED: Final[Mapping[str, frozenset[str]]] = {  # by kind, what its own controller removes
    "PersistentVolumeClaim": frozenset({"kubernetes.io/pvc-protection"}),
    "PersistentVolume": frozenset({"kubernetes.io/pv-protection"}),
    "Service": frozenset({"service.kubernetes.io/load-balancer-cleanup"}),
    "apiextensions.k8s.io/CustomResourceDefinition": frozenset(
        {"customresourcecleanup.apiextensions.k8s.io"},
    ),
}
_BINDINGS: Final = frozenset(f"rbac.authorization.k8s.io/{kind}" for kind in ("RoleBinding", "ClusterRoleBinding"))
_ACCOUNT_USER: Final = "system:serviceaccount:"
_ACCOUNT_GROUP: Final = "system:serviceaccounts:"
_EVERY_ACCOUNT: Final = frozenset({"system:serviceaccounts", "system:authenticated"})  # groups that each one is in
_ARGO_CD: Final = "resources-finalizer.argocd.argoproj.io"
_AUDIENCE: Final = "pods.token-audience"


def ties(kind: str, path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    """What one mapping of an object ties it to.

    Args:
        kind: group and kind of the whole object, as in `Target.kind`.
        path: of the mapping in the object.
        node: the mapping.
    """
    if path == ("metadata",) and node.get("name") in BINDINGS:
        yield Finding(OWN, (*path, "name"), node["name"])
    if path == () and kind in _BINDINGS:
        yield from _bound(node)
    for which in ("labels", "annotations"):
        given = node.get(which)
        for key in given if isinstance(given, dict) else ():
            if str(key).startswith(PREFIX):
                yield Finding(OWN, (*path, which, str(key)), None)  # the value of one is a secret of ours
    if path[-1:] == ("metadata",):
        yield from _life(kind, path, node)
    # Also of a custom resource, whose pods or deliveries then have its rights. The API server writes both names.
    account = node.get("serviceAccountName") or node.get("serviceAccount")
    if account not in (None, "", "default") and not isinstance(account, dict | list | bool):
        yield Finding(ACCOUNT, (*path, "serviceAccountName"), account)
    token = node.get("serviceAccountToken")
    if isinstance(token, dict) and token.get("audience") not in (None, ""):
        yield Finding(_AUDIENCE, (*path, "serviceAccountToken", "audience"), token["audience"])


def _bound(binding: Mapping[str, Any]) -> Iterator[Finding]:
    """The subjects of a binding, and its role, as `NAMESPACE/KIND/NAME`."""
    role = binding.get("roleRef")
    if isinstance(role, dict):
        yield Finding(IDENTITY, ("roleRef",), f"/{role.get('kind')}/{role.get('name')}")
    for one in _listed(binding.get("subjects")):
        name = str(one.get("name")) if isinstance(one, dict) else str(one)
        space = str(one.get("namespace") or "") if isinstance(one, dict) else ""
        if name.startswith(_ACCOUNT_USER):
            space, _, name = name.removeprefix(_ACCOUNT_USER).partition(":")
        elif name.startswith(_ACCOUNT_GROUP):
            space, name = name.removeprefix(_ACCOUNT_GROUP), "*"
        elif name in _EVERY_ACCOUNT:
            space, name = "*", "*"
        yield Finding(IDENTITY, ("subjects",), f"{space}/ServiceAccount/{name}")


def _life(kind: str, path: FieldPath, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """The finalizers and owners of an object, or of those that it is a template of."""
    removed = _REMOVED.get(kind, frozenset()) if path == ("metadata",) else frozenset[str]()
    for one in _listed(metadata.get("finalizers")):
        of_deliverer = delivers(kind) and isinstance(one, str) and one.partition("/")[0] == _ARGO_CD
        if one not in _ANY and one not in removed and not of_deliverer:
            yield Finding(FINALIZERS, (*path, "finalizers"), one)
    for one in _listed(metadata.get("ownerReferences")):
        named = [str(one.get(key)) for key in ("kind", "name", "uid")] if isinstance(one, dict) else [str(one)]
        yield Finding(OWNERS, (*path, "ownerReferences"), " ".join(named))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
