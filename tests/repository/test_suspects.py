"""A file is a suspect only if it could hold the object in that namespace: what is no object blocks nothing."""

from __future__ import annotations

import pytest
from repository.test_value import manifest, ref

from infra_mcp.errors import InfraError

FOREIGN = {
    "a template": "kind: ServiceAccount\nmetadata:\n  name: default\n  {{- with .Values.x }}\n  {{- end }}\n",
    "a byte order mark": "\ufeff" + manifest("default", None, "ServiceAccount", "v1"),
    "a list": "apiVersion: v1\nkind: List\nitems:\n- "
    + manifest("default", "other", "ServiceAccount", "v1").replace("\n", "\n  "),
    "too large": manifest("default", None, "ServiceAccount", "v1") + "#" * (9 << 20),
    "a patch": '[{"op": "replace", "path": "/metadata/name", "value": "ServiceAccount default"}]',
    "a generated name": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {generateName: x, labels: {a: default}}\n",
    "without a version": "kind: ServiceAccount\nmetadata:\n  name: default\n",
    "notes": "kind: ServiceAccount, named default\n",
    "a lower-case chart": "apiVersion: v2\nname: default\ndescription: ServiceAccount\n",
    "a duplicate key": "kind: ServiceAccount\nkind: ServiceAccount\nmetadata: {name: default, namespace: other}\n",
    "no namespace": manifest("default", None, "ServiceAccount", "v1"),
}


@pytest.mark.fault("f05")
@pytest.mark.fault("f06")
@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_what_cannot_hold_the_object_in_its_namespace_blocks_nothing(tree_of, text):
    tree = tree_of({"team/other.yaml": text, "apps/a.yaml": manifest()})

    assert tree.find(ref("default", "docs-staging", "ServiceAccount", "v1")) is None
    assert tree.find(ref()).path == "apps/a.yaml"


def account(name: str = "default", namespace: str = "docs-staging") -> str:
    return manifest(name, namespace, "ServiceAccount", "v1")


MAY_HOLD = {
    "a byte order mark": "\ufeff" + account(),
    "a tab": account() + "\tx: 1\n",
    "a key twice": account() + "kind: ServiceAccount\n",
    "a tag": account() + "x: !Secret y\n",
    "a conflict": account("<<<<<<< ours\n  name: default\n=======") + ">>>>>>> theirs\n",
    "flow": "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: docs-staging}\n",
    "JSON": '{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"namespace":"docs-staging","name":"default",}',
    "quotes": account("'default'", '"docs-staging"') + "x: {\n",
    "blocks": account(">-\n    default", "|-\n    docs-staging") + "x: {\n",
    "an anchor": account("&name default") + "x: {\n",
    "a list": "apiVersion: v1\nkind: List\nitems:\n- " + account().replace("\n", "\n  ") + "x: {\n",
    "braces in text": account() + "data:\n  text: 'a {{ template }} of text'\n  x: {\n",
    "without a version": account().replace("apiVersion", "apiversion") + "x: {\n",
}


@pytest.mark.fault("f05")
@pytest.mark.parametrize("text", MAY_HOLD.values(), ids=MAY_HOLD)
def test_what_may_hold_the_object_in_its_namespace_still_blocks_it(tree_of, text):
    tree = tree_of({"team/other.yaml": text})

    with pytest.raises(InfraError, match=r"team/other.yaml, line"):
        tree.find(ref("default", "docs-staging", "ServiceAccount", "v1"))


