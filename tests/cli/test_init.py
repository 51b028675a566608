"""`init` finds what is there, writes a policy that grants nothing, and commits nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra_mcp.cli.main import main
from infra_mcp.policy.policy import load

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: other
contexts:
- {name: kwok-infra, context: {cluster: a, user: a}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: docs, namespace: docs-live}
"""


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A repository with one manifest and a kubeconfig with one context."""
    repo = tmp_path / "repo"
    (repo / "apps" / "docs").mkdir(parents=True)
    (repo / "apps" / "docs" / "site.yaml").write_text(DEPLOYMENT, encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG, encoding="utf-8")
    for words in (["init", "-q", "-b", "trunk"], ["add", "-A"]):
        subprocess.run(["git", "-C", repo, *words], check=True)
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INFRA_MCP_KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.delenv("INFRA_MCP_TOKEN", raising=False)
    monkeypatch.chdir(repo)
    return repo


def status(repo: Path) -> list[str]:
    words = ["git", "-C", repo, "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(words, check=True, capture_output=True, text=True, encoding="utf-8").stdout.splitlines()


def test_it_writes_what_it_finds_and_grants_nothing(repo, capsys):
    before = status(repo)
    assert main(["init"]) == 0
    policy = load((repo / "infra.toml").read_text(encoding="utf-8"))

    assert policy.tree.branch == "trunk"
    assert [rules.context for rules in policy.clusters.values()] == ["kwok-infra"]
    assert any("apps" in root.path for root in policy.tree.roots)
    assert not policy.circles
    assert set(status(repo)) - set(before) == {"?? infra.toml"}
    assert "infra-mcp policy accept" in capsys.readouterr().out


def test_a_policy_that_is_there_stays_as_it_is(repo):
    (repo / "infra.toml").write_text("# mine\n", encoding="utf-8")

    assert main(["init", "--yes"]) == 0
    assert (repo / "infra.toml").read_text(encoding="utf-8") == "# mine\n"


@pytest.mark.promise("cluster.named")
def test_with_several_contexts_a_person_must_say_which(repo, tmp_path, capsys):
    more = KUBECONFIG + "- {name: production, context: {cluster: b, user: b}}\n"
    (tmp_path / "kubeconfig").write_text(more, encoding="utf-8")

    assert main(["init"]) == 2
    assert "production" in capsys.readouterr().err
    assert not (repo / "infra.toml").exists()
    assert main(["init", "--context", "production"]) == 0
    assert 'context = "production"' in (repo / "infra.toml").read_text(encoding="utf-8")


@pytest.mark.fault("f13")
@pytest.mark.usefixtures("repo")
def test_the_contexts_of_all_files_of_the_environment_count_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "more").write_text("contexts:\n- {name: production}\n", encoding="utf-8")
    both = f"{tmp_path / 'kubeconfig'}:{tmp_path / 'nowhere'}:{tmp_path / 'kubeconfig'}"
    monkeypatch.setenv("INFRA_MCP_KUBECONFIG", f"{both}:{tmp_path / 'more'}")
    assert main(["init"]) == 2
    assert "2 contexts: kwok-infra, production" in capsys.readouterr().err
    monkeypatch.setenv("INFRA_MCP_KUBECONFIG", both)
    assert main(["init"]) == 0


@pytest.mark.fault("f14")
@pytest.mark.parametrize("text", ["contexts: 1", "contexts: [1]", "contexts: [{}]", "contexts:", "[]", "a: 2026-13-45"])
@pytest.mark.usefixtures("repo")
def test_a_kubeconfig_without_contexts_is_told_and_ends_nothing(tmp_path, capsys, text):
    (tmp_path / "kubeconfig").write_text(text, encoding="utf-8")

    assert main(["init"]) == 6
    assert f"{tmp_path / 'kubeconfig'}" in capsys.readouterr().err


@pytest.mark.promise("policy.default-deny")
def test_the_examples_in_the_template_are_a_policy_when_uncommented(repo):
    main(["init"])
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if line.startswith("# ") and (bare[:1] == "[" or " = " in bare) else line)
    policy = load("\n".join(lines))

    assert policy.circles["docs"].actions == ("provision_namespace", "deploy")
    assert policy.apps["docs"].owner == "docs"


def test_rbac_is_rendered_from_the_file_without_a_server(repo, capsys):
    main(["init"])
    with (repo / "infra.toml").open("a", encoding="utf-8") as file:
        file.write('\n[circles.docs]\nnamespaces = ["docs-*"]\nactions = ["deploy"]\n')
    capsys.readouterr()

    assert main(["rbac", "render", "--namespaces", "docs-live"]) == 0
    shown = capsys.readouterr().out
    assert "name: circle-docs" in shown
    assert "namespace: docs-live" in shown
    assert main(["rbac", "render", "--cluster", "nowhere"]) == 2


def commit(repo: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text(text, encoding="utf-8")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["add", "-A"], [*author, "commit", "-q", "-m", "as it is"]):
        subprocess.run(["git", "-C", repo, *words], check=True)


SPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nsops: {mac: x}\n"  # no secret


@pytest.mark.fault("r8")
@pytest.mark.promise("repos.census")
def test_it_says_what_the_repository_holds_and_counts_what_it_left_out(repo, capsys):
    commit(
        repo,
        {
            "apps/docs/secret.yaml": SECRET,
            "tests/site.yaml": DEPLOYMENT,
            "dns/example.org.yaml": "www: {type: A, value: 192.0.2.1}\n",
            "live/net/main.tf": "",
        },
    )
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["Deployment", "1", "kubernetes"] in rows
    assert ["zone", "1", "dns"] in rows
    assert ["terraform", "1", "terraform"] in rows
    assert "Left out: encrypted files: 1, tests, samples and vendored files: 1." in out
    policy = load((repo / "infra.toml").read_text(encoding="utf-8"))
    assert {root.path: root.delivery for root in policy.tree.roots} == {
        "apps/docs": "kubernetes",
        "dns": "external",
        "live/net": "external",
    }
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    assert 'with delivery = "terraform" and a section [workspaces.NAME] infra-mcp does' in text
    assert 'with delivery = "dns" and a section [zones."NAME"] infra-mcp does' in text

    assert main(["apps"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["zone", "1", "dns"] in rows
    assert ["encrypted", "1", "-"] in rows


@pytest.mark.fault("r5")
def test_new_objects_go_where_all_namespaces_lie(repo):
    commit(repo, {f"apps/{name}/namespace.yaml": SPACE.replace("NAME", name) for name in ("docs", "live")})
    assert main(["init"]) == 0
    assert load((repo / "infra.toml").read_text(encoding="utf-8")).tree.new == "apps/{namespace}/{kind}-{name}.yaml"


@pytest.mark.fault("r5")
def test_a_repository_that_others_deliver_gets_no_root_of_manifests(repo):
    (repo / "apps" / "docs" / "site.yaml").unlink()
    commit(repo, {"terraform/net/main.tf": "", "test/site.yaml": DEPLOYMENT})
    assert main(["init"]) == 0
    policy = load((repo / "infra.toml").read_text(encoding="utf-8"))

    assert [(root.path, root.delivery) for root in policy.tree.roots] == [("terraform/net", "external")]
    assert policy.new_file("kwok-infra") is None


@pytest.mark.fault("r8")
def test_of_a_large_repository_it_writes_some_lines_and_counts_the_rest(repo):
    flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
    flux += "metadata: {name: NAME}\nspec: {path: ./PATH}\n"
    files = {f"clusters/c{i}/k.yaml": flux.replace("NAME", f"k{i}").replace("PATH", f"t{i}/flux") for i in range(30)}
    files |= {f"t{i}/flux/site.yaml": DEPLOYMENT.replace("name: docs", f"name: a{i}") for i in range(30)}
    files |= {
        f"t{i}/{name}/site.yaml": DEPLOYMENT.replace("name: docs", f"name: b{i}") for i in range(30) for name in "xy"
    }
    files |= {f'o"d\u00e9 {i}/site.yaml': DEPLOYMENT.replace("name: docs", f"name: c{i}") for i in range(3)}
    commit(repo, files)
    assert main(["init"]) == 0
    text = (repo / "infra.toml").read_text(encoding="utf-8")
    policy = load(text)

    assert len(text.splitlines()) <= 200
    assert "more folders are not named here" in text
    named = {root.path: root.delivery for root in policy.tree.roots}
    for path, delivery in named.items():
        if delivery == "kubernetes" and path.startswith("t"):
            assert named[f"{path}/flux"] == "external"  # a root is never named without what is not its own


def test_before_the_first_commit_it_reads_what_is_staged_and_then_what_is_committed(repo, capsys):
    commit(repo, {})
    (repo / "apps" / "later.yaml").write_text(DEPLOYMENT, encoding="utf-8")
    assert main(["init"]) == 0
    assert ["Deployment", "1", "kubernetes"] in [line.split() for line in capsys.readouterr().out.splitlines()]
