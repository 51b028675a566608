"""What a preview says beside the bytes, which `tests/shapes` judges."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra_mcp.engine.preview import preview
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.server.arguments import parse

pytestmark = pytest.mark.anyio

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {space}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: registry.example/{name}:1.4.0  # the release
"""


def _git(repo: Path, *words: str) -> str:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@x", *words]
    return subprocess.run(git, cwd=repo, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    """Makes a checkout of files, in one commit."""

    def make(files: dict[str, str]) -> Path:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "as it is"]):
            _git(tmp_path, *words)
        return tmp_path

    return make


async def test_a_checkout_without_policy_is_previewed(checkout):
    repo = checkout({"apps/docs.yaml": DEPLOYMENT.format(name="docs", space="live")})

    found = await preview(repo, ACTIONS["deploy"](app="docs", version="1.5.0"))

    assert found["changed"] is True
    assert [(one["path"], one["operation"]) for one in found["files"]] == [("apps/docs.yaml", "edit")]
    assert "+          image: registry.example/docs:1.5.0  # the release" in found["files"][0]["diff"]
    assert (found["instance"]["former"], found["instance"]["version"]) == ("1.4.0", "1.5.0")
    assert [(one["delivery"], one["root"], one["own"]) for one in found["reach"]] == [("kubernetes", "apps", True)]
    assert _git(repo, "status", "--porcelain") == ""


async def test_a_preview_of_what_is_so_already_changes_no_file_and_still_names_the_place(checkout):
    repo = checkout({"apps/docs.yaml": DEPLOYMENT.format(name="docs", space="live")})

    found = await preview(repo, ACTIONS["deploy"](app="docs", version="1.4.0"))

    assert (found["changed"], found["files"]) == (False, [])
    assert [one["root"] for one in found["reach"]] == ["apps"]


async def test_the_message_for_an_app_that_is_not_there_names_the_nearest_one(checkout):
    repo = checkout({"apps/docs.yaml": DEPLOYMENT.format(name="docs", space="live")})

    with pytest.raises(InfraError, match="There is no app dogs") as caught:
        await preview(repo, ACTIONS["deploy"](app="dogs", version="1.5.0"))

    assert "docs" in caught.value.next_step


async def test_a_repository_without_a_commit_is_refused_with_what_to_do(tmp_path):
    _git(tmp_path, "init", "-q", "-b", "main")

    with pytest.raises(InfraError, match="no commit") as caught:
        await preview(tmp_path, ACTIONS["deploy"](app="docs", version="1.5.0"))

    assert caught.value.code == "git-failed"


RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: mail
spec:
  values:
    api: {image: "registry.example/api:1.0.0"}
    worker: {image: "registry.example/worker:1.0.0"}
