"""Applications of Argo CD: what each delivers, what it is called, and which of its values decides."""

import itertools

import pytest
from repository.census.argo_parts import URL, application, chart, deployment, source

from infra_mcp.errors import InfraError

CHART = "apiVersion: v2\nname: web\nversion: 0.1.0\n"
IMAGE = "registry.example/web"
# Each way to give a tag, lowest first.
WAYS = ("chart", "first", "second", "values", "valuesObject", "parameters")


def _files(ways):
    files = {"charts/web/Chart.yaml": CHART, "charts/web/values.yaml": f"image:\n  repository: {IMAGE}\n"}
    helm = {"valueFiles": []}
    if "chart" in ways:
        files["charts/web/values.yaml"] += "  tag: from-chart\n"
    for way, path in (("first", "charts/web/values-prod.yaml"), ("second", "env/prod.yaml")):
        if way in ways:
            files[path] = f"image: {{tag: from-{way}}}\n"
            helm["valueFiles"].append("values-prod.yaml" if way == "first" else "../../env/prod.yaml")
    if "values" in ways:
        helm["values"] = "image:\n  tag: from-values\n"
    if "valuesObject" in ways:
        helm["valuesObject"] = {"image": {"tag": "from-valuesObject"}}
    if "parameters" in ways:
        helm["parameters"] = [{"name": "image.tag", "value": "from-parameters"}]
    return files | {"apps/web.yaml": application("web", source("charts/web", helm=helm))}


@pytest.mark.parametrize("ways", [some for size in (1, 2, 3, 6) for some in itertools.combinations(WAYS, size)])
def test_of_every_way_to_give_a_value_the_highest_decides_and_all_others_are_masked(census, ways):
    [instance] = census(_files(ways)).find("web")

    [hold] = [hold for unit in instance.units for hold in unit.holds if hold.setting == "version"]

    assert [place.version for place in hold.places] == [f"from-{way}" for way in ways]
    assert hold.image == IMAGE


@pytest.mark.parametrize("way", WAYS)
def test_a_version_is_written_where_it_decides(census, deployed, way):
    files = _files([way])
    changed, _ = deployed(census(files), "web", "1.2.3")

    [(path, text)] = changed.items()
    assert text == files[path].replace(f"from-{way}", "1.2.3")


def test_values_that_an_object_replaces_say_nothing_where_the_object_is_silent(census):
    helm = {"values": f"image: {{repository: {IMAGE}, tag: old}}\n", "valuesObject": {"replicas": 2}}

    [instance] = census({"apps/web.yaml": application("web", chart("web", "1.0.0", **helm))}).find("web")

    assert [hold.setting for unit in instance.units for hold in unit.holds] == ["chart"]


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("image", f"{IMAGE}:1.0.0", "values.image"),
        ("web.image.tag", "1.0.0", "values.web.image"),
        ("containers[0].image", f"{IMAGE}:1.0.0", "values.containers[0].image"),
        (r"pods.example\.org/web.image.tag", "1.0.0", 'values.pods["example.org/web"].image'),
    ],
)
def test_a_parameter_is_set_by_helms_names(census, deployed, name, value, label):
    text = application("web", chart("web", "3.0.0", parameters=[{"name": name, "value": value}, {"name": "a..b"}]))
    found = census({"apps/web.yaml": text})
    [instance] = found.find("web")

    [hold, _] = instance.units[0].holds

    assert hold.label == label
    assert deployed(found, "web", "1.0.1")[0] == {"apps/web.yaml": text.replace(value, value.replace("1.0.0", "1.0.1"))}


def test_a_text_is_set_after_all_others_and_a_name_that_stands_twice_by_its_last(census):
    parameters = [
        {"name": "image.tag", "value": "text", "forceString": True},
        {"name": "image.tag", "value": "1"},
        {"name": "image.tag", "value": "2"},
    ]
    [instance] = census({"apps/web.yaml": application("web", chart("web", "1.0.0", parameters=parameters))}).find("web")

    assert [place.version for place in instance.units[0].holds[0].places] == ["1", "2", "text"]


