"""*Locks, schedules, freezes*: what waits and why, what open requests hold, and when nothing may change."""

from __future__ import annotations

from typing import Any

from infra_mcp.dashboard.evidence import asked
from infra_mcp.dashboard.look import Look
from infra_mcp.engine.run import record_of, stamp
from infra_mcp.errors import InfraError


async def read(look: Look) -> dict[str, Any]:
    """The page's values."""
    open_requests = await look.ledger.open_requests()
    waiting = [
        {"request": one.id, "asked": asked(one.action), "by": one.caller.name, "state": one.state.value}
        | {"at": one.created, "why": look.engine.progress(one.id)}
        for one in open_requests
    ]
    locks = [
        {"key": key.replace("|", " "), "request": one.id, "by": one.caller.name}
        for one in open_requests
        for key in record_of(one).keys
    ]
    try:
        policy = look.engine.policy.current()
    except InfraError as error:
        return {"waiting": waiting, "locks": locks, "freezes": [], "schedules": [], "problem": str(error)}
    freezes = [
        {"id": one.id, "from": stamp(one.begins), "until": stamp(one.until), "reason": one.reason}
        | {"holds": one.holds(look.now), "over": one.until <= look.now}
        | {"match": one.match.model_dump(mode="json", exclude_none=True)}
        for one in policy.freezes
    ]
    schedules = [{"app": name, "schedule": rules.schedule} for name, rules in policy.apps.items() if rules.schedule]
    return {"waiting": waiting, "locks": locks, "freezes": freezes, "schedules": schedules, "problem": ""}
