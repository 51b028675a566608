"""Reading: refs always fresh, objects by one persistent child."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from clients.git.moves import built

from infra_mcp.clients.git import Entry, Git
from infra_mcp.clients.git.objects import ref_of
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


async def test_the_head_is_fresh_each_time(git: Git, repo) -> None:
    assert await git.head("main") == repo.head()

    later = repo.commit({"README.md": "later\n"})
    assert await git.head("main") == later

    repo.git("pack-refs", "--all")
    repo.git("gc", "-q", "--prune=now")
    assert await git.head("main") == later
    last = repo.commit({"README.md": "last\n"})
    assert await git.head("main") == last
    assert "README.md" in await git.list_tree(last, ["."])


async def test_a_tag_or_file_of_the_same_name_is_not_taken_for_the_branch(git: Git, repo) -> None:
    first = repo.head()
    repo.git("tag", "main")
    repo.git("tag", "-a", "release", "-m", "an object of its own")
    repo.write("main", "x")
    later = repo.commit({"README.md": "later\n"})

    assert await git.head("main") == later != first


@pytest.mark.parametrize(
    "branch",
    [
        "",
        "@",
        "-main",
        "a b",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a\nb",
        "main@{1}",
        "/a",
        "a/",
        "a//b",
        "a.lock",
        ".a",
        "a\\b",
    ],
)
async def test_an_invalid_branch_name_is_refused(git: Git, branch: str) -> None:
    with pytest.raises(InfraError, match="cannot be the name") as caught:
        await git.head(branch)

    assert caught.value.code == "git-failed"
    assert caught.value.what.isprintable()


def test_ordinary_branch_names_are_accepted() -> None:
    assert [ref_of(b) for b in ("main", "release/1.2", "a-b_c=d")] == [
        "refs/heads/main",
        "refs/heads/release/1.2",
        "refs/heads/a-b_c=d",
    ]


async def test_a_missing_branch_commit_or_blob_is_named(git: Git, repo) -> None:
    with pytest.raises(InfraError, match="no branch none"):
        await git.head("none")
    with pytest.raises(InfraError, match="1" * 40):
        await git.list_tree("1" * 40, ["."])
    with pytest.raises(InfraError, match="2" * 40):
        git.read_blobs_now(["2" * 40])
    with pytest.raises(InfraError, match="not the id of an object"):
        await git.list_tree("HEAD\ncontents x", ["."])
    with pytest.raises(InfraError, match="no blob"):
        git.read_blobs_now([repo.head()])
    assert await git.head("main") == repo.head()


async def test_a_listing_equals_gits_own(git: Git, repo) -> None:
    (repo.top / "apps/link.yaml").symlink_to("docs/web.yaml")
    repo.write("apps/docs/deep/er/ü \t.yaml", "x\n")
    repo.git("add", "-A")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.head()},apps/sub")
    repo.git("commit", "-qm", "odd")

    def own(*paths: str) -> dict[str, Entry]:
        records = repo.git("ls-tree", "-r", "-z", "HEAD", "--", *paths).split("\0")
        rows = [record.partition("\t") for record in records if record]
        found = {path: Entry(meta.split()[0], meta.split()[2]) for meta, _, path in rows}
        return {path: entry for path, entry in found.items() if entry.mode != "160000"}

    assert await git.list_tree(repo.head(), ["."]) == own()
    assert await git.list_tree(repo.head(), ["./apps/docs/", "apps/live", "none"]) == own("apps/docs", "apps/live")
    assert await git.list_tree(repo.head(), ["README.md", "README.md/x", "apps/sub"]) == own("README.md")


async def test_many_and_large_blobs_are_read_completely(git: Git, repo) -> None:
    for n in range(900):
        repo.write(f"many/{n}.yaml", f"n: {n}\n")
    repo.write("large.yaml", "x" * 3_000_000)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "many")

    listed = await git.list_tree(repo.head(), ["."])
    blobs = git.read_blobs_now(entry.oid for entry in listed.values())

    assert blobs[listed["large.yaml"].oid] == b"x" * 3_000_000
    assert all(blobs[listed[f"many/{n}.yaml"].oid] == b"n: %d\n" % n for n in range(900))


async def test_concurrent_reads_do_not_mix(git: Git, repo) -> None:
    listed = await git.list_tree(repo.head(), ["."])
    answers: list[bool] = []

    async def read(path: str) -> None:
        for _ in range(20):
            blobs = await to_thread.run_sync(git.read_blobs_now, [listed[path].oid])
            answers.append(blobs[listed[path].oid].decode() == repo.read(path))

    async with anyio.create_task_group() as tasks:
        for path in listed:
            tasks.start_soon(read, path)

    assert len(answers) == 80
    assert all(answers)


async def test_a_child_that_died_is_replaced(git: Git, repo) -> None:
    await git.head("main")
    child = git._objects._batch._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    assert await git.head("main") == repo.head()


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


async def test_the_child_gets_a_clean_environment_and_no_token(
    repo, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    monkeypatch.setenv("INFRA_MCP_TOKEN", "imcp_secret")
    git = Git(repo.top, lock_file)

    commit = await git.head("main")
    child = git._objects._batch._child
    assert child is not None
    given, session = environment_of(child.pid), os.getsid(child.pid)
    await git.aclose()

    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert commit == repo.head()
    assert not [v for v in given if v.startswith((b"GIT_DIR", b"GIT_INDEX", b"INFRA_MCP"))]
    assert {b"LC_ALL=C", b"GIT_TERMINAL_PROMPT=0"} <= set(given)
    assert session == child.pid


async def test_a_repository_that_is_gone_is_not_looked_for_further_up(repo, lock_file: Path) -> None:
    inner = repo.top / "inner"
    inner.mkdir()
    git = Git(inner, lock_file)

    with pytest.raises(InfraError):
        await git.head("main")
    await git.aclose()


async def test_trailers_are_read_back(git: Git, repo) -> None:
    repo.git("config", "log.showSignature", "true")
    base = repo.head()
    message = "Deploy docs\n\nwords\n\nInfra-Request: req-1\nRequested-By: docs (circle\n docs)\nAudit-Head: abc:def\n"
    commit = await git.build_commit(base, {"x.yaml": b"x\n"}, message, 1_700_000_000)
    await git.move("main", commit, base)

    assert await git.log_trailers("main", 10) == [
        (
            commit,
            "infra-mcp <infra-mcp@localhost>",
            {"Infra-Request": "req-1", "Requested-By": "docs (circle docs)", "Audit-Head": "abc:def"},
        ),
        (base, "a user <user@example>", {}),
    ]
    assert len(await git.log_trailers("main", 1)) == 1


@pytest.mark.fault("f11")
@pytest.mark.parametrize("separators", ["=", "#:", ""])
async def test_trailers_are_read_whatever_separators_are_configured(git: Git, repo, configure, separators) -> None:
    base = repo.head()
    message = "Deploy docs\n\nwords = none\n\nInfra-Request: req-1\nAudit-Head: abc:def\n"
    await git.move("main", await git.build_commit(base, {"x.yaml": b"x\n"}, message, 1_700_000_000), base)
    configure(f'[trailer]\n\tseparators = "{separators}"\n')

    (newest, *_) = await git.log_trailers("main", 1)

    assert newest.trailers == {"Infra-Request": "req-1", "Audit-Head": "abc:def"}


@pytest.mark.fault("f11")
async def test_a_replace_ref_does_not_change_the_commit_that_is_read(git: Git, repo) -> None:
    later = repo.commit({"README.md": "later\n"})
    repo.git("replace", later, repo.git("commit-tree", "-m", "another", f"{later}~1^{{tree}}"))

    listed = await git.list_tree(later, ["."])
    read = git.read_blobs_now([listed["README.md"].oid])

    assert list(read.values()) == [b"later\n"]


@pytest.mark.fault("f10")
@pytest.mark.parametrize("how", ["count", "global"])
async def test_git_settings_of_the_environment_apply(
    repo, lock_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """As a repository of another user's that is made safe that way; here it is a setting that shows the same."""
    if how == "count":
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "test.seen")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "yes")
    else:
        (tmp_path / "other").write_text("[test]\n\tseen = yes\n", encoding="utf-8")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "other"))
    git = Git(repo.top, lock_file)

    commit = await built(git, repo.head())
    await git.move("main", commit, repo.head())

    assert git._runner.run("config", "test.seen").out == b"yes\n"
    assert git._runner.run("config", "core.hooksPath").out == b"/dev/null\n"
    await git.aclose()


@pytest.mark.fault("f10")
async def test_a_repository_that_git_refuses_is_refused_with_gits_reason(repo, lock_file: Path) -> None:
    repo.git("config", "core.repositoryFormatVersion", "99")
    git = Git(repo.top, lock_file)

    for act in (git.head("main"), git.list_tree("1" * 40, ["."])):
        with pytest.raises(InfraError, match="repo version"):
            await act
    with pytest.raises(InfraError, match="repo version") as caught:
        await git.check_usable()
    await git.aclose()

    assert caught.value.code == "setup-failed"
