"""*Policy in force*: its digest, who accepted it, its text, and what the file in the work tree says otherwise."""

from __future__ import annotations

from typing import Any

from infra_mcp.dashboard.look import Look
from infra_mcp.errors import InfraError


async def read(look: Look) -> dict[str, Any]:
    """The page's values."""
    caller = look.session.caller
    shown = await look.operator.call(caller, "operator/policy.show", {})
    try:
        diff = (await look.operator.call(caller, "operator/policy.diff", {}))["diff"]
    except InfraError as error:
        diff, shown = "", shown | {"pending_problem": error.what}
    accepted = await look.ledger.accepted_by(shown["in_force"]) if shown["in_force"] else None
    return shown | {"diff": diff, "accepted": {"by": accepted[0], "at": accepted[1]} if accepted else None}
