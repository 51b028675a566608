"""Requests: each step recorded before its effect, the one end, and finding them again. `intake` takes them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Select, bindparam, exists, func, literal_column, or_, select, true, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, clock, messages, peer_filters, schema, sponsors
from infra_mcp.ledger.database import Repository, Tx, reading
from infra_mcp.ledger.events import Entry, append, message_of, written
from infra_mcp.ledger.judgements import keep, unpacked
from infra_mcp.ledger.records import Happened
from infra_mcp.masking import Masker
from infra_mcp.model.actions import Rollback
from infra_mcp.model.digest import canonical
from infra_mcp.model.judged import Judged
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import BROUGHT, END, OPEN, PARKED, Request, State

SO = BROUGHT | {State.UNCHANGED}  # the ends at which the branch is as asked
ROLLED_BACK = "rolled-back"  # the event of a landed request whose rollback has landed
RESOLVED = "resolved"  # the event by which a person says that they have seen to what a request left
STUCK = frozenset({State.NEEDS_OPERATOR, State.UNCLEAR})  # the ends after which a person must look
_ROLLBACK = Rollback.model_fields["action"].default
# A request goes forward only.
_ORDER = list(State)
_BACK = {State.ROLLING_BACK, State.REVERTING}
_BEGUN = {State.APPLYING, State.VERIFYING, *_BACK}
_REFUSED_PUSH = (State.APPLYING, State.PROPOSED)  # nothing was written, and the change is proposed instead
_ROWS, _PEERS = schema.requests, schema.peers.c
_JSON = ("action", "record", "receipt")
_SAME = Request.model_fields.keys() & set(_ROWS.c.keys()) - {"caller", *_JSON}
_ONE = select(_ROWS).where(_ROWS.c.id == bindparam("which"))
_UPDATE = update(_ROWS).where(_ROWS.c.id == bindparam("which"))
_OPEN = select(_ROWS).where(_ROWS.c.open).order_by(_ROWS.c.position)
_PARKED = select(_ROWS).where(_ROWS.c.state.in_(sorted(PARKED))).order_by(_ROWS.c.position)
_GIVEN = select(func.count()).where(schema.approvals.c.request == _ROWS.c.id).scalar_subquery()
_JUDGED = schema.judgements.c
_WITH_JUDGED = select(_ROWS, _JUDGED.judged).outerjoin(schema.judgements, _JUDGED.request == _ROWS.c.id)
_MARKS = _PARKED.with_only_columns(
    _ROWS.c.id, _ROWS.c.state, _ROWS.c.effect_digest, func.length(_ROWS.c.record).label("record"), _GIVEN.label("given")
)
_ABOUT = select(schema.asks.c.id).where(schema.asks.c.request == bindparam("request"))
_EVENTS = schema.events.c
_NOTED = select(_EVENTS.seq).where(_EVENTS.request == bindparam("which"), _EVENTS.kind == ROLLED_BACK).limit(1)
_RESOLVED = exists().where(_EVENTS.request == _ROWS.c.id, _EVENTS.kind == RESOLVED)
# The very same action landed later, with the same files and objects: what was asked for is now confirmed, all of it.
_LATER = schema.requests.alias()
_LANDED_LATER = exists().where(
    _LATER.c.app.is_(_ROWS.c.app),  # with the next line an index, which the digest has none of
    _LATER.c.ended > _ROWS.c.ended,
    _LATER.c.digest == _ROWS.c.digest,
    _LATER.c.state == State.LANDED,
    _LATER.c.position > _ROWS.c.ended,
    func.json_extract(_LATER.c.record, "$.keys") == func.json_extract(_ROWS.c.record, "$.keys"),
)
_UNRESOLVED = select(_ROWS).where(_ROWS.c.state.in_(sorted(STUCK)), ~_RESOLVED, ~_LANDED_LATER)
_DATA = partial(func.json_extract, _EVENTS.data)
_CODE = func.coalesce(_DATA("$.receipt.error.code"), _DATA("$.code")).label("code")
_ACTION = _DATA("$.receipt.action").label("action")
# A refused call can stand for those before it that left no event.
_TIMES = func.count() + func.coalesce(func.sum(_DATA("$.refused_before")), 0)
_COUNTED = ("finished", "refused", "call-refused", "approved", "denied", "bypassed")
_HAPPENED = (
    select(_EVENTS.kind, _EVENTS.state, _ACTION, _CODE, _TIMES)
    .where(_EVENTS.seq > bindparam("after"), _EVENTS.seq <= bindparam("newest"), _EVENTS.kind.in_(_COUNTED))
    .group_by(_EVENTS.kind, _EVENTS.state, literal_column("action"), literal_column("code"))
)
_ACKS, _MESSAGES = schema.outbox, schema.messages
_MARK_ACKS = update(_ACKS).where(_ACKS.c.ask.in_(_ABOUT), peer_filters.is_party("to", _ACKS.c.receiver, _ACKS.c.circle))
_MARK_OUTCOMES = update(_MESSAGES).where(
    _MESSAGES.c.request == bindparam("request"),
    peer_filters.is_party("to", _MESSAGES.c.receiver, _MESSAGES.c.receiver_circle),
)
_MARK_READ = (_MARK_ACKS.values(delivered=bindparam("at")), _MARK_OUTCOMES.values(read=bindparam("at")))


class Requests(Repository):
    """The requests of one ledger. Whether a caller may see one is the channel's decision."""

    @effect("ledger.record")
    async def record(
        self,
        request_id: str,
        state: State,
        kind: str,
        data: dict[str, Any],
        *,
        record: dict[str, Any] | None = None,
        commit: str | None = None,
        revert: str | None = None,
        effect_digest: str | None = None,
        judged: Judged | None = None,
    ) -> str:
        """Record a step of an open request, with its new state, before the step's effect; returns the audit head.

        A request waits (is scheduled, or awaits approval) until a step says otherwise.

        Args:
            request_id: which request.
            state: the state of this step; a step taken again after an interruption does not take the request's back.
            kind: what happened, one word.
            data: what a reader of the audit should know; `message` in it is the event's text.
            record: what the engine must know after a restart, replacing the former one; None keeps that.
            commit: the commit made for it; None keeps the former one. So with `revert` and `effect_digest`.
            revert: the commit that reverts it.
            effect_digest: the digest of its effect.
            judged: how it was decided, kept with its plan; None keeps a former one.

        Raises:
            ValueError: there is no such request, it has ended, the state is an end, the step would give up a rollback,
                or would let a request wait after its first write.
        """

        def step(tx: Tx) -> str:
            row = _open_row(tx.connection, request_id)
            masker = self.masker.sparing(_public(row))
            before = State(row["state"])
            if state not in OPEN or (before in _BACK and state not in _BACK):
                msg = f"request {request_id} cannot go from {before} to {state}"
                raise ValueError(msg)
            if before in _BEGUN and state in PARKED - _BACK and (before, state) != _REFUSED_PUSH:
                msg = f"request {request_id} has begun and cannot wait: it is {before}"
                raise ValueError(msg)
            # Waiting is no progress that a step taken again could lose: it begins and ends with the step that says so.
            waits = before in PARKED or state in PARKED
            after = state if waits else max(before, state, key=_ORDER.index)
            masked, kept = written(masker, data), None if record is None else written(masker, record)
            _, head = append(tx, replace(_entry(row, after, kind, masked), text=message_of(masked), also=kept))
            known = _known(commit, revert, effect_digest, record=None if kept is None else canonical(kept).decode())
            tx.connection.execute(_UPDATE, known | {"which": request_id, "state": after})
            if judged is not None:
                keep(tx, masker, request_id, judged)
            return head

        return await self._database.write(step)

    @effect("ledger.finish")
    async def finish(
        self, request_id: str, receipt: Receipt, data: dict[str, Any], judged: Judged | None = None
    ) -> Receipt:
        """End a request: one terminal event, its receipt, and the one ack, ready for delivery, in one transaction.

        `judged` is as for `record`.

        Returns:
            The receipt as stored: masked, with the audit head that covers this very event.

        Raises:
            ValueError: the request has ended already or does not exist, or the receipt is not about its end.
        """

        def step(tx: Tx) -> Receipt:
            if judged is not None:
                masker = self.masker.sparing(_public(_open_row(tx.connection, request_id)))
                keep(tx, masker, request_id, judged)
            return finish(tx, self.masker, request_id, receipt, data)

        return await self._database.write(step)

    async def request(self, request_id: str) -> Request | None:
        """The request of that id."""
        return await self._database.read(lambda connection: request(connection, request_id))

    async def open_requests(self) -> list[Request]:
        """All requests that have not ended, oldest first."""
        return await self._list(_OPEN)

    async def parked(self, circle: str | None = None) -> list[Request]:
        """The requests of a circle, or of all, that wait for their time or for approval, oldest first."""
        return await self._list(_PARKED if circle is None else _PARKED.where(_ROWS.c.circle == circle))

    async def parked_marks(self) -> list[tuple[str, str]]:
        """Ids of all that wait, oldest first, each with a mark that changes when it, or a decision about it, does."""
        rows = await self._database.read(lambda connection: connection.execute(_MARKS).all())
        return [(row.id, f"{row.state} {row.effect_digest} {row.record} {row.given}") for row in rows]

    async def recent(self, circle: str | None, limit: int, every_open: bool = False) -> list[Request]:
        """The newest requests of a circle, or of all for None, newest first.

        Args:
            circle: whose.
            limit: how many.
            every_open: all that are open, however old, and so many of those that have ended.
        """
        mine = true() if circle is None else _ROWS.c.circle == circle
        found = select(_ROWS).where(mine).order_by(_ROWS.c.position.desc()).limit(limit)
        if every_open:
            ended = found.with_only_columns(_ROWS.c.id).where(~_ROWS.c.open)
            either = or_(_ROWS.c.open, _ROWS.c.id.in_(ended))
            found = select(_ROWS).where(mine, either).order_by(_ROWS.c.position.desc())
        return await self._list(found)

    async def unresolved(self, limit: int, request_id: str | None = None) -> list[Request]:
        """The newest requests that a person must look at, newest first; or that one, if it is one of them.

        A request leaves them when a person has resolved it, and when the same action lands later on the same files and
        objects. A later change of the same objects by another action proves nothing about what this one left.
        """
        found = _UNRESOLVED if request_id is None else _UNRESOLVED.where(_ROWS.c.id == request_id)
        return await self._list(found.order_by(_ROWS.c.position.desc()).limit(limit))

    @effect("ledger.resolve")
    async def resolve(self, request_id: str, by: Caller, reason: str) -> None:
        """Record that a person has seen to what a request left, and how; nothing else changes.

        Raises:
            InfraError: `not-found`; `invalid-argument`, when no person has to look at it, or one has.
        """

        def step(tx: Tx) -> None:
            found = request(tx.connection, request_id)
            if found is None:
                raise InfraError("not-found", "There is no such request.")
            if not listed(tx.connection, _UNRESOLVED.where(_ROWS.c.id == request_id), {}):
                what = f"{request_id} is {found.state}: no person has to look at it, or one has resolved it."
                raise InfraError("invalid-argument", what, next_step="`infra-mcp inbox` lists what waits for a person.")
            text = written(self.masker, reason)
            data = sponsors.answering(by) | {"strength": by.strength, "message": text}
            about = {"request": request_id, "ask": found.ask}
            append(tx, Entry(clock.now(), RESOLVED, by.name, found.caller.circle, text=text, data=data, **about))

        await self._database.write(step)

    async def judged(
        self, *, circle: str | None, since: str, before: str | None, limit: int
    ) -> list[tuple[Request, Judged | None]]:
        """Requests with how they were decided, as far as that was kept, newest first.

        Args:
            circle: whose; None for all.
            since: not older than this time, as the ledger writes it; empty for any.
            before: only those older than this request; None begins with the newest.
            limit: how many.
        """
        mine = true() if circle is None else _ROWS.c.circle == circle
        rows = schema.requests.alias()
        earlier = select(rows.c.position).where(rows.c.id == before).scalar_subquery()
        older = true() if before is None else _ROWS.c.position < earlier
        found = _WITH_JUDGED.where(mine, older, _ROWS.c.created >= since)
        found = found.order_by(_ROWS.c.position.desc()).limit(limit)

        def look(connection: Connection) -> list[tuple[Request, Judged | None]]:
            return [(read(row), unpacked(row["judged"])) for row in connection.execute(found).mappings()]

        return await self._database.read(look)

    async def open_states(self) -> dict[str, int]:
        """How many open requests are in each state."""
        counted = select(_ROWS.c.state, func.count()).where(_ROWS.c.open).group_by(_ROWS.c.state)
        return await self._database.read(lambda one: {row[0]: row[1] for row in one.execute(counted)})

    async def happened(self, after: int) -> tuple[list[Happened], int]:
        """What ended, was refused or decided in the events after one, counted; and the number of the newest event."""

        def look(connection: Connection) -> tuple[list[Happened], int]:
            newest = connection.execute(select(func.coalesce(func.max(_EVENTS.seq), 0))).scalar_one()
            given = {"after": after, "newest": newest}
            return [Happened(*row) for row in connection.execute(_HAPPENED, given)], newest

        return await self._database.read(look)

    async def _list(self, statement: Select[Any], **given: object) -> list[Request]:
        return await self._database.read(lambda connection: listed(connection, statement, given))


