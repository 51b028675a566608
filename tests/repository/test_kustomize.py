"""The closure of a kustomize build: every file that it reads, and each reason why it cannot be closed."""

from __future__ import annotations

import textwrap

import pytest

from infra_mcp.repository import kustomize
from infra_mcp.repository.kustomize import Inputs, inputs

PLUGIN = "apiVersion: builtin\nkind: {}\nmetadata: {{name: x}}\n{}\n"


def closure(files: dict[str, str], root: str = "app", links: dict[str, str] | None = None) -> Inputs:
    data = {path: textwrap.dedent(text).encode() for path, text in files.items()}
    return inputs(data.get, data.keys(), root, links or {})


def refused(text: str, **files: str) -> str:
    """Why a kustomization in `app` is refused, beside the file app/there.yaml."""
    found = closure({"app/kustomization.yaml": text, "app/there.yaml": "", **files})
    return "; ".join(found.refused)


def test_the_inputs_are_every_file_that_any_field_names():
    files = {
        "app/kustomization.yaml": """
            resources: [web.yaml, ../base]
            bases: [../old]
            components: [../parts/one]
            crds: [crd.json]
            configurations: [names.yaml]
            openapi: {path: schema.json}
            patches:
              - path: patch.yaml
              - {target: {kind: Deployment}, patch: "- {op: remove, path: /spec/replicas}"}
            patchesJson6902: [{target: {kind: Service, name: web, version: v1}, path: patch.json}]
            patchesStrategicMerge:
              - merge.yaml
              - "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort}}"
            replacements: [{path: replace.yaml}, {source: {kind: Service}, targets: []}]
            configMapGenerator: [{name: a, files: [plain.txt, key=deep/named.txt], envs: [a.env], env: b.env}]
            secretGenerator: [{name: b, files: [password], literals: [k=hunter2-very-secret], envs: [secret.env]}]
            generators: [make.yaml]
            transformers:
              - change.yaml
              - |
                apiVersion: builtin
                kind: PatchTransformer
                metadata: {name: inline}
                path: of-inline.yaml
            validators: [../checks]
            """,
        "base/kustomization.yml": "resources: [../beside/x.yaml]\n",
        "old/Kustomization": "namePrefix: a-\n",
        "parts/one/kustomization.yaml": "kind: Component\npatches: [{path: p.yaml}]\n",
        "app/make.yaml": PLUGIN.format("ConfigMapGenerator", "files: [made.txt]\nenvs: [made.env]"),
        "app/change.yaml": PLUGIN.format("PatchStrategicMergeTransformer", "paths: [../app/sm.yaml]")
        + "---\n"
        + PLUGIN.format("ReplacementTransformer", "replacements: [{path: r2.yaml}]")
        + "---\n"
        + PLUGIN.format("ValueAddTransformer", "targetFilePath: targets.yaml"),
        "checks/kustomization.yaml": "resources: [check.yaml]\n",
        # What a plugin names is taken from the folder of the kustomization that uses it.
        "checks/check.yaml": PLUGIN.format("PatchJson6902Transformer", "path: of-check.json"),
    }
    plain = [
        *(f"app/{name}" for name in ("web.yaml", "crd.json", "names.yaml", "schema.json", "patch.yaml", "patch.json")),
        *(f"app/{name}" for name in ("merge.yaml", "replace.yaml", "plain.txt", "deep/named.txt", "a.env", "b.env")),
        *(f"app/{name}" for name in ("password", "secret.env", "of-inline.yaml", "made.txt", "made.env", "sm.yaml")),
        *("app/r2.yaml", "app/targets.yaml", "app/of-check.json", "beside/x.yaml", "parts/one/p.yaml"),
    ]

    found = closure({**files, **dict.fromkeys(plain, ""), "app/not-named.yaml": "", "checks/of-check.json": ""})

    assert found.refused == ()
    assert set(found.files) == {*files, *plain}
    assert list(found.files) == sorted(found.files)
    assert found.kustomizations == tuple(sorted(path for path in files if "ustomization" in path))
    assert found.secret_files == ("app/password", "app/secret.env")
    assert found.secrets == ("hunter2-very-secret",)
    assert found.crosses  # base reads beside/x.yaml
    assert "hunter2" not in repr(found)


