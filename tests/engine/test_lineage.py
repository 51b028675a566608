"""What the engine notices as it opens its repository and its cluster."""

import shutil
import subprocess

import pytest
from engine.ledger_fixture import PAT

from infra_mcp.engine import Engine
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

POLICY = '[clusters.sandbox]\ncontext = "kwok-infra"\n'
ELSEWHERE = "f" * 64


async def _served(settings, caplog):
    """What a server that starts on this ledger says of it: by its health, and in its log."""
    caplog.clear()
    async with Engine.open(settings) as engine:
        return engine.health().get("ledger"), caplog.text


def _git(repo, *arguments):
    own = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(["git", "-C", repo, *own, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _commit(repo, head):
    _git(repo, "commit", "-q", "--allow-empty", "-m", f"Deploy docs 1\n\nAudit-Head: {head}")


@pytest.mark.fault("w04")
async def test_an_older_copy_of_the_ledger_is_noticed_at_start_against_the_newest_heads_on_the_branch(tmp_path, caplog):
    repo, state = tmp_path / "repo", tmp_path / "state"
    repo.mkdir()
    _git(repo, "init", "-q", "-b", "main")
    settings = Settings(repo=repo, state_dir=state, kubeconfig=tmp_path / "none")
    settings.policy_file.write_text(POLICY, encoding="utf-8")
    ledger = await Ledger.open_in(state)
    await PolicyInForce(settings.policy_file, ledger).accept(digest_of(POLICY), PAT)
    _commit(repo, await ledger.head())
    await ledger.aclose()
    shutil.copytree(state, tmp_path / "older")
    ledger = await Ledger.open_in(state)
    _commit(repo, newest := await ledger.note("note", "docs", {}))
    await ledger.aclose()
    last = _git(repo, "rev-parse", "HEAD")

    whole = await _served(settings, caplog)
    behind, logged = await _served(
        Settings(repo=repo, state_dir=tmp_path / "older", kubeconfig=tmp_path / "none"), caplog
    )
    _commit(repo, ELSEWHERE)  # whoever can push can write one: it is told as what it is, and hides nothing
    claimed, _ = await _served(settings, caplog)

    assert (whole[0], "older copy" in whole[1]) == (None, False)
    assert last[:12] in behind
    assert newest[:12] in behind
    assert "older copy" in behind
    assert "Ann" in behind
    assert behind in logged
    assert ELSEWHERE[:12] in claimed