"""
VERSION = """\
[apps.mail]
owner = "mail"
settings.version = {{ at = "mail.yaml!2#{}", type = "version" }}
"""


async def test_the_line_that_an_ambiguous_version_asks_for_says_which_one_it_is(checkout):
    files = {"mail.yaml": f"kind: Note\n---\n{RELEASE}"}
    repo = checkout(files)
    action = ACTIONS["deploy"](app="mail", version="1.1.0")

    with pytest.raises(InfraError) as refused:
        await preview(repo, action)
    line = 'settings.version = { at = "mail.yaml!2#spec.values.api.image", type = "version" } in [apps.mail]'
    assert (refused.value.code, line in refused.value.next_step) == ("ambiguous-setting", True)

    for place, image in (("spec.values.api.image", "api"), ("spec.values.worker.image", "worker")):
        (repo / "infra.toml").write_text(VERSION.format(place), encoding="utf-8")
        found = await preview(repo, action)
        assert found["files"][0]["diff"].count("\n+") == 2  # the head and one line
        assert f"registry.example/{image}:1.1.0" in found["files"][0]["content"]


async def test_a_declared_version_that_stands_elsewhere_is_refused_and_the_section_named(checkout):
    repo = checkout({"mail.yaml": f"kind: Note\n---\n{RELEASE}", "infra.toml": VERSION.format("spec.values.web.image")})

    with pytest.raises(InfraError) as refused:
        await preview(repo, ACTIONS["deploy"](app="mail", version="1.1.0"))

    assert refused.value.code == "not-in-repository"
    assert "[apps.mail.settings.version]" in refused.value.next_step


CIRCLE = '[clusters.prod]\ncontext = "prod"\n[circles.docs]\nnamespaces = ["docs-*"]\n'


async def test_a_preview_of_a_namespace_is_planned_for_the_circle_that_may_have_it(checkout):
    repo = checkout({"README.md": "x\n", "infra.toml": CIRCLE})

    found = await preview(repo, ACTIONS["provision_namespace"](namespace="docs-x"))

    assert "circle-docs" in "".join(one["content"] for one in found["files"])


async def test_a_preview_of_a_change_set_is_for_the_circle_that_may_have_all_its_namespaces_and_names_each_step(
    checkout,
):
    wider = '[circles.aaa]\nnamespaces = ["docs-a"]\nactions = ["provision_namespace"]\n'
    repo = checkout({"README.md": "x\n", "infra.toml": CIRCLE + wider})
    steps = [
        {"name": one, "action": "provision_namespace", "arguments": {"namespace": f"docs-{one}"}} for one in ("a", "b")
    ]

    found = await preview(repo, parse(ACTIONS["change_set"], {"steps": steps}))

    bindings = [one["content"] for one in found["files"] if one["path"].endswith("rolebinding-infra-mcp-circle.yaml")]
    assert ["circle-docs" in one for one in bindings] == [True, True]
    assert found["title"] == "Provision docs-a; Provision docs-b"


async def test_a_preview_of_a_workspace_without_a_file_of_values_makes_one(checkout):
    workspace = '[[tree.roots]]\npath = "net"\ndelivery = "terraform"\n[workspaces.net]\npath = "net"\n'
    repo = checkout({"net/main.tf": 'variable "size" {\n  type = number\n}\n', "infra.toml": workspace})

    found = await preview(repo, ACTIONS["terraform_apply"](workspace="net", variables={"size": "3"}))

    assert {one["path"]: one["content"] for one in found["files"]} == {"net/terraform.tfvars": "size = 3\n"}


@pytest.mark.parametrize(
    ("policy", "given", "lacks"),
    [
        ("", {"namespace": "docs-x"}, "docs-x"),
        (CIRCLE, {"namespace": "shop-x"}, "No circle of infra.toml has namespace shop-x"),
        (CIRCLE, {"namespace": "docs-x", "pull_secrets": ("X", "Y")}, "no pull_secrets.X, pull_secrets.Y"),
        (
            CIRCLE.replace("clusters.prod", "clusters.a") + '[clusters.b]\ncontext = "b"\n',
            {"namespace": "docs-x"},
            "clu",
        ),
    ],
)
async def test_a_preview_of_what_policy_does_not_know_names_it(checkout, policy, given, lacks):
    repo = checkout({"README.md": "x\n", "infra.toml": policy})

    with pytest.raises(InfraError, match=lacks) as refused:
        await preview(repo, ACTIONS["provision_namespace"](**given))
    assert refused.value.code == "not-found"


async def test_an_object_in_one_line_of_json_is_found(checkout):
    text = '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": '
    repo = checkout({"web.json": text + '{"containers": [{"name": "web", "image": "redis:7"}]}}}}\n'})

    found = await preview(repo, ACTIONS["deploy"](app="web", version="8"))

    assert found["files"][0]["content"] == text + '{"containers": [{"name": "web", "image": "redis:8"}]}}}}\n'


NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: docs-live\n  labels: {team: docs}\n"


@pytest.mark.promise("tree.find-anywhere")
@pytest.mark.parametrize(
    ("files", "written"),
    [
        ({"apps/space.yaml": NAMESPACE}, {"apps/space.yaml"}),
        # The same name below the root of another cluster is another namespace.
        ({"apps/space.yaml": NAMESPACE, "far/space.yaml": NAMESPACE}, {"apps/space.yaml"}),
        ({"far/space.yaml": NAMESPACE}, {"apps/docs-live/namespace-docs-live.yaml"}),
    ],
)
async def test_a_namespace_that_the_repository_has_for_the_cluster_is_edited_where_it_is(checkout, files, written):
    roots = '[[tree.roots]]\npath = "apps"\ncluster = "here"\n[[tree.roots]]\npath = "far"\ncluster = "away"\n'
    clusters = '[clusters.here]\ncontext = "a"\n[clusters.away]\ncontext = "b"\n'
    circle = '[circles.docs]\nnamespaces = ["docs-*"]\nactions = ["provision_namespace"]\nlabels = ["tier"]\n'
    repo = checkout(files | {"infra.toml": roots + clusters + circle})
    action = ACTIONS["provision_namespace"](namespace="docs-live", labels={"tier": "web"}, cluster="here")

    shown = await preview(repo, action)

    spaces = {one["path"] for one in shown["files"] if "kind: Namespace\n" in one["content"]}
    assert spaces == written


@pytest.mark.promise("tree.kustomize")
async def test_a_namespace_that_a_kustomization_lists_is_refused_by_its_file_and_not_written_twice(checkout):
    clusters = '[clusters.here]\ncontext = "a"\n'
    circle = '[circles.docs]\nnamespaces = ["docs-*"]\nactions = ["provision_namespace"]\n'
    files = {"apps/space.yaml": NAMESPACE, "apps/kustomization.yaml": "resources: [space.yaml]\n"}
    repo = checkout(files | {"infra.toml": clusters + circle})

    with pytest.raises(InfraError) as refused:
        await preview(repo, ACTIONS["provision_namespace"](namespace="docs-live"))

    assert refused.value.code == "manifest-invalid"
    assert "apps/space.yaml is built by apps/kustomization.yaml" in refused.value.what