def finish(tx: Tx, masker: Masker, request_id: str, receipt: Receipt, data: dict[str, Any]) -> Receipt:
    """End a request inside a transaction, as `Requests.finish` does.

    The sender of the notify it came in, and of each that repeated it, gets the outcome, once for each notify.
    """
    row = _open_row(tx.connection, request_id)
    masker = masker.sparing(_public(row))
    if receipt.state not in END or receipt.request != request_id:
        msg = f"a receipt of {receipt.request} in state {receipt.state} cannot end request {request_id}"
        raise ValueError(msg)
    known = {"audit_head": "", "sponsor": row["sponsor"]}
    kept = written(masker, receipt.model_copy(update=known).model_dump(mode="json"))
    entry = _entry(row, receipt.state, "finished", written(masker, data) | {"receipt": kept})
    seq, head = append(tx, replace(entry, text=kept["message"]))
    kept["audit_head"] = head
    known = _known(receipt.commit, receipt.revert, receipt.effect_digest)
    known |= {"state": receipt.state, "open": False, "ended": seq, "receipt": canonical(kept).decode()}
    tx.connection.execute(_UPDATE, known | {"which": request_id})
    if receipt.state in SO:
        _note_rollback(tx, row, receipt.state, kept["message"])
    asks.ack_all(tx.connection, request_id, kept["message"], entry.at)
    for notify, sender in messages.answered(tx.connection, row).items():
        messages.outcome(tx, seq, notify, sender, kept["message"], entry.at, request_id)
    caller = Address(name=row["caller"], circle=row["circle"])
    newer = _PEERS.name == caller.name, _PEERS.circle == (caller.circle or ""), _PEERS.position > row["position"]
    if tx.connection.execute(select(_PEERS.name).where(*newer)).first() is not None:
        # It was begun for a former peer of that name, whose mail this is.
        for mark in _MARK_READ:
            tx.connection.execute(mark, peer_filters.given("to", caller) | {"request": request_id, "at": entry.at})
    return Receipt.model_validate_json(canonical(kept))


