"""The objects a ProvisionNamespace stands for, as plain manifests. Pure."""

from __future__ import annotations

from typing import Any

from infra_mcp.drivers.manifests.prepared import Wanted
from infra_mcp.model.action import ProvisionNamespace
from infra_mcp.model.marks import BINDING, CIRCLE, OWNER, PULL_SECRETS
from infra_mcp.model.plan import ObjectRef

__all__ = ["binding", "bounds", "namespace", "refs", "service_account"]


def refs(cluster: str, name: str) -> tuple[ObjectRef, ObjectRef, ObjectRef]:
    """The namespace, its binding to a circle, and its default service account."""
    return (
        ObjectRef(cluster=cluster, api_version="v1", kind="Namespace", namespace=None, name=name),
        ObjectRef(
            cluster=cluster,
            api_version="rbac.authorization.k8s.io/v1",
            kind="RoleBinding",
            namespace=name,
            name=BINDING,
        ),
        ObjectRef(cluster=cluster, api_version="v1", kind="ServiceAccount", namespace=name, name="default"),
    )


def _body(ref: ObjectRef, **rest: Any) -> dict[str, Any]:  # noqa: ANN401 - manifests
    metadata: dict[str, Any] = {"name": ref.name}
    if ref.namespace:
        metadata["namespace"] = ref.namespace
    metadata.update(rest.pop("metadata", {}))
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, **rest}


def namespace(ref: ObjectRef, action: ProvisionNamespace, circle: str | None) -> Wanted:
    """The namespace itself; `circle` is None where it was there before and does not carry our label."""
    labels = ({CIRCLE: circle} if circle else {}) | action.labels
    metadata: dict[str, Any] = {"labels": labels} if labels else {}
    if action.owner:
        metadata["annotations"] = {OWNER: action.owner}
    return Wanted(ref, _body(ref, metadata=metadata), identity="server")


def binding(ref: ObjectRef, user: str, role_name: str) -> Wanted:
    """The RoleBinding by which the circle's identity may work in the namespace."""
    _, _, account_namespace, account = user.split(":")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": account_namespace}
    return Wanted(ref, _body(ref, roleRef=role, subjects=[subject]), identity="server")


def service_account(ref: ObjectRef, names: set[str], secrets: list[str]) -> Wanted:
    """The default service account with its pull secrets: policy's names as an annotation, the Secrets' as the list."""
    metadata = {"annotations": {PULL_SECRETS: ",".join(sorted(names))}}
    return Wanted(ref, _body(ref, metadata=metadata, imagePullSecrets=[{"name": name} for name in secrets]))


def bounds(action: ProvisionNamespace, cluster: str) -> list[Wanted]:
    """Quota, container defaults and the default-deny network policy, as far as they were asked for."""
    made = []
    if action.quota and (hard := _quota(action)):
        made.append(_inside(action, cluster, "v1", "ResourceQuota", "quota", {"hard": hard}))
    if action.limits and (default := action.limits.model_dump(exclude_none=True)):
        spec = {"limits": [{"type": "Container", "default": default}]}
        made.append(_inside(action, cluster, "v1", "LimitRange", "limits", spec))
    if action.default_deny:
        deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
        made.append(_inside(action, cluster, "networking.k8s.io/v1", "NetworkPolicy", "default-deny", deny))
    return made


def _quota(action: ProvisionNamespace) -> dict[str, str]:
    quota, hard = action.quota, dict[str, str]()
    if quota and quota.cpu:
        hard |= {"requests.cpu": quota.cpu, "limits.cpu": quota.cpu}
    if quota and quota.memory:
        hard |= {"requests.memory": quota.memory, "limits.memory": quota.memory}
    if quota and quota.pods:
        hard["pods"] = str(quota.pods)
    return hard


def _inside(
    action: ProvisionNamespace, cluster: str, version: str, kind: str, name: str, spec: dict[str, Any]
) -> Wanted:
    ref = ObjectRef(cluster=cluster, api_version=version, kind=kind, namespace=action.namespace, name=name)
    return Wanted(ref, _body(ref, spec=spec))
