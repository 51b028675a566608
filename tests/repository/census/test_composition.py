"""What a kustomization gives, without building it."""

import pytest

from infra_mcp.repository.census.composition import compose
from infra_mcp.repository.census.index import Index

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: "registry.example/web:1"}]}}}
"""


@pytest.mark.promise("repos.census")
def test_bases_that_double_at_each_level_end_and_are_named(tree_of):
    files = {f"b{n}/kustomization.yaml": f"resources: [../b{n + 1}, ../c{n + 1}]\n" for n in range(24)}
    files |= {f"c{n}/kustomization.yaml": f"resources: [../b{n + 1}, ../c{n + 1}]\n" for n in range(24)}
    files |= {f"{one}24/kustomization.yaml": "resources: [../web.yaml]\n" for one in "bc"} | {"web.yaml": WEB}

    made = compose(Index(tree_of(files)), "b0")

    assert len(made.objects) <= 2_000
    assert made.unread


def test_a_component_changes_what_the_kustomization_that_names_it_has(tree_of):
    files = {
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "base/web.yaml": WEB,
        "part/kustomization.yaml": "kind: Component\nimages: [{name: registry.example/web, newTag: '2'}]\n",
        "live/kustomization.yaml": "resources: [../base]\ncomponents: [../part]\nnamePrefix: live-\nnamespace: live\n",
    }

    (one,) = compose(Index(tree_of(files)), "live").objects
    ((at, container),) = one.containers()

    assert (one.name, one.namespace, container["image"]) == ("live-web", "live", "registry.example/web:2")
    assert [place.spot.path for place in one.image_places((*at, "image"))] == [
        "base/web.yaml",
        "part/kustomization.yaml",
    ]


@pytest.mark.promise("repos.census")
def test_a_base_behind_a_symbolic_link_is_read_where_it_lies_and_a_link_that_leads_out_is_not_followed(tree_of):
    files = {
        "common/web/kustomization.yaml": "resources: [web.yaml]\n",
        "common/web/web.yaml": WEB,
        "live/kustomization.yaml": "resources: [../base]\nnamespace: live\n",
        "base": "common/web",
        "away/kustomization.yaml": "resources: [../out/web.yaml]\n",
        "out": "../../elsewhere",
    }
    index = Index(tree_of(files, modes={"base": "120000", "out": "120000"}))

    (one,) = compose(index, "live").objects
    assert (one.base.path, one.namespace) == ("common/web/web.yaml", "live")
    assert index.roots == {"live", "away"}
    assert compose(index, "away").objects == []
    assert Index(tree_of({"a": "b/x", "b": "a/y"}, modes={"a": "120000", "b": "120000"})).real("a/z") == "a/z"
