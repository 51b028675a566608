"""ApplicationSets of Argo CD: what each generator gives, what templates name, and what only the cluster knows."""

import json

import pytest
from repository.census.argo_parts import CHARTS, URL, application_set, chart, deployment, source

from infra_mcp.errors import InfraError
from infra_mcp.repository.census.argo_templates import Fixed, PathParameter, TemplateParameters

TREE = {
    "name": "web",
    "replicas": 3,
    "is.odd": "yes",
    "list": [{"name": "a"}],
    "map": {"key": "b"},
    "empty": None,
    "path": PathParameter(path="apps/web/prod", basename="prod", segments=["apps", "web", "prod"]),
}
ELEMENTS = [{"cluster": "lab", "version": "1.1.0"}, {"cluster": "plant", "version": "1.0.0"}]
LIST = {"list": {"elements": ELEMENTS}}
CHART = "apiVersion: v2\nname: web\nversion: 0.1.0\n"
VALUES = "image:\n  repository: registry.example/web\n  tag: 0.9.0\n"


@pytest.mark.parametrize(
    ("text", "go", "given"),
    [
        ("web-{{name}}", False, "web-web"),
        ("{{ name }}-{{replicas}}", False, "web-3"),
        ("{{path}}", False, "apps/web/prod"),
        ("{{path.basename}}", False, "prod"),
        ("{{path[1]}}", False, "web"),
        ("{{path[9]}}", False, None),
        ("{{list.0.name}}", False, "a"),
        ("{{is.odd}}", False, "yes"),
        ("{{map}}", False, None),
        ("{{other}}", False, None),
        ("{{ .name }}", False, None),
        ("{{ .name }}", True, "web"),
        ("{{.path.path}}/x", True, "apps/web/prod/x"),
        ("{{- .name -}}", True, "web"),
        ("a {{- .name }}", True, None),
        ("{{ index .path.segments 1 }}", True, "web"),
        ('{{ index .map "key" }}', True, "b"),
        ('{{ index .list 0 "name" }}', True, "a"),
        ("{{ .path.segments }}", True, None),
        ("{{ .empty }}", True, None),
        ("{{ .name | upper }}", True, None),
        ("{{ if .name }}x{{ end }}", True, None),
        ("{{ `{{ .name }}` }}", True, None),
        ("{{name}}", True, None),
        ("{{ .name", True, None),
        ("no template", True, "no template"),
    ],
)
def test_a_template_gives_what_it_names_and_is_unknown_with_anything_else_in_it(text, go, given):
    assert TemplateParameters(Fixed(TREE), go).render(text) == given


@pytest.mark.parametrize("go", [True, False])
def test_the_element_of_a_list_decides(census, environments, deployed, go):
    name, version = ("{{ .cluster }}", "{{ .version }}") if go else ("{{cluster}}", "{{version}}")
    text = application_set("web", [LIST], f"web-{name}", chart("web", version), go=go, cluster=name)
    found = census({"sets/web.yaml": text})

    assert environments(found, "web") == ["lab", "plant"]
    assert deployed(found, "web", "1.2.0", "plant")[0] == {"sets/web.yaml": text.replace("1.0.0", "1.2.0")}


@pytest.mark.parametrize(
    "helm",
    [
        {"parameters": [{"name": "image.tag", "value": "{{ .version }}"}]},
        {"values": "image:\n  tag: {{ .version }}\n"},
        {"values": "image:\n  tag: '{{ .version }}'\n"},
        {"values": "image: registry.example/web:{{ .version }}\n"},
        {"valuesObject": {"image": {"tag": "{{ .version }}"}}},
    ],
)
def test_a_version_that_a_template_puts_into_values_is_set_in_the_element(census, deployed, helm):
    text = application_set("web", [LIST], "web-{{ .cluster }}", chart("web", "3.0.0", **helm))

    changed, _ = deployed(census({"sets/web.yaml": text}), "web", "1.2.0", "lab")

    assert changed == {"sets/web.yaml": text.replace("1.1.0", "1.2.0")}


