"""Pull requests that try to pass unjudged, to leave the repository, or to use up the machine. All of them are data.

Each base is one whose circle may have little; no head of these may end in `allow`, unless it changes nothing at all.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pull_requests import PullRequest, git

from infra_mcp.cli.check_page import markdown, text
from infra_mcp.engine.check import check
from infra_mcp.repository.builds import Builds

pytestmark = [pytest.mark.anyio, pytest.mark.promise("ci.headless")]

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
POLICY = '[circles.docs]\nnamespaces = ["docs"]\nactions = ["deploy"]\nimages = ["registry.example/*"]\n'
POLICY += '[apps.docs]\nowner = "docs"\nversions = ["1.*"]\n'
POD = "image: registry.example/docs:1.0"
EVIL = "image: evil.example/docs:1.0, securityContext: {privileged: true}"


def deployment(pod: str = POD, name: str = "docs") -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: docs}}\n"
        f"spec: {{template: {{spec: {{containers: [{{name: web, {pod}}}]}}}}}}\n"
    )


FLUX = (
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: docs, namespace: flux-system}\n"
    "spec: {path: ./flux, prune: true, postBuild: {substituteFrom: [{kind: ConfigMap, name: settings}]}}\n"
)
RELEASE = (
    "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: docs, namespace: docs}\n"
    "spec: {chart: {spec: {chart: ./charts/docs, sourceRef: {kind: GitRepository, name: flux-system}}}, "
    "values: {image: {repository: registry.example/docs, tag: '1.0'}}}\n"
)
APPLICATION = (
    "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: docs, namespace: argocd}\n"
    "spec: {source: {repoURL: 'https://git.example/infra', path: charts/docs}, destination: {namespace: docs}}\n"
)
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: docs}}\ndata: {{image: '{}'}}\n"
CHART = {
    "charts/docs/Chart.yaml": "apiVersion: v2\nname: docs\nversion: 1.0.0\n"
    "dependencies: [{name: lib, version: 1.0.0, repository: 'file://../lib'}]\n",
    "charts/docs/values.yaml": "image: {repository: registry.example/docs, tag: '1.0'}\n",
    "charts/docs/templates/web.yaml": deployment(),
    "charts/docs/charts/part/Chart.yaml": "apiVersion: v2\nname: part\nversion: 1.0.0\n",
    "charts/docs/charts/part/templates/x.yaml": "a: 1\n",
    "charts/lib/Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n",
    "charts/lib/templates/_x.tpl": "x\n",
}
ROLE = (
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a, namespace: docs}\n"
    "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n"
)
BASE = {
    "infra.toml": POLICY,
    "apps/docs.yaml": deployment(),
    "flux/release.yaml": RELEASE,
    "flux/ks.yaml": FLUX,
    "flux/settings.yaml": CONFIG.format("1.0"),
    "flux/samples.yaml": FLUX.replace("name: docs,", "name: samples,").replace("./flux", "./samples/x"),
    "argo/app.yaml": APPLICATION,
    "apps/role.yaml": ROLE,
    "live/kustomization.yaml": "resources: [web.yaml]\nnamespace: docs\n",
    "live/web.yaml": deployment(name="web"),
    "modules/net/main.tf": 'variable "a" {}\n',
    "tests/evil.yaml": deployment(EVIL),
    **CHART,
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: evil-, namespace: docs}\nspec: {}\n"
PATCH = json.dumps([{"op": "add", "path": "/spec/template/spec/hostPID", "value": True}])
PATCHED = f"resources: [web.yaml]\nnamespace: docs\npatches: [{{target: {{kind: Deployment}}, patch: '{PATCH}'}}]\n"
HIDDEN = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "docs"}}
HIDDEN |= {"spec": {"hostNetwork": True, "containers": []}}

# What the head changes, and the rules of which one must be among the findings.
PULL_REQUESTS: dict[str, tuple[dict[str, str | bytes | None], set[str]]] = {
    "a policy that grants itself everything": (
        {
            "infra.toml": '[circles.docs]\nnamespaces = ["*"]\nimages = ["*"]\nallow = ["pods.privileged"]\n',
            "apps/docs.yaml": deployment(EVIL),
        },
        {"pods.privileged"},
    ),
    "a policy that is gone": ({"infra.toml": None, "apps/docs.yaml": deployment(EVIL)}, {"pods.privileged"}),
    "a template of a chart that Argo CD delivers": (
        {"charts/docs/templates/web.yaml": deployment(EVIL)},
        {"effect.unrendered"},
    ),
    "a template of a chart inside of a chart": (
        {"charts/docs/charts/part/templates/x.yaml": deployment(EVIL)},
        {"effect.unrendered"},
    ),
    "a template of a library that a chart is made of": (
        {"charts/lib/templates/_x.tpl": "evil\n"},
        {"effect.unrendered"},
    ),
    "a chart with lookup": (
        {"charts/docs/templates/y.yaml": '{{ (lookup "v1" "Secret" "kube-system" "x").data }}\n'},
        {"effect.unrendered"},
    ),
    "values that a release reads from a ConfigMap": (
        {"flux/settings.yaml": CONFIG.format("2.0")},
        {"effect.unrendered"},
    ),
    "an image in a value beside the version that policy names": (
        {"flux/release.yaml": RELEASE.replace("tag: '1.0'", "tag: '1.1', extra: {hostPID: true}")},
        {"effect.unrendered", "pods.host-pid"},
    ),
    "another repository for the version that policy names": (
        {"flux/release.yaml": RELEASE.replace("registry.example/docs, tag: '1.0'", "evil.example/docs, tag: '1.1'")},
        {"circles.docs.images"},
    ),
    "an object with a generated name beside another one": (
        {"apps/docs.yaml": f"{deployment()}---\n{JOB}"},
        {"manifest-invalid"},
    ),
    "a List around it": (
        {"apps/list.yaml": json.dumps({"apiVersion": "v1", "kind": "List", "items": [HIDDEN]})},
        {"pods.host-network"},
    ),
    "a kind that no line says": (
        {"apps/x.yaml": deployment(EVIL).replace("kind:", '"\\x6bind":').replace("namespace: docs", "namespace: docs")},
        {"pods.privileged"},
    ),
    "an alias bomb": ({"apps/bomb.yaml": f"kind: Pod\n{BOMB}"}, {"manifest-invalid", "files.unread"}),
    "an alias bomb in a kustomization": (
        {"live/kustomization.yaml": f"resources: [web.yaml]\n{BOMB}"},
        {"effect.unrendered", "build-failed"},
    ),
    "nesting without end": ({"apps/deep.yaml": "kind: Pod\nx: " + "[" * 5000}, {"manifest-invalid"}),
    "a duplicate key": (
        {"apps/docs.yaml": deployment() + "metadata: {name: docs, namespace: other}\n"},
        {"manifest-invalid"},
    ),
    "a file beyond what is read": (
        {"apps/huge.yaml": deployment(EVIL).encode() + b"# " + b"x" * (9 * 1024 * 1024)},
        {"files.unread", "manifest-invalid", "pods.privileged"},
    ),
    "a remote base": (
        {"live/kustomization.yaml": "resources: [web.yaml, 'https://evil.example/base?ref=main']\n"},
        {"effect.unrendered"},
    ),
    "a base outside of the repository": (
        {"live/kustomization.yaml": "resources: [web.yaml, ../../../../etc]\n"},
        {"effect.unrendered"},
    ),
    "a generator that reads the machine's files": (
        {"live/kustomization.yaml": "resources: [web.yaml]\nconfigMapGenerator: [{name: x, files: [/etc/passwd]}]\n"},
        {"effect.unrendered"},
    ),
    "a plugin": (
        {
            "live/kustomization.yaml": "resources: [web.yaml]\ngenerators: [gen.yaml]\n",
            "live/gen.yaml": "apiVersion: x/v1\nkind: Exec\nmetadata: {name: x, annotations: "
            "{config.kubernetes.io/function: '{exec: {path: ./x.sh}}'}}\n",
            "live/x.sh": "#!/bin/sh\n",
        },
        {"effect.unrendered"},
    ),
    "a chart that kustomize would inflate": (
        {"live/kustomization.yaml": "resources: [web.yaml]\nhelmCharts: [{name: x, repo: 'https://evil.example'}]\n"},
        {"effect.unrendered"},
    ),
    "a patch that makes it privileged": (
        {"live/kustomization.yaml": PATCHED},
        {"pods.host-pid"},
    ),
    "a sample that becomes live": (
        {
            "live/kustomization.yaml": "resources: [web.yaml, ../tests]\nnamespace: docs\n",
            "tests/kustomization.yaml": "resources: [evil.yaml]\n",
        },
        {"pods.privileged"},
    ),
    "a kustomization over another one, with a namespace of nobody": (
        {
            "live/web.yaml": deployment(EVIL, "web"),
            "over/kustomization.yaml": "resources: [../live]\nnamespace: nobodys\n",
        },
        {"pods.privileged"},
    ),
    "a kustomization over a manifest, with a namespace of nobody": (
        {
            "apps/docs.yaml": deployment(EVIL),
            "apps/kustomization.yaml": "resources: [docs.yaml]\nnamespace: nobodys\n",
        },
        {"pods.privileged"},
    ),
    "a kustomization over a manifest without a version": (
        {
            "apps/role.yaml": ROLE.replace("get", "'*'"),
            "apps/kustomization.yaml": "resources: [role.yaml]\nnamespace: nobodys\n",
        },
        {"kinds.rbac"},
    ),
    "a Chart.yaml beside manifests": (
        {
            "apps/docs.yaml": deployment(EVIL),
            "apps/Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\n",
        },
        {"effect.unrendered", "pods.privileged"},
    ),
    "a namespace that Flux sets": (
        {
            "flux/ks.yaml": FLUX.replace("prune: true", "prune: true, targetNamespace: docs"),
            "flux/evil.yaml": deployment(EVIL, "evil").replace("namespace: docs", "namespace: nobodys"),
        },
        {"pods.privileged"},
    ),
    "a release that goes": ({"flux/release.yaml": None}, {"objects.deleted"}),
    "samples that Flux delivers": ({"samples/x/new.yaml": deployment(EVIL)}, {"files.unread", "pods.privileged"}),
    "a module of Terraform": (
        {"modules/net/main.tf": 'resource "null_resource" "x" { provisioner "local-exec" { command = "id" } }\n'},
        {"effect.unrendered"},
    ),
    "a workflow of the forge": ({".github/workflows/x.yaml": "on: push\n"}, {"files.unread"}),
    "a program": ({"scripts/deploy.sh": "#!/bin/sh\n"}, {"files.unread"}),
    "a cycle of kustomizations": (
        {
            "live/kustomization.yaml": "resources: [web.yaml, ../loop]\n",
            "loop/kustomization.yaml": "resources: [../live]\n",
        },
        {"effect.unrendered"},
    ),
    "bases that are loaded many times over": (
        {
            **{f"b{at}/kustomization.yaml": f"resources: [../b{at + 1}, ../b{at + 1}]\n" for at in range(40)},
            "b40/kustomization.yaml": "resources: []\n",
        },
        {"effect.unrendered"},
    ),
    "a path that is no text": ({"apps/\udcff.yaml": deployment(EVIL)}, {"files.unread"}),
}


@pytest.fixture
def checked(tmp_path, kubectl):
    """Checks a pull request in a repository whose folder has neighbours that must not be read."""
    secret = tmp_path / "etc" / "passwd"
    secret.parent.mkdir()
    secret.write_text("the-machines-own-secret", encoding="utf-8")

    async def run(head, links=None, base=None):
        made = PullRequest(tmp_path / "infra", base or BASE, head, links)
        found = await check(made.repo, "main..head", circle=None, now=NOW, seconds=60, builds=Builds(renderer=kubectl))
        for page in (json.dumps(found), text(found), markdown(found)):
            assert "the-machines-own-secret" not in page
            assert "root:x:" not in page
        assert len(markdown(found)) <= 65_536
        assert git(made.repo, "status", "--porcelain") == ""
        return found

    return run


@pytest.mark.parametrize("name", PULL_REQUESTS)
async def test_no_pull_request_passes_unjudged(checked, name):
    head, rules = PULL_REQUESTS[name]

    found = await checked(head)

    assert found["decision"] != "allow", found
    assert rules & {one["rule"] for one in found["findings"]}, found["findings"]


@pytest.mark.parametrize("name", [name for name in PULL_REQUESTS if name.endswith("with a namespace of nobody")])
async def test_what_is_delivered_by_itself_is_judged_where_it_is_also_when_something_is_laid_over_it(checked, name):
    found = await checked(PULL_REQUESTS[name][0])

    refused = {one["rule"] for one in found["findings"] if one["decision"] == "refuse"}
    assert {"pods.privileged", "circles.docs.images"} & refused, found["findings"]
    assert "docs" in {one["namespace"] for one in found["objects"]}


@pytest.mark.parametrize(
    ("links", "head", "rules"),
    [
        ({"live/evil": "../../etc"}, {"live/kustomization.yaml": "resources: [web.yaml, evil]\n"}, {"files.link"}),
        ({"live/evil.yaml": "/etc/passwd"}, {"live/kustomization.yaml": "resources: [evil.yaml]\n"}, {"files.link"}),
        ({"apps/docs.yaml": "../tests/evil.yaml"}, {"apps/docs.yaml": None}, {"files.link"}),
        ({"live/a": "b", "live/b": "a"}, {"live/kustomization.yaml": "resources: [web.yaml, a]\n"}, {"files.link"}),
        ({"infra.toml": "/etc/passwd"}, {"infra.toml": None}, {"policy"}),
        ({"charts/docs/templates/x.yaml": "/etc/passwd"}, {}, {"files.link"}),
    ],
)
async def test_a_symbolic_link_leads_nowhere_and_is_for_people(checked, links, head, rules):
    found = await checked(head, links)

    assert found["decision"] != "allow"
    assert rules <= {one["rule"] for one in found["findings"]}, found["findings"]


async def test_a_link_that_leads_a_build_to_other_files_reaches_what_is_built_there(checked):
    base = BASE | {"one/kustomization.yaml": "resources: [web.yaml]\n", "one/web.yaml": deployment()}
    base |= {"two/kustomization.yaml": "resources: [web.yaml]\n", "two/web.yaml": deployment(EVIL)}
    base |= {"over/kustomization.yaml": "resources: [../one]\nnamespace: docs\n"}

    found = await checked({"one/web.yaml": None, "one/kustomization.yaml": None}, {"one": "two"}, base)

    assert {"pods.privileged", "files.link"} <= {one["rule"] for one in found["findings"]}
    assert "over" in [one["root"] for one in found["reach"]]


async def test_a_submodule_is_for_people(tmp_path):
    made = PullRequest(tmp_path / "infra", BASE, {"README.md": "x"})
    commit = git(made.repo, "rev-parse", "HEAD")
    git(made.repo, "update-index", "--add", "--cacheinfo", f"160000,{commit},live/sub")
    git(made.repo, "commit", "-q", "-m", "A submodule")

    found = await check(made.repo, "main..head", circle=None, now=NOW, seconds=60)

    assert [one["rule"] for one in found["findings"]] == ["files.submodule"]
    assert {"path": "live/sub", "operation": "edit", "kind": "submodule"} in found["files"]


async def test_a_tree_of_trees_that_unfolds_without_end_is_refused_at_once(tmp_path):
    """A few objects that list as 2 to the power of 40 files."""
    made = PullRequest(tmp_path / "infra", BASE, {"README.md": "x"})
    blob = git(made.repo, "hash-object", "-w", "README.md")
    tree = _made(made.repo, f"100644 blob {blob}\tf\n")
    for _ in range(40):
        tree = _made(made.repo, f"040000 tree {tree}\ta\n040000 tree {tree}\tb\n")
    commit = git(made.repo, "commit-tree", tree, "-p", "main", "-m", "A bomb")

    with pytest.raises(Exception, match=re.escape("more than 500000 files")):
        await check(made.repo, f"main..{commit}", circle=None, now=NOW, seconds=60)


def _made(repo: Path, listed: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), "mktree"], input=listed.encode(), check=True, capture_output=True)
    return done.stdout.decode().strip()
