"""Approvals: what a parked request waits for, who may decide, and whether the approvals cover a plan.

An approval is for one effect of one request. It is used up in the ledger before the first write, and from then on
covers the rest of that effect, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio

from infra_mcp import statements
from infra_mcp.clients.ssh_signature import verify
from infra_mcp.engine import report
from infra_mcp.engine.run import Dependencies, Run, record_of, stamp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.approval import (
    SIGNED,
    Approval,
    Decided,
    Proof,
    Verdict,
    Waiting,
)
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, Effect
from infra_mcp.model.peer import Caller
from infra_mcp.model.record import Approved, Mark, Record
from infra_mcp.model.request import Request, State
from infra_mcp.policy.approvals import approval_timeout, bypassable, missing, satisfied
from infra_mcp.policy.policy import Policy


def wait_for(verdict: Verdict, effect: str, before: Waiting | None, now: datetime) -> Waiting:
    """What a request waits for from now on. Asked again about the same effect, it does not wait longer."""
    if before is not None and before.digest == effect:
        return before.model_copy(update={"verdict": verdict})
    until = now + timedelta(seconds=approval_timeout(verdict))
    return Waiting(digest=effect, since=stamp(now), until=stamp(until), verdict=verdict)


def waiting_for(request: Request) -> Waiting | None:
    """What a request waits for, or last waited for, by its record."""
    return record_of(request).awaiting


async def park_if_unapproved(deps: Dependencies, run: Run, verdict: Verdict) -> bool:
    """Park a plan that has not begun and needs approvals, with what people need to decide; whether it was parked."""
    run.approved = False
    if verdict.decision == "allow":
        return False
    request, effect, now = run.request, run.plan.effect.digest, deps.now()
    if await covers(deps.ledger, request, verdict, effect, now):
        run.approved = True
        return False
    before = run.record.awaiting
    waiting = wait_for(verdict, effect, before, now)
    lacks = missing(verdict, effect, request.caller, await deps.ledger.approvals.of(request.id), now)
    moved = before is not None and before.digest != effect
    first = f"Its effect is no longer {before.digest}, which was shown before. " if before and moved else ""
    data = {
        "effect_digest": effect,
        "plan": report.shown_plan(run.plan),
        "needs": [need.model_dump(mode="json") for need in verdict.needs],
        "rule": verdict.rule,
        "missing": lacks,
        "until": waiting.until,
        "message": f"{first}It waits for an approval of {effect} until {waiting.until}: {lacks}.",
    }
    run.record = run.record.update(awaiting=waiting)
    await deps.save(run, State.AWAITING_APPROVAL, "approval-needed", data, effect_digest=effect)
    return True


async def covers(ledger: Ledger, request: Request, verdict: Verdict, effect: str, now: datetime) -> bool:
    """Whether the approvals of a request cover its plan, which has not begun.

    Those marked as used count here: the request was interrupted between the mark and its first write.
    """
    given = [one.model_copy(update={"used": None}) for one in await ledger.approvals.of(request.id)]
    return satisfied(verdict, effect, request.caller, given, now)


async def check_covered(ledger: Ledger, request: Request, verdict: Verdict, record: Record, effect: Effect) -> None:
    """Check that the approvals a request was begun on still cover the rest of it, by the policy in force now.

    Raises:
        InfraError: `needs-approval`, when the policy requires more by now; `object-moved`, when the rest of it is not
            part of the approved effect.
    """
    given = [one for one in await ledger.approvals.of(request.id) if one.used]
    begun = min((datetime.fromisoformat(one.used) for one in given if one.used), default=None)
    # An approver who was removed since counted when the approval was used.
    valid = [one.model_copy(update={"used": None, "gone": False, "vouched": True}) for one in given]
    keys = {one.approver: tuple(each.key for each in given if each.approver == one.approver) for one in given}
    verdict = verdict.model_copy(update={"signers": keys})
    enough = begun is not None and satisfied(verdict, record.digest or "", request.caller, valid, begun)
    if record.approved is None or not enough:
        raise InfraError("needs-approval", f"{verdict.reason} (rule {verdict.rule})", rule=verdict.rule)
    files = (one.path for one in effect.files if digest([one.path, one.diff]) not in record.approved.files)
    if strange := beyond(record.approved, effect.changed) or next(files, ""):
        what = f"{strange} changed while this change was under way: the rest of it differs from what was approved."
        raise InfraError("object-moved", what)


def scope(effect: Effect) -> Approved:
    """An approved effect as digests, to compare the rest of it with later."""
    changes = {change.target.key: _mark(change) for change in effect.changes}
    return Approved(changes=changes, files=tuple(digest([one.path, one.diff]) for one in effect.files))


def beyond(approved: Approved, changes: Iterable[Change]) -> str:
    """The first target whose change is not part of the approved effect; empty when all are.

    A change that was only checked against the schema then (inside a namespace still to be created) may have gained the
    server's defaults since, but still sets the same fields and takes over none. A record of the first edition knows
    the intent only; then the intent decides.
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


