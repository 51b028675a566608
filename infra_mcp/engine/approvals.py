"""People's yes and no: what a parked request waits for, who may decide, and whether what they gave carries a plan.

An approval is for one effect of one request. It is used up in the ledger before the first write, and holds from then on
for what remains of that effect, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import anyio

from infra_mcp.engine.dependencies import stamp
from infra_mcp.engine.run import record_of
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.approval import Approval, Verdict, Waiting, Way
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, Effect
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Caller, Strength
from infra_mcp.model.record import Approved, Mark, Record
from infra_mcp.model.request import Request, State
from infra_mcp.policy.approvals import approval_timeout, missing, satisfied


def wait_for(verdict: Verdict, effect: str, before: Waiting | None, now: datetime) -> Waiting:
    """What a request waits for from now on. Asked again about the same effect, the time goes on running."""
    if before is not None and before.digest == effect:
        return before.model_copy(update={"verdict": verdict})
    until = now + timedelta(seconds=approval_timeout(verdict))
    return Waiting(digest=effect, since=stamp(now), until=stamp(until), verdict=verdict)


def waiting_for(request: Request) -> Waiting | None:
    """What a request's record says that it waits for, or last waited for."""
    return record_of(request).awaiting


async def carried(ledger: Ledger, request: Request, verdict: Verdict, effect: str, now: datetime) -> bool:
    """Whether the approvals there are carry a plan that has not begun.

    One marked as used counts here: it was marked for this very request, which then was interrupted before its first
    write.
    """
    given = [one.model_copy(update={"used": None}) for one in await ledger.approvals.of(request.id)]
    return satisfied(verdict, effect, request.caller, given, now)


async def used_up(ledger: Ledger, request: Request, verdict: Verdict, effect: str, now: datetime) -> bool:
    """Use up the approvals of a plan that begins. False when they do not carry it any more: an approver was removed."""
    await ledger.approvals.use(request.id, effect, stamp(now))
    return await carried(ledger, request, verdict, effect, now)


async def still_carried(ledger: Ledger, request: Request, verdict: Verdict, record: Record, effect: Effect) -> None:
    """Whether what a request was begun on still carries what is left to do, by the policy in force now.

    Raises:
        InfraError: `needs-approval`, when the policy wants more by now; `object-moved`, when something would be done
            that was not in the effect that was approved.
    """
    given = [one for one in await ledger.approvals.of(request.id) if one.used]
    if not given or record.approved is None:
        raise InfraError("needs-approval", f"{verdict.reason} (rule {verdict.rule})", rule=verdict.rule)
    begun = min(datetime.fromisoformat(one.used) for one in given if one.used)
    # Who was removed since counted when it was used.
    valid = [one.model_copy(update={"used": None, "gone": False, "vouched": True}) for one in given]
    if not satisfied(verdict, record.digest or "", request.caller, valid, begun):
        raise InfraError("needs-approval", f"{verdict.reason} (rule {verdict.rule})", rule=verdict.rule)
    strange = beyond(record.approved, effect.changed) or _strange_file(record.approved, effect)
    if strange:
        what = f"{strange} changed while this change was under way: what is left to do is not what was approved."
        raise InfraError("object-moved", what)


def scope(effect: Effect) -> Approved:
    """What was approved, in digests, to hold a later look at what is left against."""
    changes = {change.target.key: _mark(change) for change in effect.changes}
    return Approved(changes=changes, files=tuple(_file(one.path, one.diff) for one in effect.files))


def beyond(approved: Approved, changes: Iterable[Change]) -> str:
    """The first target of these changes that was not so in the approved effect; nothing when all of it was.

    What could only be checked against the schema then (inside a namespace still to be made) may have gained the
    server's defaults since, but still sets the same and takes nothing from anyone. Where only what it should become is
    known (a record of the first edition), that decides.
    """
    for change in changes:
        if change.operation == "unchanged":
            continue
        then, now = approved.changes.get(change.target.key), _mark(change)
        if then is None or then.intent != now.intent:
            return str(change.target)
        if then.exact not in (None, now.exact) and (then.checked == "server-dry-run" or change.takes):
            return str(change.target)
    return ""


def _strange_file(approved: Approved, effect: Effect) -> str:
    return next((one.path for one in effect.files if _file(one.path, one.diff) not in approved.files), "")


def _mark(change: Change) -> Mark:
    exact = change.model_dump(mode="json", include={"operation", "fields", "takes"})
    return Mark(intent=change.intent, exact=digest(exact), checked=change.checked)


def _file(path: str, diff: str) -> str:
    return digest([path, diff])


