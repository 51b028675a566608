"""A branch at work is left alone: operations, commits and locks of others, and what a git that died leaves."""

from __future__ import annotations

import os
import signal

import anyio
import pytest
from anyio import to_thread
from clients.git.moves import EDIT, OURS, built, refused

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError, Moved

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("21")]


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
async def test_a_move_of_a_branch_that_has_moved_raises_moved(git: Git, repo) -> None:
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