@pytest.mark.trap("K1")
@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/team/repo//base?ref=v1",
        "HTTPS://example.org/team/repo",
        "http://example.org/x.yaml",
        "ssh://git@example.org/team/repo.git",
        "git::https://example.org/team/repo",
        "git::git@example.org:team/repo",
        "git@example.org:team/repo.git//base",
        "deploy@example.org:team/repo",
        "github.com/team/repo//base?ref=main",
        "GitHub.com/team/repo",
        "github.com:team/repo",
        "gh:team/repo",
        "file:///srv/repo",
        "git://example.org/team/repo",
        "https:example.org/team",
    ],
)
def test_what_is_remote_is_refused_in_each_form_and_field(url):
    for field in ("resources", "bases", "components", "generators", "configurations", "patchesStrategicMerge", "crds"):
        assert f"app/kustomization.yaml: {field}[0]: " in refused(f"{field}: ['{url}']\n"), field
    assert "patches[0].path: " in refused(f"patches: [{{path: '{url}'}}]\n")
    why = refused(f"resources: [there.yaml, '{url}']\n")
    assert why.startswith("app/kustomization.yaml: resources[1]: ")
    assert "not in this repository, and a build fetches nothing" in why


@pytest.mark.trap("K1")
def test_a_remote_base_in_a_component_of_a_base_is_refused_where_it_stands():
    found = closure(
        {
            "app/kustomization.yaml": "resources: [../base]\n",
            "base/kustomization.yaml": "components: [parts]\n",
            "base/parts/kustomization.yaml": "kind: Component\nresources: [github.com/team/repo?ref=v1]\n",
        }
    )

    (why,) = found.refused
    assert why.startswith('base/parts/kustomization.yaml: resources[0]: "github.com/team/repo?ref=v1" is not in')


@pytest.mark.trap("K1")
def test_a_file_whose_name_looks_remote_is_a_file_and_a_folder_is_not():
    there = {"app/github.com/a/b": "", "app/web@v2.yaml": ""}
    assert closure({"app/kustomization.yaml": "resources: [github.com/a/b, web@v2.yaml]\n", **there}).refused == ()
    # kustomize clones before it looks for a folder
    folder = {"app/kustomization.yaml": "resources: [github.com/a]\n", "app/github.com/a/kustomization.yaml": "{}"}
    assert "fetches nothing" in closure(folder).refused[0]


@pytest.mark.trap("K6")
@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "../..", "a/../../../x", "..", "//etc/passwd"])
def test_a_path_that_leaves_the_repository_is_refused_in_each_field(path):
    leaves = path != ".."
    for text in (
        f"resources: ['{path}']",
        f"components: ['{path}']",
        f"patches: [{{path: '{path}'}}]",
        f"configMapGenerator: [{{name: a, files: ['k={path}']}}]",
        f"secretGenerator: [{{name: a, envs: ['{path}']}}]",
        f"configMapGenerator: [{{name: a, env: '{path}'}}]",
        f"openapi: {{path: '{path}'}}",
        f"replacements: [{{path: '{path}'}}]",
        f"transformers: ['{path}']",
    ):
        why = refused(text)
        assert why, text
        assert ("leaves the repository" in why) is leaves, why
    plugin = PLUGIN.format("PatchTransformer", f"path: '{path}'")
    assert refused("transformers: [there.yaml]", **{"app/there.yaml": plugin})


@pytest.mark.trap("K6")
@pytest.mark.parametrize(
    "text",
    [
        "a: b/../../../../etc/passwd",
        "? x/../../../../etc/passwd",
        "{apiVersion: v1, kind: x/../../../../../etc/passwd}",
        "/etc/passwd: {apiVersion: v1, kind: X}",
    ],
)
def test_a_text_that_kustomize_would_take_as_a_path_is_looked_at_as_one(text):
    for field in ("patchesStrategicMerge", "transformers", "generators"):
        assert refused(f"{field}:\n- '{text}'\n"), field


