"""`audit verify` says what it can prove with the heads in commits, and what it cannot without."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from ssh_keys import Key

from infra_mcp.cli.main import main
from infra_mcp.clients.git import Login
from infra_mcp.engine.repositories import upstream
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.chain import HEADS, proof_of
from infra_mcp.settings import Settings

NAMED = ("-c", "user.name=a", "-c", "user.email=a@localhost")


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    """A repository and a ledger with a few events, without a server."""
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("INFRA_MCP_TOKEN", raising=False)
    monkeypatch.chdir(repo)
    assert main(["peer", "add", "docs", "--circle", "docs"]) == 0
    return tmp_path / "state"


def commit_head(state: Path) -> None:
    """A commit that carries the newest head, as ours do."""

    async def newest() -> str:
        ledger = await Ledger.open_in(state)
        try:
            return await ledger.head()
        finally:
            await ledger.aclose()

    words = [*NAMED, "commit", "-q", "--allow-empty"]
    subprocess.run(["git", *words, "-m", f"change\n\nAudit-Head: {anyio.run(newest)}"], check=True)


def verified(capsys) -> tuple[int, dict, str]:
    capsys.readouterr()
    code = main(["audit", "verify", "--json"])
    report = json.loads(capsys.readouterr().out)
    main(["audit", "verify"])
    return code, report, capsys.readouterr().out


@pytest.mark.promise("audit.chain")
@pytest.mark.usefixtures("state")
def test_without_a_head_given_out_it_claims_no_more_than_consistency(capsys):
    code, report, words = verified(capsys)

    assert code == 0
    assert report["proved_to"] is None
    assert "no more than consistency" in words
    assert "nothing up to event" not in words


@pytest.mark.promise("audit.chain")
def test_a_head_in_a_commit_proves_what_came_before_it(state, capsys):
    commit_head(state)
    main(["peer", "add", "shop", "--circle", "shop"])
    code, report, words = verified(capsys)

    assert code == 0
    assert report["heads_in_commits"] == 1
    assert 0 < report["proved_to"] < report["events"]
    assert "not proved" in words


@pytest.mark.promise("audit.chain")
@pytest.mark.usefixtures("state")
def test_a_head_that_a_person_signed_is_checked_by_openssh_alone_and_proves_what_came_before_it(capsys, tmp_path):
    key, file, allowed = Key(tmp_path, "ann"), tmp_path / "head", tmp_path / "allowed"
    assert main(["audit", "head", str(file), "--sign", str(key.private)]) == 0
    main(["peer", "add", "shop", "--circle", "shop"])
    allowed.write_text(f"ann {key.public}\n", encoding="utf-8")
    known = ["-n", "audit-head@infra-mcp.dev", "-f", str(allowed), "-I", "ann", "-s", f"{file}.sig"]
    subprocess.run(["ssh-keygen", "-Y", "verify", *known], input=file.read_bytes(), check=True)
    head = dict(line.split(": ") for line in file.read_text("utf-8").splitlines()[1:])["head"]
    capsys.readouterr()

    assert main(["audit", "verify", "--head", head, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proved_to"] > 0
    assert main(["audit", "head", str(file), "--json"]) == 2  # no head is overwritten
    assert json.loads(capsys.readouterr().out)["code"] == "invalid-argument"


@pytest.mark.usefixtures("state")
def test_a_head_is_signed_in_a_file_or_not_at_all(capsys, tmp_path):
    codes = [main(["audit", "head", *more]) for more in (["--sign", "k"], [str(tmp_path / "head"), "--sign", "none"])]

    assert codes == [2, 6], capsys.readouterr()
    assert not (tmp_path / "head").exists()


@pytest.mark.promise("audit.chain")
def test_an_edited_event_is_noticed(state, capsys):
    with sqlite3.connect(state / "ledger.sqlite3") as database:
        for (trigger,) in database.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            database.execute(f'drop trigger "{trigger}"')
        database.execute("update events set peer = 'nobody' where seq = (select min(seq) from events)")
    database.close()
    code, report, words = verified(capsys)

    assert code == 7
    assert not report["consistent"]
    assert "broken at event" in words


def forged(trailer: str) -> str:
    """A commit of someone who may push, with a trailer of their own making; its id."""
    words = ["-c", "user.name=mallory", "-c", "user.email=mallory@localhost", "commit", "-q", "--allow-empty"]
    subprocess.run(["git", *words, "-m", f"a fix\n\n{trailer}"], check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.fault("f33")
@pytest.mark.promise("audit.chain")
@pytest.mark.parametrize(
    "trailer",
    [
        "Audit-Head: " + "f" * 64,
        "Audit-Head: made up",
        "Audit-Head: \x1b[2J",
        f"Audit-Head: {'e' * 64}\nAudit-Proof: {'d' * 64}",
    ],
)
def test_a_made_up_head_is_named_as_a_claim_with_commit_and_author_and_the_ledger_is_proved_all_the_same(
    state, capsys, trailer
):
    commit_head(state)
    commit = forged(trailer)
    code, report, words = verified(capsys)

    assert code == 0
    assert report["proved_to"]
    assert report["missing_heads"] == []
    assert [(one["commit"], one["author"]) for one in report["claims"]] == [(commit, "mallory <mallory@localhost>")]
    assert commit[:12] in words
    assert "mallory" in words
    assert "\x1b" not in words


@pytest.mark.fault("f33")
@pytest.mark.promise("audit.chain")
def test_a_head_that_this_server_gave_out_is_missed_in_an_older_copy_of_its_ledger(state, tmp_path, capsys):
    shutil.copy(state / "ledger.sqlite3", tmp_path)
    main(["peer", "add", "shop", "--circle", "shop"])
    head, proof = anyio.run(head_and_proof, state)
    forged(f"Audit-Head: {head}\nAudit-Proof: {proof}")
    for file in state.glob("ledger.sqlite3*"):
        file.unlink()
    shutil.copy(tmp_path / "ledger.sqlite3", state)
    code, report, words = verified(capsys)

    assert code == 7
    assert report["consistent"]
    assert report["missing_heads"] == [head]
    assert report["claims"] == []
    assert "not in the ledger" in words


@pytest.mark.promise("audit.chain")
def test_of_a_ledger_made_anew_with_its_keys_it_says_that_it_knows_none_of_the_commits(
    state, tmp_path, monkeypatch, capsys
):
    commit_head(state)
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "other"))
    main(["peer", "add", "docs", "--circle", "docs"])
    code, report, words = verified(capsys)

    assert code == 0
    assert report["proved_to"] is None
    assert len(report["claims"]) == 1
    assert "no more than consistency" in words
    assert "were replaced" in words


async def head_and_proof(state: Path) -> tuple[str, str]:
    ledger = await Ledger.open_in(state)
    try:
        head = await ledger.head()
        return head, proof_of(await ledger.key(HEADS), head)
    finally:
        await ledger.aclose()


@pytest.mark.fault("f11")
@pytest.mark.parametrize(
    "setting",
    [
        ("trailer.separators", "="),
        ("trailer.Audit-Head.key", "Other="),
        ("i18n.logOutputEncoding", "UTF-16"),
        ("log.follow", "true"),
        ("log.diffMerges", "on"),
        ("log.showRoot", "true"),
        ("log.mailmap", "true"),
        ("log.date", "human"),
        ("format.pretty", "oneline"),
        ("format.notes", "*"),
        ("color.ui", "always"),
        ("core.quotePath", "true"),
        ("core.commentChar", "A"),
    ],
    ids=lambda pair: pair[0],
)
def test_heads_are_found_whatever_the_user_set_for_git(state, capsys, monkeypatch, tmp_path, setting):
    commit_head(state)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    subprocess.run(["git", "config", "--global", *setting], check=True)
    code, report, _ = verified(capsys)

    assert code == 0
    assert report["heads_in_commits"] == 1
    assert report["proved_to"]


def test_heads_are_found_in_the_servers_clone_where_changes_are_pushed(state, capsys, tmp_path):
    """The checkout beside the server lacks the commit: the policy in force pushes, so the clone counts."""
    subprocess.run(["git", *NAMED, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", ".", origin], check=True)
    subprocess.run(["git", "remote", "add", "origin", origin], check=True)
    commit_head(state)
    subprocess.run(["git", "push", "-q", "origin", "main"], check=True)
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD~1"], check=True)
    Path("infra.toml").write_text('[tree]\nwrite = "push"\n', encoding="utf-8")
    assert main(["policy", "accept", "--yes"]) == 0

    async def fetch() -> None:
        async with aclosing(upstream(Settings(Path.cwd(), state, None), "origin", Login())) as it:
            await it.latest("main")

    anyio.run(fetch)
    code, report, _ = verified(capsys)

    assert code == 0
    assert report["heads_in_commits"] == 1
    assert report["proved_to"]
    main(["policy", "show"])
    assert "branch main of remote origin" in capsys.readouterr().out
