"""*Ledger*: whether the chain of events is consistent, and up to where a head that was given out proves it."""

from __future__ import annotations

from typing import Any, Final

from infra_mcp.dashboard.look import Look
from infra_mcp.model.request import END

_HEADS: Final = 200  # requests whose heads are held against the chain


async def read(look: Look) -> dict[str, Any]:
    """The page's values: the whole chain is checked anew, which takes a while in a long one."""
    ended = [one for one in await look.ledger.recent(None, _HEADS) if one.state in END]
    heads = [str(head) for one in ended if (head := (one.receipt or {}).get("audit_head"))]
    report = await look.ledger.verify(heads)
    seq, head = await look.ledger.newest()
    return report.model_dump(mode="json") | {
        "heads": len(heads),
        "last_given": heads[0] if heads else "",
        "newest": {"number": seq, "hash": head},
    }