def test_values_of_another_source_are_found_by_its_ref_and_those_of_elsewhere_hide_what_lies_below(census, deployed):
    files = {"values/web.yaml": f"image:\n  repository: {IMAGE}\n  tag: 1.0.0\n"}
    helm = {"valueFiles": ["$here/values/web.yaml"]}
    ref = {"repoURL": URL, "targetRevision": "main", "ref": "here"}
    here = census(files | {"apps/web.yaml": application("web", chart("web", "3.0.0", **helm), ref)})
    hidden = {"valueFiles": ["$here/values/web.yaml", "https://values.example.org/web.yaml"]}
    elsewhere = census(files | {"apps/web.yaml": application("web", chart("web", "3.0.0", **hidden), ref)})

    assert list(deployed(here, "web", "1.0.1")[0]) == ["values/web.yaml"]
    assert [hold.setting for hold in elsewhere.find("web")[0].units[0].holds] == ["chart"]


def test_a_path_of_another_repository_is_not_looked_for_here(census):
    other = {"repoURL": "git@git.example.org:team/other.git", "path": "charts/web", "targetRevision": "v2.0.0"}
    files = _files(["chart"]) | {"apps/other.yaml": application("other", other)}
    files |= {"apps/more.yaml": application("more", source("apps"))}

    found = census(files)

    assert [(hold.setting, hold.version) for hold in found.find("other")[0].units[0].holds] == [("revision", "v2.0.0")]
    assert [entry.root for entry in found.entries if entry.by.endswith("/other")] == ["apps"]


@pytest.mark.parametrize("revision", ["HEAD", "main", "feature/a", "release-1.24"])
def test_a_branch_is_no_version(census, deployed, revision):
    other = {"repoURL": "https://git.example.org/team/other", "path": "deploy", "targetRevision": revision}
    found = census({"apps/web.yaml": application("web", other)})

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.0.0")

    assert refused.value.code == "ambiguous-setting"
    assert revision in refused.value.what


def test_the_images_of_an_application_replace_those_of_its_kustomization_by_their_former_name(census, deployed):
    files = {
        "web/kustomization.yaml": "resources: [web.yaml]\nimages: [{name: web, newName: r.example/web, newTag: '1'}]\n",
        "web/web.yaml": deployment(image="web"),
        "apps/web.yaml": application("web", source("web", kustomize={"images": ["web=r.example/mirror/web:2"]})),
    }
    found = census(files)
    [instance] = found.find("web")

    assert instance.units[0].holds[0].image == "r.example/mirror/web"
    changed, notes = deployed(found, "web", "3")
    assert changed == {"apps/web.yaml": files["apps/web.yaml"].replace("web:2", "web:3")}
    assert any("web/kustomization.yaml" in note for note in notes)


def test_a_folder_of_manifests_is_read_as_deep_and_as_far_as_its_application_says(census):
    files = {
        "web/a.yaml": deployment("a"),
        "web/skip-b.yaml": deployment("b"),
        "web/deep/c.yaml": deployment("c"),
        "web/notes.txt": "kind: Deployment",
    }
    flat = census(files | {"apps/web.yaml": application("web", source("web"))})
    some = {"recurse": True, "exclude": "{skip-*.yaml,x}"}
    deep = census(files | {"apps/web.yaml": application("web", source("web", directory=some))})

    def delivered(found):
        return [one.name for entry in found.entries if entry.by == "Application argocd/web" for one in entry.objects]

    assert delivered(flat) == ["a", "b"]
    assert delivered(deep) == ["a", "c"]
    assert {unit.namespace for unit in flat.units if unit.entry.delivery == "argocd"} == {"web"}


def test_the_environment_is_no_part_of_an_apps_name(census, environments):
    files = {
        "apps/docs-production.yaml": application("docs-production", chart("site", "1.0.0")),
        "apps/docs-staging.yaml": application("docs-staging", chart("site", "1.1.0")),
        "apps/lab-shop.yaml": application("lab-shop", chart("shop", "1.0.0"), cluster="lab"),
        "apps/plant-shop.yaml": application("plant-shop", chart("shop", "1.0.0"), cluster="plant"),
        "apps/live.yaml": application("live", chart("live", "1.0.0")),
    }
    found = census(files)

    assert list(found.apps) == ["docs", "live", "shop"]
    assert environments(found, "shop") == ["lab", "plant"]
    assert [unit.name for unit in found.find("docs-staging")[0].units] == ["docs-staging"]


