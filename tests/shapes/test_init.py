"""`infra-mcp init` in each repository of the matrix: a valid policy of some lines, right about who delivers what."""

import shutil
import subprocess
from pathlib import Path

import pytest

from infra_mcp.cli.main import main
from infra_mcp.policy.policy import load

HERE = Path(__file__).resolve().parent
MOST_LINES = 200
# What a careful person finds: the folders that infra-mcp carries out itself. All others are someone else's.
OURS = {
    "argo-applications": [],
    "argo-appsets": [],
    "argo-kustomize": [],
    "argo-tag-files": [],
    "argo-umbrella": [],
    "flux-automation": [],
    "flux-charts": [],
    "flux-home": [],
    "flux-overlays": [],
    "flux-substitute": [],
    "helm-deployer": [],
    "helmfile-environments": [],
    "kustomize-charts": [],
    "kustomize-overlays": ["base", "components/metrics", "overlays"],
    "kustomize-remote": ["addons"],
    "mixed-terraform": ["k8s"],
    "monorepo": ["apps"],
    "one-base": ["."],
    "operators": ["broker", "catalog", "db", "monitoring"],
    "plain-manifests": ["guestbook", "jobs", "office", "queue", "shop"],
    "raw-environments": ["prod", "staging"],
}


def test_every_shape_is_tried():
    assert sorted(OURS) == sorted(path.parent.name for path in HERE.glob("*/repo"))


@pytest.mark.fault("r5")
@pytest.mark.fault("r8")
@pytest.mark.promise("repos.census")
@pytest.mark.parametrize("shape", sorted(OURS))
def test_the_proposal_is_valid_and_says_who_delivers_what(shape, tmp_path, monkeypatch, capsys):
    repo = tmp_path / "infra"
    shutil.copytree(HERE / shape / "repo", repo)
    (repo / "infra.toml").unlink(missing_ok=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "--all", "--force"],
        [*author, "commit", "-q", "-m", "As it is"],
    ):
        subprocess.run(["git", "-C", repo, *words], check=True)
    (tmp_path / "kubeconfig").write_text("contexts: [{name: lab, context: {cluster: a, user: a}}]\n", encoding="utf-8")
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INFRA_MCP_KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv("INFRA_MCP_TOKEN", raising=False)
    monkeypatch.chdir(repo)

    assert main(["init", "--yes"]) == 0
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    policy = load(text)
    assert "DELIVERED BY" in capsys.readouterr().out
    assert len(text.splitlines()) <= MOST_LINES
    assert [root.path for root in policy.tree.roots if root.delivery == "kubernetes"] == OURS[shape]
    assert {root.delivery for root in policy.tree.roots} <= {"kubernetes", "external"}
    assert policy.tree.new is None  # none of them makes it plain
    assert main(["apps"]) == 0  # with this policy
