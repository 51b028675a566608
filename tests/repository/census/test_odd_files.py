"""Files whose parts have other types than they should: the census reads the rest, and never changes what is odd."""

import pytest

from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.index import LARGEST, Index

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: "registry.example/web:1.0.0"}]}}}
"""
RELEASE = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: odd}\nspec: %s\n"
POD = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: odd}\nspec: %s\n"
FLUX = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: odd}\nspec: %s\n"
ARGO = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: odd}\nspec: %s\n"


@pytest.mark.parametrize(
    "odd",
    [
        RELEASE % "5",
        RELEASE % "{values: [1], valuesFrom: {a: b}, chart: x, chartRef: y, postRenderers: 3}",
        RELEASE % "{valuesFrom: [{kind: ConfigMap}], chart: {spec: [1]}, targetNamespace: [a]}",
        POD % "3",
        POD % "{template: [1]}",
        POD % "{template: {spec: {containers: [{name: a}, {name: b, image: 3}, {name: c, image: {}}, 5]}}}",
        "apiVersion: 3\nkind: Deployment\nmetadata: {name: 5, namespace: [a]}\nspec: {template: {spec: []}}\n",
        "kind: [a]\nmetadata: {name: x}\n---\napiVersion: apps/v1\nkind: DeploymentList\nitems: [3, {metadata: 3}]\n",
        FLUX % "{path: 3, patches: 3, images: {a: b}, postBuild: {substitute: [1], substituteFrom: 3}}",
        FLUX % "{path: ./good, patches: [3, {patch: 'a: b', target: 4}], images: [3], targetNamespace: [x]}",
        ARGO % "4",
        ARGO % "{source: {path: 3, helm: 3, kustomize: 4, repoURL: 5, chart: [1], targetRevision: {a: 1}}}",
        ARGO % "{sources: [3, {path: good, helm: {valueFiles: 3, parameters: [3]}, kustomize: {images: 3}}]}",
    ],
)
def test_an_odd_object_does_not_end_the_census(tree_of, odd):
    census = Census(Index(tree_of({"odd.yaml": odd, "good/web.yaml": WEB})))

    assert {hold.version for one in census.find("web") for unit in one.units for hold in unit.holds} == {"1.0.0"}
    spots = [hold.decides.spot for unit in census.units for hold in unit.holds]
    assert [spot for spot in spots if isinstance(spot.value, dict | list)] == []


@pytest.mark.parametrize(
    "more",
    [
        "images: [null, 3, [x], {name: 5}, {name: null, newTag: x}, {name: '(', newTag: x}]",
        "replicas: [{name: 3, count: x}, q, {name: web, count: 2}]",
        "patches: [null, 5, {path: 3}, {patch: 4}, {target: 3, patch: 'a: 1'}, {patch: '[3, {op: replace}]'}]",
        "patchesStrategicMerge: [3, null]\npatchesJson6902: [{target: 3, patch: '- {op: copy, from: 3, path: 4}'}]",
        "labels: [3, {pairs: 4}]\ncommonLabels: [a]\ncommonAnnotations: 4",
        "configMapGenerator: [3, {files: 4, envs: 3, env: 3}]\nsecretGenerator: 4",
        "components: 3\nnamespace: [x]\nnamePrefix: 5\nhelmCharts: [3, {name: 4}]\nhelmGlobals: 3\ngenerators: [3]",
    ],
)
def test_an_odd_entry_of_a_kustomization_does_not_end_the_census(tree_of, more):
    census = Census(
        Index(tree_of({"live/kustomization.yaml": f"resources: [web.yaml]\n{more}\n", "live/web.yaml": WEB}))
    )

    assert {hold.version for one in census.find("web") for unit in one.units for hold in unit.holds} == {"1.0.0"}
    assert [unit.decides_replicas for unit in census.units]


def test_a_tag_of_null_leaves_the_version_to_the_base(tree_of):
    more = "images: [{name: registry.example/web, newTag: null}]"
    census = Census(
        Index(tree_of({"live/kustomization.yaml": f"resources: [web.yaml]\n{more}\n", "live/web.yaml": WEB}))
    )
    (hold,) = census.units[0].holds
    assert (hold.version, hold.decides.spot.path) == ("1.0.0", "live/web.yaml")


def test_a_file_that_is_too_large_is_named(tree_of):
    index = Index(tree_of({"big.yaml": WEB + "---\n" + "# a comment\n" * (LARGEST // 12 + 1)}))
    assert index.unread("web") == [f"big.yaml: it has more than {LARGEST} bytes."]
