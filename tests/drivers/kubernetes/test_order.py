import random

from infra_mcp.drivers.kubernetes.order import order
from infra_mcp.model.object_ref import ObjectRef


def manifest(api_version: str, kind: str, name: str = "x", namespace: str | None = None) -> dict:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


ORDERED = [
    manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    manifest("v1", "Namespace"),
    manifest("rbac.authorization.k8s.io/v1", "ClusterRole"),
    manifest("v1", "ServiceAccount", "a", "one"),
    manifest("v1", "ServiceAccount", "b", "one"),
    manifest("v1", "ServiceAccount", "a", "two"),
    manifest("rbac.authorization.k8s.io/v1", "Role"),
    manifest("rbac.authorization.k8s.io/v1", "RoleBinding"),
    manifest("v1", "ConfigMap"),
    manifest("v1", "Secret"),
    manifest("v1", "Service"),
    manifest("apps/v1", "Deployment"),
    manifest("example.dev/v1", "Service"),  # of another group: no Service
    manifest("networking.k8s.io/v1", "Ingress"),
    manifest("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
]


def test_what_defines_comes_first_and_what_intercepts_comes_last_whatever_the_order_given():
    shuffled = ORDERED[:]
    random.Random(1).shuffle(shuffled)

    assert order(shuffled) == ORDERED
    assert order(reversed(ORDERED)) == ORDERED


def test_things_are_ordered_by_the_reference_they_have():
    refs = [
        ObjectRef(cluster="c", api_version=m["apiVersion"], kind=m["kind"], namespace=None, name="x") for m in ORDERED
    ]
    pairs = list(enumerate(refs))

    assert [ref for _, ref in order(reversed(pairs), key=lambda pair: pair[1])] == order(refs)
