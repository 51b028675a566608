"""What an operator may ask of a server beside the tools."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.server.operator import OPERATOR, Operator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operator(tmp_path):
    ledger = await Ledger.open_in(tmp_path / "state")
    yield Operator(ledger, PolicyInForce(tmp_path / "infra.toml", ledger))
    await ledger.aclose()


@pytest.mark.fault("w09")
@pytest.mark.parametrize("name", ["operator", "Operator", "OPERATOR", "0perator", "Reader", "INFRA", "Infra", "1NFRA"])
@pytest.mark.parametrize("kind", [{"operator": True}, {"circle": "docs"}])
async def test_nobody_is_called_like_the_infra_peer_or_whoever_has_no_token(operator, name, kind):
    with pytest.raises(InfraError) as refused:
        await operator.call(OPERATOR, "operator/peer.add", {"name": name, **kind})

    assert refused.value.code == "invalid-argument"
    assert (await operator.call(OPERATOR, "operator/peer.list", {}))["peers"] == []
