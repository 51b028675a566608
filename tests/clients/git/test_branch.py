"""The table of what git refuses, what it would wrongly accept, and what we do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError, Moved

pytestmark = pytest.mark.anyio

EDIT = {"apps/docs/web.yaml": b"image: site:2.0\nreplicas: 2\n", "apps/new/ns.yaml": b"kind: Namespace\n"}
OURS = "image: site:2.0\nreplicas: 2\n"


async def built(git: Git, base: str, changes: dict[str, bytes | None] | None = None) -> str:
    return await git.build_commit(base, changes or EDIT, "ours\n", 1_700_000_000)


async def refused(git: Git, repo, commit: str, *named: str, base: str | None = None) -> InfraError:
    """The move is refused, names these, and nothing of the user's is different afterwards."""
    before = repo.state()
    with pytest.raises(InfraError) as caught:
        await git.move("main", commit, base or repo.head())

    assert caught.value.code == "checkout-refused"
    assert [name for name in named if name not in caught.value.what] == []
    assert repo.state() == before
    return caught.value


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


async def test_a_branch_that_is_there_already_is_fine(git: Git, repo) -> None:
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
async def test_a_file_the_user_deleted_is_not_made_again(git: Git, repo) -> None:
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
async def test_what_our_check_came_too_early_for_git_refuses_itself(
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
    monkeypatch.setattr("infra_mcp.clients.git.checkout.require_clear", lambda *_: None)

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


@pytest.mark.promise("plan.users-tree")
async def test_a_detached_head_stays_where_it_is_and_the_branch_moves(git: Git, repo) -> None:
    base = repo.head()
    repo.git("checkout", "-q", "--detach")
    commit = await built(git, base)

    await git.move("main", commit, base)

    assert repo.head() == commit
    assert repo.git("rev-parse", "HEAD") == base
    assert repo.git("status", "--porcelain") == ""
    assert repo.read("apps/docs/web.yaml") == "image: site:1.0\nreplicas: 2\n"


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("how", ["--merge", "--apply"])
async def test_a_branch_being_rebased_is_refused(git: Git, repo, how: str) -> None:
    first = repo.head()
    repo.commit({"apps/docs/db.yaml": "image: db:theirs\n"})
    repo.git("branch", "theirs")
    repo.git("reset", "-q", "--hard", first)
    repo.commit({"apps/docs/db.yaml": "image: db:mine\n"})
    repo.git("rebase", how, "theirs", check=False)
    assert "rebase in progress" in repo.git("status")
    commit = await built(git, repo.head())

    await refused(git, repo, commit, "rebase")
    with pytest.raises(InfraError, match="rebase"):
        await git.check_movable("main", repo.head(), list(EDIT))


async def test_a_branch_that_a_rebase_elsewhere_will_update_is_refused(git: Git, repo) -> None:
    folder = repo.top / ".git/rebase-merge"
    folder.mkdir()
    (folder / "update-refs").write_text(f"refs/heads/main\n{'1' * 40}\n{'0' * 40}\n", encoding="utf-8")
    repo.git("checkout", "-q", "--detach")
    commit = await built(git, repo.head())

    await refused(git, repo, commit, "rebase")


async def test_a_branch_being_bisected_is_refused(git: Git, repo) -> None:
    first = repo.head()
    for n in range(4):
        repo.commit({"n": str(n)})
    repo.git("bisect", "start", "main", first)
    commit = await built(git, repo.head())

    await refused(git, repo, commit, "bisect")


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("operation", ["merge", "cherry-pick", "revert"])
async def test_an_operation_in_progress_is_refused_by_name(git: Git, repo, operation: str) -> None:
    repo.git("checkout", "-q", "-b", "theirs")
    repo.commit({"README.md": "theirs\n"})
    repo.git("checkout", "-q", "main")
    mine = repo.commit({"README.md": "mine\n"})
    if operation == "revert":
        repo.commit({"README.md": "again\n"})
    repo.git(operation, mine if operation == "revert" else "theirs", check=False)
    commit = await built(git, repo.head())

    await refused(git, repo, commit, operation)
    with pytest.raises(InfraError, match=operation):
        await git.check_movable("main", repo.head(), list(EDIT))


@pytest.mark.promise("git.ff-only")
async def test_a_branch_that_moved_meanwhile_is_planned_again(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)
    theirs = repo.commit({"README.md": "theirs\n"})

    with pytest.raises(Moved):
        await git.move("main", commit, base)
    with pytest.raises(Moved):
        await git.check_movable("main", base, [])

    assert repo.head() == theirs
    assert repo.git("status", "--porcelain") == ""


async def test_a_commit_that_is_not_ahead_of_the_branch_does_not_move_it(git: Git, repo) -> None:
    aside = await built(git, repo.head())
    base = repo.commit({"README.md": "theirs\n"})

    with pytest.raises(Moved):
        await git.move("main", aside, base)

    assert repo.head() == base


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
async def test_a_lock_of_another_git_is_waited_for_then_refused_and_never_removed(git: Git, repo, lock: str) -> None:
    base = repo.head()
    commit = await built(git, base)
    held = repo.top / ".git" / lock
    held.touch()

    await refused(git, repo, commit, "lock")

    assert held.exists()
    assert repo.head() == base

    held.unlink()
    await git.move("main", commit, base)
    assert repo.head() == commit
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.promise("plan.users-tree")
@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
async def test_a_lock_taken_while_git_is_merging_leaves_nothing_half_done(git: Git, repo, slow_git, lock: str) -> None:
    base = repo.head()
    commit = await built(git, base)
    slow = slow_git("merge")
    repo.write("apps/docs/db.yaml", "image: db:staged\n")
    repo.git("add", "apps/docs/db.yaml")

    async def take_the_lock() -> None:
        await to_thread.run_sync(slow.wait_started)
        (repo.top / ".git" / lock).touch()
        slow.let_go(times=1000)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_the_lock)
        await refused(git, repo, commit, "lock")

    assert repo.git("status", "--porcelain") == "M  apps/docs/db.yaml"
    (repo.top / ".git" / lock).unlink()
    await git.move("main", commit, base)
    assert repo.head() == commit
    assert repo.git("status", "--porcelain") == "M  apps/docs/db.yaml"


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
async def test_a_branch_checked_out_nowhere_moves_without_touching_the_checkout(git: Git, repo) -> None:
    base = repo.head()
    repo.git("checkout", "-q", "-b", "feature")
    repo.write("apps/docs/web.yaml", "image: mine\n")
    commit = await built(git, base)

    await git.check_movable("main", base, list(EDIT))
    await git.move("main", commit, base)

    assert repo.head() == commit
    assert repo.head("refs/heads/feature") == base
    assert repo.read("apps/docs/web.yaml") == "image: mine\n"
    assert repo.git("diff", "--cached") == ""