class Decisions:
    """Takes in what people decide. One at a time, so that a yes and the end of the wait cannot cross.

    Args:
        ledger: where approvals and requests are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = anyio.Lock()

    async def decide(
        self, by: Caller, request_id: str, effect: str, *, approve: bool, way: Way, now: datetime
    ) -> tuple[Request, bool]:
        """Record one person's yes or no, with all that follows from it for the request.

        Returns:
            The request as it is then, and whether it goes on.

        Raises:
            InfraError: `policy-denied` for who may not decide this, or not any more; `not-found`; `approval-mismatch`,
                naming the digest the request has now, or how it ended.
        """
        approver, strength = _approver(by, way)
        async with self._lock:
            request = await self._ledger.request(request_id)
            if request is None:
                raise InfraError("not-found", f"There is no request {request_id}.")
            if (by.name, by.circle) == (request.caller.name, request.caller.circle):
                what = "Nobody approves what they asked for."
                raise InfraError("policy-denied", what, next_step="Someone else approves it.", rule="approval.not-self")
            waiting = _open(request, effect, now)
            given = Approval(
                request=request.id,
                effect_digest=waiting.digest,
                approve=approve,
                approver=approver,
                way=way,
                strength=strength,
                at=stamp(now),
                expires=stamp(now + timedelta(seconds=approval_timeout(waiting.verdict))),
            )
            await self._ledger.approvals.give(given)
            try:
                if not approve:
                    return await self._denied(request, approver), False
                return await self._resumed(request, waiting, now)
            except ValueError:  # it ended meanwhile
                raise _not_waiting(await self._ledger.request(request.id) or request) from None

    async def look(self, request: Request, now: datetime) -> bool:
        """Expire a request whose time is up, or let one go on whose approvals are all there.

        Returns:
            Whether it goes on.
        """
        async with self._lock:
            fresh = await self._ledger.request(request.id)
            waiting = waiting_for(fresh) if fresh else None
            if fresh is None or waiting is None or fresh.state is not State.AWAITING_APPROVAL:
                return False
            for one in await self._ledger.approvals.of(fresh.id):
                if not one.approve and one.effect_digest == waiting.digest:
                    await self._denied(fresh, one.approver)  # it was recorded, and then the server ended
                    return False
            if now >= waiting.over:
                lacks = await self.lacking(fresh, waiting, now)
                error = InfraError("not-approved", f"It was not approved in time, by {waiting.until}: {lacks}")
                await _end(self._ledger, fresh, State.EXPIRED, error)
                return False
            return (await self._resumed(fresh, waiting, now))[1]

    async def lacking(self, request: Request, waiting: Waiting, now: datetime) -> str:
        """What is still missing, in words."""
        given = await self._ledger.approvals.of(request.id)
        return missing(waiting.verdict, waiting.digest, request.caller, given, now)

    async def _resumed(self, request: Request, waiting: Waiting, now: datetime) -> tuple[Request, bool]:
        given: Sequence[Approval] = await self._ledger.approvals.of(request.id)
        if not satisfied(waiting.verdict, waiting.digest, request.caller, given, now):
            return request, False
        data = {"effect_digest": waiting.digest, "by": sorted({one.approver for one in given if one.approve})}
        await self._ledger.record(request.id, State.QUEUED, "resumed", data)
        return await self._ledger.request(request.id) or request, True

    async def _denied(self, request: Request, approver: str) -> Request:
        await _end(self._ledger, request, State.REFUSED, InfraError("not-approved", f"It was denied by {approver}."))
        return await self._ledger.request(request.id) or request


async def _end(ledger: Ledger, request: Request, state: State, error: InfraError) -> None:
    receipt = Receipt(
        request=request.id,
        state=state,
        message=f"{error.what} Nothing was changed.",
        action=request.action.action,
        effect_digest=request.effect_digest,
        error=error.as_dict(),
    )
    await ledger.finish(request.id, receipt, error.as_dict())


def _approver(by: Caller, way: Way) -> tuple[str, Strength]:
    """Who decides, and how well they are known: the person of an attending session is no better known than its user."""
    if by.operator:
        return by.name, by.strength
    if by.attendant and way == "elicitation":
        return "operator", "same-user"
    what = "Only an operator approves, or the person of a session that attends as infra, when asked."
    raise InfraError("policy-denied", what, next_step="An operator runs `infra-mcp approve`.", rule="approve")


def _not_waiting(request: Request) -> InfraError:
    what = f"{request.id} waits for no approval: it is {request.state.value}."
    return InfraError("approval-mismatch", what, next_step="Look at the request.")


def _open(request: Request, effect: str, now: datetime) -> Waiting:
    waiting = waiting_for(request)
    if request.state is not State.AWAITING_APPROVAL or waiting is None:
        raise _not_waiting(request)
    if waiting.digest != effect:
        what = f"{request.id} has the effect {waiting.digest} now, and not the one that was named."
        raise InfraError("approval-mismatch", what)
    if now >= waiting.over:
        what = f"{request.id} waited until {waiting.until}: it is expiring."
        raise InfraError("approval-mismatch", what, next_step="Its asker sends it again.")
    return waiting