def test_a_tag_that_a_template_puts_behind_an_image_decides_over_the_app_version_of_the_chart(census, deployed):
    helm = {"values": "image: registry.example/web:{{ .version }}\n"}
    text = application_set("web", [LIST], "web-{{ .cluster }}", source("charts/web", helm=helm))
    chart_file = f"{CHART}appVersion: 0.9.0\n"

    changed, _ = deployed(census({"sets/web.yaml": text, "charts/web/Chart.yaml": chart_file}), "web", "1.2.0", "lab")

    assert changed == {"sets/web.yaml": text.replace("1.1.0", "1.2.0")}


def test_a_literal_in_a_text_with_templates_is_set_there_and_is_shared(census):
    helm = {"values": "image:\n  tag: 2.0.0\nhost: '{{ .cluster }}.example.org'\n"}
    found = census(
        {"sets/web.yaml": application_set("web", [LIST], "web-{{ .cluster }}", chart("web", "3.0.0", **helm))}
    )

    places = [unit.holds[0].decides.spot for one in found.find("web") for unit in one.units]

    assert [spot.inside for spot in places] == [("image", "tag")] * 2
    assert len({spot.key for spot in places}) == 1


def test_a_version_with_something_around_it_has_no_place(census, deployed):
    found = census(
        {"sets/web.yaml": application_set("web", [LIST], "web-{{ .cluster }}", chart("web", "v{{ .version }}"))}
    )

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.2.0", "lab")

    assert refused.value.code == "not-in-repository"


@pytest.mark.parametrize("go", [True, False])
def test_files_of_git_give_their_content_and_their_path(census, deployed, go):
    tag, base = ("{{ .web.tag }}", "{{ .path.basename }}") if go else ("{{web.tag}}", "{{path.basename}}")
    files = {
        "fleet/lab/config.yaml": "web:\n  tag: 1.0.0 # lab\n",
        "fleet/plant/config.json": '{"web": {"tag": "1.0.1"}}',
    }
    generator = {"git": {"repoURL": URL, "files": [{"path": "fleet/*/config.yaml"}, {"path": "fleet/*/config.json"}]}}
    helm = {"parameters": [{"name": "image.tag", "value": tag}]}
    text = application_set("web", [generator], f"web-{base}", chart("web", "3.0.0", **helm), go=go, cluster=base)
    found = census(files | {"sets/web.yaml": text})

    assert deployed(found, "web", "1.2.0", "lab")[0] == {"fleet/lab/config.yaml": "web:\n  tag: 1.2.0 # lab\n"}
    assert deployed(found, "web", "1.2.0", "plant")[0] == {"fleet/plant/config.json": '{"web": {"tag": "1.2.0"}}'}


def test_folders_of_git_are_applications_but_for_those_that_are_left_out(census):
    files = {f"apps/{app}/{env}/kustomization.yaml": "resources: [a.yaml]\n" for app in "abc" for env in ("lab", "old")}
    files |= {f"apps/{app}/{env}/a.yaml": deployment(app) for app in "abc" for env in ("lab", "old")}
    folders = [{"path": "apps/*/*"}, {"path": "apps/*/old", "exclude": True}, {"path": "apps/c/*", "exclude": True}]
    generator = {"git": {"repoURL": URL, "directories": folders, "values": {"env": "{{ .path.basename }}"}}}
    text = application_set(
        "apps", [generator], "{{ index .path.segments 1 }}", source("{{ .path.path }}"), cluster="{{ .values.env }}"
    )

    found = census(files | {"sets/apps.yaml": text})

    made = [entry for entry in found.entries if entry.delivery == "argocd"]
    assert [(entry.root, entry.by, entry.cluster) for entry in made] == [
        ("apps/a/lab", "Application argocd/a", "lab"),
        ("apps/b/lab", "Application argocd/b", "lab"),
    ]


def test_the_second_generator_of_a_matrix_may_name_what_the_first_one_gives(census, environments):
    files = {f"fleet/{cluster}/{app}.yaml": f"app: {app}\n" for cluster in ("lab", "plant") for app in "ab"}
    both = [LIST, {"git": {"repoURL": URL, "files": [{"path": "fleet/{{ .cluster }}/*.yaml"}]}}]
    text = application_set(
        "all", [{"matrix": {"generators": both}}], "{{ .app }}-{{ .cluster }}", chart("{{ .app }}", "{{ .version }}")
    )

    found = census(files | {"sets/all.yaml": text})

    assert list(found.apps) == ["a", "b"]
    assert environments(found, "a") == ["lab", "plant"]


