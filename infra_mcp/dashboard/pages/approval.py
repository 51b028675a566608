"""*Approval*: all that a person decides by, and the decision, which is taken exactly as the command line's is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import anyio

from infra_mcp.dashboard.evidence import asked, lost, quoted, removed, restarts, sentence, to_type, undo, whole
from infra_mcp.dashboard.look import Look
from infra_mcp.engine.approvals import waiting_for
from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event
from infra_mcp.model.approval import SIGNED, Approval, Decided, Waiting
from infra_mcp.model.request import Request, State
from infra_mcp.policy.approvals import in_words, missing
from infra_mcp.server.tools.approve import planned

_PATIENCE: Final = 2.0  # seconds for the repository to say where the branch is


async def read(look: Look, request_id: str) -> dict[str, Any]:
    """The page's values; `decides` is set where there is something to decide.

    Raises:
        InfraError: `not-found`.
    """
    found = await _request(look, request_id)
    trail = await look.ledger.trail(found.id)
    given = await look.ledger.approvals.of(found.id)
    return values(found, trail, given, look.now, await _head(look))


def values(
    request: Request, trail: Sequence[Event], given: Sequence[Approval], now: datetime, head: str
) -> dict[str, Any]:
    """What the page says of a request.

    Args:
        request: the request.
        trail: its events.
        given: the decisions about it.
        now: the present.
        head: the newest commit of the branch; empty where it is not known.
    """
    waiting = waiting_for(request) if request.state is State.AWAITING_APPROVAL else None
    plan = planned(list(trail), waiting.digest) if waiting else {}
    shown: dict[str, Any] = {
        "request": request.id,
        "asked": asked(request.action),
        "state": request.state.value,
        "by": request.caller.name,
        "circle": request.caller.circle,
        "strength": request.caller.strength,
        "sponsor": request.caller.sponsor,
        "attendant": request.attendant,
        "door": request.channel,
        "created": request.created,
        "words": quoted(request),
        "decides": {"request": request.id, "digest": waiting.digest} if waiting and plan else None,
        "plan": whole(plan),
    }
    return shown | (_evidence(request, plan, waiting, given, now, head) if waiting else {})


def _evidence(
    request: Request, plan: dict[str, Any], waiting: Waiting, given: Sequence[Approval], now: datetime, head: str
) -> dict[str, Any]:
    base = str(plan.get("base", ""))
    mine = [one for one in given if one.effect_digest == waiting.digest]
    return {
        "digest": waiting.digest,
        "since": waiting.since,
        "until": waiting.until,
        "rule": waiting.verdict.rule,
        "reason": waiting.verdict.reason,
        "needs": [{"rule": need.rule, "wants": in_words(need)} for need in waiting.verdict.needs],
        "sign": any(need.strength == SIGNED for need in waiting.verdict.needs),
        "missing": missing(waiting.verdict, waiting.digest, request.caller, given, now),
        "given": [{"by": one.approver, "approve": one.approve, "at": one.at, "way": one.way} for one in mine],
        "effect": sentence(plan),
        "adopted_from": (plan.get("blast_radius") or {}).get("adopted_from", []),
        "removed": removed(plan),
        "lost": lost(plan),
        "type": to_type(plan),
        "restarts": restarts(plan),
        "undo": undo(plan),
        "base": base,
        "moved": bool(base and head and base != head),
    }


async def decide(look: Look, form: Mapping[str, str], request_id: str) -> str:
    """Approve or deny, by a form of this session about this very effect; returns the page to go on to.

    The engine looks again, as for the command line: the request must still wait with this effect, and not expire.

    Raises:
        InfraError: `policy-denied` for another form; `invalid-argument` for another name than that of what is removed;
            what `Engine.approve` refuses.
    """
    digest, decision = form.get("digest", ""), form.get("decision", "")
    looked = look.session.shown(form.get("form", ""), request_id, digest, look.clock)
    if decision not in {"approve", "deny"}:
        raise InfraError("invalid-argument", "decision: neither approve nor deny.")
    approve = decision == "approve"
    if approve:
        found = await _request(look, request_id)
        name = to_type(planned(await look.ledger.trail(found.id), digest))
        if form.get("typed", "").strip() != name:
            what = f"This deletes or replaces {name}, and that name was not typed. Nothing was decided."
            raise InfraError("invalid-argument", what, next_step="Go back and type the name.")
    decided = Decided(approve=approve, way="page", looked=looked)
    await look.engine.approve(look.session.caller, request_id, digest, decided)
    return f"requests/{request_id}"


async def _request(look: Look, request_id: str) -> Request:
    found = await look.ledger.request(request_id)
    if found is None:
        raise InfraError("not-found", "There is no such request.")
    return found


async def _head(look: Look) -> str:
    with anyio.move_on_after(_PATIENCE):
        try:
            return await look.engine.head()
        except InfraError:
            return ""
    return ""
