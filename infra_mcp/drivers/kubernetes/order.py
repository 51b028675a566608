"""The order in which objects are applied; the reverse is the order of deletion. Pure.

After fluxcd/pkg `ssa`: first what defines, then what contains, then what is referred to, then the rest; what intercepts
requests comes last, so that it cannot block its own change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from infra_mcp.model.object_ref import ObjectRef

T = TypeVar("T")

_FIRST = (
    "apiextensions.k8s.io/CustomResourceDefinition",
    "/Namespace",
    "rbac.authorization.k8s.io/ClusterRole",
    "node.k8s.io/RuntimeClass",
    "scheduling.k8s.io/PriorityClass",
    "storage.k8s.io/StorageClass",
    "snapshot.storage.k8s.io/VolumeSnapshotClass",
    "networking.k8s.io/IngressClass",
    "gateway.networking.k8s.io/GatewayClass",
    "rbac.authorization.k8s.io/ClusterRoleBinding",
    *("/ResourceQuota", "/LimitRange", "/ServiceAccount"),
    *("rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/RoleBinding"),
    "networking.k8s.io/NetworkPolicy",
    *("/ConfigMap", "/Secret", "/Service"),
    *("apps/Deployment", "apps/StatefulSet"),
    "batch/CronJob",
    "policy/PodDisruptionBudget",
)
_LAST = (
    "admissionregistration.k8s.io/MutatingWebhookConfiguration",
    "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
    "admissionregistration.k8s.io/MutatingAdmissionPolicyBinding",
    "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding",
)
_RANKS = {kind: rank for rank, kind in enumerate(_FIRST)} | {kind: 1000 + rank for rank, kind in enumerate(_LAST)}
_OTHERS = 500


def order(objects: Iterable[T], key: Callable[[T], ObjectRef]) -> list[T]:
    """The objects in the order they are applied in; equal input in any order gives equal output.

    Args:
        objects: what to sort.
        key: the identity of each.
    """

    def rank(one: T) -> tuple[int, str, str]:
        ref = key(one)
        return _RANKS.get(f"{ref.group}/{ref.kind}", _OTHERS), f"{ref.group}/{ref.kind}", ref.key

    return sorted(objects, key=rank)
