"""People's decisions about plans: each bound to one effect of one request, for a while, once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema, vouching
from infra_mcp.ledger.database import Repository, Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.model.approval import BYPASSED, SIGNED, Approval
from infra_mcp.model.request import State

_ROWS, _REQUESTS, _EVENTS = schema.approvals, schema.requests, schema.events


class Approvals(Repository):
    """The approvals of one ledger: `Ledger.approvals`. Whether they are enough is the policy's decision."""

    @effect("ledger.approval.give")
    async def give(self, approval: Approval, *, looked: float | None = None) -> Approval:
        """Record a decision about the effect a request waits with at this moment, in the same transaction.

        The same decision of the same person again, while the first one holds, is the first one.

        Args:
            approval: the decision.
            looked: for how many seconds the effect was before them, where that is known; its event says so.

        Raises:
            InfraError: `approval-mismatch`, when the request does not await approval, or its effect is another one;
                `not-found`, when there is no such request; `policy-denied`, when the approver was removed meanwhile.
        """
        times = {"at": clock.normal(approval.at), "expires": clock.normal(approval.expires), "used": None}
        return await self._database.write(lambda tx: _give(tx, approval.model_copy(update=times), looked))

    async def of(self, request_id: str) -> list[Approval]:
        """All decisions about a request, oldest first, for any effect, each with its approver's present standing."""
        wanted = select(_ROWS).where(_ROWS.c.request == request_id).order_by(_ROWS.c.number)

        def look(connection: Connection) -> list[Approval]:
            rows = connection.execute(wanted).mappings().all()
            known = vouching.operators(connection) if rows else vouching.Operators()
            told = _told(connection, (row["event"] for row in rows))
            removed = [row["strength"] == "token" and known.is_gone(row["approver"], row["event"]) for row in rows]
            return [
                _read(row).model_copy(
                    update={
                        "gone": gone,
                        "vouched": row["approver"] not in known.uncounted,
                        "key": told[row["event"]].get("key", ""),
                        "bypass": told[row["event"]].get("bypass", ""),
                    }
                )
                for row, gone in zip(rows, removed, strict=True)
            ]

        return await self._database.read(look)

    async def operators(self) -> vouching.Operators:
        """The operators, and which of them count where a rule wants several."""
        return await self._database.read(vouching.operators)

    @effect("ledger.approval.use")
    async def use(self, request_id: str, digest: str, now: str) -> None:
        """Use up the approvals of an effect as its first write begins; a second use changes nothing."""
        at = clock.normal(now)
        unused = and_(_ROWS.c.request == request_id, _ROWS.c.effect_digest == digest, _ROWS.c.used.is_(None))
        its_circle = select(_REQUESTS.c.circle).where(_REQUESTS.c.id == request_id)

        def step(tx: Tx) -> None:
            approvers = sorted(
                set(tx.connection.execute(select(_ROWS.c.approver).where(unused, _ROWS.c.approve)).scalars())
            )
            if approvers:
                tx.connection.execute(update(_ROWS).where(unused, _ROWS.c.approve).values(used=at))
                circle = tx.connection.execute(its_circle).scalar()
                data = {"effect_digest": digest, "approvers": approvers}
                append(tx, Entry(at, "approvals-used", None, circle, data=data, request=request_id))

        await self._database.write(step)


def _give(tx: Tx, given: Approval, looked: float | None) -> Approval:
    known = vouching.operators(tx.connection)
    if given.strength == "token" and known.is_gone(given.approver, math.inf):
        raise InfraError("policy-denied", f"{given.approver} is no longer an operator.", rule="approve")
    wanted = select(_REQUESTS).where(_REQUESTS.c.id == given.request)
    row = tx.connection.execute(wanted).mappings().first()
    if row is None:
        raise InfraError("not-found", "There is no such request.")
    if row["state"] != State.AWAITING_APPROVAL or row["effect_digest"] != given.effect_digest:
        what = "The request is not waiting for approval of this effect: its effect changed, or it no longer waits."
        raise InfraError("approval-mismatch", what)
    same = given.model_dump(include={"request", "effect_digest", "approve", "approver", "way", "strength"})
    holds = _ROWS.c.used.is_(None), _ROWS.c.expires > given.at
    newest = select(_ROWS).where(_ROWS.c.request == given.request, _ROWS.c.approver == given.approver, *holds)
    before = tx.connection.execute(newest.order_by(_ROWS.c.number.desc()).limit(1)).mappings().first()
    former = before is not None and given.strength == "token" and known.is_gone(given.approver, before["event"])
    if before is not None:  # with another key, or for another reason, it is another decision
        told = _told(tx.connection, [before["event"]])[before["event"]]
        former = former or (told.get("key", ""), told.get("bypass", "")) != (given.key, given.bypass)
    if before is not None and not former and {name: before[name] for name in same} == same:
        return _read(before)
    data: dict[str, Any] = same | {"expires": given.expires}
    data |= {} if looked is None else {"looked_ms": round(looked * 1000)}
    if given.strength == SIGNED:  # with which anyone can check it again
        data |= {"key": given.key, "signature": given.signature}
    data |= {"bypass": given.bypass} if given.bypass else {}
    kind = BYPASSED if given.bypass else "approved" if given.approve else "denied"
    about = {"request": given.request, "ask": row["ask"], "text": given.bypass}  # so that the reason is found
    entry = Entry(given.at, kind, given.approver, row["circle"], data=data, **about)
    seq, _ = append(tx, entry)
    tx.connection.execute(
        insert(_ROWS), given.model_dump(exclude={"gone", "vouched", "key", "signature", "bypass"}) | {"event": seq}
    )
    return given


def _told(connection: Connection, events: Iterable[int]) -> dict[int, dict[str, Any]]:
    """What the events of approvals say, by their numbers."""
    found = select(_EVENTS.c.seq, _EVENTS.c.data).where(_EVENTS.c.seq.in_(list(events)))
    return {seq: json.loads(data) for seq, data in connection.execute(found)}


def _read(row: Any) -> Approval:  # noqa: ANN401 - a row of `approvals`
    return Approval.model_validate({name: row[name] for name in Approval.model_fields if name in row})
