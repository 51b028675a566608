"""Requests in the database: taking one in, moving it on, ending it. Each function is the inside of one transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, clock, schema
from infra_mcp.ledger.database import Tx, unavailable
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Accepted, AskIn
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical, digest
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import END, OPEN, Request, State, Submission

__all__ = ["Intake", "Move", "accept", "finish", "move", "open_requests", "read", "recent", "request"]

# The order of the open states; a request goes forward only.
_ORDER = [
    State.RECEIVED,
    State.SCHEDULED,
    State.QUEUED,
    State.PLANNED,
    State.AWAITING_APPROVAL,
    State.APPLYING,
    State.VERIFYING,
    State.ROLLING_BACK,
]
_ROWS = schema.requests


@dataclass(frozen=True)
class Intake:
    """A submission on its way in: the id it gets if it is new, the ask it came in, and when."""

    submission: Submission
    request_id: str
    ask: AskIn | None
    at: str


@dataclass(frozen=True)
class Move:
    """A step of a request: its new state, what happened, and what else is known from now on (None: as before)."""

    state: State
    kind: str
    data: dict[str, Any]
    record: dict[str, Any] | None = None
    commit: str | None = None
    revert: str | None = None
    effect_digest: str | None = None


def accept(tx: Tx, masker: Masker, intake: Intake) -> Accepted | InfraError:
    """Take a submission in, or find the one it repeats.

    Returns the error when it is refused: the refusal is itself an event, so the transaction is kept.
    """
    submission, caller = intake.submission, intake.submission.caller
    action = submission.action.model_dump(mode="json")
    meant = digest({"action": action, "dry_run": submission.dry_run})
    told = {"action": written(masker, action), "idempotency_key": written(masker, submission.idempotency_key)}
    if told != {"action": action, "idempotency_key": submission.idempotency_key}:
        _refuse(tx, masker, intake, told | {"code": "invalid-argument"})
        return InfraError(
            "invalid-argument",
            "An argument holds what looks like a secret; nothing of it was kept.",
            next_step="Name a pull secret of the policy instead, and replace that secret: it was sent in the clear.",
        )
    asked = intake.ask and AskIn.model_validate(written(masker, intake.ask.model_dump()))
    earlier = _earlier(tx.connection, submission, asked, meant)
    if earlier is None:
        return _take(tx, masker, intake, asked, meant)
    if earlier["digest"] != meant:
        _refuse(tx, masker, intake, told | {"code": "idempotency-conflict", "first": earlier["id"]})
        what = f"This idempotency key stands for request {earlier['id']}, which asked for something else."
        return InfraError("idempotency-conflict", what)
    first = read(earlier)
    return Accepted(
        request=first, ask_id=asks.join(tx, first, asked, caller, intake.at) if asked else first.ask, fresh=False
    )


def _refuse(tx: Tx, masker: Masker, intake: Intake, data: dict[str, Any]) -> None:
    caller, words = intake.submission.caller, written(masker, intake.submission.words)
    append(tx, Entry(intake.at, "refused", caller.name, caller.circle, words, data))


def _earlier(connection: Connection, submission: Submission, ask: AskIn | None, meant: str) -> Any:  # noqa: ANN401 - a row
    """The request this one repeats: by key, else the open one that the same words of the same peer are about."""
    own = select(_ROWS).where(_ROWS.c.caller == submission.caller.name)
    if submission.idempotency_key is not None:
        return connection.execute(own.where(_ROWS.c.idempotency_key == submission.idempotency_key)).mappings().first()
    if ask is None:
        return None
    same = (
        own.join(schema.asks, schema.asks.c.request == _ROWS.c.id)
        .where(_ROWS.c.open, _ROWS.c.digest == meant, schema.asks.c.text == ask.text)
        .where(schema.asks.c.sender == submission.caller.name, schema.asks.c.receiver == ask.receiver)
        .order_by(_ROWS.c.position)
    )
    return connection.execute(same).mappings().first()


def _take(tx: Tx, masker: Masker, intake: Intake, ask: AskIn | None, meant: str) -> Accepted:
    submission, caller = intake.submission, intake.submission.caller
    opened = asks.opened(caller, ask, intake.at, intake.request_id) if ask else None
    words, reason = written(masker, submission.words), written(masker, submission.reason)
    action = submission.action.model_dump(mode="json")
    told = {
        "action": action,
        "door": submission.door,
        "dry_run": submission.dry_run,
        "idempotency_key": submission.idempotency_key,
        "reason": reason,
        "strength": caller.strength,
    }
    if ask:
        told |= {"receiver": ask.receiver} | ({"ask": ask.text} if ask.text != words else {})
    ask_id = opened.id if opened else None
    entry = Entry(
        intake.at, "received", caller.name, caller.circle, words, told, State.QUEUED, intake.request_id, ask_id
    )
    position, _ = append(tx, entry)
    row = {
        "id": intake.request_id,
        "position": position,
        "caller": caller.name,
        "circle": caller.circle,
        "strength": caller.strength,
        "operator": caller.operator,
        "door": submission.door,
        "action": canonical(action).decode(),
        "digest": meant,
        "state": State.QUEUED,
        "open": True,
        "created": intake.at,
        "words": words,
        "reason": reason,
        "idempotency_key": submission.idempotency_key,
        "dry_run": submission.dry_run,
        "ask": ask_id,
        "commit_id": None,
        "revert_id": None,
        "effect_digest": None,
        "record": "{}",
        "receipt": None,
    }
    tx.connection.execute(insert(_ROWS), row)
    if opened:
        asks.insert_row(tx.connection, opened)
    return Accepted(request=read(row), ask_id=ask_id, fresh=True)


def move(tx: Tx, masker: Masker, request_id: str, step: Move) -> str:
    """Move an open request forward; returns the new head.

    A step taken again, after an interruption, is recorded and does not take the state back.

    Raises:
        ValueError: there is no such request, it has ended, the state is an end, or a rollback would be given up.
    """
    row = _open_row(tx.connection, request_id)
    before = State(row["state"])
    if step.state not in OPEN or (before is State.ROLLING_BACK and step.state is not before):
        msg = f"request {request_id} cannot go from {before} to {step.state}"
        raise ValueError(msg)
    state = max(before, step.state, key=_ORDER.index)
    data = written(masker, step.data)
    record = None if step.record is None else written(masker, step.record)
    _, head = append(tx, replace(_entry(row, state, step.kind, data), text=_said(data), also=record))
    known = {
        "record": None if record is None else canonical(record).decode(),
        "commit_id": step.commit,
        "revert_id": step.revert,
        "effect_digest": step.effect_digest,
    }
    values = {name: value for name, value in known.items() if value is not None}
    tx.connection.execute(update(_ROWS).where(_ROWS.c.id == request_id).values(state=state, **values))
    return head


def finish(tx: Tx, masker: Masker, request_id: str, receipt: Receipt, data: dict[str, Any]) -> Receipt:
    """End a request: its one terminal event, its receipt, the ack of every ask about it, and their delivery.

    Raises:
        ValueError: there is no such request, it has ended already, or the receipt's state is no end or another's.
    """
    row = _open_row(tx.connection, request_id)
    if receipt.state not in END or receipt.request != request_id:
        msg = f"a receipt of {receipt.request} in state {receipt.state} cannot end request {request_id}"
        raise ValueError(msg)
    told = written(masker, receipt.model_copy(update={"audit_head": ""}).model_dump(mode="json"))
    entry = _entry(row, receipt.state, "finished", written(masker, data) | {"receipt": told})
    _, head = append(tx, replace(entry, text=told["message"]))
    told["audit_head"] = head
    known = {"commit_id": receipt.commit, "revert_id": receipt.revert, "effect_digest": receipt.effect_digest}
    values = {name: value for name, value in known.items() if value is not None}
    ended: dict[str, Any] = {"state": receipt.state, "open": False, "receipt": canonical(told).decode()}
    tx.connection.execute(update(_ROWS).where(_ROWS.c.id == request_id).values(**values, **ended))
    asks.ack_all(tx.connection, request_id, told["message"], entry.at)
    return Receipt.model_validate_json(canonical(told))


def read(row: Any) -> Request:  # noqa: ANN401 - a row of `requests`
    """A row as a value.

    Raises:
        InfraError: `ledger-unavailable`, when someone made something else of it.
    """
    caller = {"name": row["caller"]} | {name: row[name] for name in ("circle", "strength", "operator")}
    same = ("id", "door", "state", "created", "words", "reason", "idempotency_key", "dry_run", "ask", "effect_digest")
    value = {name: row[name] for name in same} | {"caller": caller}
    value |= {"commit": row["commit_id"], "revert": row["revert_id"]}
    try:
        value |= {name: json.loads(row[name] or "null") for name in ("action", "record", "receipt")}
        return Request.model_validate_json(canonical(value))
    except (ValueError, TypeError) as error:
        raise unavailable(f"request {row['id']} cannot be read; it was changed by someone else") from error


def request(connection: Connection, request_id: str) -> Request | None:
    """The request of that id."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.id == request_id)).mappings().first()
    return read(row) if row else None


