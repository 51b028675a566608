"""*Peers and circles*: who may speak, who answers for them, and what each circle may do."""

from __future__ import annotations

from typing import Any

from infra_mcp.dashboard.look import Look
from infra_mcp.errors import InfraError


async def read(look: Look) -> dict[str, Any]:
    """The page's values."""
    listed = await look.operator.call(look.session.caller, "operator/peer.list", {})
    try:
        circles = {
            name: rules.model_dump(mode="json", exclude_defaults=True)
            for name, rules in look.engine.policy.current().circles.items()
        }
        problem = ""
    except InfraError as error:
        circles, problem = {}, str(error)
    return {"peers": listed["peers"], "circles": circles, "problem": problem}
