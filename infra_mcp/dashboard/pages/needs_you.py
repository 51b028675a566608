"""*Needs you*, the first page: what waits for a person, what cannot be undone first; then what is under way or done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from infra_mcp.dashboard.evidence import asked, quoted, removed, sentence
from infra_mcp.dashboard.look import Look
from infra_mcp.engine.approvals import waiting_for
from infra_mcp.engine.notices import bypasses, freezes
from infra_mcp.engine.run import record_of, stamp
from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import Event
from infra_mcp.model.approval import Waiting
from infra_mcp.model.request import AT_THE_FORGE, END, Request, State
from infra_mcp.policy.approvals import in_words
from infra_mcp.policy.policy import Policy
from infra_mcp.server.answers import receipt_fields
from infra_mcp.server.tools.approve import planned

_LATEST: Final = 12  # requests that have ended
_MOST: Final = 40  # of a kind
_LATE: Final = timedelta(minutes=15)  # after which an ack that was not fetched is shown
_TOKENS: Final = 14 * 86_400.0  # seconds around the end of a token in which it is shown


async def read(look: Look) -> dict[str, Any]:
    """The page's values."""
    known = await look.ledger.recent(None, _LATEST, every_open=True)
    waits = [
        (one, waiting)
        for one in known
        if one.state is State.AWAITING_APPROVAL and (waiting := waiting_for(one)) is not None
    ]
    cards = [card(one, await look.ledger.trail(one.id), waiting) for one, waiting in waits]
    at_forge = [at_the_forge(one) for one in known if one.state in AT_THE_FORGE]
    going = [one for one in known if one.state not in END | AT_THE_FORGE | {State.AWAITING_APPROVAL}]
    stuck = await look.ledger.unresolved(_MOST)
    acks = await look.ledger.mail.undelivered(stamp(look.now - _LATE), _MOST)
    return {
        "approvals": in_order(cards)[:_MOST],
        "more": max(0, len(cards) - _MOST),
        "forge": at_forge[:_MOST],
        "stuck": [line(one) for one in stuck],
        "acks": acks,
        "tokens": [one.model_dump(mode="json") for one in await look.ledger.tokens(_TOKENS)][:_MOST],
        "freezes": freezes(_policy(look), look.now),
        "bypasses": [
            {"request": one.request, "by": one.peer, "at": one.at, "reason": one.text}
            for one in await bypasses(look.ledger, look.now)
        ],
        "troubles": troubles(look.engine.health()),
        "going": [line(one) | {"progress": look.engine.progress(one.id)} for one in going[:_MOST]],
        "latest": [line(one) for one in known if one.state in END],
    }


def card(request: Request, trail: Sequence[Event], waiting: Waiting) -> dict[str, Any]:
    """A request that waits for an approval, with what tells whether it is urgent; the evidence is a page of its own."""
    plan = planned(list(trail), waiting.digest)
    return {
        "request": request.id,
        "asked": asked(request.action),
        "by": request.caller.name,
        "circle": request.caller.circle,
        "strength": request.caller.strength,
        "sponsor": request.caller.sponsor,
        "words": quoted(request),
        "digest": waiting.digest,
        "since": waiting.since,
        "until": waiting.until,
        "effect": sentence(plan) if plan else "",
        "removed": removed(plan),
        "adopted_from": (plan.get("blast_radius") or {}).get("adopted_from", []),
        "rules": [{"rule": need.rule, "wants": in_words(need)} for need in waiting.verdict.needs],
    }


def in_order(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What cannot be undone first, then what has waited longest."""
    return sorted(cards, key=lambda one: (not one["removed"], one["since"]))


def at_the_forge(request: Request) -> dict[str, Any]:
    """A request whose pull request people merge, or the one that takes it back."""
    record, reverts = record_of(request), request.state is State.REVERTING
    mine = record.reversal if reverts else record.proposal
    return line(request) | {"url": mine.url if mine else "", "until": mine.until if mine else "", "reverts": reverts}


def line(request: Request) -> dict[str, Any]:
    """A request in a list."""
    told = receipt_fields(request)
    return {
        "request": request.id,
        "asked": asked(request.action),
        "by": request.caller.name,
        "at": request.created,
        "state": request.state.value,
        "exit": told["exit"],
        "message": told["message"],
    }


def _policy(look: Look) -> Policy | None:
    try:
        return look.engine.policy.current()
    except InfraError:
        return None


def troubles(health: dict[str, Any]) -> list[str]:
    """What the server cannot do, and what seems wrong with its ledger or its rights."""
    trouble = health.get("trouble") or {}
    found = [trouble.get("what"), health.get("ledger"), health.get("rights")]
    return [str(one) for one in found if one]
