"""Fixtures of the engine's tests: a ledger, and the grounds of changes that are proposed."""

import pytest
from engine.forge_ground import GiteaGround, WorldGround, forge_of
from engine.ledger_fixture import LedgerFixture
from engine.two_kinds import register
from ledger_template import open_new

from infra_mcp.engine.repositories import Repositories
from infra_mcp.policy.acceptance import PolicyInForce


@pytest.fixture
async def ledger_fixture(tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A ledger without requests, and a policy by which releases go at once."""
    ledger = await open_new(tmp_path / "state")
    file = tmp_path / "infra.toml"
    made = LedgerFixture(ledger, PolicyInForce(file, ledger), file)
    await made.rule()
    yield made
    await ledger.aclose()


@pytest.fixture(params=["a forge in memory", pytest.param("a Gitea", marks=pytest.mark.process)])
def ground(request, tmp_path, monkeypatch):
    """The ground of changes that are proposed, at both forges."""
    register(monkeypatch)
    real = request.param == "a Gitea"
    made = GiteaGround(tmp_path, request.getfixturevalue("gitea")) if real else WorldGround(tmp_path)
    if not real:
        monkeypatch.setattr(Repositories, "forge", forge_of(made))
    made.make()
    return made


@pytest.fixture
def at_gitea(tmp_path, monkeypatch, gitea):
    """The ground for what there is at a real forge only."""
    register(monkeypatch)
    made = GiteaGround(tmp_path, gitea)
    made.make()
    return made
