"""The Gitea of the tests is a real forge: its branch protection refuses, its merges make commits, its hooks tell."""

import subprocess

import gitea
import pytest
from gitea import GiteaRefusedError
from scripted_http import Answer, scripted


def push(repository, account, branch, *args):
    argv = ["git", "push", repository.url_for(account), f"HEAD:{branch}", *args]
    return subprocess.run(
        argv, capture_output=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL, timeout=60
    )


def test_a_push_to_a_protected_branch_is_refused_in_gitea_s_words(gitea, tmp_path, monkeypatch):
    owner, bot = gitea.account("owner"), gitea.account("bot")
    repository = gitea.repository(owner, **{bot.name: "write"})
    repository.protect("main")
    subprocess.run(["git", "clone", "-q", repository.url_for(bot), tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    author = ["-c", "user.name=bot", "-c", "user.email=bot@test.example"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "ours"], check=True)

    refused, taken = push(repository, bot, "main"), push(repository, bot, "infra-mcp/1")

    assert "Not allowed to push to protected branch main" in refused.stderr
    assert taken.returncode == 0
    assert repository.has("infra-mcp/1")


@pytest.mark.parametrize("how", ["merge", "squash", "rebase", "rebase-merge", "fast-forward-only"])
def test_people_merge_in_every_way_that_gitea_has(gitea, how):
    owner = gitea.account("owner")
    repository = gitea.repository(owner)
    repository.commit({"a.txt": "ours\n"}, branch="infra-mcp/1")

    head = repository.merge(repository.propose("infra-mcp/1"), how)

    assert repository.read("a.txt", head) == "ours\n"


def test_a_token_is_held_to_its_scopes(gitea):
    owner = gitea.account("owner")
    repository = gitea.repository(owner)
    token = gitea.token(owner, "read:repository")

    assert repository.call("GET", "/branches/main", by=token)["name"] == "main"
    with pytest.raises(GiteaRefusedError, match="required scope"):
        repository.call("POST", "/pulls", {}, by=token)


def test_a_port_that_somebody_took_first_is_left_to_them(tmp_path, monkeypatch):
    with scripted(lambda _: Answer({"version": "1"}, 401)) as (url, _):
        taken = int(url.rpartition(":")[2])
        ports = iter([taken, gitea._free_port()])
        monkeypatch.setattr(gitea, "_free_port", lambda: next(ports))
        with gitea.gitea_server(tmp_path / "gitea") as server:
            assert server.port != taken
            assert server.account("person").token
