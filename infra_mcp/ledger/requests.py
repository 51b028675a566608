"""Requests in the database: moving one on, ending it, and finding them again. Taking one in is `intake`'s.

Each function is the inside of one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, bindparam, func, or_, select, update

from infra_mcp.ledger import asks, clock, messages, peers, schema
from infra_mcp.ledger.database import Tx, unavailable
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.masking import Masker
from infra_mcp.model.actions import ACTIONS, Release
from infra_mcp.model.digest import canonical
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import END, OPEN, PARKED, Request, State

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
# What a row and a request call by the same name, as it is.
_SAME = (
    "id",
    "state",
    "created",
    "words",
    "reason",
    "idempotency_key",
    "dry_run",
    "attendant",
    "notify",
    "ask",
    "effect_digest",
)
_ONE = select(_ROWS).where(_ROWS.c.id == bindparam("which"))
_UPDATE = update(_ROWS).where(_ROWS.c.id == bindparam("which"))
_OPEN = select(_ROWS).where(_ROWS.c.open).order_by(_ROWS.c.position)
_PARKED = select(_ROWS).where(_ROWS.c.state.in_(sorted(PARKED))).order_by(_ROWS.c.position)
_PARKED_OF = _PARKED.where(_ROWS.c.circle == bindparam("of"))
_GIVEN = select(func.count()).where(schema.approvals.c.request == _ROWS.c.id).scalar_subquery()
_MARKS = select(
    _ROWS.c.id, _ROWS.c.state, _ROWS.c.effect_digest, func.length(_ROWS.c.record).label("record"), _GIVEN.label("given")
)
_MARKS = _MARKS.where(_ROWS.c.state.in_(sorted(PARKED))).order_by(_ROWS.c.position)
_RECENT = select(_ROWS).order_by(_ROWS.c.position.desc()).limit(bindparam("most"))
_RECENT_OF = _RECENT.where(_ROWS.c.circle == bindparam("of"))
# An action may be about an app without bringing a version of it.
_BRING = [name for name, model in ACTIONS.items() if issubclass(model, Release)]
_RELEASES = select(_ROWS).where(
    _ROWS.c.app == bindparam("of"), ~_ROWS.c.dry_run, func.json_extract(_ROWS.c.action, "$.action").in_(_BRING)
)
_OPEN_RELEASES = _RELEASES.where(_ROWS.c.ended.is_(None)).order_by(_ROWS.c.position)
_GOOD = _RELEASES.where(_ROWS.c.state.in_([State.LANDED, State.UNCHANGED]))
_LANDED = _GOOD.order_by(_ROWS.c.ended.desc()).limit(1)
_POSITION = select(_ROWS.c.position).where(_ROWS.c.id == bindparam("which")).scalar_subquery()
_LANDED_AFTER = _GOOD.where(
    func.json_extract(_ROWS.c.action, "$.version") == bindparam("version"), _ROWS.c.position > _POSITION
).limit(1)
_ABOUT = select(schema.asks.c.id).where(schema.asks.c.request == bindparam("request"))
_OUT, _TOLD = schema.outbox.c, schema.messages.c
_ITS = _OUT.receiver == bindparam("of"), _OUT.circle.is_not_distinct_from(bindparam("in"))
_TO_IT = _TOLD.receiver == bindparam("of"), _TOLD.receiver_circle.is_not_distinct_from(bindparam("in"))
_LATE = (
    update(schema.outbox).where(_OUT.ask.in_(_ABOUT), *_ITS).values(delivered=bindparam("at")),
    update(schema.messages).where(_TOLD.request == bindparam("request"), *_TO_IT).values(read=bindparam("at")),
)


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


def move(tx: Tx, masker: Masker, request_id: str, step: Move) -> str:
    """Move an open request forward; returns the new head.

    A step taken again, after an interruption, is recorded and does not take the state back. A request waits (is
    scheduled, or awaits approval) until a step says otherwise.

    Raises:
        ValueError: there is no such request, it has ended, the state is an end, a rollback would be given up, or it
            would wait with its first write behind it.
    """
    row = _open_row(tx.connection, request_id)
    masker = masker.sparing(_public(row))
    before = State(row["state"])
    if step.state not in OPEN or (before is State.ROLLING_BACK and step.state is not before):
        msg = f"request {request_id} cannot go from {before} to {step.state}"
        raise ValueError(msg)
    if step.state in PARKED and _ORDER.index(before) >= _ORDER.index(State.APPLYING):
        msg = f"request {request_id} has begun and cannot wait: it is {before}"
        raise ValueError(msg)
    # Waiting is no progress that a step taken again could lose: it begins and ends with the step that says so.
    waits = before in PARKED or step.state in PARKED
    state = step.state if waits else max(before, step.state, key=_ORDER.index)
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
    tx.connection.execute(_UPDATE, values | {"which": request_id, "state": state})
    return head


def finish(tx: Tx, masker: Masker, request_id: str, receipt: Receipt, data: dict[str, Any]) -> Receipt:
    """End a request: its one terminal event, its receipt, the ack of every ask about it, and their delivery.

    Whoever sent the notify it came in, or one that repeated it, is told, too: once for each notify.

    Raises:
        ValueError: there is no such request, it has ended already, or the receipt's state is no end or another's.
    """
    row = _open_row(tx.connection, request_id)
    masker = masker.sparing(_public(row))
    if receipt.state not in END or receipt.request != request_id:
        msg = f"a receipt of {receipt.request} in state {receipt.state} cannot end request {request_id}"
        raise ValueError(msg)
    told = written(masker, receipt.model_copy(update={"audit_head": ""}).model_dump(mode="json"))
    entry = _entry(row, receipt.state, "finished", written(masker, data) | {"receipt": told})
    seq, head = append(tx, replace(entry, text=told["message"]))
    told["audit_head"] = head
    known = {"commit_id": receipt.commit, "revert_id": receipt.revert, "effect_digest": receipt.effect_digest}
    values = {name: value for name, value in known.items() if value is not None}
    ended: dict[str, Any] = {"state": receipt.state, "open": False, "ended": seq, "receipt": canonical(told).decode()}
    tx.connection.execute(_UPDATE, values | ended | {"which": request_id})
    asks.ack_all(tx.connection, request_id, told["message"], entry.at)
    for notify, sender in messages.answered(tx.connection, row).items():
        messages.outcome(tx, seq, notify, sender, told["message"], entry.at, request_id)
    if peers.is_newer(tx.connection, row["caller"], row["circle"], row["position"]):
        # It was begun for a former peer of that name, whose mail this is.
        for late in _LATE:
            given = {"request": request_id, "of": row["caller"], "in": row["circle"], "at": entry.at}
            tx.connection.execute(late, given)
    return Receipt.model_validate_json(canonical(told))


def read(row: Any) -> Request:  # noqa: ANN401 - a row of `requests`
    """A row as a value.

    Raises:
        InfraError: `ledger-unavailable`, when someone made something else of it.
    """
    caller = {"name": row["caller"]} | {name: row[name] for name in ("circle", "strength", "operator")}
    value = {name: row[name] for name in _SAME} | {"caller": caller}
    value |= {"channel": row["door"], "commit": row["commit_id"], "revert": row["revert_id"]}
    try:
        value |= {name: from_json(row[name] or "null") for name in ("action", "record", "receipt")}
        return Request.model_validate_json(to_json(value))
    except (ValueError, TypeError) as error:
        raise unavailable(f"request {row['id']} cannot be read; it was changed by someone else") from error


def request(connection: Connection, request_id: str) -> Request | None:
    """The request of that id."""
    row = connection.execute(_ONE, {"which": request_id}).mappings().first()
    return read(row) if row else None


def open_requests(connection: Connection) -> list[Request]:
    """All requests that have not ended, in the order they came."""
    return [read(row) for row in connection.execute(_OPEN).mappings()]


def parked(connection: Connection, circle: str | None = None) -> list[Request]:
    """Requests, of a circle or of all, that wait for their time or for approval, in the order they came."""
    rows, given = (_PARKED, {}) if circle is None else (_PARKED_OF, {"of": circle})
    return [read(row) for row in connection.execute(rows, given).mappings()]


def parked_marks(connection: Connection) -> list[tuple[str, str]]:
    """Ids of requests that wait, each with a mark that changes when it, or what was decided about it, does."""
    return [(row.id, f"{row.state} {row.effect_digest} {row.record} {row.given}") for row in connection.execute(_MARKS)]


def open_releases(connection: Connection, app: str) -> list[Request]:
    """The releases of an app that have not ended, by any channel, oldest first, without dry runs."""
    return [read(row) for row in connection.execute(_OPEN_RELEASES, {"of": app}).mappings()]


def landed_version(connection: Connection, app: str) -> str | None:
    """The version that the last release of an app to end well brought, or found there."""
    row = connection.execute(_LANDED, {"of": app}).mappings().first()
    return getattr(read(row).action, "version", None) if row else None


def landed_after(connection: Connection, app: str, version: str, request_id: str) -> bool:
    """Whether a version of an app landed by a request that came after this one."""
    given = {"of": app, "version": version, "which": request_id}
    return connection.execute(_LANDED_AFTER, given).first() is not None


def recent(connection: Connection, circle: str | None, limit: int, every_open: bool) -> list[Request]:
    """The newest requests of a circle, or of all, newest first; the newest that ended, and every open one, if asked."""
    wanted, given = (_RECENT, {}) if circle is None else (_RECENT_OF, {"of": circle})
    if every_open:
        ended = wanted.with_only_columns(_ROWS.c.id).where(~_ROWS.c.open)
        wanted = select(_ROWS).where(or_(_ROWS.c.open, _ROWS.c.id.in_(ended))).order_by(_ROWS.c.position.desc())
        wanted = wanted if circle is None else wanted.where(_ROWS.c.circle == bindparam("of"))
    return [read(row) for row in connection.execute(wanted, given | {"most": limit}).mappings()]


def _open_row(connection: Connection, request_id: str) -> Any:  # noqa: ANN401 - a row
    row = connection.execute(_ONE, {"which": request_id}).mappings().first()
    if row is None or not row["open"]:
        msg = f"request {request_id} has ended" if row else f"there is no request {request_id}"
        raise ValueError(msg)
    return row


def _entry(row: Any, state: State, kind: str, data: dict[str, Any]) -> Entry:  # noqa: ANN401 - a row of `requests`
    return Entry(
        clock.now(), kind, row["caller"], row["circle"], data=data, state=state, request=row["id"], ask=row["ask"]
    )


def _public(row: Any) -> str:  # noqa: ANN401 - a row of `requests`
    """The names and values of a request, which go into git and cluster as they are."""
    return f"{row['action']}\n{row['idempotency_key']}"


def _said(data: dict[str, Any]) -> str:
    message = data.get("message", "")
    return message if isinstance(message, str) else ""
