"""The kinds that a rendering may bring: the list that holds where policy names none, and the kinds with a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_GATEWAY: Final = "gateway.networking.k8s.io"
# Namespaced, and of use to an app; by group, each kind with its resource. None of them holds a secret or gives a right.
RESOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "": {
        "ConfigMap": "configmaps",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "Pod": "pods",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apps": {
        "DaemonSet": "daemonsets",
        "Deployment": "deployments",
        "ReplicaSet": "replicasets",
        "StatefulSet": "statefulsets",
    },
    "autoscaling": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "batch": {"CronJob": "cronjobs", "Job": "jobs"},
    _GATEWAY: {"GRPCRoute": "grpcroutes", "HTTPRoute": "httproutes", "TLSRoute": "tlsroutes"},
    "networking.k8s.io": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "policy": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "route.openshift.io": {"Route": "routes"},
    "traefik.io": {"IngressRoute": "ingressroutes"},
}
DEFAULT: Final = frozenset(f"{group}/{kind}" if group else kind for group, kinds in RESOURCES.items() for kind in kinds)
_ADMISSION: Final = "admissionregistration.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"
_NAMED: Final = {
    "Secret": "kinds.secrets",
    f"{_RBAC}/Role": "kinds.rbac",
    f"{_RBAC}/RoleBinding": "kinds.rbac",
    f"{_ADMISSION}/MutatingWebhookConfiguration": "kinds.webhooks",
    f"{_ADMISSION}/ValidatingWebhookConfiguration": "kinds.webhooks",
    "apiregistration.k8s.io/APIService": "kinds.api-services",
    "apiextensions.k8s.io/CustomResourceDefinition": "kinds.crds",
}
# A group whose other kinds, also those of versions to come, have one rule. OpenShift has roles of its own.
_GROUPS: Final = {
    _RBAC: "kinds.cluster-rbac",
    "authorization.openshift.io": "kinds.cluster-rbac",
    _ADMISSION: "kinds.admission-policies",
    "apiregistration.k8s.io": "kinds.api-services",
    "apiextensions.k8s.io": "kinds.crds",
}
_FLUX: Final = "toolkit.fluxcd.io"
_DELIVER: Final = frozenset({"argoproj.io/Application", "argoproj.io/ApplicationSet"})
# Groups whose objects bring others: K3s' Helm controller, Rancher Fleet, Crossplane's providers, Carvel's kapp.
_DELIVERERS: Final = frozenset(
    {
        *("helm.cattle.io", "fleet.cattle.io", "helm.crossplane.io", "kubernetes.crossplane.io"),
        *("kubernetes.m.crossplane.io", "helm.m.crossplane.io", "kappctrl.k14s.io", "packaging.carvel.dev"),
    }
)
# The server drops a namespace that is written in one of these, so that it proves nothing.
_CLUSTER_SCOPED: Final = frozenset(
    {
        *("Namespace", "Node", "PersistentVolume", "ComponentStatus"),
        *(f"storage.k8s.io/{kind}" for kind in ("StorageClass", "CSIDriver", "CSINode", "VolumeAttachment")),
        "storage.k8s.io/VolumeAttributesClass",
        *("scheduling.k8s.io/PriorityClass", "node.k8s.io/RuntimeClass", "networking.k8s.io/IngressClass"),
        *(
            "networking.k8s.io/IPAddress",
            "networking.k8s.io/ServiceCIDR",
            "certificates.k8s.io/CertificateSigningRequest",
        ),
        *("certificates.k8s.io/ClusterTrustBundle", "policy/PodSecurityPolicy", f"{_GATEWAY}/GatewayClass"),
        *("flowcontrol.apiserver.k8s.io/FlowSchema", "flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration"),
        *("resource.k8s.io/DeviceClass", "resource.k8s.io/ResourceSlice", "internal.apiserver.k8s.io/StorageVersion"),
    }
)


def delivers(kind: str) -> bool:
    """Whether an object of a kind makes others live, which are rendered where it is carried out: a HelmRelease."""
    group = kind.rpartition("/")[0]
    return kind in _DELIVER or group.endswith(_FLUX) or group in _DELIVERERS


def is_cluster_scoped(kind: str) -> bool:
    """Whether objects of a kind are known to be outside of namespaces, whatever their manifests say."""
    group, _, name = kind.rpartition("/")
    known = group in {_ADMISSION, "apiregistration.k8s.io", "apiextensions.k8s.io"}
    return known or kind in _CLUSTER_SCOPED or (group == _RBAC and name.startswith("Cluster"))


def kind_of(rendered: Mapping[str, Any]) -> str:
    """Group and kind, as in `Target.kind`."""
    group = str(rendered.get("apiVersion") or "").rpartition("/")[0]
    return f"{group}/{rendered.get('kind')}" if group else str(rendered.get("kind"))


def rule_of(kind: str, scope: str | None) -> str | None:
    """The guardrail of a kind that no circle may render without it; None for any other kind.

    Args:
        kind: group and kind, as in `Target.kind`.
        scope: the namespace of the object; None outside of namespaces.
    """
    group = kind.rpartition("/")[0]
    found = _NAMED.get(kind) or _GROUPS.get(group)
    if found is not None:
        return found
    if kind in _CLUSTER_SCOPED or scope is None:
        return "kinds.cluster-scoped"
    return None
