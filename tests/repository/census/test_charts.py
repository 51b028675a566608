"""Charts with values by environment: what decides, what is shared, and what is no app."""

import pytest

from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.repository.census.release import Release
from infra_mcp.repository.locator.version import locate

CHART = "apiVersion: v2\nname: {name}\nversion: 0.1.0\n"
CODED = pytest.mark.skipif("shared-place" not in CODES, reason="the actions that answer with it bring the code")
WEB = CHART.format(name="web")
VALUES = "image:\n  repository: registry.example/web\n  tag: 1.0.0\n"


def edge(**more):
    about = CHART.format(name="edge") + "dependencies:\n"
    for name, version in more.items():
        about += f"- name: {name}\n  version: {version}\n  repository: https://charts.example.org\n"
    return about


@pytest.mark.parametrize(
    "path",
    [
        "values-prod.yaml",
        "values.prod.yaml",
        "values_prod.yml",
        "prod-values.yaml",
        "prod.values.yaml",
        "values/prod.yaml",
        "values/values-prod.yaml",
        "env/prod/values.yaml",
        "environments/prod.yaml",
        "environments/prod/values.yaml",
        "prod/values.yaml",
    ],
)
def test_the_values_of_an_environment_decide_over_those_of_the_chart(census, environments, deployed, path):
    files = {
        "deploy/web/Chart.yaml": WEB,
        "deploy/web/values.yaml": VALUES,
        f"deploy/web/{path}": "image: {tag: 1.1.0} # prod\n",
        f"deploy/web/{path.replace('prod', 'dev')}": "image: {tag: 1.2.0}\n",
        "deploy/web/ci/test-values.yaml": "image: {tag: 9}\n",
        "deploy/web/values-example.yaml": "image: {tag: 9}\n",
        "deploy/web/charts/cache/Chart.yaml": CHART.format(name="cache"),
        "deploy/web/charts/cache/values.yaml": VALUES,
        "deploy/web/templates/web.yaml": "kind: Deployment\nmetadata: {name: web}\nspec: {image: 'r.example/w:1'}\n",
    }
    found = census(files)

    assert environments(found, "web") == ["dev", "prod"]
    assert list(found.apps) == ["web"]
    changed, notes = deployed(found, "web", "1.1.1", "prod")
    assert changed == {f"deploy/web/{path}": "image: {tag: 1.1.1} # prod\n"}
    assert any("deploy/web/values.yaml" in note and "stays at 1.0.0" in note for note in notes)


@CODED
def test_a_value_that_all_environments_share_is_not_changed_for_one(census, deployed):
    found = census(
        {
            "web/Chart.yaml": WEB,
            "web/values.yaml": VALUES,
            "web/values-prod.yaml": "replicas: 3\n",
            "web/values-dev.yaml": "replicas: 1\n",
        }
    )

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.0.1", "prod")
    assert refused.value.code == "shared-place"
    assert "web/values.yaml" in refused.value.what
    assert "web/values-prod.yaml" in refused.value.next_step


def test_an_app_version_decides_where_no_tag_is_set_and_moves_along_where_it_says_the_same(census, deployed):
    about = WEB + "appVersion: 1.0.0 # released\n"
    untagged = VALUES.replace("1.0.0", '""')

    empty = census({"web/Chart.yaml": about, "web/values.yaml": untagged})
    absent = census({"web/Chart.yaml": about, "web/values.yaml": "image: {repository: registry.example/web}\n"})
    both = census({"web/Chart.yaml": about, "web/values.yaml": VALUES})
    other = census({"web/Chart.yaml": about.replace("1.0.0", "0.9.0"), "web/values.yaml": VALUES})

    changed = {"web/Chart.yaml": WEB + "appVersion: 1.0.1 # released\n"}
    assert deployed(empty, "web", "1.0.1")[0] == changed
    assert deployed(absent, "web", "1.0.1")[0] == changed
    assert deployed(both, "web", "1.0.1")[0] == changed | {"web/values.yaml": VALUES.replace("1.0.0", "1.0.1")}
    assert set(deployed(other, "web", "1.0.1")[0]) == {"web/values.yaml"}


def test_a_shared_place_that_decides_for_one_environment_alone_is_its_place(census, deployed):
    dev = {"web/values-dev.yaml": "image: {tag: 1.2.0}\n", "web/values-prod.yaml": "replicas: 3\n"}
    tagged = census({"web/Chart.yaml": WEB, "web/values.yaml": VALUES} | dev)
    about = WEB + "appVersion: 1.0.0\n"
    untagged = census({"web/Chart.yaml": about, "web/values.yaml": VALUES.replace("1.0.0", '""')} | dev)

    assert deployed(tagged, "web", "1.0.1", "prod")[0] == {"web/values.yaml": VALUES.replace("1.0.0", "1.0.1")}
    changed, notes = deployed(untagged, "web", "1.0.1", "prod")
    assert (changed, notes) == ({"web/Chart.yaml": WEB + "appVersion: 1.0.1\n"}, [])