def test_a_merge_lays_the_others_over_the_first_where_their_keys_are_the_same(census, deployed):
    over = {"list": {"elements": [{"cluster": "plant", "version": "0.5.0"}, {"cluster": "moon", "version": "0.1.0"}]}}
    merge = {"merge": {"mergeKeys": ["cluster"], "generators": [LIST, over]}}
    text = application_set("web", [merge], "web-{{ .cluster }}", chart("web", "{{ .version }}"))
    found = census({"sets/web.yaml": text})

    changed, notes = deployed(found, "web", "0.6.0", "plant")

    assert changed == {"sets/web.yaml": text.replace("0.5.0", "0.6.0")}
    assert any("stays at 1.0.0" in note for note in notes)
    assert len(found.find("web")) == 2


def test_a_selector_leaves_elements_out(census):
    generator = {**LIST, "selector": {"matchLabels": {"cluster": "lab"}}}
    text = application_set("web", [generator], "web-{{ .cluster }}", chart("web", "{{ .version }}"))

    assert [entry.by for entry in census({"sets/web.yaml": text}).entries] == ["Application argocd/web-lab"]


@pytest.mark.parametrize("kind", ["clusters", "pullRequest", "scmProvider", "clusterDecisionResource", "plugin"])
def test_what_only_the_cluster_knows_is_named_and_what_the_template_says_is_found(census, deployed, kind):
    text = application_set("web", [{kind: {}}], "web-{{ .name }}", chart("web", "1.0.0"), cluster="{{ .name }}")
    found = census({"sets/web.yaml": text})

    assert found.applications.unknown == [f"ApplicationSet web in sets/web.yaml: {kind}"]
    assert deployed(found, "web", "1.1.0")[0] == {"sets/web.yaml": text.replace("1.0.0", "1.1.0")}


def test_folders_that_a_set_may_mean_by_a_clusters_name_are_delivered_by_it(census, environments, deployed):
    files = {f"apps/web/overlays/{name}/kustomization.yaml": "resources: [web.yaml]\n" for name in ("lab", "plant")}
    files |= {f"apps/web/overlays/{name}/web.yaml": deployment() for name in ("lab", "plant")}
    files |= {"apps/web/base/kustomization.yaml": "resources: [web.yaml]\n", "apps/web/base/web.yaml": deployment("b")}
    path = "apps/web/overlays/{{ .name }}"
    text = application_set("web", [{"clusters": {}}], "web-{{ .name }}", source(path), cluster="{{ .name }}")
    found = census(files | {"sets/web.yaml": text})

    assert {entry.root: entry.delivery for entry in found.entries} == {
        "apps/web/overlays/lab": "argocd",
        "apps/web/overlays/plant": "argocd",
        "apps/web/base": "kubernetes",
    }
    assert environments(found, "web") == ["lab", "plant"]
    assert list(deployed(found, "web", "1.0.1", "lab")[0]) == ["apps/web/overlays/lab/web.yaml"]


def test_values_that_only_the_cluster_knows_may_decide(census, deployed):
    helm = {"valueFiles": ["values-{{ .name }}.yaml"]}
    text = application_set("web", [{"clusters": {}}], "web-{{ .name }}", source("charts/web", helm=helm))
    found = census({"sets/web.yaml": text, "charts/web/Chart.yaml": CHART, "charts/web/values.yaml": VALUES})

    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.1.0")

    assert refused.value.code == "not-in-repository"


def test_a_patch_of_the_template_is_laid_over_it_and_one_with_conditions_is_named(census):
    def found(patch):
        text = application_set("web", [LIST], "web-{{ .cluster }}", chart("web", "3.0.0"), templatePatch=patch)
        return census({"sets/web.yaml": text})

    patched = found("spec:\n  source:\n    targetRevision: '{{ .version }}'\n")
    unknown = found("{{- if .version }}\nspec: {}\n{{- end }}\n")

    assert [unit.holds[0].version for unit in patched.units] == ["1.1.0", "1.0.0"]
    assert unknown.units == ()
    assert "templatePatch" in unknown.applications.unknown[0]


# ---- hostile input


