"""The folders that `infra-mcp init` names: the fewest, each with who delivers it, and none that is no place."""

from __future__ import annotations

import pytest

from infra_mcp.repository.census.others import others
from infra_mcp.repository.census.roots import Delivered, layout

KUSTOMIZATION = """
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: NAME, namespace: flux-system}
spec: {path: ./PATH}
"""
APPLICATION = """
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd}
spec:
  destination: {name: in-cluster, namespace: web}
  source: {repoURL: "https://git.example.org/infra.git", path: PATH}
"""


def manifest(name: str, namespace: str = "docs", kind: str = "Service") -> str:
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"


def space(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"


def flux(name: str, path: str) -> str:
    return KUSTOMIZATION.replace("NAME", name).replace("PATH", path)


@pytest.fixture
def roots(census):
    """The roots of files: path and delivery of each."""

    def find(files):
        found = census(files)
        return [(root.path, root.delivery) for root in Delivered(found, others(found.index)).roots()]

    return find


def ours(*paths):
    return [(path, "kubernetes") for path in paths]


def test_the_fewest_folders_that_hold_manifests_are_roots(roots):
    other = {"README.md": "kind: x\napiVersion: y\n", "values.yaml": "a: 1\n", "x.json": "{}"}
    deep = {"infra/k8s/x/a.yaml": manifest("a"), "infra/k8s/y/b.json": manifest("b")}

    assert roots({**other, "apps/docs/a.yaml": manifest("a"), "apps/live/b.yaml": manifest("b", "live")}) == ours(
        "apps"
    )
    assert roots({**other, "k8s/apps/a.yaml": manifest("a"), "k8s/base/deep/b.yml": manifest("b")}) == ours("k8s")
    assert roots({**other, **deep}) == ours("infra/k8s")
    assert roots({"a/x/a.yaml": manifest("a"), "b/b.yaml": manifest("b")}) == ours("a/x", "b")
    assert roots({**other, "x.yaml": manifest("a"), "apps/b.yaml": manifest("b")}) == ours("")
    assert roots(other) == []


def test_a_folder_of_one_namespace_leaves_room_for_others_beside_it(roots):
    assert roots({"apps/docs/a.yaml": manifest("a"), "apps/docs/b.yaml": manifest("b")}) == ours("apps")
    assert roots({"docs/a.yaml": manifest("a")}) == ours("docs")


def test_kustomizations_that_nothing_else_delivers_are_ours(roots):
    files = {
        "deploy/base/kustomization.yaml": "resources: [web.yaml]\n",
        "deploy/base/web.yaml": manifest("web"),
        "deploy/overlays/prod/kustomization.yaml": "resources: [../../base]\npatches: [{path: patch.yaml}]\n",
        "deploy/overlays/prod/patch.yaml": manifest("web"),
    }

    assert roots(files) == ours("deploy")


@pytest.mark.fault("r5")
@pytest.mark.fault("r8")
@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/a.yaml",
        ".gitlab/ci/b.yaml",
        "ci/c.yaml",
        "chart/crds/e.yaml",
        "src/.hidden/f.yaml",
        "test/a.yaml",
        "tests/a.yaml",
        "testdata/a.yaml",
        "samples/a.yaml",
        "examples/a.yaml",
        "ansible/roles/web/files/a.yaml",
        "modules/web/examples/a.yaml",
        "vendor/x/a.yaml",
    ],
)
def test_what_is_for_tests_tools_and_people_to_copy_is_no_place(roots, path):
    assert roots({"chart/Chart.yaml": "name: x\n", path: manifest("a")}) in ([], [("chart", "unknown")])


@pytest.mark.fault("r8")
@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: Config\nclusters: []\nsops: {mac: x}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: ENC}\nsops: {mac: x}\n",
        "apiVersion: v1\nkind: Config\nclusters: []\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ name }} }\n{% if a %}\n",
        "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: web}\n",
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
    ],
    ids=["encrypted kubeconfig", "encrypted Secret", "kubeconfig", "template", "catalogue", "vault"],
)
def test_what_only_looks_like_a_manifest_makes_no_root(roots, text):
    assert roots({"apps/a.yaml": text}) == []


@pytest.mark.fault("r5")
def test_what_flux_takes_is_no_place_of_ours_nor_is_its_own_folder(roots):
    files = {
        "clusters/prod/apps/web.yaml": flux("web", "apps/web"),
        "clusters/prod/settings.yaml": manifest("settings", kind="ConfigMap"),
        "apps/web/web.yaml": manifest("web"),
        "sync/flux.yaml": flux("other", "elsewhere"),
        "sync/below/space.yaml": space("docs"),
    }

    assert roots(files) == [("apps/web", "flux"), ("clusters/prod", "flux"), ("sync", "flux")]


def test_what_an_application_delivers_is_argo_cds_and_the_rest_is_ours(roots):
    files = {
        "argo/web.yaml": APPLICATION.replace("PATH", "apps/web"),
        "argo/project.yaml": manifest("settings", kind="ConfigMap"),
        "apps/web/web.yaml": manifest("web"),
        "plain/docs/a.yaml": manifest("a"),
        "plain/live/a.yaml": manifest("a", "live"),
    }

    assert roots(files) == [("apps/web", "argocd"), ("argo", "argocd"), ("plain", "kubernetes")]


def test_an_exception_inside_of_a_root_has_its_own(roots):
    files = {f"apps/a{i}/web.yaml": manifest("web", f"a{i}") for i in range(4)}
    files |= {"flux/odd.yaml": flux("odd", "apps/odd"), "apps/odd/web.yaml": manifest("web")}

    assert roots(files) == [("apps", "kubernetes"), ("apps/odd", "flux"), ("flux", "flux")]


def test_a_repository_of_another_delivery_gets_no_root_of_manifests(roots):
    files = {
        "live/net/main.tf": "",
        "modules/net/main.tf": "",
        "zones/example.org.yaml": "www: {type: A, value: 1.2.3.4}\n",
    }

    assert roots(files) == [("live/net", "terraform"), ("zones", "dns")]


@pytest.mark.fault("r5")
@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["apps/NAME/namespace.yaml"], "apps/{namespace}/{kind}-{name}.yaml"),
        (["apps/NAME/namespace-NAME.yml"], "apps/{namespace}/{kind}-{name}.yml"),
        (["apps/NAME/NAME-namespace.yaml"], "apps/{namespace}/{name}-{kind}.yaml"),
        (["apps/NAME/deep/ns.yaml"], "apps/{namespace}/deep/{kind}-{name}.yaml"),
        (["apps/NAME/namespace.yaml", "other/NAME/namespace.yaml"], None),
        (["namespaces/NAME.yaml"], None),
        (["all/namespaces.yaml"], None),
        (["NAME/NAME/namespace.yaml"], None),
        (["apps/NAME/namespace.json"], None),
        ([], None),
    ],
)
def test_a_new_objects_file_goes_where_all_namespaces_show_it(paths, expected):
    spaces = [(path.replace("NAME", name), name) for path in paths for name in ("docs", "live")]

    assert layout(spaces, "{kind}-{name}.yaml") == expected
