"""The branch moves where it is checked out: in another worktree, under an alias, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.git.moves import EDIT, OURS, built, refused

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError, Moved

pytestmark = pytest.mark.anyio


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


async def test_a_branch_checked_out_nowhere_is_not_moved_to_a_commit_that_is_not_ahead(git: Git, repo) -> None:
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


@pytest.mark.fault("f10")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["alone", "with another worktree"])
async def test_a_repository_with_a_separate_git_folder_moves_as_any_other(
    new_repo, tmp_path: Path, lock_file: Path, elsewhere
) -> None:
    repo = new_repo("--separate-git-dir", str(tmp_path / "x.git"))
    if elsewhere:
        repo.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git = Git(repo.top, lock_file)
    base = repo.head()
    commit = await built(git, base)

    await git.check_movable("main", base, list(EDIT))
    await git.move("main", commit, base)
    await git.aclose()

    assert repo.head() == commit
    assert repo.read("apps/docs/web.yaml") == OURS
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.fault("f10")
async def test_a_checkout_that_git_cannot_find_is_refused_with_advice(
    new_repo, tmp_path: Path, lock_file: Path
) -> None:
    repo = new_repo("--separate-git-dir", str(tmp_path / "x.git"))
    repo.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git = Git(tmp_path / "other", lock_file)

    with pytest.raises(InfraError, match="separate git folder") as caught:
        await git.check_movable("main", repo.head(), list(EDIT))
    await git.aclose()

    assert caught.value.code == "checkout-refused"
