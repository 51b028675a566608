"""The engine as channels see it: submit, wait, look, approve, cancel.

Requests are worked on by `Worker`, at the places that `Places` connects to; what waits is looked after by `Scheduler`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Self

import anyio

from infra_mcp.clients.git import Git
from infra_mcp.drivers.base import Delivery, Setup
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.engine import report
from infra_mcp.engine.approvals import Decisions
from infra_mcp.engine.dependencies import Dependencies, stamp, utc
from infra_mcp.engine.lineage import behind
from infra_mcp.engine.places import Places
from infra_mcp.engine.readiness import Readiness
from infra_mcp.engine.retention import Retention
from infra_mcp.engine.run import Run
from infra_mcp.engine.scheduler import Scheduler
from infra_mcp.engine.signals import Signals
from infra_mcp.engine.status import status
from infra_mcp.engine.worker import PARKED_CHANGED, Worker, signals_of
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather_pair
from infra_mcp.ledger import Accepted, Ask, AskIn, Ledger
from infra_mcp.ledger.ids import request_id as new_request_id
from infra_mcp.ledger.keys import Keys
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.masking import Masker
from infra_mcp.model.approval import Way
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import END, PARKED, Request, State, Submission
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.settings import Settings

_log = logging.getLogger(__name__)
_UNBEGUN = PARKED | {State.RECEIVED, State.QUEUED, State.PLANNED}


class Engine:
    """Everything behind the channels. Made by `Engine.open`, which also recovers what was interrupted.

    Attributes:
        signals: wakes whoever waits for news: names are ids of requests and asks, and `Address.signal` of inboxes. Who
            writes such news into the ledger by itself wakes them.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        policy: PolicyInForce,
        now: Callable[[], datetime] = utc,
        deliveries: Mapping[str, Delivery] = DELIVERIES,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.masker: Masker = ledger.masker
        self.policy = policy
        self.signals = Signals()
        self._now = now
        setup = Setup(settings.kubeconfig, ledger.key, self.masker)
        self._git = Git(settings.repo, settings.state_dir / "git.lock")
        self._places = Places(setup, deliveries)
        folders = tuple(folder for folder in (settings.state_dir, settings.repo / ".git") if folder.is_dir())
        self._readiness = Readiness(folders, self._places.answer)
        self._deps = Dependencies(ledger, self._git, self._places, policy.current, now)
        self._worker = Worker(self._deps, self.signals)
        self._behind = ""  # what speaks for the ledger being an older copy
        self._decisions = Decisions(ledger)
        self._retention = Retention(ledger, policy, now)
        self._scheduler = Scheduler(ledger, policy, self.signals, self._decisions, self._resume, now)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, *, policy_pin: str | None = None, deliveries: Mapping[str, Delivery] = DELIVERIES
    ) -> AsyncIterator[Self]:
        """Open the ledger, take up interrupted work and serve until the block ends.

        The cluster and the context are those that the accepted policy names. Without an accepted policy there is
        nothing to work on: reads and acceptance go on, and requests are refused.

        Args:
            settings: where things are.
            policy_pin: a digest that is in force without an acceptance in the ledger.
            deliveries: the deliveries there are.

        Raises:
            InfraError: `ledger-unavailable`, `ledger-newer`.
        """
        masker = Masker(Keys(settings.state_dir).key("masking"))
        ledger = await Ledger.open(settings.ledger_url, masker)
        try:
            policy = PolicyInForce(settings.policy_file, ledger, policy_pin)
            await policy.refresh()
            engine = cls(settings, ledger, policy, deliveries=deliveries)
            async with anyio.create_task_group() as group:
                await group.start(engine._places.keep, policy, partial(engine.signals.wake, PARKED_CHANGED))
                await group.start(engine._worker.run)
                await engine._look_at_ledger()
                group.start_soon(engine._scheduler.run)
                group.start_soon(engine._retention.run)
                try:
                    yield engine
                finally:
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await engine._git.aclose()
                await ledger.aclose()

    async def submit(self, submission: Submission, ask: AskIn | None = None) -> Accepted:
        """Make a request durable and hand it to the worker; a scheduled one waits for its time first.

        Made on behalf of the sender of an ask, the ask must still be claimed by the session when it is taken in.

        Raises:
            InfraError: `invalid-argument` when the action carries what looks like a secret, `idempotency-conflict`,
                `claim-taken`, `ledger-unavailable`.
        """
        now = stamp(self._now())
        accepted = await self.ledger.accept(submission, request_id=new_request_id(), ask=ask, now=now)
        if accepted.ask_id is not None and accepted.ask_id != accepted.request.ask:
            # One more ask about a request: whoever waits for it already learns of the end, too, and of what was before.
            self.signals.also(accepted.request.id, accepted.ask_id)
            self.signals.wake(accepted.ask_id)
        if accepted.fresh:
            self._begin(accepted.request)
        return accepted

    def _begin(self, request: Request) -> None:
        if request.state in PARKED:
            self.signals.wake(PARKED_CHANGED)
        else:
            self._worker.enqueue(request)

    async def notified(
        self, sender: Caller, infra: Address, text: str, releases: Sequence[ReleaseIn], *, now: str | None = None
    ) -> tuple[str, list[Accepted]]:
        """Make a notify to the infra peer durable with all that follows from it, and see to its releases.

        Args:
            sender: who sent it, as the transport knows it.
            infra: the infra peer.
            text: the words.
            releases: what policy makes of it, each a release to take in or a refusal to tell.
            now: the time, ISO 8601; the present when left out.

        Returns:
            The notify's id, and what was taken in.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        at = now or stamp(self._now())
        own = Address(name=sender.name, circle=sender.circle).signal
        for release in releases:
            # The end of a request is told to whoever announced the same release, too, be it taken in or repeated.
            self.signals.also(release.same or release.request_id, own)
        with anyio.CancelScope(shield=True):  # what is taken in is also begun
            told, taken = await self.ledger.mail.notified(sender, infra, text, releases, now=at)
            for accepted in taken:
                if accepted.fresh:
                    self._begin(accepted.request)
        gone = [one for release in releases for one in release.supersedes]
        self.signals.wake(told, *gone, own, infra.signal, PARKED_CHANGED)
        return told, taken

    async def wait(
        self, request_id: str, seconds: float, seen: Callable[[Request], None] | None = None, *, to_end: bool = False
    ) -> Request:
        """The request at its end or when it waits for people, or as it is when the seconds run out. Wakes at once.

        Args:
            request_id: which.
            seconds: the longest wait; 0 only looks.
            seen: told how it is at each look.
            to_end: also wait for the people it waits for.

        Raises:
            InfraError: `not-found`.
        """
        enough = END if to_end else END | {State.AWAITING_APPROVAL}

        async def look() -> Request:
            found = await self.ledger.request(request_id)
            if found is None:
                raise InfraError("not-found", f"There is no request {request_id}.")
            return found

        return await self.signals.until((request_id,), look, lambda request: request.state in enough, seconds, seen)

    async def wait_ask(
        self, ask_id: str, seconds: float, seen: Callable[[Ask], None] | None = None, *, request: str | None = None
    ) -> Ask:
        """The ask once it is acked, or as it is when the seconds run out. Wakes at once, whoever acks it.

        Args:
            ask_id: which.
            seconds: the longest wait; 0 only looks.
            seen: told how it is at each look.
            request: the request it is about, where that is known.

        Raises:
            InfraError: `not-found`.
        """
        names = (ask_id,) if request is None else (ask_id, request)

        async def look() -> Ask:
            found = await self.ledger.ask(ask_id)
            if found is None:
                raise InfraError("not-found", f"There is no ask {ask_id}.")
            return found

        return await self.signals.until(names, look, lambda ask: ask.state != "open", seconds, seen)

    async def get(self, caller: Caller, request_id: str) -> Request | None:
        """A request of the caller's circle, or any for who may look at all; None when there is none such to see."""
        found = await self.ledger.request(request_id)
        if found is None or not (caller.reads_all or _same_circle(caller, found)):
            return None
        return found

    def progress(self, request_id: str) -> str:
        """How far a request is, in fresh words: what the driver waits for, or what holds it back.

        Known in memory only: empty for one that has ended, and for a while after a restart.
        """
        words = self._worker.progress(request_id) or self._scheduler.words(request_id)
        return self.masker.mask(words)[:500]

    async def approve(self, by: Caller, request_id: str, digest: str, *, approve: bool, way: Way) -> Request:
        """Take in a person's yes or no to the effect of a request that waits for it.

        A no ends the request. A yes is recorded; when it was the last one missing, the request goes on: it is planned
        and decided anew, and only carried out if its effect is still the one that was approved.

        Args:
            by: who decides, as the channel knows them: an operator, or for `elicitation` an attendant whose person did.
            request_id: which request.
            digest: of the effect they looked at.
            approve: yes or no.
            way: how the decision came.

        Returns:
            The request as it is then.

        Raises:
            InfraError: `policy-denied` for whoever may not decide this, the asker above all; `not-found`;
                `approval-mismatch`, naming the digest it has now; `ledger-unavailable`.
        """
        with anyio.CancelScope(shield=True):
            request, goes_on = await self._decisions.decide(
                by, request_id, digest, approve=approve, way=way, now=self._now()
            )
        if goes_on:
            self._worker.enqueue(request)
        self.signals.wake(*signals_of(request))
        return request

    async def cancel(self, caller: Caller, request_id: str) -> Request:
        """Cancel a request before its first write, also one that waits for its time or for people.

        Raises:
            InfraError: `not-found`; `too-late`, saying what happens instead.
        """
        found = await self.get(caller, request_id)
        if found is None or not _may_cancel(caller, found):
            raise InfraError("not-found", f"There is no request {request_id}, or it is not yours.")
        if found.state is State.CANCELLED:
            return found
        if found.state in END:
            raise InfraError("too-late", f"{request_id} has ended: {found.state.value}.")
        if self._worker.cancel(request_id):
            return await self.wait(request_id, 30.0)
        if found.state in _UNBEGUN and not self._worker.busy(request_id):
            return await self._cancel_idle(found)
        what = f"{request_id} is {found.state.value}: its first write has begun, and it goes on to its end."
        raise InfraError("too-late", what)

    async def _cancel_idle(self, request: Request) -> Request:
        """End a request that nobody works on."""
        made = report.receipt(Run.of(request), State.CANCELLED, "Cancelled before anything was changed.")
        with suppress(ValueError):  # it has ended by itself meanwhile
            await self.ledger.finish(request.id, made, {})
        self.signals.wake(*signals_of(request))
        return await self.wait(request.id, 0)

    async def status(self, caller: Caller, *, namespace: str | None = None, app: str | None = None) -> dict[str, Any]:
        """What is there and what waits, as far as the caller may see. See `status.status` and `waiting`."""
        look = partial(status, self._deps, caller, namespace, app)
        found, waiting = await gather_pair(look, partial(self.waiting, caller))
        return found | {"waiting": waiting}

    async def waiting(self, caller: Caller) -> list[dict[str, Any]]:
        """What waits for its time or for people, as far as the caller may see: what, since when, until when, and why.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        return await self._scheduler.waiting(caller)

    async def idle(self) -> bool:
        """Whether there is no open work: no request that has not ended, and no ask to the infra peer without an answer.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        if await self.ledger.open_requests():
            return False
        try:
            infra = self.policy.current().peer.name
        except InfraError:
            infra = "infra"
        return not await self.ledger.mail.unanswered(infra)

    async def missing(self) -> list[str]:
        """What a change would lack now: `cluster`, `disk`. Looked at afresh, at most once a second."""
        return await self._readiness.missing()

    def health(self) -> dict[str, Any]:
        """Whether work can be done, and how much there is, without asking anyone.

        `rights` are those that the server's logins should not have; None until they were looked at. `ledger` says what
        speaks for it being an older copy.
        """
        troubles, rights = list(self._places.trouble.values()), list(self._places.rights.values())
        return {
            "working": not troubles,
            "open": self._worker.working_on,
            "cluster": self._cluster(),
            "trouble": troubles[0].as_dict() if troubles else None,
            "ledger": self._behind or None,
            "rights": " ".join(filter(None, rights)) if rights else None,
            "parked": self._scheduler.parked,
        }

    async def _look_at_ledger(self) -> None:
        """Notice an older copy of the ledger, by the heads that commits carry."""
        with suppress(InfraError):  # whoever needs the branch next says what is wrong with it
            self._behind = await behind(self._git, self.ledger, self.policy.current().tree.branch)
        if self._behind:
            _log.warning("%s", self._behind)

    def _resume(self, request: Request) -> bool:
        if self._places.trouble:
            return False
        self._worker.resume(request)
        return True

    def _cluster(self) -> str | None:
        try:
            return self.policy.current().cluster_name()
        except InfraError:
            return None


def _same_circle(caller: Caller, request: Request) -> bool:
    return caller.circle is not None and caller.circle == request.caller.circle


def _may_cancel(caller: Caller, request: Request) -> bool:
    """Who asked, who acted for them, and operators."""
    asked = caller.name == request.caller.name and _same_circle(caller, request)
    return caller.operator or asked or (caller.attendant and caller.name == request.attendant)
