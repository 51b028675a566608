"""Taking a request in, or finding the one it repeats: the inside of one transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, clock, peer_filters, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Accepted, Ask, AskIn
from infra_mcp.ledger.requests import read
from infra_mcp.ledger.sponsors import answering, kept
from infra_mcp.masking import Masker, texts
from infra_mcp.model.actions import Rollback
from infra_mcp.model.budget import Budget
from infra_mcp.model.digest import canonical, digest
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State, Submission

OPEN_OF_PEER = 50  # requests that have not ended, those that wait among them
OPEN_OF_CIRCLE = 200

_ROWS, _ASKS = schema.requests, schema.asks
_INSERT = insert(_ROWS)
_LINK = update(_ASKS).where(_ASKS.c.id == bindparam("which"))
_OF_CALLER = peer_filters.is_party("from", _ROWS.c.caller, _ROWS.c.circle)
_OWN = select(_ROWS).where(_OF_CALLER)
_OF_KEY = _OWN.where(_ROWS.c.idempotency_key == bindparam("key"))
_COUNT = select(func.count()).select_from(_ROWS).where(_ROWS.c.open)
_OPEN_OF_PEER = _COUNT.where(_OF_CALLER)
_OPEN_OF_CIRCLE = _COUNT.where(_ROWS.c.circle == bindparam("of"))
_APP_OF = select(_ROWS.c.app).where(_ROWS.c.id == bindparam("which"), _ROWS.c.circle == bindparam("of"))
_SAME_WORDS = (
    _OWN.join(_ASKS, _ASKS.c.request == _ROWS.c.id)
    .where(_ROWS.c.open, _ROWS.c.digest == bindparam("meant"), _ASKS.c.text == bindparam("words"))
    .where(asks.OF_SENDER, _ASKS.c.receiver == bindparam("receiver"))
    .order_by(_ROWS.c.position)
)


def accept(
    tx: Tx,
    masker: Masker,
    submission: Submission,
    *,
    request_id: str,
    ask: AskIn | None,
    at: str,
    budgets: Sequence[Budget] = (),
) -> Accepted | InfraError:
    """Take a submission in, or find the request it repeats.

    Returns the error when it is refused: the refusal is itself an event, so the transaction is kept.

    Raises:
        InfraError: `claim-taken`, when the session has not claimed the ask it acts for.
    """
    caller, action = submission.caller, submission.action.model_dump(mode="json")
    later = submission.action.later
    known = {name: value for name, value in action.items() if value is not None or name not in later}
    meant = digest({"action": known, "dry_run": submission.dry_run})
    given = {"action": action, "idempotency_key": submission.idempotency_key}
    # Names and values are public: they go into git and cluster. Refused for what a secret looks like, never for being
    # one: that would confirm a guess.
    masked = written(masker.sparing(texts(given)), given)
    if masked != given:
        _refuse(tx, masker, submission, at, masked | {"code": "invalid-argument"})
        return InfraError(
            "invalid-argument",
            "An argument looks like a secret; none of it was stored.",
            next_step="Name a pull secret of the policy instead, and replace that secret: it was sent in the clear.",
        )
    asked = ask and AskIn.model_validate(written(masker, ask.model_dump()))
    earlier = _earlier(tx.connection, submission, asked, meant)
    if earlier is None and (full := _full(tx.connection, caller)):
        return InfraError("too-many", full, next_step="Wait until some have ended, or cancel them, then send it again.")
    if earlier is None and (over := _over(tx.connection, submission, budgets, at)):
        return over
    if earlier is None:
        return _take(tx, masker, submission, request_id, asked, meant, at)
    if earlier["digest"] != meant:
        _refuse(tx, masker, submission, at, masked | {"code": "idempotency-conflict", "first": earlier["id"]})
        what = f"This idempotency key belongs to request {earlier['id']}, which asked for something else."
        return InfraError("idempotency-conflict", what)
    first = read(earlier)
    ask_id, claimed = first.ask, submission.on_behalf_of
    if claimed is not None and not submission.dry_run and first.ask != claimed:
        # The claimed ask waits for the end of the request that was made before.
        ask_id, found = claimed, _claimed(tx.connection, submission, claimed)
        append(tx, Entry(at, "asked-again", found.sender, found.circle, request=first.id, ask=claimed))
        tx.connection.execute(_LINK, {"which": claimed, "request": first.id, "acted_by": submission.session})
        if first.receipt is not None:
            asks.ack_all(tx.connection, first.id, first.receipt["message"], at)
    elif asked and ask_id is None:
        ask_id = asks.join(tx, first, asked, caller, at)
    return Accepted(request=first, ask_id=ask_id, fresh=False)


def _full(connection: Connection, caller: Caller) -> str:
    """Why no more requests of a peer, or of its circle, are taken in; empty while there is room."""
    if (connection.execute(_OPEN_OF_PEER, peer_filters.given("from", caller)).scalar() or 0) >= OPEN_OF_PEER:
        return f"This peer has {OPEN_OF_PEER} open requests already."
    if (connection.execute(_OPEN_OF_CIRCLE, {"of": caller.circle}).scalar() or 0) >= OPEN_OF_CIRCLE:
        return f"The peers of this circle have {OPEN_OF_CIRCLE} open requests already."
    return ""


def _over(connection: Connection, submission: Submission, budgets: Sequence[Budget], at: str) -> InfraError | None:
    """The refusal of a request that would be one too many in some time. Dry runs neither count nor are refused by it.

    The oldest of as many requests as may come in that time says when there is room again.
    """
    if submission.dry_run:
        return None
    moment, caller = datetime.fromisoformat(at), submission.caller
    for budget in budgets:
        whose = _ROWS.c.circle == caller.circle if budget.shared else _OF_CALLER
        recent = _ROWS.c.created > clock.after(-budget.seconds, at)  # the indexes by time are read no further back
        counted = select(_ROWS.c.created).where(whose, recent, ~_ROWS.c.dry_run).order_by(_ROWS.c.created.desc())
        given = {} if budget.shared else peer_filters.given("from", caller)
        oldest = connection.execute(counted.limit(1).offset(budget.requests - 1), given).scalar()
        left = budget.seconds - (moment - datetime.fromisoformat(oldest)).total_seconds() if oldest else 0.0
        if left > 0:
            wait = math.ceil(min(left, budget.seconds))
            who = f"The peers of circle {caller.circle}" if budget.shared else "A peer of this circle"
            what = f"{who} may send {budget.requests} requests in {budget.seconds:.0f} s, and that limit is reached."
            step = f"Send it again in {wait} s."
            return InfraError("too-many", what, next_step=step, rule=budget.rule, retry_after=wait)
    return None


def _refuse(tx: Tx, masker: Masker, submission: Submission, at: str, data: dict[str, Any]) -> None:
    caller, words = submission.caller, written(masker, submission.words)
    append(tx, Entry(at, "refused", caller.name, caller.circle, words, data | answering(caller)))


def _earlier(connection: Connection, submission: Submission, ask: AskIn | None, meant: str) -> Any:  # noqa: ANN401 - a row
    """The request this one repeats: by key, else the open one that the same words of the same peer are about."""
    given = peer_filters.given("from", submission.caller)
    if submission.idempotency_key is not None:
        return connection.execute(_OF_KEY, given | {"key": submission.idempotency_key}).mappings().first()
    if ask is None:
        return None
    given |= {"meant": meant, "words": ask.text, "receiver": ask.receiver}
    return connection.execute(_SAME_WORDS, given).mappings().first()


def _claimed(connection: Connection, submission: Submission, ask_id: str) -> Ask:
    found = asks.ask(connection, ask_id)
    session, caller = submission.session, submission.caller
    if found is None or session is None or found.claim != session or found.state != "open":
        raise asks.not_claimed()
    if found.request is not None or (found.sender, found.circle) != (caller.name, caller.circle):
        what = "An ask gets one request, in the name of its sender; this ask has one already or is another peer's."
        raise InfraError("claim-taken", what)
    return found


def _take(
    tx: Tx, masker: Masker, submission: Submission, request_id: str, ask: AskIn | None, meant: str, at: str
) -> Accepted:
    caller, behalf = submission.caller, submission.on_behalf_of
    claimed = _claimed(tx.connection, submission, behalf) if behalf is not None else None
    opened = asks.opened(caller, ask, at, request_id) if ask else None
    # A preview goes to the attendant; the ask stays open for the real thing.
    about = opened or (None if submission.dry_run else claimed)
    ask_id = about.id if about else None
    action = submission.action.model_dump(mode="json")
    words, reason = written(masker.sparing(texts(action)), submission.words), written(masker, submission.reason)
    state = State.SCHEDULED if submission.scheduled else State.QUEUED
    same = submission.model_dump(include={"dry_run", "idempotency_key"})
    same |= {"door": submission.channel, "reason": reason, "strength": caller.strength}
    data = same | {"action": action} | answering(caller)
    if claimed:
        data |= {"attendant": submission.attendant, "on_behalf_of": claimed.id, "session": submission.session}
    if submission.notify:
        data |= {"notify": submission.notify}
    if ask:
        data |= {"receiver": ask.receiver} | ({"ask": ask.text} if ask.text != words else {})
    entry = Entry(at, "received", caller.name, caller.circle, words, data, state, request_id, ask_id)
    position, _ = append(tx, entry)
    row = dict.fromkeys(_ROWS.c.keys()) | same | submission.model_dump(include={"attendant", "notify"})
    row |= {"id": request_id, "position": position, "caller": caller.name, "circle": caller.circle}
    row |= kept(answering(caller))
    row |= {
        "operator": caller.operator,
        "action": canonical(action).decode(),
        "app": _app_of(tx.connection, submission),
    }
    row |= {"digest": meant, "state": state, "open": True, "created": at, "words": words, "ask": ask_id}
    row["record"] = canonical({"version": 1, "trace": submission.trace}).decode() if submission.trace else "{}"
    tx.connection.execute(_INSERT, row)
    if opened:
        asks.insert_row(tx.connection, opened, position)
    elif ask_id is not None:
        tx.connection.execute(_LINK, {"which": ask_id, "request": request_id, "acted_by": submission.session})
    return Accepted(request=read(row), ask_id=ask_id, fresh=True)


def _app_of(connection: Connection, submission: Submission) -> str | None:
    """The app that a request is about: for a rollback, that of the request that it rolls back."""
    action = submission.action
    if not isinstance(action, Rollback):
        return getattr(action, "app", None)
    given = {"which": action.request, "of": submission.caller.circle}
    return connection.execute(_APP_OF, given).scalar()
