"""Where new files go, and which manifests kustomize builds."""

from __future__ import annotations

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository import kustomization
from infra_mcp.repository.layout import governed, place

TEMPLATE = "{root}/{namespace}/{kind}-{name}.yaml"


def obj(kind: str, name: str, namespace: str | None = None) -> dict[str, object]:
    return {"kind": kind, "metadata": {"name": name, **({"namespace": namespace} if namespace else {})}}


@pytest.mark.parametrize(
    ("root", "thing", "path"),
    [
        ("apps", obj("Namespace", "docs-staging"), "apps/docs-staging/namespace-docs-staging.yaml"),
        ("./apps/", obj("ServiceAccount", "default", "docs"), "apps/docs/serviceaccount-default.yaml"),
        (".", obj("ClusterRole", "system:x"), "cluster/clusterrole-system_x.yaml"),
        ("a/b", obj("ConfigMap", "kube-root-ca.crt", "d"), "a/b/d/configmap-kube-root-ca.crt.yaml"),
    ],
)
def test_a_new_object_gets_the_templates_path(root, thing, path):
    assert place(TEMPLATE, root, thing) == path


@pytest.mark.parametrize(
    "thing",
    [
        obj("Namespace", "../x"),
        obj("Namespace", ".git"),
        obj("Namespace", ""),
        obj("Namespace", "a/b"),
        obj("Namespace", "a\nb"),
        obj("Pod", "x", "../.."),
        obj("../Pod", "x", "y"),
        obj("Pod", "a\\b", "y"),
        {},
    ],
)
def test_an_objects_words_cannot_lead_elsewhere(thing):
    with pytest.raises(InfraError) as caught:
        place(TEMPLATE, "apps", thing)
    assert caught.value.code == "manifest-invalid"


@pytest.mark.parametrize(
    "template",
    [
        "{namespace}/{name}.yaml",
        "{root}/../{name}.yaml",
        "{root}/.hidden/{name}.yaml",
        "{root}/{name}.txt",
        "{root}/{circle}/{name}.yaml",
        "{root}//{name}.yaml",
        "{root}x/{name}.yaml",
        "{root}/{name.__class__}.yaml",
        "/{root}/../../etc/{name}.yaml",
    ],
)
def test_a_template_cannot_lead_out_of_the_root(template):
    with pytest.raises(InfraError) as caught:
        place(template, "apps", obj("Pod", "x", "y"))
    assert caught.value.code == "policy-invalid"


def test_the_content_of_a_large_kustomization_is_not_remembered():
    before = kustomization._kept.cache_info().currsize
    large = b"resources: [web.yaml]\n" + b"# a comment\n" * 10_000

    assert governed({"deploy/kustomization.yaml": large}, ["deploy/web.yaml"]) == {
        "deploy/web.yaml": "deploy/kustomization.yaml"
    }
    assert kustomization._kept.cache_info().currsize == before
