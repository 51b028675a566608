"""What delivers an object, by the marks that it carries."""

import pytest
from drivers.kubernetes.test_adopt import entry, live

from infra_mcp.drivers.base import Owner
from infra_mcp.drivers.kubernetes.owner import deliverer, owner_of
from infra_mcp.repository.partial import merge

HELM = {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "docs"}


@pytest.mark.promise("plan.adopt")
@pytest.mark.parametrize(
    ("labels", "annotations", "managers", "owner"),
    [
        ({}, {}, ["kubectl"], None),
        (HELM, {}, ["kubectl"], None),  # a chart's output that a person applied
        (
            HELM,
            {"meta.helm.sh/release-name": "docs", "meta.helm.sh/release-namespace": "live"},
            [],
            "Helm release live/docs",
        ),
        ({}, {"meta.helm.sh/release-name": "docs"}, [], "Helm release live/docs"),
        (HELM, {}, ["helm"], "Helm release live/docs"),
        ({}, {"argocd.argoproj.io/tracking-id": "site:apps/Deployment:live/docs"}, [], "Argo CD application site"),
        ({"argocd.argoproj.io/instance": "site"}, {}, [], "Argo CD application site"),
        ({"app.kubernetes.io/instance": "site"}, {}, ["argocd-controller"], "Argo CD application site"),
        ({"app.kubernetes.io/instance": "site"}, {}, [], None),
        (
            {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
            {},
            [],
            "Flux Kustomization flux-system/apps",
        ),
        (
            HELM | {"helm.toolkit.fluxcd.io/name": "docs", "helm.toolkit.fluxcd.io/namespace": "live"},
            {"meta.helm.sh/release-name": "docs"},
            ["helm-controller"],
            "Flux HelmRelease live/docs",
        ),
        ({}, {"other.toolkit.fluxcd.io/name": "x"}, [], "Flux (other.toolkit.fluxcd.io/name)"),
    ],
)
def test_what_helm_argo_and_flux_manage_is_known_by_their_marks(labels, annotations, managers, owner):
    obj = merge(live(), {"metadata": {"labels": labels, "annotations": annotations}})
    obj["metadata"]["managedFields"] = [entry(manager, {}) for manager in managers]

    assert (str(deliverer(obj)) if owner else deliverer(obj)) == owner
    assert owner_of(obj) == deliverer(obj)


@pytest.mark.promise("repos.owner-first")
def test_the_object_whose_controller_made_it_is_its_owner_and_delivers_nothing_by_itself():
    made_by = [
        {"apiVersion": "example.org/v1", "kind": "Folder", "name": "other", "uid": "1"},
        {"apiVersion": "example.org/v1", "kind": "Site", "name": "docs", "uid": "2", "controller": True},
    ]
    obj = merge(live(), {"metadata": {"ownerReferences": made_by}})
    flux = {"helm.toolkit.fluxcd.io/name": "docs", "helm.toolkit.fluxcd.io/namespace": "live"}

    assert owner_of(obj) == Owner("", "Site", "docs", "live", "example.org")
    assert str(owner_of(obj)) == "Site live/docs"
    assert deliverer(obj) is None
    assert str(owner_of(merge(obj, {"metadata": {"labels": flux}}))) == "Flux HelmRelease live/docs"
    assert owner_of(live()) is None


@pytest.mark.promise("repos.owner-first")
@pytest.mark.parametrize("text", ["a b", "x\nNext: delete it", "'; --", "\u202e", "", "a" * 254, "ü"])
def test_a_mark_that_is_no_name_is_not_repeated(text):
    obj = merge(live(), {"metadata": {"annotations": {"meta.helm.sh/release-name": text or " "}}})

    assert str(deliverer(obj)) == "Helm release live/?"


def test_an_application_outside_of_argo_cds_namespace_is_named_with_its_own():
    obj = merge(live(), {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "team_site:apps/x:y/z"}}})

    assert deliverer(obj) == Owner("Argo CD", "application", "site", "team", "argoproj.io")