def _note_rollback(tx: Tx, row: Any, state: State, message: str) -> None:  # noqa: ANN401 - a row of `requests`
    """The trail of a request that was rolled back says by which one."""
    action = from_json(row["action"])
    if action["action"] != _ROLLBACK or (found := request(tx.connection, action["request"])) is None:
        return
    if state is State.UNCHANGED and tx.connection.execute(_NOTED, {"which": found.id}).first():
        return  # it was rolled back before
    about = {"request": found.id, "ask": found.ask}
    data = {"by": row["id"], "message": message}
    append(tx, Entry(clock.now(), ROLLED_BACK, row["caller"], row["circle"], text=message, data=data, **about))


def read(row: Any) -> Request:  # noqa: ANN401 - a row of `requests`
    """A row as a value."""
    caller = {"name": row["caller"]} | {name: row[name] for name in ("circle", "strength", "operator")}
    value = {name: row[name] for name in _SAME}
    value |= {"channel": row["door"], "commit": row["commit_id"], "revert": row["revert_id"]}
    with reading(f"request {row['id']}"):
        value |= {name: from_json(row[name] or "null") for name in _JSON}
        value |= {"caller": caller | sponsors.read(row)}
        return Request.model_validate_json(to_json(value))


def listed(connection: Connection, statement: Select[Any], given: Mapping[str, Any]) -> list[Request]:
    """The requests that a query of whole rows finds with its parameters."""
    return [read(row) for row in connection.execute(statement, given).mappings()]