def test_an_app_version_of_several_environments_stays(census, deployed):
    files = {
        "web/Chart.yaml": WEB + "appVersion: 1.0.0\n",
        "web/values-prod.yaml": VALUES,
        "web/values-dev.yaml": "image: {tag: 1.2.0}\n",
    }

    changed, notes = deployed(census(files), "web", "1.0.1", "prod")
    assert set(changed) == {"web/values-prod.yaml"}
    assert any("Chart.yaml#appVersion stays at 1.0.0" in note for note in notes)


def test_the_chart_of_an_umbrella_is_its_dependency(census, deployed):
    files = {"edge/Chart.yaml": edge(proxy='"30.1.0"'), "edge/Chart.lock": "dependencies: []\n"}
    changed, notes = deployed(census(files), "edge", "30.1.1", setting="chart")

    assert changed == {"edge/Chart.yaml": edge(proxy='"30.1.1"')}
    assert any("edge/Chart.lock" in note for note in notes)


def test_a_dependency_whose_alias_is_a_number_is_set_where_it_stands(census, deployed):
    numbered = edge(proxy='"30.1.0"') + "  alias: 5\n"

    changed, _ = deployed(census({"edge/Chart.yaml": numbered}), "edge", "30.1.1", setting="chart")

    assert changed == {"edge/Chart.yaml": numbered.replace("30.1.0", "30.1.1")}


@CODED
def test_several_dependencies_are_told_apart_by_the_name_of_the_chart_or_not_at_all(census, deployed):
    named = census({"edge/Chart.yaml": edge(edge="1.0.0", cache="2.0.0")})
    others = census({"edge/Chart.yaml": edge(proxy="1.0.0", cache="2.0.0")})
    twice = (
        edge(web="1.0.0", cache="2.0.0") + "- {name: web, alias: back, version: 3.0.0, repository: 'oci://r.example'}\n"
    )
    aliased = census({"edge/Chart.yaml": twice})

    assert deployed(named, "edge", "1.0.1", setting="chart")[0] == {
        "edge/Chart.yaml": edge(edge="1.0.1", cache="2.0.0")
    }
    for found, words in ((others, ("proxy", "cache", "edge/Chart.yaml")), (aliased, ("web", "back"))):
        with pytest.raises(InfraError) as refused:
            locate(found, found.find("edge")[0], "1.0.1", setting="chart")
        assert refused.value.code == "ambiguous-setting"
        assert all(word in f"{refused.value.what} {refused.value.next_step}" for word in words)


def test_the_image_of_the_only_dependency_leads_over_others(census, deployed):
    sidecar = "sidecar: {image: {repository: r.example/s, tag: 5.0.0}}\n"
    values = sidecar + "proxy: {image: {repository: r.example/x, tag: 1.0.0}}\n"
    found = census({"edge/Chart.yaml": edge(proxy="30.1.0"), "edge/values.yaml": values})

    assert deployed(found, "edge", "1.0.1")[0] == {"edge/values.yaml": values.replace("tag: 1.0.0", "tag: 1.0.1")}


def test_library_charts_and_charts_inside_others_are_no_apps(census):
    inner = "dependencies: [{name: base, version: 0.1.0, repository: 'file://../base'}]\n"
    files = {
        "lib/Chart.yaml": CHART.format(name="lib") + "type: library\n",
        "lib/values.yaml": VALUES,
        "web/chart.yml": WEB + inner,
        "web/values.yaml": VALUES,
        "base/Chart.yaml": CHART.format(name="base"),
        "base/values.yaml": VALUES,
        "empty/Chart.yaml": CHART.format(name="empty"),
    }

    assert list(census(files).apps) == ["web"]


def test_words_that_are_no_environments_tell_no_instances_apart(census, environments):
    files = {
        "web/Chart.yaml": WEB,
        "web/values.yaml": VALUES,
        "web/values-ha.yaml": "replicas: 3\n",
        "web/values-secret.yaml": "image: {tag: 3}\n",
    }
    plants = {f"{app}/values-{plant}.yaml": VALUES for app in ("web", "api") for plant in ("plant-a", "plant-b")}

    assert environments(census(files), "web") == [None]
    found = census(plants | {"web/Chart.yaml": WEB, "api/Chart.yaml": CHART.format(name="api")})
    assert environments(found, "web") == ["plant-a", "plant-b"]


def test_encrypted_values_are_left_out(census, environments):
    sops = "image: {tag: 'ENC[x]'}\nsops:\n  mac: x\n"
    files = {"web/Chart.yaml": WEB, "web/values-dev.yaml": VALUES, "web/values-prod.yaml": sops}

    assert environments(census(files), "web") == ["dev"]


@pytest.mark.parametrize(
    "about", ["[]", "name: [", "dependencies: 3", "dependencies: [1, x]", "name: {a: b}", "a: &a [*a]", "", "null"]
)
def test_a_strange_chart_breaks_nothing(census, about):
    found = census({"web/Chart.yaml": about, "web/values.yaml": "- 1\n", "web/values-prod.yaml": "image: [1]\n"})

    assert [unit.holds for unit in found.units] == []


def test_what_argo_cd_needs_of_a_chart(census):
    index = census({"web/Chart.yaml": WEB, "web/values.yaml": "a: {replicas: 2, b: {replicaCount: 1}}\n"}).index

    assert [spot.field for spot in Release(index, "web", ()).replicas()] == [("a", "replicas")]
    assert Release(index, "other", ()).replicas() == ()