WEB = '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "docs"}}'
NO_SUSPECTS = {
    "a list of objects, which is no List": {"a.json": f"[{WEB}]"},
    "a JSON patch": {
        "a.json": '[{"op": "add", "path": "/metadata/name", "value": {"kind": "Deployment", "name": "web"}}]'
    },
    "a JSON patch in YAML": {"a.yaml": f"- op: replace\n  path: /metadata\n  value: {WEB}\n"},
    "a chart in small letters": {"c/chart.yaml": "apiVersion: v2\nkind: Deployment\nname: web\nnamespace: docs\n"},
    "its templates": {
        "c/chart.yaml": "apiVersion: v2\nname: c\n",
        "c/templates/web.yaml": manifest(),
        "c/templates/x.yaml": manifest() + "  {{- if .Values.x }}\n  x: [\n",
    },
    "a generated name": {
        "a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generateName: web, namespace: docs}\n"
    },
    "a Job beside it": {
        "a.yaml": manifest("web", "docs", "Job", "batch/v1").replace("name: web", "generateName: web") + "#Deployment"
    },
    "release notes": {"a.yaml": "release: 2\nkind: Deployment\nname: web\nnamespace: docs\nnotes: [\n"},
    "release notes in prose": {"a.yaml": "# Release 2\n* kind: Deployment\n* name: web: docs: new metadata\n"},
    "notes with a kind": {"a.yaml": "apiVersion: notes/v1\nkind: Deployment\nname: web\nnamespace: docs\n"},
    "a malformed kind": {
        "a.yaml": "apiVersion: v1 or so\nkind: Deployment of web\nmetadata: {name: web, namespace: docs}\n"
    },
    "another malformed name": {"a.yaml": manifest("5") + "x: web\n"},
    "templates in a folder of their own": {
        "t/web.yaml": manifest() + '  labels:\n    {{- include "labels" . | nindent 4 }}\n',
        "t/all.yaml": "{% for app in apps %}\n---\n" + manifest("{{ app }}") + "# such as web\n{% endfor %}\n",
        "t/one.json": WEB.replace('"web"', "{{ name }}") + ' "web"',
        "t/two.yaml": manifest().replace("docs", "{{ namespace }}-docs"),
    },
    "CloudFormation": {"a.yaml": "Resources:\n  web: !Ref Deployment\n  metadata: {namespace: docs}\n"},
    "settings with comments": {"a.json": '// metadata of Deployment web in docs\n{"kind": "Deployment",}\n'},
}


@pytest.mark.fault("r2")
@pytest.mark.promise("repos.no-suspect")
@pytest.mark.parametrize("files", NO_SUSPECTS.values(), ids=NO_SUSPECTS)
def test_a_file_that_can_hold_no_object_of_the_cluster_blocks_no_change_of_the_object(tree_of, files):
    tree = tree_of(files | {"apps/web.yaml": manifest()})

    assert tree.find(ref()).path == "apps/web.yaml"


@pytest.mark.fault("r2")
@pytest.mark.promise("repos.no-suspect")
def test_a_malformed_object_hides_none_of_its_file(tree_of):
    nameless = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {labels: {a: web}}\n"
    tree = tree_of({"a.yaml": nameless + "---\n" + manifest()})

    assert tree.find(ref()).index == 1
    assert "no metadata.name" in tree.broken["a.yaml"]
    assert tree_of({"chart.yaml": manifest("chart")}).find(ref("chart")).path == "chart.yaml"


@pytest.mark.fault("r10")
@pytest.mark.promise("repos.no-suspect")
@pytest.mark.parametrize(
    "named", ["patches: [{path: PATCH}]", "patchesStrategicMerge: [PATCH]", "components: [FOLDER]"]
)
def test_a_patch_is_no_object_though_its_kustomization_is_outside_the_roots(tree_of, named):
    named = named.replace("PATCH", "../../apps/patches/web.yaml").replace("DIR", "../../apps/patches")
    files = {
        "clusters/prod/kustomization.yaml": f"resources: [../../base]\n{named}\n",
        "apps/patches/web.yaml": manifest() + "spec: {replicas: 5}\n",
        "apps/web.yaml": manifest(),
    }
    if "components" in named:
        files["apps/patches/kustomization.yaml"] = "kind: Component\npatches: [{path: web.yaml}]\n"

    assert tree_of(files, "apps").find(ref()).path == "apps/web.yaml"


@pytest.mark.fault("r1")
def test_an_object_that_an_overlay_outside_the_roots_builds_is_not_taken_for_one_that_is_applied_as_it_is(tree_of):
    files = {
        "overlays/prod/kustomization.yaml": "resources: [../../apps/web.yaml]\nimages: [{name: web, newTag: '2'}]\n",
        "apps/web.yaml": manifest(),
    }

    with pytest.raises(InfraError, match=r"built by overlays/prod/kustomization.yaml"):
        tree_of(files, "apps").find(ref())
