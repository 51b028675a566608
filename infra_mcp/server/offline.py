"""The operator's methods without a server: on the ledger itself, while owning the state directory.

So that a newcomer can add peers and accept the policy before the first `serve`. Nothing that works on a cluster or the
repository is reachable here.
"""

from __future__ import annotations

from typing import Any

from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.server.operator import OPERATOR, Operator
from infra_mcp.server.ownership import owned
from infra_mcp.settings import Settings


async def call(settings: Settings, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Carry out one operator method.

    Raises:
        InfraError: `server-running` when a server came up meanwhile, and what the method may end in.
    """
    with owned(settings.state_dir):
        ledger = await Ledger.open_in(settings.state_dir)
        try:
            policy = PolicyInForce(settings.policy_file, ledger)
            await policy.refresh()
            return await Operator(ledger, policy).call(OPERATOR, method, params)
        finally:
            await ledger.aclose()
