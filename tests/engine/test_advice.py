"""An object that no root has: its owner leads to the right file, or to none. No advice deletes or adds a namespace."""

from __future__ import annotations

import json

import anyio
import pytest
from repository.conftest import tree_of  # noqa: F401 - a fixture
from repository.test_value import manifest, ref

from infra_mcp.codes import CODES
from infra_mcp.drivers.base import Owner
from infra_mcp.engine.advice import advise
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.repository.value import NotInRepository

HELM, KUSTOMIZE, ARGO = "helm.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "argoproj.io"
RELEASE = Owner("Flux", "HelmRelease", "web", "docs", HELM)
OVERLAY = Owner("Flux", "Kustomization", "apps", "flux-system", KUSTOMIZE)
APPLICATION = Owner("Argo CD", "application", "web", "", ARGO)
CHART = Owner("Helm", "release", "web", "docs")
SITE = Owner("", "Site", "web", "docs", "example.org")


def whole(name="web", namespace="docs"):
    return manifest(name, namespace) + "spec: {selector: {matchLabels: {a: b}}, template: {}}\n"


def made(group, kind, name, namespace=None, **spec):
    about = {"name": name} | ({"namespace": namespace} if namespace else {})
    return json.dumps({"apiVersion": f"{group}/v1", "kind": kind, "metadata": about, "spec": spec})


def release(name="web", namespace=None, **spec):
    return made(HELM, "HelmRelease", name, namespace, **({"chartRef": {"kind": "OCIRepository"}} | spec))


def kustomization(name, path, namespace="flux-system"):
    return made(KUSTOMIZE, "Kustomization", name, namespace, path=path, sourceRef={"kind": "GitRepository"})


class Driver:
    def __init__(self, owner):
        self.found = owner

    async def owner(self, context, target):
        assert context is None
        assert target == ref().target
        if isinstance(self.found, InfraError):
            raise self.found
        return self.found


def advice(tree, owner):
    with pytest.raises(NotInRepository) as caught:
        tree.require(ref())
    action = Deploy(app="web", version="1.2.3")
    found = anyio.run(advise, Driver(owner), None, tree, action, caught.value)
    assert found.code == "not-in-repository"
    words = f"{found.what} {found.next_step}".lower()
    assert not any(word in words for word in ("delete", "remove", "keep one", "metadata.namespace"))
    return found


FOUND = {
    "a HelmRelease that says its namespace": (RELEASE, {"x/release.yaml": release(namespace="docs")}, "x/release.yaml"),
    "one whose namespace something else gives": (RELEASE, {"x/docs/web/r.yaml": release()}, "x/docs/web/r.yaml"),
    "the one of that namespace": (
        RELEASE,
        {"a.yaml": release(namespace="docs"), "b.yaml": release(namespace="other"), "c.yaml": release()},
        "a.yaml",
    ),
    "the one in the namespace's folder": (
        RELEASE,
        {"apps/other/web/r.yaml": release(), "apps/docs/web/r.yaml": release()},
        "apps/docs/web/r.yaml",
    ),
    "not its patch": (
        RELEASE,
        {"base/docs/r.yaml": release(), "over/docs/p.yaml": made(HELM, "HelmRelease", "web", "docs", values={})},
        "base/docs/r.yaml",
    ),
    "not a sample": (
        RELEASE,
        {"a/r.yaml": release(), "a/samples/r.yaml": release(), "tests/r.yaml": release()},
        "a/r.yaml",
    ),
    "the object below the Kustomization's folder": (
        OVERLAY,
        {"flux/apps.yaml": kustomization("apps", "./apps/prod"), "apps/prod/w.yaml": whole(), "old/w.yaml": whole()},
        "apps/prod/w.yaml",
    ),
    "the object in a base of it, not a patch": (
        OVERLAY,
        {
            "flux/apps.yaml": kustomization("apps", "./apps/prod"),
            "apps/base/w.yaml": whole(namespace=None),
            "apps/prod/p.yaml": manifest(namespace=None) + "spec: {replicas: 2}\n",
        },
        "apps/base/w.yaml",
    ),
    "the Kustomization, where its object is built from elsewhere": (
        OVERLAY,
        {"flux/apps.yaml": kustomization("apps", "./apps/prod")},
        "flux/apps.yaml",
    ),
    "the object of an application": (
        APPLICATION,
        {
            "argo/web.yaml": made(ARGO, "Application", "web", "argocd", source={"path": "apps/web"}),
            "apps/web/w.yaml": whole(namespace=None),
            "apps/old/w.yaml": whole(namespace=None),
        },
        "apps/web/w.yaml",
    ),
    "the application of a chart": (
        APPLICATION,
        {"argo/web.yaml": made(ARGO, "Application", "web", "argocd", source={"chart": "web"})},
        "argo/web.yaml",
    ),
    "the object of an application that a set generates": (APPLICATION, {"apps/web/w.yaml": whole()}, "apps/web/w.yaml"),
    "the HelmRelease of a Helm release": (
        CHART,
        {
            "a.yaml": release("site", "flux", releaseName="web", targetNamespace="docs"),
            "b.yaml": release("web", "flux", targetNamespace="other"),
        },
        "a.yaml",
    ),
    "the helmfile of a Helm release": (
        CHART,
        {"deploy/helmfile.yaml": "releases:\n- {name: web, chart: x}\n", "x.yaml": "releases: [{name: web}]\n"},
        "deploy/helmfile.yaml",
    ),
    "the object of an operator": (
        SITE,
        {"sites/web.yaml": made("example.org", "Site", "web", "docs")},
        "sites/web.yaml",
    ),
    "a name to be quoted": (RELEASE, {'a "b"/r.yaml': release()}, 'a "b"/r.yaml'),
}


