"""The lock that outlives a killed server for as long as its git children write, and cancellation."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio
EDIT = {"apps/docs/web.yaml": b"image: site:2.0\n"}
SERVER = """
import sys, anyio
from pathlib import Path
from infra_mcp.clients.git import Git

async def main(repo, lock, branch, commit, base):
    git = Git(Path(repo), Path(lock))
    async with git.exclusive():
        await git.move(branch, commit, base)

anyio.run(main, *sys.argv[1:])
"""


def is_free(lock_file: Path) -> bool:
    with lock_file.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def start_server(*args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SERVER, *args], stdin=subprocess.DEVNULL)


@pytest.mark.process
@pytest.mark.parametrize("command", ["merge", "update-ref"])
async def test_after_a_kill_the_orphaned_git_is_waited_for(
    git: Git, repo, lock_file: Path, slow_git, command: str
) -> None:
    base = repo.head()
    commit = await git.build_commit(base, EDIT, "ours\n", 1_700_000_000)
    if command == "update-ref":
        repo.git("checkout", "-q", "-b", "feature")
    slow = slow_git(command)
    server = start_server(str(repo.top), str(lock_file), "main", commit, base)
    orphan = await to_thread.run_sync(slow.wait_started)
    server.kill()
    assert server.wait() == -signal.SIGKILL
    os.kill(orphan, 0)

    assert not is_free(lock_file)
    hasty = Git(repo.top, lock_file, lock_patience=0.1)
    with pytest.raises(InfraError, match="still running"):
        await hasty.contains("main", commit)
    with pytest.raises(InfraError, match="still running"):
        async with hasty.exclusive():
            raise AssertionError
    assert repo.head() == base

    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await git.contains("main", commit))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            slow.let_go()

    assert answers == [True]
    assert repo.head() == commit
    assert is_free(lock_file)


async def test_the_lock_is_not_inherited_by_children_that_only_read(git: Git, lock_file: Path) -> None:
    async with git.exclusive():
        await git.head("main")
        assert not is_free(lock_file)

    assert is_free(lock_file)


async def test_only_one_at_a_time_holds_the_repository(git: Git, repo, lock_file: Path) -> None:
    other = Git(repo.top, lock_file)
    inside: list[str] = []

    async def work(client: Git, name: str) -> None:
        async with client.exclusive():
            inside.append(name)
            assert len(inside) == 1
            await client.head("main")
            inside.remove(name)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(work, git, f"a{n}")
                tasks.start_soon(work, other, f"b{n}")
    await other.aclose()


async def test_a_move_inside_exclusive_does_not_wait_for_its_own_lock(git: Git, repo, lock_file: Path) -> None:
    base = repo.head()
    with anyio.fail_after(20):
        async with git.exclusive(), git.exclusive():
            commit = await git.build_commit(base, EDIT, "ours\n", 1_700_000_000)
            await git.move("main", commit, base)
            assert await git.contains("main", commit)
            assert not is_free(lock_file)
        assert is_free(lock_file)
        assert await git.contains("main", commit)


async def test_a_task_that_outlives_the_holder_waits_like_any_other(git: Git, lock_file: Path) -> None:
    go = anyio.Event()
    seen: list[bool] = []

    async def later() -> None:
        await go.wait()
        async with git.exclusive():
            seen.append(is_free(lock_file))

    async with anyio.create_task_group() as tasks:
        async with git.exclusive():
            tasks.start_soon(later)
            await anyio.wait_all_tasks_blocked()
        go.set()

    assert seen == [False]


@pytest.mark.promise("plan.users-tree")
async def test_a_cancelled_move_waits_for_its_git_and_leaves_nothing_half_done(
    git: Git, repo, lock_file: Path, slow_git
) -> None:
    base = repo.head()
    commit = await git.build_commit(base, EDIT, "ours\n", 1_700_000_000)
    slow = slow_git("merge")
    ended = anyio.Event()
    scope = anyio.CancelScope()

    async def move() -> None:
        with scope:
            await git.move("main", commit, base)
        ended.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(move)
            await to_thread.run_sync(slow.wait_started)
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert not ended.is_set()
            assert not is_free(lock_file)
            slow.let_go()

    assert ended.is_set()
    assert repo.head() == commit
    assert repo.git("status", "--porcelain") == ""
    assert is_free(lock_file)


async def test_a_lock_file_that_is_a_symlink_is_not_followed(repo, tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    git = Git(repo.top, tmp_path / "lock")

    with pytest.raises(InfraError, match="lock file"):
        await git.contains("main", repo.head())
    assert not (tmp_path / "elsewhere").exists()
    await git.aclose()
