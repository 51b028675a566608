"""The link to repository and cluster ends by itself, and never the server with it."""

import anyio
import pytest

from infra_mcp.engine import connection
from infra_mcp.engine.signals import Signals
from infra_mcp.model.request import State
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.mark.fault("f08")
@pytest.mark.parametrize("fault", [ValueError("no"), ExceptionGroup("several", [KeyError("x")]), RecursionError()])
async def test_a_fault_while_connecting_is_told_and_ends_requests_instead_of_the_server(
    ledger_fixture, tmp_path, monkeypatch, fault
):
    def connect(*_):
        raise fault

    monkeypatch.setattr(connection.Cluster, "connect", connect)
    settings = Settings(repo=tmp_path, state_dir=tmp_path / "state", kubeconfig=tmp_path / "none")
    made = connection.Connection(
        settings, ledger_fixture.ledger, ledger_fixture.policy, Signals(), ledger_fixture.clock
    )
    request = await ledger_fixture.deploy()

    async with anyio.create_task_group() as group:
        await group.start(made.keep)
        await made.claim(request)
        group.cancel_scope.cancel()

    ended = await ledger_fixture.now(request)
    assert ended.state is State.FAILED
    assert ended.receipt["error"]["code"] == made.health()["trouble"]["code"] == "internal"
