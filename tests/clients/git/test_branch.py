"""The table of what git refuses, what it would wrongly accept, and what we do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clients.git.moves import EDIT, OURS, built, refused

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


@pytest.mark.promise("git.ff-only")
async def test_a_clean_checkout_moves_with_branch_index_and_files(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)

    await git.move("main", commit, base)

    assert repo.head() == commit
    assert repo.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert repo.git("status", "--porcelain") == ""
    assert repo.read("apps/docs/web.yaml") == OURS
    assert repo.read("apps/new/ns.yaml") == "kind: Namespace\n"


async def test_a_branch_that_is_at_the_commit_already_stays(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)
    await git.move("main", commit, base)

    await git.move("main", commit, base)

    assert repo.head() == commit


@pytest.mark.promise("plan.users-tree")
async def test_other_edits_of_the_user_stay_as_they_are(git: Git, repo) -> None:
    repo.write("README.md", "put away\n")
    repo.git("stash")
    repo.write("apps/docs/db.yaml", "image: db:staged\n")
    repo.git("add", "apps/docs/db.yaml")
    repo.write("apps/docs/db.yaml", "image: db:unstaged\n")
    repo.write("apps/live/web.yaml", "image: dirty\n")
    repo.write("apps/new/mine.yaml", "untracked\n")
    status, staged, stash = repo.git("status", "--porcelain"), repo.git("diff", "--cached"), repo.git("stash", "list")
    base = repo.head()

    await git.move("main", await built(git, base), base)

    assert repo.read("apps/docs/web.yaml") == OURS
    assert repo.git("status", "--porcelain").replace("apps/new/mine.yaml", "apps/new/") == status
    assert repo.git("diff", "--cached") == staged
    assert repo.git("stash", "list") == stash
    assert repo.read("apps/docs/db.yaml") == "image: db:unstaged\n"


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("staged", [False, True])
async def test_the_same_file_changed_by_the_user_is_refused_by_name(git: Git, repo, staged: bool) -> None:
    commit = await built(git, repo.head())
    repo.write("apps/docs/web.yaml", "image: site:1.0\nreplicas: 9\n")
    if staged:
        repo.git("add", "apps/docs/web.yaml")

    await refused(git, repo, commit, "apps/docs/web.yaml", "staged" if staged else "changed")


@pytest.mark.promise("plan.users-tree")
async def test_a_file_that_the_user_deleted_is_not_created_again(git: Git, repo) -> None:
    commit = await built(git, repo.head())
    (repo.top / "apps/docs/web.yaml").unlink()

    await refused(git, repo, commit, "apps/docs/web.yaml (deleted)")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("text", ["mine\n", "kind: Namespace\n"])
async def test_an_untracked_file_in_the_way_is_refused_by_name(git: Git, repo, text: str) -> None:
    commit = await built(git, repo.head())
    repo.write("apps/new/ns.yaml", text)

    await refused(git, repo, commit, "apps/new/ns.yaml (untracked)")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("pattern", ["apps/new/ns.yaml", "new/", "*.yaml"])
async def test_an_ignored_file_in_the_way_is_refused_by_name(git: Git, repo, pattern: str) -> None:
    commit = await built(git, repo.head())
    (repo.top / ".git/info/exclude").write_text(pattern + "\n", encoding="utf-8")
    repo.write("apps/new/ns.yaml", "my own secret\n")

    await refused(git, repo, commit, "apps/new/ns.yaml (ignored)")


async def test_an_untracked_folder_in_the_way_is_refused_with_the_file_in_it(git: Git, repo) -> None:
    commit = await built(git, repo.head())
    repo.write("apps/new/ns.yaml/mine.txt", "mine\n")

    await refused(git, repo, commit, "apps/new/ns.yaml/mine.txt (untracked)")


async def test_a_file_where_a_folder_must_be_is_refused_by_name(git: Git, repo) -> None:
    commit = await built(git, repo.head())
    repo.write("apps/new", "a file\n")

    await refused(git, repo, commit, "apps/new (not a folder)")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
async def test_autostash_in_the_users_configuration_stashes_nothing(git: Git, repo, own_configuration: Path) -> None:
    commit = await built(git, repo.head())
    with own_configuration.open("a", encoding="utf-8") as file:
        file.write("[merge]\n\tautoStash = true\n[rebase]\n\tautoStash = true\n")
    repo.write("apps/docs/web.yaml", "image: mine\n")

    await refused(git, repo, commit, "apps/docs/web.yaml")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("what", ["changed", "untracked", "ignored"])
async def test_git_refuses_a_change_made_after_our_check(
    git: Git, repo, configure, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    commit = await built(git, repo.head())
    configure("[merge]\n\tautoStash = true\n")
    if what == "changed":
        repo.write("apps/docs/web.yaml", "image: mine\n")
    else:
        repo.write("apps/new/ns.yaml", "mine\n")
    if what == "ignored":
        (repo.top / ".git/info/exclude").write_text("*.yaml\n", encoding="utf-8")
    monkeypatch.setattr("infra_mcp.clients.git.checkout.Checkout.require_clear", lambda *_: None)

    await refused(git, repo, commit, "apps/docs/web.yaml" if what == "changed" else "apps/new/ns.yaml")


@pytest.mark.parametrize("options", ["--squash", "--no-ff", "--no-commit --no-ff", "-s ours"])
async def test_the_branchs_own_merge_options_do_not_apply(git: Git, repo, options: str) -> None:
    repo.git("config", "branch.main.mergeOptions", options)
    repo.git("config", "merge.verifySignatures", "true")
    repo.git("config", "merge.ff", "false")
    base = repo.head()
    commit = await built(git, base)

    await git.move("main", commit, base)

    assert repo.head() == commit
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
async def test_an_edit_hidden_from_git_status_is_not_lost(git: Git, repo, flag: str) -> None:
    commit = await built(git, repo.head())
    repo.git("update-index", flag, "apps/docs/web.yaml")
    repo.write("apps/docs/web.yaml", "image: my override\n")

    await refused(git, repo, commit, "apps/docs/web.yaml")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
async def test_a_symlinked_folder_on_the_way_is_refused_and_kept(git: Git, repo, tmp_path: Path) -> None:
    commit = await built(git, repo.head())
    outside = tmp_path / "outside"
    (repo.top / "apps/docs").rename(outside)
    (repo.top / "apps/docs").symlink_to(outside)

    await refused(git, repo, commit, "apps/docs (a symlink)")

    assert (outside / "web.yaml").read_text(encoding="utf-8") == "image: site:1.0\nreplicas: 2\n"


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
async def test_a_symlink_where_a_new_folder_would_be_is_refused(git: Git, repo, tmp_path: Path) -> None:
    commit = await built(git, repo.head())
    (repo.top / "apps/new").symlink_to(tmp_path)

    await refused(git, repo, commit, "apps/new (a symlink)")

    assert not (tmp_path / "ns.yaml").exists()


@pytest.mark.promise("plan.users-tree")
async def test_no_hook_and_no_monitor_runs(git: Git, repo, tmp_path: Path) -> None:
    base = repo.head()
    ran = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    names = ("reference-transaction", "post-merge", "pre-merge-commit", "post-index-change", "post-checkout")
    for name in (*names, "pre-commit", "commit-msg", "prepare-commit-msg", "pre-auto-gc", "fsmonitor"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >>{ran}\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
        (repo.top / ".git/hooks" / name).write_text(f"#!/bin/sh\necho {name} >>{ran}\n", encoding="utf-8")
        (repo.top / ".git/hooks" / name).chmod(0o755)
    repo.git("config", "core.hooksPath", str(hooks))
    repo.git("config", "core.fsmonitor", str(hooks / "fsmonitor"))
    repo.git("config", "gc.auto", "1")
    repo.git("config", "commit.gpgSign", "true")
    ran.unlink(missing_ok=True)

    commit = await built(git, base)
    await git.check_movable("main", base, list(EDIT))
    await git.move("main", commit, base)
    repo_head = await git.head("main")

    assert repo_head == commit
    assert not ran.exists()


@pytest.mark.promise("plan.users-tree")
async def test_the_early_check_names_the_same_files_and_changes_nothing(git: Git, repo) -> None:
    base = repo.head()
    repo.write("apps/docs/web.yaml", "image: mine\n")
    repo.write("apps/new/ns.yaml", "mine\n")
    os.utime(repo.top / "README.md", (1, 1))
    before, index = repo.state(), (repo.top / ".git/index").read_bytes()

    with pytest.raises(InfraError) as caught:
        await git.check_movable("main", base, list(EDIT))

    assert caught.value.code == "checkout-refused"
    assert "apps/docs/web.yaml (changed)" in caught.value.what
    assert "apps/new/ns.yaml (untracked)" in caught.value.what
    assert (repo.top / ".git/index").read_bytes() == index
    assert repo.state() == before
    await git.check_movable("main", base, ["apps/live/web.yaml"])


async def test_a_file_name_cannot_write_to_the_terminal(git: Git, repo) -> None:
    name = "apps/docs/\x1b[31mred.yaml"
    base = repo.commit({name: "a\n"})
    repo.write(name, "b\n")

    with pytest.raises(InfraError) as caught:
        await git.check_movable("main", base, [name])

    assert "\\x1b[31mred.yaml" in caught.value.what


async def test_a_commit_is_contained_once_the_branch_has_it(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)

    assert not await git.contains("main", commit)
    assert not await git.contains("main", "0" * 40)
    await git.move("main", commit, base)
    repo.commit({"README.md": "later\n"})
    assert await git.contains("main", commit)
