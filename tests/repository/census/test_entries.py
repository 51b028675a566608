"""Which cluster a path names, which folders count, and where a number of pods stands."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository.census.entries import cluster_of
from infra_mcp.repository.locator.value import locate_replicas

WEB = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
WEB += "spec: {template: {spec: {containers: [{name: web, image: 'r.example/web:1.0'}]}}}\n"
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web, namespace: web}}
spec:
  values:
    image: {{repository: r.example/web, tag: "1.0"}}
    replicaCount: {replicas}
"""
SYNC = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: web, namespace: flux-system}
spec:
  path: ./web
  postBuild: {substitute: {REPLICAS: "2"}}
"""


@pytest.mark.parametrize(
    ("path", "cluster"),
    [
        ("clusters/north/web.yaml", "north"),
        ("clusters/north", "north"),
        ("fleet/clusters/north/apps/web", "north"),
        ("cluster/prod-eu/web.yaml", "prod-eu"),
        ("cluster/apps/web.yaml", None),  # there is one cluster, and these are its apps
        ("cluster/flux.yaml", None),
        ("clusters/north.yaml", None),
        ("apps/web", None),
    ],
)
def test_the_cluster_that_a_path_names_is_a_folder(path, cluster):
    assert cluster_of(path) == cluster


@pytest.mark.parametrize(
    ("folder", "counts"), [("test", True), ("testdata", False), ("test-data", False), ("e2e", False)]
)
def test_a_folder_for_tests_is_an_environment_only_by_the_name_of_one(census, folder, counts):
    found = census({f"web/{name}/web.yaml": WEB for name in ("prod", "dev", folder)})

    assert (folder in {one.environment for one in found.find("web")}) is counts


def test_a_kustomization_of_flux_in_a_list_delivers_as_one_in_a_file_of_its_own(census):
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + SYNC.replace("\n", "\n  ")
    found = census({"flux/all.yaml": listed, "web/web.yaml": WEB.replace("{template", "{replicas: 1, template")})
    substituted = {"flux/all.yaml": listed, "web/web.yaml": RELEASE.format(replicas='"${REPLICAS}"')}

    assert [one.entry.by for one in found.find("web")] == ["Kustomization flux-system/web"]
    (places,) = [unit.decides_replicas for one in census(substituted).find("web") for unit in one.units]
    assert str(places[-1]) == "flux/all.yaml#items[0].spec.postBuild.substitute.REPLICAS"


@pytest.mark.parametrize(
    ("replicas", "where"),
    [
        ("3", ("web/release.yaml", 5)),
        ('"3"', ("web/release.yaml", "5")),
        ("${REPLICAS}", ("web.yaml", "5")),
        ("${REPLICAS:=1}", ("web.yaml", "5")),
    ],
)
def test_a_number_of_pods_is_found_as_number_text_or_variable(census, replicas, where):
    found = census({"web.yaml": SYNC, "web/release.yaml": RELEASE.format(replicas=replicas)})

    located = locate_replicas(found, found.find("web")[0], 5)

    assert [(spot.path, value) for spot, value in located.sets] == [where]


def test_a_variable_that_stands_nowhere_is_not_overwritten(census):
    found = census({"web.yaml": SYNC, "web/release.yaml": RELEASE.format(replicas="${PODS}")})

    with pytest.raises(InfraError, match=r"holds \$\{PODS\}, and the repository does not say") as refused:
        locate_replicas(found, found.find("web")[0], 5)
    assert refused.value.code == "not-in-repository"
