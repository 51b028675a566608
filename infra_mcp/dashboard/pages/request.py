"""*Request*: who asked for what, each step with its time, what was planned, what came of it, and what led to what.

Where it left something for a person, they say here that they have seen to it, and how.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from infra_mcp.dashboard.evidence import asked, quoted, restarts, sentence, steps, whole
from infra_mcp.dashboard.look import Look
from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event
from infra_mcp.ledger.requests import RESOLVED
from infra_mcp.model.approval import BYPASSED
from infra_mcp.model.request import END, Request, State
from infra_mcp.server.answers import facts
from infra_mcp.server.tools.approve import planned

_RESOLVE: Final = "resolve"  # stands in the form's token where that of an approval has the effect's digest


async def read(look: Look, request_id: str) -> dict[str, Any]:
    """The page's values.

    Raises:
        InfraError: `not-found`.
    """
    found = await look.ledger.request(request_id)
    if found is None:
        raise InfraError("not-found", "There is no such request.")
    trail = await look.ledger.trail(found.id)
    progress = look.engine.progress(found.id) if found.state not in END else ""
    known = (await facts(look.ledger, look.session.caller, found))[0]
    stuck = bool(await look.ledger.unresolved(1, found.id))
    decides = {"request": found.id, "digest": _RESOLVE} if stuck else None
    return values(found, trail, progress) | {"request": known, "decides": decides}


async def decide(look: Look, form: Mapping[str, str], request_id: str) -> str:
    """Resolve what the request left, by a form of this session; returns the page to go on to.

    Raises:
        InfraError: `policy-denied` for another form; what `operator/resolve` refuses.
    """
    look.session.shown(form.get("form", ""), request_id, _RESOLVE, look.clock)
    given = {"request_id": request_id, "reason": form.get("reason", "").strip()}
    await look.operator.call(look.session.caller, "operator/resolve", given)
    return f"requests/{request_id}"


def values(request: Request, trail: list[Event], progress: str) -> dict[str, Any]:
    """What the page says beside the facts; its plan is that of the effect the request has now."""
    plan = planned(trail, request.effect_digest) or (request.receipt or {}).get("plan") or {}
    decided = [
        {"at": event.at, "by": event.peer, "kind": event.kind, "way": event.data.get("way", "")}
        | ({"looked": event.data["looked_ms"] / 1000} if "looked_ms" in event.data else {})
        | ({"reason": event.text} if event.kind in {BYPASSED, RESOLVED} else {})
        for event in trail
        if event.kind in {"approved", "denied", BYPASSED, RESOLVED}
    ]
    return {
        "asked": asked(request.action),
        "arguments": request.action.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        "words": quoted(request),
        "open": request.state not in END,
        "awaits": request.state is State.AWAITING_APPROVAL,
        "strength": request.caller.strength,
        "sponsor": request.caller.sponsor,
        "ask": request.ask,
        "notify": request.notify,
        "steps": steps(trail, request, progress),
        "plan": whole(plan),
        "effect": sentence(plan) if plan else "",
        "restarts": restarts(plan),
        "decided": decided,
    }
