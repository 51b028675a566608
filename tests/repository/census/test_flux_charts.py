"""HelmReleases of charts that lie in the repository: the chart's own values are the lowest."""

RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web, namespace: shop}}
spec:
  chart:
    spec:
      chart: ./charts/web
      sourceRef: {{kind: {kind}, name: infra}}
{more}"""
FILES = {
    "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: 0.9.0\n",
    "charts/web/values.yaml": "image: {repository: registry.example/web, tag: 1.0.0}\nreplicas: 1\n",
    "charts/web/values-prod.yaml": "image: {repository: registry.example/web, tag: 1.1.0}\n",
}


def release(more="", kind="GitRepository"):
    return FILES | {"apps/web.yaml": RELEASE.format(kind=kind, more=more)}


def test_the_values_of_the_chart_decide_where_the_release_sets_none(census, deployed):
    found = census(release())

    assert [one.units[0].kind for one in found.find("web")] == ["HelmRelease"]
    assert set(FILES) - found.find("web")[0].entry.files == {"charts/web/values-prod.yaml"}
    assert deployed(found, "web", "1.0.1")[0] == {
        "charts/web/values.yaml": FILES["charts/web/values.yaml"].replace("1.0.0", "1.0.1")
    }
    assert [spot.path for spot in found.find("web")[0].units[0].replicas()] == ["charts/web/values.yaml"]


def test_the_values_of_the_release_decide_over_those_of_the_chart(census, deployed):
    files = release("  values: {image: {tag: 1.2.0}}\n")

    changed, notes = deployed(census(files), "web", "1.2.1")
    assert changed == {"apps/web.yaml": files["apps/web.yaml"].replace("1.2.0", "1.2.1")}
    assert any("charts/web/values.yaml" in note for note in notes)


def test_values_files_stand_for_the_charts_own(census, deployed):
    found = census(release("      valuesFiles: [./charts/web/values-prod.yaml, ../../etc/passwd]\n"))

    assert set(deployed(found, "web", "1.1.1")[0]) == {"charts/web/values-prod.yaml"}


def test_a_chart_of_a_helm_repository_with_the_same_name_is_another_one(census):
    found = census(release(kind="HelmRepository"))

    assert {unit.kind for one in found.find("web") for unit in one.units} == {"HelmRelease", "Chart"}


def test_a_chart_at_the_top_of_the_repository_is_one_of_its_charts(census, deployed):
    files = {path.removeprefix("charts/web/"): text for path, text in FILES.items()}
    files["apps/web.yaml"] = RELEASE.format(kind="GitRepository", more="").replace("./charts/web", "./")

    changed, _ = deployed(census(files), "web", "1.0.1")

    assert changed == {"values.yaml": files["values.yaml"].replace("1.0.0", "1.0.1")}
