"""Releases of helmfile: the place that decides is where the value stands, through templates and bases."""

import time

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository.census import helmfile

RELEASE = """\
releases:
- name: web
  namespace: shop
  chart: example/web
  version: {{ .Values.web.chart }}
  values:
  - web/values.yaml
  - web/{{ .Environment.Name }}.yaml
  - image: {pullPolicy: Always}
"""
ENVIRONMENTS = """\
environments:
  default: {}
  staging: {values: [env/common.yaml, env/staging.yaml]}
  production:
    values:
    - env/common.yaml
    - env/{{ .Environment.Name }}.yaml
    - web: {zone: a}
"""
FILES = {
    "helmfile.yaml": ENVIRONMENTS + "---\n" + RELEASE,
    "env/common.yaml": "web: {chart: 1.0.0}\n",
    "env/staging.yaml": "web: {chart: 1.2.0}\n",
    "env/production.yaml": "web: {chart: '1.1.0'} # frozen\n",
    "web/values.yaml": "image: {repository: registry.example/web, tag: 6.0.0}\nreplicas: 1\n",
    "web/production.yaml": "image: {tag: 6.1.0}\n",
}


def test_a_value_is_set_in_the_file_of_the_environment_that_decides(census, environments, deployed):
    found = census(FILES)

    assert environments(found, "web") == ["staging", "production"]
    assert {one.entry.delivery for one in found.find("web")} == {"helm"}
    assert found.find("web")[0].units[0].namespace == "shop"
    changed, notes = deployed(found, "web", "6.1.1", "production")
    assert changed == {"web/production.yaml": "image: {tag: 6.1.1}\n"}
    assert any("web/values.yaml" in note and "stays at 6.0.0" in note for note in notes)


def test_a_version_through_a_template_is_set_where_the_value_stands(census, deployed):
    changed, notes = deployed(census(FILES), "web", "1.1.1", "production", setting="chart")

    assert changed == {"env/production.yaml": "web: {chart: '1.1.1'} # frozen\n"}
    assert any("env/common.yaml" in note and "stays at 1.0.0" in note for note in notes)


def test_values_that_are_a_template_are_read_as_far_as_they_are_yaml(census, deployed):
    template = """\
{{- /* what the environment
decides */ -}}
image: {{/* one */}}
  repository: registry.example/web
  tag: {{ .Values.web.tag | quote }} # from the environment
host: web.{{ .Values.domain }}
"""
    files = FILES | {
        "helmfile.yaml": FILES["helmfile.yaml"].replace("web/values.yaml", "web/values.yaml.gotmpl"),
        "web/values.yaml.gotmpl": template,
        "web/production.yaml": "replicas: 2\n",
        "env/production.yaml": "web: {chart: 1.1.0, tag: 7.0.0}\n",
    }
    assert deployed(census(files), "web", "7.0.1", "production")[0] == {
        "env/production.yaml": "web: {chart: 1.1.0, tag: 7.0.1}\n"
    }

    unknown = files | {"web/values.yaml.gotmpl": template.replace(".Values.web.tag", 'env "TAG"')}
    with pytest.raises(InfraError) as refused:
        deployed(census(unknown), "web", "7.0.1", "production")
    assert refused.value.code == "ambiguous-setting"
    assert "web/values.yaml.gotmpl" in refused.value.what


def test_bases_templates_that_are_inherited_and_helmfiles_of_a_helmfile(census, environments, deployed):
    inner = """\
bases: [../environments.yaml]
---
templates:
  default:
    chart: ../charts/{{`{{ .Release.Name }}`}}
    values: ["{{`{{ .Release.Name }}`}}.yaml"]
releases:
- name: api
  inherit: [{template: default}]
"""
    files = {
        "helmfile.yaml": "helmfiles:\n- path: apps/*.yaml\n- git::https://git.example.org/x.git@helmfile.yaml\n",
        "environments.yaml": "environments: {staging: {}, production: {}}\n",
        "apps/apps.yaml": inner,
        "apps/api.yaml": "image: {tag: 1.0.0}\n",
        "charts/api/Chart.yaml": "apiVersion: v2\nname: api\nversion: 0.1.0\nappVersion: 1.0.0\n",
        "charts/api/values.yaml": "image: {repository: registry.example/api, tag: 0.9.0}\n",
    }
    found = census(files)

    assert environments(found, "api") == ["staging", "production"]
    (entry, _) = [one.entry for one in found.find("api")]
    assert {"charts/api/Chart.yaml", "apps/api.yaml", "environments.yaml"} <= entry.files
    with pytest.raises(InfraError) as refused:
        deployed(found, "api", "1.0.1", "production")
    assert refused.value.code == "shared-place"


