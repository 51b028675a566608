"""Where a server is: found without git, and the same as git says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra_mcp.cli import place
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings


def git(*words, at: Path) -> None:
    identity = ("-c", "user.name=Pat", "-c", "user.email=p@example.invalid", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, "-C", at, *words], check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A repository with a commit, a subfolder, and an environment without anything of ours or git's."""
    for name in list(os.environ):
        if name.startswith(("INFRA_MCP_", "XDG_", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "infra"
    (made / "apps" / "docs").mkdir(parents=True)
    (made / "apps" / "docs" / "a.yaml").write_text("a: 1\n")
    git("init", "-q", "-b", "main", ".", at=made)
    git("add", ".", at=made)
    git("commit", "-q", "-m", "first", at=made)
    return made


def plain(repo, tmp_path):  # noqa: ARG001 - all grounds are made alike
    return repo


def subfolder(repo, tmp_path):  # noqa: ARG001 - see plain
    return repo / "apps" / "docs"


def through_a_link(repo, tmp_path):
    (tmp_path / "link").symlink_to(repo / "apps")
    return tmp_path / "link" / "docs"


def worktree(repo, tmp_path):
    git("worktree", "add", "-q", tmp_path / "beside", at=repo)
    return tmp_path / "beside" / "apps"


def detached(repo, tmp_path):  # noqa: ARG001 - see plain
    git("checkout", "-q", "--detach", at=repo)
    return repo


def submodule(repo, tmp_path):
    (tmp_path / "whole").mkdir()
    git("init", "-q", ".", at=tmp_path / "whole")
    git("submodule", "--quiet", "add", repo, "parts/infra", at=tmp_path / "whole")
    return tmp_path / "whole" / "parts" / "infra" / "apps"


def folder_of_git_elsewhere(repo, tmp_path):  # noqa: ARG001 - see plain
    (tmp_path / "other").mkdir()
    git("init", "-q", "--separate-git-dir", tmp_path / "kept.git", tmp_path / "other", at=tmp_path)
    return tmp_path / "other"


USUAL = [plain, subfolder, through_a_link, worktree, detached, submodule, folder_of_git_elsewhere]


def tree_elsewhere(repo, tmp_path):
    (tmp_path / "tree").mkdir()
    git("config", "core.worktree", tmp_path / "tree", at=repo)
    return repo


def own_configuration(repo, tmp_path):
    git("config", "extensions.worktreeConfig", "true", at=repo)
    return worktree(repo, tmp_path)


def linked_git_folder(repo, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").symlink_to(repo / ".git")
    return tmp_path / "tree"


UNUSUAL = [tree_elsewhere, own_configuration, linked_git_folder]


def settings(monkeypatch, start):
    monkeypatch.chdir(start)
    found = Settings.find()
    return found.repo, found.state_dir, found.socket


def own(monkeypatch, start):
    monkeypatch.chdir(start)
    found = place.find()
    return Path(found.repo), Path(found.state_dir), Path(found.socket)


@pytest.mark.promise("connect.fast")
@pytest.mark.parametrize("ground", USUAL)
def test_the_usual_is_found_without_git_and_as_git_finds_it(ground, repo, tmp_path, monkeypatch):
    start = ground(repo, tmp_path)
    expected = settings(monkeypatch, start)
    monkeypatch.setattr(Settings, "find", None)  # nobody asks git

    assert own(monkeypatch, start) == expected
    assert own(monkeypatch, start) == expected


@pytest.mark.parametrize("ground", UNUSUAL)
def test_the_unusual_is_what_git_says(ground, repo, tmp_path, monkeypatch):
    start = ground(repo, tmp_path)

    assert own(monkeypatch, start) == settings(monkeypatch, start)


@pytest.mark.parametrize("ground", [plain, worktree])
@pytest.mark.parametrize(
    "variables",
    [
        {"INFRA_MCP_STATE": "/somewhere/state"},
        {"INFRA_MCP_STATE": "relative"},
        {"XDG_STATE_HOME": "/somewhere"},
        {"XDG_STATE_HOME": "relative"},
        {"INFRA_MCP_REPO": "{repo}/apps"},
        {"GIT_DIR": "{repo}/.git", "GIT_WORK_TREE": "{repo}/apps"},
        {"GIT_CEILING_DIRECTORIES": "{repo}/.."},
    ],
)
def test_the_environment_counts_alike(ground, variables, repo, tmp_path, monkeypatch):
    start = ground(repo, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(repo=repo))

    assert own(monkeypatch, start) == settings(monkeypatch, start)


def test_a_repository_may_be_named(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert place.find("infra/apps").repo == str(repo)
    assert place.find(str(repo)).state_dir == str(Settings.find(str(repo)).state_dir)


@pytest.mark.parametrize("where", ["nowhere", "inside", "bare", "gone"])
def test_where_there_is_no_working_tree_it_is_said(where, repo, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "nowhere").mkdir()
    git("init", "-q", "--bare", "bare", at=tmp_path)
    start = {"inside": repo / ".git" / "hooks", "gone": tmp_path / "gone"}.get(where, tmp_path / where)
    for ceiling in (True, False):
        if not ceiling and where in {"inside", "bare"}:
            monkeypatch.delenv("GIT_CEILING_DIRECTORIES")
        with pytest.raises(InfraError) as caught:
            place.find(str(start))

        assert caught.value.code == "setup-failed"
