"""The ledger and its keys as one file, by one command, and back by another."""

from __future__ import annotations

import sqlite3
import stat
import subprocess

import pytest
from shell import Shell, shell, stop_started

pytestmark = pytest.mark.process

SEED = "I need a namespace 'docs-staging' with image-pull secret X"


@pytest.fixture
def alone(tmp_path) -> Shell:
    """A repository without a server."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    return Shell(tmp_path)


@pytest.mark.anyio
@pytest.mark.promise("upgrade.schema")
async def test_a_backup_of_a_running_server_is_restored_whole_elsewhere(tmp_path):
    file = tmp_path / "infra.backup"
    async with shell(tmp_path) as (at, run):
        asked = await run("ask", SEED, "--json", token=at.tokens["docs"])
        saved = await run("backup", str(file), "--json")
        later = await run("deploy", "docs", "1", "--json", token=at.tokens["docs"])
    other = run.but(INFRA_MCP_STATE=str(tmp_path / "elsewhere"))
    restored = await other("restore", str(file), "--json")
    verified = await other("audit", "verify", "--head", asked.json["audit_head"], "--json")
    peers = await other("peer", "list", "--json")
    try:
        found = await other("audit", "show", asked.json["request"], "--json")
        gone = await other("audit", "show", later.json["request"], "--json")
    finally:
        stop_started(tmp_path / "elsewhere")

    assert saved.code == 0, saved
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert saved.json["file"] == str(file)
    assert restored.code == 0, restored
    assert (restored.json["events"], restored.json["head"]) == (saved.json["events"], saved.json["head"])
    assert (verified.code, verified.json["missing_heads"]) == (0, []), verified
    assert {peer["name"] for peer in peers.json["peers"]} == {"docs", "shop", "reader"}
    assert found.json["words"] == SEED, found
    assert gone.code == 2  # it came after the backup
    assert at.tokens["docs"].encode() not in file.read_bytes()


@pytest.mark.anyio
@pytest.mark.promise("upgrade.schema")
async def test_without_a_server_an_older_ledger_is_saved_as_it_is(alone):
    """So that there is a way back from an upgrade."""
    await alone("peer", "add", "docs", "--circle", "docs")
    ledger = alone.folder / "state" / "ledger.sqlite3"
    with sqlite3.connect(ledger) as database:
        database.execute("update alembic_version set version_num = '0001'")
    database.close()
    saved = await alone("backup", str(alone.folder / "infra.backup"), "--json")
    with sqlite3.connect(ledger) as database:
        (version,) = database.execute("select version_num from alembic_version").fetchone()
    database.close()

    assert saved.code == 0, saved
    assert version == "0001"
    assert not (alone.folder / "state" / "run" / "http.json").exists()  # no server was started for it


@pytest.mark.anyio
async def test_nothing_that_is_there_is_written_over(tmp_path):
    file = tmp_path / "infra.backup"
    async with shell(tmp_path) as (at, run):
        first = await run("backup", str(file))
        again = await run("backup", str(file), "--json")
        folder = await run("backup", str(tmp_path / "none" / "file"), "--json")
        running = await run("restore", str(file), "--json")
        peer = await run("backup", "other.backup", "--json", token=at.tokens["docs"])
    stopped = await run("restore", str(file), "--json")

    assert first.code == 0, first
    assert (again.code, again.json["code"]) == (2, "invalid-argument")
    assert (folder.code, folder.json["code"]) == (2, "invalid-argument")
    assert (peer.code, peer.json["code"]) == (3, "policy-denied")
    assert running.code != 0
    assert (stopped.code, stopped.json["code"]) == (2, "invalid-argument")  # it has a ledger


@pytest.mark.anyio
async def test_with_a_server_on_the_directory_nothing_is_restored(alone):
    """Also where that server has not made a ledger yet: who owns the directory, decides."""
    from infra_mcp.server.ownership import owned  # noqa: PLC0415

    (alone.folder / "repo" / "infra.backup").write_bytes(b"")
    with owned(alone.folder / "state"):
        done = await alone("restore", "infra.backup", "--json")

    assert (done.code, done.json["code"]) == (6, "server-running")
    assert not (alone.folder / "state" / "ledger.sqlite3").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"", b"not a backup", b"\0" * 4096])
async def test_what_is_no_backup_is_refused_and_leaves_no_ledger(alone, content):
    (alone.folder / "repo" / "file").write_bytes(content)
    done = await alone("restore", "file", "--json")
    missing = await alone("restore", "none", "--json")

    assert done.code == 2, done
    assert missing.code == 2, missing
    assert not (alone.folder / "state" / "ledger.sqlite3").exists()


@pytest.mark.anyio
@pytest.mark.fault("w02")
@pytest.mark.parametrize("where", ["repo", "repo/deep/er", "link", "other", "linked-worktree"])
async def test_a_backup_is_never_written_where_git_could_pick_it_up(alone, where):
    await alone("peer", "add", "docs", "--circle", "docs")
    repo = alone.folder / "repo"
    (repo / "deep" / "er").mkdir(parents=True)
    (alone.folder / "link").symlink_to(repo)
    (alone.folder / "other" / ".git").mkdir(parents=True)
    (alone.folder / "linked-worktree").mkdir()
    (alone.folder / "linked-worktree" / ".git").write_text("gitdir: elsewhere\n", encoding="utf-8")
    file = alone.folder / where / "infra-backup.tar"

    refused = await alone("backup", str(file), "--json")
    outside = await alone("backup", str(alone.folder / "infra-backup.tar"), "--json")
    inside = await alone("backup", str(repo / ".git" / "infra-backup.tar"), "--json")

    assert (refused.code, refused.json["code"]) == (2, "invalid-argument")
    assert not file.exists()
    assert (outside.code, inside.code) == (0, 0)