def open_requests(connection: Connection) -> list[Request]:
    """All requests that have not ended, in the order they came."""
    rows = connection.execute(select(_ROWS).where(_ROWS.c.open).order_by(_ROWS.c.position)).mappings()
    return [read(row) for row in rows]


def recent(connection: Connection, circle: str | None, limit: int) -> list[Request]:
    """The newest requests of a circle, or of all, newest first."""
    rows = select(_ROWS).order_by(_ROWS.c.position.desc()).limit(limit)
    if circle is not None:
        rows = rows.where(_ROWS.c.circle == circle)
    return [read(row) for row in connection.execute(rows).mappings()]


def _open_row(connection: Connection, request_id: str) -> Any:  # noqa: ANN401 - a row
    row = connection.execute(select(_ROWS).where(_ROWS.c.id == request_id)).mappings().first()
    if row is None or not row["open"]:
        msg = f"request {request_id} has ended" if row else f"there is no request {request_id}"
        raise ValueError(msg)
    return row


def _entry(row: Any, state: State, kind: str, data: dict[str, Any]) -> Entry:  # noqa: ANN401 - a row of `requests`
    return Entry(
        clock.now(), kind, row["caller"], row["circle"], data=data, state=state, request=row["id"], ask=row["ask"]
    )


def _said(data: dict[str, Any]) -> str:
    message = data.get("message", "")
    return message if isinstance(message, str) else ""
