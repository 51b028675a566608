"""Looks at the forge after every open pull request of ours, and says what became of it.

It decides nothing about a change: what was merged is planned and judged again by the pipeline, like anything else. A
webhook wakes it; without one it looks every `[forge] poll`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import anyio

from infra_mcp.clients.forge import Proposal, Review
from infra_mcp.engine import report
from infra_mcp.engine.merged import lacks_approval
from infra_mcp.engine.propose import unpublish, upstream_of, withdraw
from infra_mcp.engine.releases import overtaken_by
from infra_mcp.engine.run import Dependencies, Run, record_of
from infra_mcp.engine.signals import PARKED_CHANGED, PROPOSALS, Signals, signals_of
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.actions import Release
from infra_mcp.model.approval import Reviewed
from infra_mcp.model.record import ProposalRecord
from infra_mcp.model.request import AT_THE_FORGE, Request, State
from infra_mcp.policy.approvals import BY_REVIEW
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.versions import compare

_log = logging.getLogger(__name__)
_RETRY: Final = 30.0  # seconds after a look that failed
_MERGED: Final = "was merged in this moment, which the next look sees"
_AT_ONCE: Final = 8  # pull requests that are looked at side by side


@dataclass
class Proposals:
    """Watches the requests that wait at the forge. A request that was decided there goes back to the worker."""

    deps: Dependencies
    signals: Signals
    enqueue: Callable[[Request], object]
    _said: dict[str, str] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)  # requests that are being cancelled
    _limit: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_AT_ONCE))

    def reason(self, request_id: str) -> str:
        """What a request waits for at the forge; empty for any other."""
        return self._said.get(request_id, "")

    @contextmanager
    def cancelling(self, request_id: str) -> Iterator[None]:
        """For a block that closes the pull request of a request and ends it: to be found closed does not end it."""
        self._cancelled.add(request_id)
        try:
            yield
        finally:
            self._cancelled.discard(request_id)

    async def run(self) -> None:
        """Look at every signal and every `[forge] poll`, until cancelled."""
        while True:
            with self.signals.waiter(PROPOSALS, PARKED_CHANGED) as woken:
                pause = await self._look_safely()
                with anyio.move_on_after(pause):
                    await woken.wait()

    async def _look_safely(self) -> float:
        try:
            return await self.look()
        except InfraError as error:
            _log.warning("pull requests could not be looked at: %s", error.what)
        except Exception:  # noqa: BLE001 - the next look may succeed
            _log.exception("pull requests could not be looked at")
        return _RETRY

    async def look(self) -> float:
        """Look at every request that waits at the forge.

        Returns:
            Seconds until the next look; infinity while nothing waits there.
        """
        waiting = [one for one in await self.deps.ledger.parked() if one.state in AT_THE_FORGE]
        self._said = {one.id: self._said.get(one.id, "") for one in waiting}
        await gather([partial(self._look_at, one) for one in waiting])
        return seconds(self.deps.policy().forge.poll) if waiting else float("inf")

    async def _look_at(self, request: Request) -> None:
        async with self._limit:
            try:
                self._said[request.id] = await self._seen(request)
            except InfraError as error:  # the forge is away, or refuses: look again later
                self._said[request.id] = f"waits for the forge: {error.what}"
            except Exception:  # noqa: BLE001 - a fault with one delays no other
                _log.exception("%s could not be looked at", request.id)

    async def _seen(self, request: Request) -> str:
        record = record_of(request)
        mine = record.reversal if request.state is State.REVERTING else record.proposal
        if mine is None or mine.number is None:
            return ""
        if mine.of:
            return await self._ends_with(request, mine)
        if mine.merged is not None:  # the server ended before it went on
            self.enqueue(request)
            return "merged"
        there = await (await self.deps.forge()).proposal(mine.number)
        become = {"open": self._open, "merged": self._merged, "closed": self._closed}
        return await become[there.state](request, mine, there)

    async def _closed(self, request: Request, mine: ProposalRecord, there: Proposal) -> str:
        if request.id in self._cancelled:
            return "is being cancelled"
        by = f" by {there.ended_by.name}" if there.ended_by else ""
        what = f"{mine.url} was closed{by} without a merge."
        await unpublish(self.deps, mine.branch, mine.heads)
        return await self._end(request, InfraError("proposal-closed", what), State.REFUSED)

    async def _ends_with(self, request: Request, mine: ProposalRecord) -> str:
        """End a request as the one did that opened its pull request, once that has ended."""
        first = await self.deps.ledger.request(mine.of)
        if first is None or first.receipt is None:
            return f"waits with {mine.of} for people to merge {mine.url}, until {mine.until}"
        told = first.receipt.get("error")
        error, said = InfraError.from_data(told) if told else None, f"With {first.id}: {first.receipt['message']}"
        with suppress(ValueError):  # it ended meanwhile
            await report.finish(self.deps.ledger, Run.of(request), first.state, said, error)
        self.signals.wake(*signals_of(request))
        return said

    async def _open(self, request: Request, mine: ProposalRecord, there: Proposal) -> str:
        if self.deps.now() >= datetime.fromisoformat(mine.until):
            what = f"{mine.url} was open until {mine.until} and was not merged."
            if not await withdraw(self.deps, mine, "It was not merged in time, so infra-mcp closes it."):
                return _MERGED
            return await self._end(request, InfraError("not-approved", what), State.EXPIRED)
        if request.state is State.PROPOSED and (newer := await self._newer(request)):
            release, url = newer
            if not await withdraw(self.deps, mine, f"Superseded by {release}.", url):
                return _MERGED
            by = f"{release} ({url})" if url else release
            what = f"{by} took the place of {mine.url} before it was merged."
            return await self._end(request, InfraError("superseded", what), State.SUPERSEDED)
        if there.conflicts:
            return await self._conflicting(request, mine, there)
        urgent = "urgently " if request.state is State.REVERTING else ""
        lacks = await self._unreviewed(request, mine, there)
        return f"waits {urgent}for people to merge {mine.url}, until {mine.until}" + (f"; {lacks}" if lacks else "")

    async def _unreviewed(self, request: Request, mine: ProposalRecord, there: Proposal) -> str:
        """Which reviews that rules want are missing now, as text."""
        wanted = [need for need in mine.needs if need.by == BY_REVIEW]
        if not wanted:
            return ""
        now = mine.model_copy(update={"reviews": await _last_words(self.deps, mine, there)})
        policy, who = self.deps.policy(), request.caller.name
        return "; ".join(filter(None, [await lacks_approval(self.deps, policy, who, now, need) for need in wanted]))

    async def _merged(self, request: Request, mine: ProposalRecord, there: Proposal) -> str:
        """Note the commit that the merge made; the pipeline goes on from there."""
        run, reverts = Run.of(request), request.state is State.REVERTING
        merged = there.merged or await self.deps.git.latest(self.deps.policy().tree.branch)
        by = there.ended_by.name if there.ended_by else ""
        edits = await self._edits(mine, there)
        alone = there.auto or there.ended_by is None or there.ended_by.bot
        known = {"merged": merged, "merged_by": by, "merged_alone": alone, "merged_head": there.head, "edits": edits}
        if not reverts and self._wants_reviews(mine):
            known["reviews"] = await _last_words(self.deps, mine, there)
        mine = mine.model_copy(update=known)
        numbers = [number for number, stage in enumerate(run.record.stages) if stage.commit]
        for number in numbers:
            run.record = run.record.with_stage(number, **{"revert" if reverts else "commit": merged})
        run.record = run.record.update(**{"reversal" if reverts else "proposal": mine})
        message = f"{mine}, as {merged}."
        data = {"url": mine.url, "commit": merged, "by": by, "edits": list(edits), "message": message}
        await self.deps.save(run, request.state, "merged", data, **{"revert" if reverts else "commit": merged})
        self.enqueue(await self.deps.ledger.request(request.id) or request)
        with suppress(InfraError):  # the branch is of no more use, and its deletion of no consequence
            await unpublish(self.deps, mine.branch, mine.heads)
        return message

    def _wants_reviews(self, mine: ProposalRecord) -> bool:
        """Whether a rule wanted reviews when it was proposed, or may want some by the policy in force."""
        rules = self.deps.policy().rules
        now = any(rule.require and rule.require.by == BY_REVIEW for rule in rules)
        return now or any(need.by == BY_REVIEW for need in mine.needs)

    async def _edits(self, mine: ProposalRecord, there: Proposal) -> tuple[str, ...]:
        """The commits that others added; at least that there are some, where the remote does not give them."""
        if there.head in mine.heads:
            return ()
        with suppress(InfraError):
            if found := await upstream_of(self.deps).added(there.number, mine.head, there.head):
                return found
        return (there.head[:12],)

    async def _conflicting(self, request: Request, mine: ProposalRecord, there: Proposal) -> str:
        """Have it planned again on the branch as it is now, where its branch has no commits of others."""
        if there.head not in mine.heads:
            return f"waits for people to resolve the conflicts of {mine.url}: it has commits of theirs"
        head = await self.deps.git.latest(self.deps.policy().tree.branch)
        if request.state is State.REVERTING or head == mine.base:
            return f"waits for people: {mine.url} conflicts with the branch"
        message = f"{mine.url} conflicts with {head[:12]}: it is planned again."
        await self.deps.save(Run.of(request), State.QUEUED, "conflicts", {"url": mine.url, "message": message})
        self.enqueue(await self.deps.ledger.request(request.id) or request)
        return message

    async def _newer(self, request: Request) -> tuple[str, str] | None:
        """The later release that is proposed for the same instance, and the address of its pull request, if any.

        A release that was announced counts only where its version is newer; one that was asked for by name always.
        """
        action = request.action
        if not isinstance(action, Release):
            return None
        policy, after = self.deps.policy(), False
        app = policy.apps.get(action.app)
        for other in await self.deps.ledger.open_releases(action.app, action.environment):
            if other.id == request.id:
                after = True
            elif after and other.state is State.PROPOSED and isinstance(other.action, Release):
                order, proposal = app.order if app else "semver", record_of(other).proposal
                if proposal and proposal.of:
                    continue
                if other.notify is None or compare(order, other.action.version, action.version).sign > 0:
                    url = proposal.url if proposal else ""
                    return f"{action.app} {other.action.version}", url
        if request.notify and (landed := await overtaken_by(self.deps.ledger, policy, request)):
            return f"{action.app} {landed}", ""
        return None

    async def _end(self, request: Request, error: InfraError, state: State) -> str:
        run = Run.of(request)
        what = f"{error.what} Nothing was changed."
        if request.state is State.REVERTING:
            cause = InfraError.from_data(run.record.cause or {}).what
            state, what = State.NEEDS_OPERATOR, f"{cause} {error.what} The change is still on the branch."
        with suppress(ValueError):  # it ended meanwhile
            await report.finish(self.deps.ledger, run, state, what, error)
        self.signals.wake(*signals_of(request))
        return error.what


async def _last_words(deps: Dependencies, mine: ProposalRecord, there: Proposal) -> tuple[Reviewed, ...]:
    """The last word of each reviewer, for the commit that is proposed now, or was when it was merged.

    Raises:
        Unavailable: the forge is away.
        InfraError: `forge-refused`.
    """
    forge = await deps.forge()
    found = await forge.reviews(there.number)
    authors: frozenset[str] | None = frozenset()
    if any(one.approves for one in found):
        ours = {mine.author, there.author.name, (await forge.account()).name}
        # Of our own commits the forge need not be asked.
        others = frozenset[str]() if there.head in mine.heads else await forge.authors(there)
        authors = None if others is None else others | ours
    return tuple(
        Reviewed(by=one.by.name, approves=one.approves, against=_against(one, there.head, authors)) for one in found
    )


def _against(review: Review, head: str, authors: Collection[str] | None) -> str:
    if not review.approves:
        return ""
    if not head or review.head != head:
        return "it is of another commit than the last"
    if authors is None:
        return "the forge does not say who pushed the last commit"
    if review.by.name in authors:
        return "it is an author's"
    return "it is a bot's" if review.by.bot else ""