async def test_a_branch_checked_out_nowhere_is_not_moved_to_what_is_not_ahead_of_it(git: Git, repo) -> None:
    aside = await built(git, repo.head())
    base = repo.commit({"README.md": "theirs\n"})
    repo.git("checkout", "-q", "--detach")

    with pytest.raises(Moved):
        await git.move("main", aside, base)
    with pytest.raises(Moved):
        await git.move("main", aside, repo.head("HEAD~1"))

    assert repo.head() == base


async def test_an_alias_of_another_branch_is_not_moved(git: Git, repo) -> None:
    base = repo.head()
    repo.git("branch", "trunk")
    repo.git("symbolic-ref", "refs/heads/alias", "refs/heads/trunk")

    with pytest.raises(InfraError, match="alias"):
        await git.move("alias", await built(git, base), base)

    assert repo.head("refs/heads/trunk") == base


@pytest.mark.promise("plan.users-tree")
async def test_a_branch_checked_out_under_an_alias_moves_with_its_files(git: Git, repo) -> None:
    repo.git("branch", "trunk")
    repo.git("symbolic-ref", "refs/heads/alias", "refs/heads/trunk")
    repo.git("symbolic-ref", "HEAD", "refs/heads/alias")
    base = repo.head()
    commit = await built(git, base)

    await git.move("trunk", commit, base)

    assert repo.head("refs/heads/trunk") == commit
    assert repo.read("apps/docs/web.yaml") == OURS
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.promise("git.ff-only")
@pytest.mark.promise("plan.users-tree")
async def test_the_branch_moves_in_the_worktree_that_has_it(git: Git, repo, tmp_path: Path) -> None:
    base = repo.head()
    repo.git("checkout", "-q", "-b", "feature")
    other = tmp_path / "other tree\nwith a newline"
    repo.git("worktree", "add", "-q", str(other), "main")
    (other / "README.md").write_text("being written\n", encoding="utf-8")
    commit = await built(git, base)

    await git.move("main", commit, base)

    assert repo.head() == commit
    assert (other / "apps/docs/web.yaml").read_text(encoding="utf-8") == OURS
    assert repo.git("status", "--porcelain", at=other) == " M README.md"
    assert repo.read("apps/docs/web.yaml") == "image: site:1.0\nreplicas: 2\n"
    assert repo.git("status", "--porcelain") == ""


