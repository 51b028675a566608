"""In which order objects are applied; the reverse is the order of deletion. Pure.

The order is that of fluxcd/pkg `ssa`: what defines, then what contains, then what is referred to, then the rest; what
intercepts requests comes last, so that it cannot block its own change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from infra_mcp.model.object_ref import ObjectRef

T = TypeVar("T")

_CORE, _RBAC, _APPS, _STORAGE = "", "rbac.authorization.k8s.io", "apps", "storage.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

_FIRST = (
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    (_CORE, "Namespace"),
    (_RBAC, "ClusterRole"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    (_STORAGE, "StorageClass"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("networking.k8s.io", "IngressClass"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    (_RBAC, "ClusterRoleBinding"),
    (_CORE, "ResourceQuota"),
    (_CORE, "LimitRange"),
    (_CORE, "ServiceAccount"),
    (_RBAC, "Role"),
    (_RBAC, "RoleBinding"),
    ("networking.k8s.io", "NetworkPolicy"),
    (_CORE, "ConfigMap"),
    (_CORE, "Secret"),
    (_CORE, "Service"),
    (_APPS, "Deployment"),
    (_APPS, "StatefulSet"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
)
_LAST = (
    (_ADMISSION, "MutatingWebhookConfiguration"),
    (_ADMISSION, "ValidatingWebhookConfiguration"),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"),
)
_RANKS = {kind: rank for rank, kind in enumerate(_FIRST)} | {kind: 1000 + rank for rank, kind in enumerate(_LAST)}
_OTHERS = 500


def order(objects: Iterable[T], key: Callable[[T], ObjectRef | dict[str, Any]] | None = None) -> list[T]:
    """The objects in the order they are to be applied; equal input in any order gives equal output.

    Args:
        objects: what to sort.
        key: the identity or manifest of each, where it is not one itself.
    """

    def rank(one: T) -> tuple[int, str, str, str, str]:
        found: Any = key(one) if key else one
        if isinstance(found, ObjectRef):
            group, kind, namespace, name = found.group, found.kind, found.namespace or "", found.name
        else:
            about = found.get("metadata", {})
            group, kind = found["apiVersion"].rpartition("/")[0], found["kind"]
            namespace, name = about.get("namespace") or "", about.get("name") or ""
        return _RANKS.get((group, kind), _OTHERS), group, kind, namespace, name

    return sorted(objects, key=rank)