def _mark(change: Change) -> Mark:
    exact = change.model_dump(mode="json", include={"operation", "fields", "takes"})
    return Mark(intent=change.intent, exact=digest(exact), checked=change.checked)


@dataclass
class Decisions:
    """Records what people decide. One at a time, so that an approval and the end of the wait cannot cross."""

    ledger: Ledger
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def decide(
        self, by: Caller, request_id: str, effect: str, decided: Decided, policy: Policy, now: datetime
    ) -> tuple[Request, bool]:
        """Record one person's approval or denial, and resume or end the request.

        Args:
            by: who sent it.
            request_id: of the request.
            effect: the digest of the effect that they looked at.
            decided: what they decided, and how it came.
            policy: in force; it has the keys of those who sign.
            now: the present.

        Returns:
            The request as it is then, and whether it was resumed.

        Raises:
            InfraError: `policy-denied`: they may not decide this; `not-found`; `approval-mismatch`, with the digest the
                request has now, or how it ended; `signature-refused`;
                `invalid-argument`: a denial with a signature or a bypass, or a secret in a reason.
        """
        self._require_whole(decided)
        approver, strength = _approver(by, decided)
        async with self._lock:
            request = await self.ledger.request(request_id)
            if request is None:
                raise InfraError("not-found", f"There is no request {request_id}.")
            own = (by.name, by.circle) == (request.caller.name, request.caller.circle)
            if own or approver == request.caller.name:
                what, step = "You cannot approve your own request.", "Ask someone else to approve it."
                raise InfraError("policy-denied", what, next_step=step, rule="approval.not-self")
            waiting = _open(request, effect, now)
            if decided.bypass and not bypassable(waiting.verdict):
                what = f"No rule that {request.id} waits for may be bypassed."
                raise InfraError(
                    "policy-denied", what, next_step="Ask the others to approve it.", rule="approve.bypass"
                )
            key = await _signed_with(decided, policy, request, waiting)
            given = Approval(
                request=request.id,
                effect_digest=waiting.digest,
                approve=decided.approve,
                approver=approver,
                way=decided.way,
                strength=strength,
                key=key,
                signature=decided.signature.text if decided.signature else "",
                bypass=decided.bypass,
                at=stamp(now),
                expires=stamp(now + timedelta(seconds=approval_timeout(waiting.verdict))),
            )
            await self.ledger.approvals.give(given, looked=decided.looked)
            try:
                if not decided.approve:
                    return await self._denied(request, approver), False
                return await self._resumed(request, waiting, now)
            except ValueError:  # the request ended meanwhile
                raise _not_waiting(await self.ledger.request(request.id) or request) from None

    def _require_whole(self, decided: Decided) -> None:
        if not decided.approve and (decided.signature or decided.bypass):
            raise InfraError("invalid-argument", "A denial takes neither a signature nor a bypass.")
        if self.ledger.masker.mask(decided.bypass) != decided.bypass:
            raise InfraError("invalid-argument", "The reason of the bypass holds a secret.")

    async def look(self, request: Request, now: datetime) -> bool:
        """Expire a request that waited too long, or resume one that has its approvals; whether it was resumed."""
        async with self._lock:
            fresh = await self.ledger.request(request.id)
            waiting = waiting_for(fresh) if fresh else None
            if fresh is None or waiting is None or fresh.state is not State.AWAITING_APPROVAL:
                return False
            for one in await self.ledger.approvals.of(fresh.id):
                if not one.approve and one.effect_digest == waiting.digest:
                    await self._denied(fresh, one.approver)  # the server ended after it was recorded
                    return False
            if now >= waiting.over:
                lacks = await self.lacking(fresh, waiting, now)
                error = InfraError("not-approved", f"It was not approved in time, by {waiting.until}: {lacks}")
                await self._end(fresh, State.EXPIRED, error)
                return False
            return (await self._resumed(fresh, waiting, now))[1]

    async def lacking(self, request: Request, waiting: Waiting, now: datetime) -> str:
        """What is still missing, as a text."""
        given = await self.ledger.approvals.of(request.id)
        return missing(waiting.verdict, waiting.digest, request.caller, given, now)

    async def _resumed(self, request: Request, waiting: Waiting, now: datetime) -> tuple[Request, bool]:
        given = await self.ledger.approvals.of(request.id)
        if not satisfied(waiting.verdict, waiting.digest, request.caller, given, now):
            return request, False
        data = {"effect_digest": waiting.digest, "by": sorted({one.approver for one in given if one.approve})}
        await self.ledger.record(request.id, State.QUEUED, "resumed", data)
        return await self.ledger.request(request.id) or request, True

    async def _denied(self, request: Request, approver: str) -> Request:
        await self._end(request, State.REFUSED, InfraError("not-approved", f"It was denied by {approver}."))
        return await self.ledger.request(request.id) or request

    async def _end(self, request: Request, state: State, error: InfraError) -> None:
        await report.finish(self.ledger, Run.of(request), state, f"{error.what} Nothing was changed.", error)


