"""Charts that a kustomization renders: the chart's version, and its values in the order in which they are laid."""

import pytest

KUSTOMIZATION = """\
namespace: tooling
helmCharts:
- name: mirror
  repo: https://charts.example.org
  version: 0.19.0 # one behind
  releaseName: cache
  valuesFile: values.yaml
  additionalValuesFiles: [more.yaml]
  valuesMerge: {merge}
  valuesInline:
    image: {{tag: 1.0.0}}
"""
VALUES = "image: {repository: registry.example/mirror, tag: 1.1.0}\n"


def files(merge="override", more="a: 1\n"):
    return {
        "envs/prod/kustomization.yaml": KUSTOMIZATION.format(merge=merge),
        "envs/prod/values.yaml": VALUES,
        "envs/prod/more.yaml": more,
    }


@pytest.mark.parametrize(
    ("merge", "more", "path", "before"),
    [
        ("override", "a: 1\n", "kustomization.yaml", "{tag: 1.0.0}"),
        ("merge", "a: 1\n", "values.yaml", "tag: 1.1.0}"),
        ("replace", "a: 1\n", "kustomization.yaml", "{tag: 1.0.0}"),
        ("override", "image: {tag: 1.2.0}\n", "more.yaml", "{tag: 1.2.0}"),
    ],
)
def test_the_values_that_lie_on_top_decide(census, deployed, merge, more, path, before):
    made = files(merge, more)
    found = census(made)

    assert str(found.find("cache")[0].units[0]) == "Chart tooling/cache"
    assert found.find("mirror")[0].units == found.find("cache")[0].units
    changed, _ = deployed(found, "cache", "1.9.0", "prod")
    after = made[f"envs/prod/{path}"].replace(before, before[: before.index("tag: ")] + "tag: 1.9.0}")
    assert changed == {f"envs/prod/{path}": after}


def test_the_version_of_the_chart_stands_in_the_kustomization(census, deployed):
    made = files()

    assert deployed(census(made), "cache", "0.20.0", "prod", setting="chart")[0] == {
        "envs/prod/kustomization.yaml": made["envs/prod/kustomization.yaml"].replace("0.19.0", "0.20.0")
    }


def test_a_generator_in_a_file_of_its_own_is_such_a_chart_too(census, deployed):
    head = "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\n"
    generator = head + "name: web\nrepo: r\nversion: 1.0.0\n"
    made = {"a/kustomization.yaml": "generators: [web.yaml, gone.yaml]\n", "a/web.yaml": generator}
    found = census(made)

    assert deployed(found, "web", "1.0.1")[0] == {"a/web.yaml": generator.replace("1.0.0", "1.0.1")}
    assert "a/web.yaml" in found.find("web")[0].entry.files


def test_a_chart_in_the_repository_gives_the_lowest_values_and_its_app_version(census, deployed):
    about = "apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: 1.0.0\n"
    made = {
        "a/kustomization.yaml": "helmCharts: [{name: web, valuesInline: {replicaCount: 2}}]\n",
        "a/charts/web/Chart.yaml": about,
        "a/charts/web/values.yaml": "image: {repository: r.example/web, tag: ''}\nreplicaCount: 1\n",
    }
    found = census(made)

    assert [len(one.units) for one in found.find("web")] == [1]
    assert deployed(found, "web", "1.0.1")[0] == {"a/charts/web/Chart.yaml": about.replace("1.0.0", "1.0.1")}
    spots = found.find("web")[0].units[0].replicas()
    assert [spot.path for spot in spots] == ["a/charts/web/values.yaml", "a/kustomization.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "helmCharts: 3\n",
        "helmCharts: [1, null, {}, {name: [a]}]\n",
        "helmCharts: [{name: a, valuesFile: ../../../etc/passwd, additionalValuesFiles: 3, valuesInline: []}]\n",
        "helmCharts: [{name: a, valuesFile: 7, valuesMerge: [x]}]\nhelmGlobals: 3\n",
        "helmCharts: [{name: ../../a}]\nhelmGlobals: {chartHome: ../..}\n",
        "generators: [kustomization.yaml, 3, '../x']\n",
    ],
)
def test_strange_entries_break_nothing(census, text):
    found = census({"a/kustomization.yaml": text})

    assert [hold for unit in found.units for hold in unit.holds] == []