def request(connection: Connection, request_id: str) -> Request | None:
    """The request of that id."""
    return next(iter(listed(connection, _ONE, {"which": request_id})), None)


def _open_row(connection: Connection, request_id: str) -> Any:  # noqa: ANN401 - a row
    row = connection.execute(_ONE, {"which": request_id}).mappings().first()
    if row is None or not row["open"]:
        msg = f"request {request_id} has ended" if row else f"there is no request {request_id}"
        raise ValueError(msg)
    return row


def _entry(row: Any, state: State, kind: str, data: dict[str, Any]) -> Entry:  # noqa: ANN401 - a row of `requests`
    about = {"request": row["id"], "ask": row["ask"]}
    return Entry(clock.now(), kind, row["caller"], row["circle"], data=data, state=state, **about)


def _known(commit: str | None, revert: str | None, effect_digest: str | None, **more: object) -> dict[str, Any]:
    """New values of columns: None leaves a column as it is."""
    columns = {"commit_id": commit, "revert_id": revert, "effect_digest": effect_digest} | more
    return {name: value for name, value in columns.items() if value is not None}


def _public(row: Any) -> str:  # noqa: ANN401 - a row of `requests`
    """The names and values of a request, which go into git and cluster as they are."""
    return f"{row['action']}\n{row['idempotency_key']}"
