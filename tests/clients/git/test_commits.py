"""Commits are built beside the working tree, the same each time, and only from paths that may be written."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
from pathlib import Path

import pytest

from infra_mcp.clients.git import Git
from infra_mcp.clients.git.runner import Runner
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio
WHEN = 1_700_000_000


@pytest.mark.promise("plan.users-tree")
async def test_building_changes_no_ref_no_index_and_no_file(git: Git, repo) -> None:
    repo.write("apps/docs/db.yaml", "dirty\n")
    before, index = repo.state(), (repo.top / ".git/index").read_bytes()
    refs = repo.git("for-each-ref")

    commit = await git.build_commit(repo.head(), {"apps/docs/web.yaml": b"new\n"}, "ours\n", WHEN)

    assert repo.git("cat-file", "-t", commit) == "commit"
    assert repo.state() == before
    assert (repo.top / ".git/index").read_bytes() == index
    assert repo.git("for-each-ref") == refs


async def test_the_same_inputs_give_the_same_commit(git: Git, repo, configure) -> None:
    changes = {"b.yaml": b"b\n", "a/a.yaml": b"a\n", "README.md": None}
    first = await git.build_commit(repo.head(), changes, "ours: \N{SNOWMAN}\n", WHEN)
    configure("[user]\n\tname = someone else\n[i18n]\n\tcommitEncoding = latin1\n")
    again = await git.build_commit(repo.head(), dict(reversed(changes.items())), "ours: \N{SNOWMAN}\n", WHEN)
    later = await git.build_commit(repo.head(), changes, "ours: \N{SNOWMAN}\n", WHEN + 1)

    assert first == again != later
    who = "infra-mcp <infra-mcp@localhost> 2023-11-14T22:13:20+00:00"
    assert repo.git("log", "-1", "--format=%an <%ae> %aI%n%cn <%ce> %cI%n%B%P", first) == (
        f"{who}\n{who}\nours: \N{SNOWMAN}\n{repo.head()}"
    )


async def test_bytes_are_stored_as_they_are_and_modes_are_kept(git: Git, repo) -> None:
    repo.git("config", "core.autocrlf", "true")
    repo.git("config", "filter.upper.clean", "tr a-z A-Z")
    repo.write("run.yaml", "x\n")
    (repo.top / "run.yaml").chmod(0o755)
    base = repo.commit({".gitattributes": "* text=auto eol=crlf filter=upper\n", "run.yaml": "x\n"})

    odd = {"run.yaml": b"a\r\nb\n\0\xff", "apps/ü ber.yaml": b""}
    commit = await git.build_commit(base, odd, "m\n", WHEN)
    listed = await git.list_tree(commit, ["."])

    assert listed["run.yaml"].mode == "100755"
    assert listed["apps/ü ber.yaml"].mode == "100644"
    blobs = git.read_blobs_now(listed[path].oid for path in odd)
    assert {path: blobs[listed[path].oid] for path in odd} == odd


async def test_deleting_and_many_files_in_one_commit(git: Git, repo) -> None:
    changes: dict[str, bytes | None] = {f"apps/n{n}/x.yaml": b"%d\n" % (n % 7) for n in range(30)}

    commit = await git.build_commit(repo.head(), {**changes, "apps/docs/db.yaml": None}, "m\n", WHEN)

    printed = repo.git("diff", "--name-status", repo.head(), commit).splitlines()
    assert sorted(printed) == sorted([*(f"A\t{path}" for path in changes), "D\tapps/docs/db.yaml"])


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x.yaml",
        "apps/../../x.yaml",
        "apps/./x.yaml",
        "apps//x.yaml",
        "apps/",
        ".git/hooks/pre-commit",
        ".git/config",
        "apps/.GIT/config",
        "apps/.git\N{ZERO WIDTH NON-JOINER}/config",
        "git~1/config",
        ".gitattributes",
        "apps/.gitmodules",
        "a\\b.yaml",
        "a\nb.yaml",
        "a\0b.yaml",
        "a\N{RIGHT-TO-LEFT OVERRIDE}b.yaml",
        "a" * 256 + ".yaml",
        "a/" * 600 + "x.yaml",
    ],
)
async def test_a_path_that_leaves_the_tree_is_refused(git: Git, repo, path: str) -> None:
    with pytest.raises(InfraError) as caught:
        await git.build_commit(repo.head(), {path: b"x\n"}, "m\n", WHEN)

    assert caught.value.code == "git-failed"
    assert caught.value.what.isprintable()


async def test_symlinks_folders_and_submodules_are_not_overwritten(git: Git, repo, tmp_path: Path) -> None:
    (repo.top / "out").symlink_to(tmp_path)
    (repo.top / "link.yaml").symlink_to("/etc/passwd")
    repo.git("add", "-A")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.head()},sub")
    repo.git("commit", "-qm", "links")
    base = repo.head()

    for path, what in {
        "out/x.yaml": "out is a symlink",
        "link.yaml": "a symlink",
        "sub": "a submodule",
        "sub/x.yaml": "sub is not a folder",
        "apps": "a folder",
        "README.md/x.yaml": "README.md is not a folder",
    }.items():
        with pytest.raises(InfraError, match=what):
            await git.build_commit(base, {path: b"x\n"}, "m\n", WHEN)


async def test_a_commit_that_would_change_nothing_is_refused(git: Git, repo) -> None:
    with pytest.raises(InfraError, match="change nothing"):
        await git.build_commit(repo.head(), {"README.md": b"an infra repository\n"}, "m\n", WHEN)
    with pytest.raises(InfraError, match="cannot be deleted"):
        await git.build_commit(repo.head(), {"none.yaml": None}, "m\n", WHEN)


async def test_a_commit_in_a_sparse_checkout_is_complete(git: Git, repo) -> None:
    repo.git("sparse-checkout", "set", "--cone", "--sparse-index", "apps/live")
    assert not (repo.top / "apps/docs").exists()
    base = repo.head()

    commit = await git.build_commit(base, {"apps/docs/web.yaml": b"new\n"}, "m\n", WHEN)
    await git.move("main", commit, base)

    assert repo.git("diff", "--name-status", base, commit) == "M\tapps/docs/web.yaml"
    assert repo.git("status", "--porcelain") == ""
    assert not (repo.top / "apps/docs").exists()


async def test_a_repository_of_sha256_objects_works_too(new_repo, lock_file: Path) -> None:
    repo = new_repo("--object-format=sha256", name="sha256")
    git = Git(repo.top, lock_file)
    base = await git.head("main")

    changes = {"README.md": b"new\n", "apps/docs/db.yaml": None}
    commit = await git.build_commit(base, changes, "m\n", WHEN)
    await git.move("main", commit, base)

    assert len(commit) == 64
    assert list(await git.list_tree(commit, ["."])) == ["README.md", "apps/docs/web.yaml", "apps/live/web.yaml"]
    assert repo.read("README.md") == "new\n"
    await git.aclose()


@pytest.mark.fault("d07")
async def test_a_commit_is_built_with_more_than_1024_descriptors_open(git: Git, repo) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        commit = await git.build_commit(repo.head(), {"apps/docs/web.yaml": b"new\n"}, "ours\n", WHEN)
        await git.move("main", commit, repo.head())
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert repo.head() == commit


@pytest.mark.fault("l05")
@pytest.mark.parametrize("which", [1, 2, 3])
async def test_a_child_that_cannot_be_started_leaves_none_of_the_others_behind(
    git: Git, repo, monkeypatch, which
) -> None:
    await git.head("main")
    real, started = Runner.start, []

    def start(runner, *args, **options):
        if len(started) + 1 == which:
            raise InfraError("setup-failed", "git is not installed, or not on PATH.")
        started.append(real(runner, *args, **options))
        return started[-1]

    monkeypatch.setattr(Runner, "start", start)
    monkeypatch.setattr(tempfile, "tempdir", str(repo.top.parent))
    with pytest.raises(InfraError, match="not installed"):
        await git.build_commit(repo.head(), {"apps/docs/web.yaml": b"new\n"}, "ours\n", WHEN)

    assert len(started) == which - 1
    assert [child for child in started if child.poll() is None] == []
    assert [pipe for child in started for pipe in (child.stdin, child.stdout, child.stderr) if not pipe.closed] == []
    assert not list(repo.top.parent.glob("infra-mcp-*"))


@pytest.mark.fault("w12")
@pytest.mark.parametrize(
    "path", ["linked/ns.yaml", "README.md/ns.yaml", "linked", "a/.git/x.yaml", "a\x1b/x.yaml", "a/\udcff.yaml"]
)
async def test_a_path_that_no_commit_may_hold_is_refused_before_the_build(git: Git, repo, path: str) -> None:
    (repo.top / "linked").symlink_to("apps")
    repo.git("add", "linked")
    repo.git("commit", "-qm", "a link")
    objects = repo.git("count-objects")

    with pytest.raises(InfraError, match=r"(may|cannot) be written"):
        await git.check_movable("main", repo.head(), [path])

    assert repo.git("count-objects") == objects


@pytest.mark.fault("d01")
@pytest.mark.promise("tree.permissions")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
async def test_files_written_in_the_checkout_have_the_permissions_of_the_umask(git: Git, repo, mask: int) -> None:
    base, before = repo.head(), os.umask(mask)
    try:
        commit = await git.build_commit(base, {"README.md": b"b\n", "new/b.yaml": b"b\n"}, "ours\n", WHEN)
        await git.move("main", commit, base)
    finally:
        os.umask(before)

    for path, full in (("README.md", 0o666), ("new/b.yaml", 0o666), ("new", 0o777), (".git/refs/heads/main", 0o666)):
        assert stat.S_IMODE((repo.top / path).stat().st_mode) == full & ~mask, path
