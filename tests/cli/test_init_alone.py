"""`init`, `apps` and `preview` in a clone of what others deliver, on a machine without any cluster."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from infra_mcp.cli.main import main
from infra_mcp.policy.policy import load

SHAPES = Path(__file__).parents[1] / "shapes"
HTTPS = "https://bob:not-for-others@git.example.org/team/infra.git"
SECRETS = ("bob", "not-for-others")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Makes a clone of a shape with a remote, on a machine with no kubeconfig, no token and no network."""

    def make(shape: str, address: str = HTTPS, remote: str = "origin", more: dict[str, str] | None = None) -> Path:
        repo = tmp_path / "infra"
        shutil.copytree(SHAPES / shape / "repo", repo)
        for path, content in (more or {}).items():
            (repo / path).write_text(content, encoding="utf-8")
        (repo / "infra.toml").unlink(missing_ok=True)
        person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        for words in (
            ["init", "-q", "-b", "main"],
            ["add", "--all", "--force"],
            [*person, "commit", "-q", "-m", "As it is"],
            ["remote", "add", remote, address],
        ):
            subprocess.run(["git", "-C", repo, *words], check=True)
        monkeypatch.chdir(repo)
        return repo

    for name in ("INFRA_MCP_TOKEN", "INFRA_MCP_URL", "INFRA_MCP_REPO", "INFRA_MCP_KUBECONFIG", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return make


def uncommented(text: str) -> str:
    """The proposal with everything that it shows as a comment."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if line.startswith("# ") and (bare[:1] == "[" or " = " in bare) else line)
    return "\n".join(lines)


@pytest.mark.promise("repos.census")
def test_in_a_clone_of_a_flux_repository_the_first_commands_need_no_cluster(clone, capsys):
    repo = clone("flux-home")

    assert main(["init", "--yes"]) == 0
    printed = capsys.readouterr().out
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    policy = load(text)
    assert (policy.clusters, policy.circles, policy.tree.write) == ({}, {}, "push")
    assert {root.delivery for root in policy.tree.roots} == {"external"}
    assert "rbac render" not in printed
    assert "infra-mcp preview deploy" in printed
    assert len(text.splitlines()) <= 200

    assert main(["apps"]) == 0
    assert "reel" in capsys.readouterr().out
    assert main(["preview", "deploy", "reel", "10.9.2", "--drop-digest"]) == 0
    assert "+              tag: 10.9.2" in capsys.readouterr().out


def test_what_it_proposes_as_comments_is_a_policy_that_says_versions_and_forge(clone):
    repo = clone("flux-home")
    main(["init", "--yes"])

    policy = load(uncommented((repo / "infra.toml").read_text(encoding="utf-8")))

    assert policy.apps["reel"].versions == ("10.*",)
    assert policy.apps["pantry"].versions == ("v2.*",)
    assert (policy.forge.kind, policy.forge.url, policy.forge.repository) == (
        "gitea",
        "https://git.example.org",
        "team/infra",
    )


def test_the_workload_that_the_repository_shows_is_proposed_as_evidence(clone):
    deployment = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: aside, namespace: media}\n"
        "spec: {template: {spec: {containers: [{name: aside, image: 'registry.example/aside:2.1.0'}]}}}\n"
    )
    folder = "kubernetes/apps/media/reel/app"
    listed = "resources: [helmrelease.yaml, ocirepository.yaml, aside.yaml]\n"
    repo = clone("flux-home", more={f"{folder}/aside.yaml": deployment, f"{folder}/kustomization.yaml": listed})
    main(["init", "--yes"])
    text = (repo / "infra.toml").read_text(encoding="utf-8")

    app = load(uncommented(text)).apps["aside"]

    assert app.evidence is not None, text
    assert (app.versions, app.evidence.workload) == (("2.*",), ("media/deployment/aside",))


@pytest.mark.parametrize(
    ("address", "kind", "url"),
    [
        ("https://github.com/team/infra", "github", None),
        ("git@github.com:team/infra.git", "github", None),
        ("ssh://git@git.example.org:2222/team/infra.git", "gitea", "https://git.example.org"),
        ("git@git.example.org:team/infra.git", "gitea", "https://git.example.org"),
        ("http://git.example.org:3000/below/team/infra.git", "gitea", "http://git.example.org:3000/below"),
        ("/srv/git/infra.git", None, None),
        ("https://git.example.org/infra.git", None, None),
        ('https://git.example.org/"]\nowner="/infra', None, None),
    ],
)
def test_the_forge_is_the_one_of_the_remotes_address(clone, address, kind, url):
    repo = clone("flux-home", address)
    main(["init", "--yes"])
    text = (repo / "infra.toml").read_text(encoding="utf-8")

    forge = load(uncommented(text)).forge

    assert (forge.kind, forge.url) == (kind, url), text


@pytest.mark.parametrize("name", ["origin", "upstream"])
def test_no_login_of_the_remotes_address_is_in_the_proposal_nor_said(clone, capsys, name):
    repo = clone("flux-home", remote=name)
    main(["init", "--yes"])
    printed = capsys.readouterr()
    text = (repo / "infra.toml").read_text(encoding="utf-8")

    assert load(text).tree.remote == name
    assert [word for word in SECRETS if word in text + printed.out + printed.err] == []


def test_manifests_that_nobody_else_delivers_need_a_cluster_and_it_says_so(clone, capsys):
    repo = clone("plain-manifests")

    assert main(["init", "--yes"]) == 6
    assert "--context NAME" in capsys.readouterr().err
    assert not (repo / "infra.toml").exists()


@pytest.mark.parametrize("shape", ["argo-umbrella", "argo-tag-files", "flux-overlays", "helm-deployer", "flux-charts"])
def test_every_shape_that_others_deliver_is_proposed_within_its_bound(clone, shape):
    repo = clone(shape)

    assert main(["init", "--yes"]) == 0
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert not load(text).clusters
    load(uncommented(text))
    assert main(["apps"]) == 0
