"""Where new files go, and which folders of a repository hold manifests."""

from __future__ import annotations

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository import kustomization
from infra_mcp.repository.layout import detect_roots, governed, place

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


def manifest(name: str, namespace: str = "docs") -> bytes:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n".encode()


def raw(*paths: str) -> list[dict[str, str]]:
    return [{"path": path, "kind": "raw"} for path in paths]


def test_the_fewest_folders_that_hold_manifests_are_roots():
    other = {
        "README.md": b"kind: x\napiVersion: y\n",
        "values.yaml": b"a: 1\n",
        "infra.toml": b"",
        "terraform/x.json": b"{}",
    }

    assert detect_roots({**other, "apps/docs/a.yaml": manifest("a"), "apps/live/b.yaml": manifest("b", "live")}) == raw(
        "apps"
    )
    assert detect_roots({**other, "k8s/apps/a.yaml": manifest("a"), "k8s/base/deep/b.yml": manifest("b")}) == raw("k8s")
    assert detect_roots({**other, "infra/k8s/x/a.yaml": manifest("a"), "infra/k8s/y/b.json": manifest("b")}) == raw(
        "infra/k8s"
    )
    assert detect_roots({"a/x/a.yaml": manifest("a"), "b/b.yaml": manifest("b")}.items()) == raw("a/x", "b")
    assert detect_roots({**other, "x.yaml": manifest("a"), "apps/b.yaml": manifest("b")}) == raw(".")
    assert detect_roots(other) == []


def test_a_folder_of_one_namespace_leaves_room_for_others_beside_it():
    assert detect_roots({"apps/docs/a.yaml": manifest("a"), "apps/docs/b.yaml": manifest("b")}) == raw("apps")
    assert detect_roots({"docs/a.yaml": manifest("a")}) == raw("docs")


def test_what_is_for_tools_is_passed_over():
    assert (
        detect_roots(
            {
                ".github/workflows/a.yaml": manifest("a"),
                ".gitlab/ci/b.yaml": manifest("b"),
                "ci/c.yaml": manifest("c"),
                "chart/Chart.yaml": b"apiVersion: v2\nname: x\n",
                "chart/templates/d.yaml": manifest("d"),
                "chart/crds/e.yaml": manifest("e"),
                "src/.hidden/f.yaml": manifest("f"),
            }
        )
        == []
    )


def test_a_manifest_that_does_not_parse_still_shows_where_manifests_lie():
    assert detect_roots({"apps/a.yaml": b"apiVersion: v1\nkind: Pod\nmetadata: {name\n"}) == raw("apps")
    assert detect_roots({"apps/a.yaml": b"{{ template }}\nkind: Pod\n"}) == []


def test_kustomize_is_named_and_is_no_root():
    found = detect_roots(
        {
            "deploy/base/kustomization.yaml": b"resources: [web.yaml]\n",
            "deploy/base/web.yaml": manifest("web"),
            "deploy/overlays/prod/kustomization.yaml": b"resources: [../../base, ../../parts]\n",
            "deploy/overlays/prod/patch.yaml": manifest("web"),
            "deploy/parts/x.yaml": manifest("x"),
            "apps/docs/a.yaml": manifest("a"),
            "apps/live/a.yaml": manifest("a", "live"),
        }
    )

    assert found == [
        *raw("apps"),
        {"path": "deploy/base", "kind": "kustomize"},
        {"path": "deploy/overlays/prod", "kind": "kustomize"},
        {"path": "deploy/parts", "kind": "kustomize"},
    ]


def test_the_content_of_a_large_kustomization_is_not_remembered():
    before = kustomization._kept.cache_info().currsize
    large = b"resources: [web.yaml]\n" + b"# a comment\n" * 10_000

    assert governed({"deploy/kustomization.yaml": large}, ["deploy/web.yaml"]) == {
        "deploy/web.yaml": "deploy/kustomization.yaml"
    }
    assert kustomization._kept.cache_info().currsize == before