def test_many_generators_and_elements_are_bounded(census):
    elements = [{"cluster": f"c{i}", "version": "1"} for i in range(100)]
    many = [{"list": {"elements": [{"cluster": f"c{i}", "version": "1"}]}} for i in range(1500)]
    text = application_set("web", many, "web-{{ .cluster }}", chart("web", "{{ .version }}"))
    both = {"list": {"elements": elements}}
    matrix = application_set("mat", [{"matrix": {"generators": [both, both]}}], "m-{{ .cluster }}", chart("m", "1"))

    found = census({"sets/web.yaml": text, "sets/mat.yaml": matrix})

    assert len(found.applications.all) == 2000
    assert found.applications.unknown == [
        "ApplicationSet mat in sets/mat.yaml: more than 1000 applications",
        "ApplicationSet web in sets/web.yaml: more than 1000 applications",
    ]


def test_generators_inside_of_generators_end(census):
    generator = LIST
    for _ in range(12):
        generator = {"matrix": {"generators": [generator, LIST]}}
    found = census({"sets/web.yaml": application_set("web", [generator], "web-{{ .cluster }}", chart("web", "1"))})

    assert found.applications.unknown == ["ApplicationSet web in sets/web.yaml: matrix"]


def test_a_template_does_not_grow_by_what_it_names(census):
    bomb = [{"cluster": "lab", "a": "{{ .b }}" * 100, "b": "{{ .a }}" * 100, "long": "x" * 100_000}]
    text = application_set(
        "web",
        [{"list": {"elements": bomb}}],
        "{{ .a }}{{ .long }}",
        chart("web", "{{ .b }}" * 1000),
        cluster="{{ .long }}",
    )

    [application] = census({"sets/web.yaml": text}).applications.all

    assert application.name == "web"
    assert application.spec["source"]["targetRevision"] is None


@pytest.mark.parametrize("path", ["../../etc", "/../x", "..", "a/../../b", "charts/*", "{{ .path }}", 7, [], None])
def test_a_path_that_is_none_delivers_nothing_of_the_repository(census, path):
    one = {"repoURL": URL, "targetRevision": "HEAD", "path": path}
    text = application_set("web", [LIST], "web-{{ .cluster }}", one)
    files = {"sets/web.yaml": text, "charts/web/Chart.yaml": CHART, "charts/web/values.yaml": VALUES}

    for entry in census(files).entries:
        assert entry.delivery != "argocd" or not entry.objects
        assert not any(".." in file for file in entry.files)


def test_links_and_values_outside_are_not_read(census):
    helm = {"valueFiles": ["../../../../etc/passwd", "link.yaml"]}
    files = {
        "sets/web.yaml": application_set("web", [LIST], "web-{{ .cluster }}", source("charts/web", helm=helm)),
        "charts/web/Chart.yaml": CHART,
        "charts/web/values.yaml": VALUES,
        "charts/web/link.yaml": "../../secret.yaml",
        "secret.yaml": VALUES,
    }

    found = census(files, modes={"charts/web/link.yaml": "120000"})

    assert [hold for unit in found.units for hold in unit.holds if hold.setting == "version"] == []


@pytest.mark.parametrize("wrong", [None, [], "text", 3, {"source": []}, {"sources": [None, 3, {"helm": []}]}])
def test_a_malformed_application_is_passed_over(census, wrong):
    about = {"apiVersion": "argoproj.io/v1alpha1", "metadata": {"name": "web"}}
    files = {
        "a.yaml": json.dumps({**about, "kind": "Application", "spec": wrong}),
        "b.yaml": json.dumps({**about, "kind": "ApplicationSet", "spec": wrong}),
        "c.yaml": json.dumps(
            {**about, "kind": "ApplicationSet", "spec": {"template": wrong, "generators": [LIST, wrong]}}
        ),
        "d.yaml": application_set(
            "web", [{"list": wrong}, {"git": wrong}, {"merge": wrong}], "web", {"repoURL": CHARTS, "helm": wrong}
        ),
    }

    assert [hold for unit in census(files).units for hold in unit.holds] == []


def test_applications_that_deliver_each_other_end(census):
    def one(name, path):
        return application_set(name, [LIST], f"{name}-{{{{ .cluster }}}}", source(path))

    found = census({"a/a.yaml": one("a", "b"), "b/b.yaml": one("b", "a")})

    assert {entry.root for entry in found.entries} == {"a", "b"}