@pytest.mark.trap("K6")
def test_links_are_followed_inside_the_repository_and_refused_where_they_lead_out():
    files = {
        "app/kustomization.yaml": "resources: [linked.yaml, folder, up]\n",
        "real/web.yaml": "",
        "real/base/kustomization.yaml": "resources: [../web.yaml]\n",
        "x/real/kustomization.yaml": "namePrefix: a-\n",
        "y/real/kustomization.yaml": "namePrefix: a-\n",
    }
    inside = {
        "app/linked.yaml": "../real/web.yaml",
        "app/folder": "../again",
        "again": "real/base",
        # the .. in a link is that of the folder it led to
        "app/up": "../x/in/../real",
        "x/in": "../y/in",
    }

    found = closure(files, links=inside)
    assert found.refused == ()
    assert set(found.files) == {*files} - {"x/real/kustomization.yaml"}
    assert found.links == inside

    for links, why in (
        ({"app/linked.yaml": "/etc/passwd"}, "leaves the repository by the symbolic link app/linked.yaml"),
        ({"app/linked.yaml": "../../etc/passwd"}, "leaves the repository by a symbolic link"),
        ({"app/linked.yaml": "linked.yaml"}, "passes more than 40 symbolic links"),
        ({"app/linked.yaml": ""}, "leaves the repository by the symbolic link"),
        ({"app/linked.yaml": "../nothing"}, "it is no file and has no kustomization"),
        ({"again": "/"}, "leaves the repository by the symbolic link again"),
    ):
        assert any(why in one for one in closure(files, links={**inside, **links}).refused), links
    outside = closure({"base/x": ""}, links={"app/kustomization.yaml": "/etc/passwd"})
    assert "symbolic link app/kustomization.yaml" in outside.refused[0]


FUNCTION = """
apiVersion: example.org/v1
kind: Fn
metadata:
  name: x
  annotations:
    config.kubernetes.io/function: |
      {}
"""


@pytest.mark.trap("K7")
@pytest.mark.parametrize("field", ["generators", "transformers", "validators"])
@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (FUNCTION.format("exec: {path: ./evil.sh}"), "a build runs no plugin or function"),
        (FUNCTION.format("container: {image: registry.example/fn:v1}"), "a build runs no plugin or function"),
        ("apiVersion: example.org/v1\nkind: SedTransformer\nmetadata: {name: x}\n", "a build runs no plugin"),
        (PLUGIN.format("HelmChartInflationGenerator", "name: chart"), "a build runs no Helm"),
        (PLUGIN.format("Unknown", ""), "a build runs no plugin or function"),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: builtin, kind: PatchTransformer}]\n", "no plugin"),
        (PLUGIN.format("[PatchTransformer]", ""), "a build runs no plugin or function"),
        ("just text", "a build runs no plugin or function"),
    ],
)
def test_a_plugin_or_function_is_refused_from_a_file_a_folder_and_inline(field, plugin, why):
    entry = f"{field}: [there.yaml]\n"
    assert f"app/there.yaml: {field}[0]: " in refused(entry, **{"app/there.yaml": plugin})
    assert why in refused(entry, **{"app/there.yaml": plugin})
    behind = PLUGIN.format("PrefixTransformer", "prefix: a-") + f"---\n{plugin}"
    assert why in refused(entry, **{"app/there.yaml": behind})
    folder = {"plugins/kustomization.yaml": "resources: [p.yaml]\n", "plugins/p.yaml": plugin}
    assert why in refused(f"{field}: [../plugins]\n", **folder)
    if "kind" in plugin:
        assert why in refused(f"{field}:\n- |\n{textwrap.indent(plugin.strip(), '    ')}\n")


@pytest.mark.trap("K7")
def test_helm_charts_are_refused_and_configurations_of_plugins_that_are_built_themselves():
    assert refused("helmCharts: [{name: a}, {name: b}]\n") == (
        "app/kustomization.yaml: helmCharts[0]: a build runs no Helm; "
        "app/kustomization.yaml: helmCharts[1]: a build runs no Helm"
    )
    assert "helmChartInflationGenerator[0]" in refused("helmChartInflationGenerator: [{chartName: a}]\n")
    # A patch could give the generator a file that the closure does not see.
    folder = {
        "plugins/kustomization.yaml": "resources: [p.yaml]\npatches: [{patch: x, target: {name: x}}]\n",
        "plugins/p.yaml": PLUGIN.format("ConfigMapGenerator", "literals: [a=b]"),
    }
    assert "changes configurations of plugins" in refused("generators: [../plugins]\n", **folder)


