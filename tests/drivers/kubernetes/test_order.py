import random

from infra_mcp.drivers.kubernetes.order import order
from infra_mcp.model.object_ref import ObjectRef


def ref(api_version: str, kind: str, name: str = "x", namespace: str | None = None) -> ObjectRef:
    return ObjectRef(cluster="c", api_version=api_version, kind=kind, namespace=namespace, name=name)


ORDERED = [
    ref("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ref("v1", "Namespace"),
    ref("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ref("v1", "ServiceAccount", "a", "one"),
    ref("v1", "ServiceAccount", "b", "one"),
    ref("v1", "ServiceAccount", "a", "two"),
    ref("rbac.authorization.k8s.io/v1", "Role"),
    ref("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ref("v1", "ConfigMap"),
    ref("v1", "Secret"),
    ref("v1", "Service"),
    ref("apps/v1", "Deployment"),
    ref("example.dev/v1", "Service"),  # of another group: no Service
    ref("networking.k8s.io/v1", "Ingress"),
    ref("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
]


def test_definitions_come_first_and_interceptors_last_whatever_the_order_given():
    shuffled = ORDERED[:]
    random.Random(1).shuffle(shuffled)

    assert order(shuffled, key=lambda one: one) == ORDERED
    assert order(reversed(ORDERED), key=lambda one: one) == ORDERED


def test_objects_are_ordered_by_the_reference_they_have():
    pairs = list(enumerate(ORDERED))

    assert [one for _, one in order(reversed(pairs), key=lambda pair: pair[1])] == ORDERED