@pytest.mark.fault("r6")
@pytest.mark.promise("repos.owner-first", "tree.find-anywhere")
@pytest.mark.parametrize(("owner", "files", "path"), FOUND.values(), ids=FOUND)
def test_the_owner_leads_to_the_file_wherever_it_is(tree_of, owner, files, path):  # noqa: F811
    found = advice(tree_of({"k8s/other.yaml": manifest("other"), **files}, "k8s"), owner)

    assert found.what == f"docs/deployment/web is delivered by {owner}; its file is {path}."
    assert found.next_step == f"Name its file in infra.toml: [apps.web] file = {json.dumps(path)}"


NONE = {
    "defined nowhere": (RELEASE, {}),
    "another kind of that name": (
        RELEASE,
        {"a.yaml": whole("other"), "b.yaml": made("x.org", "HelmRelease", "web")},
    ),
    "only in another namespace": (RELEASE, {"a.yaml": release(namespace="other")}),
    "a template": (RELEASE, {"a.yaml": "kind: HelmRelease\nmetadata:\n  name: web\n  {{ x }}\n"}),
    "in two clusters": (RELEASE, {"a/docs/r.yaml": release(), "b/docs/r.yaml": release()}),
    "in two overlays": (APPLICATION, {"a/w.yaml": whole(), "b/w.yaml": whole()}),
    "a deliverer without a name": (Owner("Argo CD", "application", "", "", ARGO), {}),
    "Flux by another mark": (Owner("Flux", "(other.toolkit.fluxcd.io/name)"), {}),
}


@pytest.mark.fault("r6")
@pytest.mark.promise("repos.owner-first")
@pytest.mark.parametrize(("owner", "files"), NONE.values(), ids=NONE)
def test_where_one_file_alone_cannot_be_meant_none_is_named(tree_of, owner, files):  # noqa: F811
    found = advice(tree_of({"k8s/other.yaml": manifest("other"), **files}, "k8s"), owner)

    assert str(owner) in found.what
    assert not any(path in f"{found.what} {found.next_step}" for path in files)
    assert "Commit its manifest" not in found.next_step


@pytest.mark.promise("tree.find-anywhere")
@pytest.mark.parametrize("owner", [None, InfraError("cluster-denied", "The circle may not.")])
def test_without_an_owner_a_file_outside_the_roots_is_named_and_only_if_it_is_the_only_one(tree_of, owner):  # noqa: F811
    files = {"k8s/other.yaml": manifest("other"), "apps/web.yaml": whole(), "tests/web.yaml": whole()}

    one = advice(tree_of(files, "k8s"), owner)
    two = advice(tree_of(files | {"more/web.yaml": whole()}, "k8s"), owner)

    assert one.what == "docs/deployment/web is in apps/web.yaml, which is below no root of infra.toml."
    assert "root that holds apps/web.yaml" in one.next_step
    assert two.next_step == CODES["not-in-repository"].next_step


@pytest.mark.fault("r6")
def test_no_usual_advice_asks_for_a_deletion_in_the_repository():
    for code in ("not-in-repository", "ambiguous-object", "manifest-invalid"):
        assert not any(word in CODES[code].next_step.lower() for word in ("delete", "remove", "keep"))
