"""The engine as channels see it: submit, wait, look, approve, cancel.

`Worker` works on requests, at the places that `Places` connects to; `Scheduler` looks after those that are parked here,
and `Proposals` after those that wait for people at a forge.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar

import anyio

from infra_mcp.drivers.base import Delivery, Setup
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.engine import report
from infra_mcp.engine.approvals import Decisions
from infra_mcp.engine.apps import apps, healths
from infra_mcp.engine.forge_rights import forge_rights
from infra_mcp.engine.health import Readiness, missing_head
from infra_mcp.engine.notices import Notices
from infra_mcp.engine.places import Places
from infra_mcp.engine.proposals import Proposals
from infra_mcp.engine.propose import withdraw
from infra_mcp.engine.repositories import Repositories
from infra_mcp.engine.run import Dependencies, Run, stamp, utc
from infra_mcp.engine.scheduler import Scheduler, keep_purging
from infra_mcp.engine.signals import PARKED_CHANGED, PROPOSALS, Signals, signals_of
from infra_mcp.engine.status import status
from infra_mcp.engine.worker import Worker
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather_pair
from infra_mcp.ledger import Accepted, Ask, AskIn, Ledger
from infra_mcp.ledger.ids import request_id as new_request_id
from infra_mcp.ledger.keys import Keys
from infra_mcp.ledger.records import ReleaseIn
from infra_mcp.masking import Masker
from infra_mcp.model.approval import Decided
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import END, FOR_PEOPLE, PARKED, Request, State, Submission
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.repository.builds import Builds
from infra_mcp.settings import Settings, given_tool
from infra_mcp.telemetry import asked

_log = logging.getLogger(__name__)
_NOT_BEGUN = PARKED | {State.RECEIVED, State.QUEUED, State.PLANNED}
T = TypeVar("T")


class Engine:
    """Everything behind the channels. Made by `Engine.open`, which also recovers what was interrupted.

    Every method that reads or writes the ledger may raise `ledger-unavailable`.

    Attributes:
        signals: wakes those who wait for news: names are ids of requests and asks, and `Address.signal` of inboxes.
            Code that writes such news into the ledger without the engine must wake them.
        missing: what a change would lack now: `cluster`, `disk`. Checked at most once a second.
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
        self._repositories = Repositories(settings)
        forge = self._repositories.forge
        setup = Setup(
            settings.kubeconfig,
            ledger.key,
            self.masker,
            settings.state_dir,
            forge,
            partial(self.signals.waiter, PROPOSALS),
        )
        self._places = Places(setup, deliveries)
        folders = tuple(folder for folder in (settings.state_dir, settings.repo / ".git") if folder.is_dir())
        self.missing = Readiness(folders, self._places.answer).missing
        builds = Builds(self.masker.mask)
        self._deps = Dependencies(ledger, self._repositories, self._places, policy.current, now, builds)
        self._worker = Worker(self._deps, self.signals)
        self._older = ""  # why the ledger seems to be an older copy
        self._forge_rights: str | None = None  # what differs from those that proposals need
        self._decisions = Decisions(ledger)
        self._proposals = Proposals(self._deps, self.signals, self._worker.enqueue)
        self._scheduler = Scheduler(ledger, policy, self.signals, self._decisions, self._enqueue_if_connected, now)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        *,
        policy_pin: str | None = None,
        deliveries: Mapping[str, Delivery] = DELIVERIES,
    ) -> AsyncIterator[Self]:
        """Open the ledger, recover interrupted requests and serve until the block ends.

        The accepted policy names the places; `policy_pin` is a digest that is in force without an acceptance. Without a
        policy, reads and acceptance work, and requests are refused.

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
                await engine._check_ledger()
                group.start_soon(engine._scheduler.run)
                group.start_soon(engine._proposals.run)
                group.start_soon(engine._check_forge)
                group.start_soon(keep_purging, ledger, policy, engine._now)
                if program := given_tool("INFRA_MCP_NOTICE"):
                    group.start_soon(Notices(ledger, engine.signals, program, settings.repo).run)
                try:
                    yield engine
                finally:
                    group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await engine._repositories.aclose()
                await ledger.aclose()

    async def submit(self, submission: Submission, ask: AskIn | None = None) -> Accepted:
        """Make a request durable and enqueue it; a scheduled one waits for its time first.

        On behalf of an ask, the session must still hold the claim of that ask.

        Raises:
            InfraError: `invalid-argument` when the action contains what looks like a secret, `idempotency-conflict`,
                `claim-taken`; `too-many`, when too many are open or came in a time.
        """
        now = stamp(self._now())
        submission = submission.model_copy(update={"trace": asked()})
        budgets, new = self.policy.budgets(submission.caller.circle), new_request_id()
        accepted = await self.ledger.accept(submission, request_id=new, ask=ask, now=now, budgets=budgets)
        if accepted.ask_id is not None and accepted.ask_id != accepted.request.ask:
            # One more ask about a request: its waiters learn of the end, too, and of what happened before.
            self.signals.also(accepted.request.id, accepted.ask_id)
            self.signals.wake(accepted.ask_id)
        self._begin(accepted)
        return accepted

    def _begin(self, accepted: Accepted) -> None:
        if accepted.fresh and accepted.request.state in PARKED:
            self.signals.wake(PARKED_CHANGED)
        elif accepted.fresh:
            self._worker.enqueue(accepted.request)

    async def notified(
        self,
        sender: Caller,
        infra: Address,
        text: str,
        releases: Sequence[ReleaseIn],
        *,
        now: str | None = None,
        notify: str | None = None,
    ) -> tuple[str, list[Accepted]]:
        """Make a notify to the infra peer durable, together with its releases, and begin those.

        Args:
            sender: who sent it, as the transport knows it.
            infra: the infra peer.
            text: the message.
            releases: what policy makes of it, each a release to accept or a refusal to report.
            now: the time, ISO 8601; the present when left out.
            notify: the notify's id, where its sender gives it one: the second of an id does nothing.

        Returns:
            The notify's id, and what was accepted.
        """
        own = Address(name=sender.name, circle=sender.circle).signal
        releases = [_traced(release) for release in releases]
        for release in releases:
            # Every peer that announced a release learns of its end, also where it repeats an earlier notify.
            self.signals.also(release.same or release.request_id, own)
        with anyio.CancelScope(shield=True):  # what is accepted must also begin
            at = now or stamp(self._now())
            budgets = self.policy.budgets(sender.circle)
            sent, taken = await self.ledger.mail.notified(
                sender, infra, text, releases, now=at, notify=notify, budgets=budgets
            )
            for accepted in taken:
                self._begin(accepted)
        superseded = [one for release in releases for one in release.supersedes]
        self.signals.wake(sent, *superseded, own, infra.signal, PARKED_CHANGED)
        return sent, taken

    async def wait(
        self, request_id: str, seconds: float, seen: Callable[[Request], None] | None = None, *, to_end: bool = False
    ) -> Request:
        """The request once it has ended, or (unless `to_end`) waits for people, or as it is when the time is over.

        Zero `seconds` look once; `seen` is called with each state.

        Raises:
            InfraError: `not-found`.
        """
        enough = END if to_end else END | FOR_PEOPLE
        look = partial(_require, self.ledger.request, "request", request_id)
        return await self.signals.until((request_id,), look, lambda request: request.state in enough, seconds, seen)

    async def wait_ask(
        self, ask_id: str, seconds: float, seen: Callable[[Ask], None] | None = None, *, request: str | None = None
    ) -> Ask:
        """The ask once it is acked, or as it is when the time is over: see `wait`. `request` is its request, if known.

        Raises:
            InfraError: `not-found`.
        """
        names = (ask_id,) if request is None else (ask_id, request)
        look = partial(_require, self.ledger.ask, "ask", ask_id)
        return await self.signals.until(names, look, lambda ask: ask.state != "open", seconds, seen)

    async def get(self, caller: Caller, request_id: str) -> Request | None:
        """A request that the caller may see: one of its circle, or any for those who read all."""
        found = await self.ledger.request(request_id)
        if found is None or not (caller.reads_all or _same_circle(caller, found)):
            return None
        return found

    def progress(self, request_id: str) -> str:
        """What a request does or waits for now. Kept in memory only: empty once it has ended."""
        said = (one(request_id) for one in (self._worker.progress, self._proposals.reason, self._scheduler.reason))
        text = next(filter(None, said), "")
        return self.masker.mask(text)[:500]

    async def approve(self, by: Caller, request_id: str, digest: str, decided: Decided) -> Request:
        """Record a person's approval or denial of the effect of a parked request.

        A denial ends the request. The last missing approval resumes it: it is planned and decided again, and only
        carried out if it still has the approved effect. `by` is an operator, or for `elicitation` the attendant.

        Returns:
            The request as it is then.

        Raises:
            InfraError: `policy-denied` when they may not decide this, as its asker; `not-found`; `approval-mismatch`,
                with the digest it has now; `signature-refused`; `invalid-argument`.
        """
        policy = self.policy.current()
        with anyio.CancelScope(shield=True):
            request, resumed = await self._decisions.decide(by, request_id, digest, decided, policy, self._now())
        if resumed:
            self._worker.enqueue(request)
        self.signals.wake(*signals_of(request))
        return request

    async def head(self) -> str:
        """The newest commit of the branch that changes are made on.

        Raises:
            InfraError: without a policy, and where the repository or its remote cannot be read.
        """
        return await self._deps.git.head(self._deps.policy().tree.branch)

    async def cancel(self, caller: Caller, request_id: str) -> Request:
        """Cancel a request before its first write, also a parked one.

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
        if found.state not in _NOT_BEGUN or self._worker.busy(request_id):
            what = f"{request_id} is {found.state.value}: its first write has begun, and it goes on to its end."
            raise InfraError("too-late", what)
        run = Run.of(found)
        if run.merged or found.state is State.REVERTING:
            raise InfraError("too-late", f"{request_id} was merged: it goes on to its end.")
        proposal = run.record.proposal
        with self._proposals.cancelling(request_id):
            if proposal and not await withdraw(self._deps, proposal, f"Cancelled by {caller.name}."):
                self.signals.wake(PROPOSALS)
                raise InfraError("too-late", f"{request_id} was merged: it goes on to its end.")
            with suppress(ValueError):  # it ended meanwhile
                what = "Cancelled before anything was changed."
                await report.finish(self.ledger, run, State.CANCELLED, what)
        self.signals.wake(*signals_of(found))
        return await self.wait(found.id, 0)

    async def status(
        self, caller: Caller, *, namespace: str | None = None, app: str | None = None, place: str | None = None
    ) -> dict[str, Any]:
        """What there is and what is parked, as far as the caller may see: `status.status`, `Scheduler.waiting`."""
        look = partial(status, self._deps, caller, namespace, app, place)
        found, waiting = await gather_pair(look, partial(self._scheduler.waiting, caller))
        return found | {"waiting": waiting}

    async def apps(self, caller: Caller, app: str | None = None) -> list[dict[str, Any]]:
        """The apps that the repository holds, as far as the caller may see: `apps.apps`."""
        return await apps(self._deps, caller, app)

    async def healths(self, lines: Sequence[Mapping[str, Any]], seconds: float) -> list[dict[str, Any] | None]:
        """The live health of each of these instances of apps, where it was read in time: `apps.healths`."""
        return await healths(self._deps, lines, seconds)

    async def idle(self) -> bool:
        """Whether every request has ended and every ask to the infra peer is answered."""
        if await self.ledger.open_requests():
            return False
        try:
            infra = self.policy.current().peer.name
        except InfraError:
            infra = "infra"
        return not await self.ledger.mail.unanswered(infra)

    def health(self) -> dict[str, Any]:
        """Whether work can be done, and how much there is, from memory.

        `rights` are those that the server's logins should not have, and those that its token at the forge lacks; None
        until they were checked. `ledger` says why it seems to be an older copy.
        """
        troubles = list(self._places.trouble.values())
        rights = [one for one in (*self._places.rights.values(), self._forge_rights) if one is not None]
        try:
            cluster = self.policy.current().cluster_name()
        except InfraError:
            cluster = None
        return {
            "working": not troubles,
            "open": self._worker.working_on,
            "cluster": cluster,
            "trouble": troubles[0].as_dict() if troubles else None,
            "ledger": self._older or None,
            "rights": " ".join(filter(None, rights)) if rights else None,
            "parked": self._scheduler.parked,
        }

    async def _check_ledger(self) -> None:
        with suppress(InfraError):  # the next one who needs the branch reports what is wrong with it
            self._older = await missing_head(self._deps.git, self.ledger, self.policy.current().tree.branch)
        if self._older:
            _log.warning("%s", self._older)

    async def _check_forge(self) -> None:
        self._forge_rights = await forge_rights(self._deps)
        if self._forge_rights:
            _log.warning("%s", self._forge_rights)

    def _enqueue_if_connected(self, request: Request) -> bool:
        if not self._places.trouble:
            self._worker.enqueue(request)
        return not self._places.trouble


async def _require(read: Callable[[str], Awaitable[T | None]], kind: str, identity: str) -> T:
    found = await read(identity)
    if found is None:
        raise InfraError("not-found", f"There is no {kind} {identity}.")
    return found


def _traced(release: ReleaseIn) -> ReleaseIn:
    submission = release.submission and release.submission.model_copy(update={"trace": asked()})
    return release.model_copy(update={"submission": submission})


def _same_circle(caller: Caller, request: Request) -> bool:
    return caller.circle is not None and caller.circle == request.caller.circle


def _may_cancel(caller: Caller, request: Request) -> bool:
    """The asker, the attendant that acted for them, and operators."""
    asked = caller.name == request.caller.name and _same_circle(caller, request)
    return caller.operator or asked or (caller.attendant and caller.name == request.attendant)