async def test_an_operation_in_another_worktree_that_has_the_branch_is_refused(git: Git, repo, tmp_path: Path) -> None:
    repo.git("checkout", "-q", "-b", "theirs")
    repo.commit({"README.md": "theirs\n"})
    other = tmp_path / "other"
    repo.git("worktree", "add", "-q", str(other), "main")
    (other / "README.md").write_text("mine\n", encoding="utf-8")
    repo.git("commit", "-qam", "mine", at=other)
    repo.git("rebase", "theirs", at=other, check=False)

    await refused(git, repo, await built(git, repo.head()), "rebase")


async def test_a_branch_checked_out_twice_is_refused(git: Git, repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", "--force", str(tmp_path / "twice"), "main")

    await refused(git, repo, await built(git, repo.head()), "infra", "twice")


async def test_a_worktree_that_is_gone_from_disk_is_refused(git: Git, repo, tmp_path: Path) -> None:
    repo.git("checkout", "-q", "-b", "feature")
    repo.git("worktree", "add", "-q", str(tmp_path / "gone"), "main")
    (tmp_path / "gone").rename(tmp_path / "elsewhere")

    await refused(git, repo, await built(git, repo.head()), "gone")


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

    assert "\\x1b[31mred.yaml (changed)" in caught.value.what


async def test_a_commit_is_contained_once_the_branch_has_it(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)

    assert not await git.contains("main", commit)
    assert not await git.contains("main", "0" * 40)
    await git.move("main", commit, base)
    repo.commit({"README.md": "later\n"})
    assert await git.contains("main", commit)


async def test_a_git_killed_half_way_leaves_files_that_only_a_person_may_clean_up(git: Git, repo) -> None:
    base = repo.head()
    commit = await built(git, base)
    repo.write("apps/docs/web.yaml", OURS)

    await refused(git, repo, commit, "apps/docs/web.yaml", base=base)


async def test_a_git_that_dies_by_a_signal_is_a_failure_and_not_a_move(git: Git, repo, slow_git) -> None:
    base = repo.head()
    commit = await built(git, base)
    slow = slow_git("merge")

    async def kill() -> None:
        pid = await to_thread.run_sync(slow.wait_started)
        os.kill(pid, signal.SIGKILL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        with pytest.raises(InfraError) as caught:
            await git.move("main", commit, base)

    assert caught.value.code == "checkout-refused"
    assert repo.head() == base