def _approver(by: Caller, decided: Decided) -> tuple[str, Proof]:
    """Who decides, and how well they are known: for the person of an attending session, as its user on this machine.

    A signature says itself whose decision it is; one known by a token can only send their own.
    """
    if by.operator and decided.signature:
        if by.strength == "token" and by.name != decided.signature.signer:
            what, step = f"The signature is of {decided.signature.signer}, and you are {by.name}.", "Sign it yourself."
            raise InfraError("policy-denied", what, next_step=step, rule="approve")
        return decided.signature.signer, SIGNED
    if by.operator:
        return by.name, by.strength
    if by.attendant and decided.way == "elicitation":
        return "operator", "same-user"
    what = "Only an operator, or the person of an attending session in a form, may approve."
    raise InfraError("policy-denied", what, next_step="Ask an operator to run `infra-mcp approve`.", rule="approve")


async def _signed_with(decided: Decided, policy: Policy, request: Request, waiting: Waiting) -> str:
    """The fingerprint of the key that an approval is signed with; empty for one without a signature.

    Raises:
        InfraError: `signature-refused`.
    """
    given = decided.signature
    if given is None:
        return ""
    keys = policy.signers.get(given.signer, ())
    if not keys:
        what = f"The policy has no key of {given.signer} under [signers]."
        raise InfraError("signature-refused", what)
    text = statements.approval(request.id, waiting.digest, waiting.until, decided.bypass)
    return await verify(text, given.text, given.signer, keys, statements.APPROVAL)


def _not_waiting(request: Request) -> InfraError:
    what = f"{request.id} is not waiting for approval: it is {request.state.value}."
    return InfraError("approval-mismatch", what, next_step="Look at the request.")


def _open(request: Request, effect: str, now: datetime) -> Waiting:
    waiting = waiting_for(request)
    if request.state is not State.AWAITING_APPROVAL or waiting is None:
        raise _not_waiting(request)
    if waiting.digest != effect:
        what = f"{request.id} has the effect {waiting.digest} now, not the one you named."
        raise InfraError("approval-mismatch", what)
    if now >= waiting.over:
        what = f"{request.id} waited until {waiting.until}: it is expiring."
        raise InfraError("approval-mismatch", what, next_step="Its asker must send it again.")
    return waiting
