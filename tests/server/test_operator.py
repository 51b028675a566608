"""What an operator may ask of a server beside the tools."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
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
async def test_no_peer_gets_the_name_of_the_infra_peer_or_of_a_caller_without_a_token(operator, name, kind):
    with pytest.raises(InfraError) as refused:
        await operator.call(OPERATOR, "operator/peer.add", {"name": name, **kind})

    assert refused.value.code == "invalid-argument"
    assert (await operator.call(OPERATOR, "operator/peer.list", {}))["peers"] == []


@pytest.mark.promise("policy.accepted")
async def test_what_a_new_version_can_do_and_the_policy_grants_is_named_until_it_is_accepted_again(operator, tmp_path):
    text = '[circles.docs]\nactions = ["deploy", "scale", "remove"]\n[attend]\nactions = ["restart"]\n'
    (tmp_path / "infra.toml").write_text(text, encoding="utf-8")
    digest = digest_of(text)
    await operator.ledger.accept_policy(digest, text, "operator")  # as the first edition did
    await operator.policy.refresh()

    for method in ("operator/policy.show", "operator/policy.diff"):
        shown = await operator.call(OPERATOR, method, {})
        assert (shown["in_force"], shown["pending"], shown["waiting"]) == (digest, None, ["restart", "scale"])

    made = await operator.call(OPERATOR, "operator/policy.accept", {"digest": digest})
    assert made["in_force"] == digest
    assert (await operator.call(OPERATOR, "operator/policy.diff", {}))["waiting"] == []