def test_a_helmfile_without_environments_has_one_instance_and_its_own_version(census, environments, deployed):
    text = "releases:\n- {name: web, chart: x/web, version: 1.0.0}\n- {name: api, chart: x/api, version: 2.0.0}\n"
    found = census({"deploy/helmfile.d/01-apps.yaml": text})

    assert environments(found, "web") == [None]
    assert deployed(found, "web", "1.0.1")[0] == {"deploy/helmfile.d/01-apps.yaml": text.replace("1.0.0", "1.0.1")}


@pytest.mark.parametrize(
    "text",
    [
        "bases: [helmfile.yaml]\nhelmfiles: [helmfile.yaml]\nreleases: [{name: a, chart: b/c}]\n",
        "bases: [../../etc/x.yaml, '/etc/passwd', 3]\nreleases: {}\n",
        "releases: [1, null, {name: [x]}, {name: web}, {chart: x/y}]\nenvironments: [a]\n",
        "environments: {prod: 3, dev: {values: 7}, qa: {values: [1]}}\nreleases: [{name: a, chart: b, values: 1}]\n",
        "releases:\n- name: web\n  inherit: [{template: gone}, 4]\n  chart: x/y\n",
        "helmfiles: ['**/*', '*', '{{ x }}']\n",
        "releases:\n" + "- &a [*a]\n",
        '{{ if eq .Environment.Name "prod" }}\nreleases: [{name: a, chart: b/c}]\n{{ end }}\n',
        "x: " + "[" * 5000,
    ],
)
def test_a_strange_helmfile_breaks_nothing(census, text):
    found = census({"helmfile.yaml": text, "other.yaml": "a: 1\n"})

    assert [hold for unit in found.units for hold in unit.holds if unit.kind == "Release"] == []


@pytest.mark.parametrize("text", ["a: {{" + " " * 50_000 + "x", "{{/*" * 12_000 + "*/", "a: '" + "{{`" * 15_000 + "'"])
def test_templates_are_read_in_bounded_time(census, text):
    began = time.monotonic()

    assert census({"helmfile.yaml.gotmpl": text + "\nreleases: [{name: a, chart: b/c}]\n"}).apps.keys() <= {"a"}
    assert time.monotonic() - began < 5


def test_a_helmfile_whose_templates_decide_its_lines_is_named(census):
    text = "releases:\n{{ range .Values.apps }}\n- {name: {{ . }}, chart: b/c}\n{{ end }}\n"
    index = census({"helmfile.yaml.gotmpl": text, "apps/helmfile.yaml": RELEASE}).index

    assert helmfile.unread(index) == ["helmfile.yaml.gotmpl"]


def test_bases_that_name_each_other_many_times_are_read_once_each(census):
    names = [f"base{number}.yaml" for number in range(9)]
    files = {name: f"bases: [{', '.join(other for other in names if other != name)}]\n" for name in names}
    files["helmfile.yaml"] = "bases: [base0.yaml]\n---\nreleases: [{name: web, chart: b/c, version: 1.0.0}]\n"

    assert list(census(files).apps) == ["web"]


def test_the_chart_of_a_release_that_flux_takes_over_goes_along(census, deployed):
    release = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: net, namespace: kube-system}
spec: {chart: {spec: {chart: net, version: 1.0.0, sourceRef: {kind: HelmRepository, name: x}}}}
"""
    first = "releases:\n- {name: net, namespace: kube-system, chart: x/net, version: 1.0.0}\n"
    files = {"apps/net.yaml": release, "bootstrap/helmfile.yaml": first + first.replace("net", "dns")[10:]}
    found = census(files)

    assert [str(unit) for one in found.find("net") for unit in one.units] == ["HelmRelease kube-system/net"]
    assert deployed(found, "net", "1.0.1", setting="chart")[0] == {
        "apps/net.yaml": release.replace("1.0.0", "1.0.1"),
        "bootstrap/helmfile.yaml": first.replace("1.0.0", "1.0.1") + first.replace("net", "dns")[10:],
    }
    older = census(files | {"bootstrap/helmfile.yaml": first.replace("1.0.0", "0.9.0")})
    changed, notes = deployed(older, "net", "1.0.1", setting="chart")
    assert set(changed) == {"apps/net.yaml"}
    assert any("bootstrap/helmfile.yaml" in note and "stays at 0.9.0" in note for note in notes)
    elsewhere = census({"apps/net.yaml": release, "other/helmfile.yaml": first.replace("kube-system", "other")})
    assert len(elsewhere.find("net")) == 2