def test_an_overlay_over_an_application_decides_its_version(census, deployed):
    files = {
        "argo/base/web.yaml": application("web", chart("web", "1.0.0")),
        "argo/base/kustomization.yaml": "resources: [web.yaml]\n",
    }
    for name, version in (("prod", "1.0.0"), ("stage", "1.1.0")):
        patch = f"- op: replace\n  path: /spec/source/targetRevision\n  value: {version}\n"
        files[f"argo/{name}/patch.yaml"] = patch
        files[f"argo/{name}/kustomization.yaml"] = (
            "resources: [../base]\npatches:\n- target: {kind: Application}\n  path: patch.yaml\n"
        )

    changed, _ = deployed(census(files), "web", "1.2.0", "stage")

    assert changed == {"argo/stage/patch.yaml": files["argo/stage/patch.yaml"].replace("1.1.0", "1.2.0")}


def test_the_image_updater_is_named_where_it_writes(census, deployed):
    notes = {"argocd-image-updater.argoproj.io/image-list": f"web={IMAGE}:~1"}
    web = application("web", source("charts/web"), annotations=notes)
    found = census(_files(["chart"]) | {"apps/web.yaml": web})
    other = {"argocd-image-updater.argoproj.io/image-list": "registry.example/other"}
    free = census(_files(["chart"]) | {"apps/web.yaml": application("web", source("charts/web"), annotations=other)})

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.0.1")

    assert refused.value.code == "automation"
    assert "image-list" in refused.value.what
    assert list(deployed(free, "web", "1.0.1")[0]) == ["charts/web/values.yaml"]


def test_the_image_updater_is_named_for_a_kustomization_too(census, deployed):
    files = {
        "web/kustomization.yaml": "resources: [web.yaml]\nimages: [{name: registry.example/web, newTag: '1'}]\n",
        "web/web.yaml": deployment(),
        "apps/web.yaml": application(
            "web", source("web"), annotations={"argocd-image-updater.argoproj.io/image-list": f"a={IMAGE}, b=other:~1"}
        ),
    }

    with pytest.raises(InfraError) as refused:
        deployed(census(files), "web", "1.0.1")

    assert refused.value.code == "automation"
    assert "Application argocd/web" in refused.value.what


def test_what_lies_in_the_folder_over_the_application_decides_and_is_image_updaters(census, deployed):
    over = "helm:\n  parameters:\n  - name: image.tag\n    value: 1.0.0\n"
    found = census(_files(["parameters"]) | {"charts/web/.argocd-source-web.yaml": over})
    assert "charts/web/.argocd-source-web.yaml" in found.find("web")[0].entry.files

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.0.1")

    assert refused.value.code == "automation"
    assert "charts/web/.argocd-source-web.yaml" in refused.value.what


def test_an_app_of_apps_reaches_its_applications(census):
    files = _files(["chart"]) | {"root.yaml": application("root", source("apps"))}

    found = census(files)

    [root] = [entry for entry in found.entries if entry.by == "Application argocd/root"]
    assert (root.delivery, root.root) == ("argocd", "apps")
    assert root.files == {"root.yaml", "apps/web.yaml"}
    assert {entry.delivery for entry in found.entries} == {"argocd"}


@pytest.mark.promise("repos.locator")
def test_values_in_a_text_of_several_documents_still_hide_what_lies_below_and_are_not_edited(census, deployed):
    text = "image: {repository: registry.example/web, tag: '2'}\n---\nother: 1\n"
    at = census(
        {
            "apps/web.yaml": application("web", source("web", helm={"values": text})),
            "web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
            "web/values.yaml": "image: {repository: registry.example/web, tag: '1'}\n",
        }
    )

    assert [hold.version for hold in at.find("web")[0].units[0].holds if hold.setting == "version"] == ["2"]
    with pytest.raises(InfraError, match="not one YAML document"):
        deployed(at, "web", "3")
