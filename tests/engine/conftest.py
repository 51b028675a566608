"""A ledger fixture for a test: see `ledger_fixture`."""

import pytest
from engine.ledger_fixture import LedgerFixture
from ledger_template import open_new

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
