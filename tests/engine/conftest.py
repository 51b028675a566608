"""A shelf for a test: see `shelf`."""

import pytest
from engine.shelf import Shelf
from ledger_template import open_new

from infra_mcp.policy.acceptance import PolicyInForce


@pytest.fixture
async def shelf(tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A ledger without requests, and a policy by which releases go at once."""
    ledger = await open_new(tmp_path / "state")
    file = tmp_path / "infra.toml"
    made = Shelf(ledger, PolicyInForce(file, ledger), file)
    await made.rule()
    yield made
    await ledger.aclose()