def test_builtin_transformers_are_fine():
    for kind, more in (("PrefixSuffixTransformer", "prefix: a-"), ("LabelTransformer", "labels: {a: b}")):
        assert refused(f"transformers:\n- |\n{textwrap.indent(PLUGIN.format(kind, more).strip(), '    ')}\n") == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Resources: [../x]\n", "Resources is no key of a kustomization, or is written differently"),
        ("re\u017fources: [../x]\n", "is no key of a kustomization"),
        (
            "configMapGenerator: [{name: a, Files: [x]}]\n",
            "configMapGenerator[0].Files: the key is written differently",
        ),
        ("patches: [{PATH: x}]\n", "patches[0].PATH: the key is written differently"),
        ("secretGenerator: [{name: a, env\u017f: [x]}]\n", "the key is written differently"),
        ("- a\n", "it is no mapping"),
        ("resources: [a\n", "line 2"),
        ("resources: [there.yaml]\nresources: []\n", "line 2: a mapping has one key twice"),
        ("resources: [there.yaml]\n---\nresources: []\n", "it is not one YAML document"),
        ("", "it is not one YAML document"),
        ("resources: there.yaml\n", "resources: it is no list"),
        ("resources: [5]\n", "resources[0]: it is no text"),
        ("resources: ['']\n", "resources[0]: it is empty"),
        ("resources: [gone.yaml]\n", "resources[0]: gone.yaml: it is no file and has no kustomization"),
        ("patches: [{path: gone.yaml}]\n", "patches[0].path: there is no file gone.yaml"),
        ("patches: [path]\n", "patches[0]: it is no mapping"),
        ("patches: [{path: [x]}]\n", "patches[0].path: it is no text"),
        ("components: [there.yaml]\n", "components[0]: there.yaml is a file and no folder"),
        ("configMapGenerator: [{name: a, files: [a=b=c]}]\n", "files[0]: it is neither a path nor KEY=PATH"),
        ("configMapGenerator: [{name: a, files: [=there.yaml]}]\n", "files[0]: it is neither a path nor KEY=PATH"),
        ("resources: [.]\n", 'resources[0]: "." leads back to app: a cycle'),
        ("resources: [..]\n", 'resources[0]: ".." leads back to app: a cycle'),
        ("resources: ['ab\\0c', there.yaml]\n", "resources[0]"),
        (f"resources: {'[' * 200}{']' * 200}\n", "collections are nested deeper than 100"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '*a'] * 10)}]\n" for n in range(6)),
            "aliases repeat more than 20000 values",
        ),
    ],
)
def test_each_reason_names_the_file_and_the_entry(text, why):
    found = closure({"app/kustomization.yaml": text, "app/there.yaml": "", "kustomization.yaml": "namePrefix: a-\n"})
    assert any(one.startswith("app/kustomization.yaml: ") and why in one for one in found.refused), found.refused


def test_a_cycle_over_several_folders_is_named_and_a_base_of_two_is_none():
    found = closure(
        {
            "app/kustomization.yaml": "resources: [../one]\n",
            "one/kustomization.yaml": "resources: [../two]\n",
            "two/kustomization.yaml": "resources: [../one]\n",
        }
    )
    assert found.refused == ('two/kustomization.yaml: resources[0]: "../one" leads back to one: a cycle',)
    shared = {
        "app/kustomization.yaml": "resources: [../one, ../two]\n",
        "one/kustomization.yaml": "resources: [../base]\n",
        "two/kustomization.yaml": "resources: [../base]\n",
        "base/kustomization.yaml": "namePrefix: a-\n",
    }
    assert closure(shared).refused == ()


def test_a_root_without_a_kustomization_or_with_two_is_refused():
    assert closure({"app/x.yaml": ""}).refused == ("app: it is no file and has no kustomization",)
    two = {"app/kustomization.yaml": "{}", "app/Kustomization": "{}"}
    assert closure(two).refused == ("app: kustomization.yaml and Kustomization are in one folder",)
    assert closure({"kustomization.yaml": "namePrefix: a-\n"}, "").files == ("kustomization.yaml",)
    assert "leaves the repository" in closure({}, "..").refused[0]


def test_hostile_sizes_end_in_a_refusal(monkeypatch):
    depth = {f"{'a/' * n}kustomization.yaml": "resources: [a]\n" for n in range(150)}
    assert "more than 100 kustomizations lie inside each other" in closure(depth, "").refused[0]
    # Every level loads the next one twice.
    doubling = {f"d{n}/kustomization.yaml": f"resources: [../d{n + 1}, ../d{n + 1}]\n" for n in range(90)}
    assert "more than 20000 entries" in closure(doubling, "d0").refused[-1]
    many = {f"app/{n}.yaml": "" for n in range(6000)}
    found = closure({"app/kustomization.yaml": f"resources: [{', '.join(f'{n}.yaml' for n in range(6000))}]\n", **many})
    assert found.refused == ("app: it reads more than 5000 files",)
    monkeypatch.setattr(kustomize, "MAX_STEPS", 10)
    assert "more than 10 entries" in refused(f"patches: [{', '.join(['{path: there.yaml}'] * 20)}]\n")
    large = inputs(lambda _: None, {"app/kustomization.yaml"}, "app")
    assert large.refused == ("app: app/kustomization.yaml is too large to be read",)
