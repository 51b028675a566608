"""The one flow, in order: plan, decide, commit, apply, confirm, report. Every channel ends here.

Each step writes its event before its effect. A step that was interrupted is observed again and then finished: planning
anew on what is there tells what is still to be done, so recovery is not a second way through. What waited for its time
or for people comes in at the top again, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from secrets import token_hex
from time import time
from typing import Any

import anyio

from infra_mcp.engine import report
from infra_mcp.engine.approvals import scope, still_carried, used_up
from infra_mcp.engine.commits import draft, observe_commits
from infra_mcp.engine.dependencies import Dependencies
from infra_mcp.engine.failure import DENIED, DENIED_FOR, after_failure, give_up
from infra_mcp.engine.locks import Held
from infra_mcp.engine.parking import park_if_not_due, park_if_unapproved
from infra_mcp.engine.planning import plan
from infra_mcp.engine.run import Run
from infra_mcp.engine.stages import carry_out, confirm
from infra_mcp.errors import InfraError, Moved, Unavailable
from infra_mcp.gather import gather
from infra_mcp.model.approval import Verdict
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import admit, judge, refusal

_ATTEMPTS = 12
_PATIENCE = 90.0  # seconds for a place that stops answering after our first write


class Pipeline:
    """Carries requests from queued to their end."""

    def __init__(self, deps: Dependencies) -> None:
        self.deps = deps

    async def carry(self, run: Run, held: Held) -> Receipt | None:
        """Bring one request to its end, and record that end.

        Args:
            run: the request.
            held: the locks that it holds; what it is planned to touch is added to them.

        Returns:
            The receipt; None when the request must wait first, for its time or for people, which is recorded then. When
            it may go on it comes here again, to be planned and decided anew.

        Raises:
            InfraError: `ledger-unavailable` only: then nothing was changed after the last record.
        """
        try:
            if run.begun and (elsewhere := self._elsewhere(run)):
                return await give_up(self.deps, run, InfraError("cannot-observe", elsewhere))
            if run.request.state is State.ROLLING_BACK:
                await observe_commits(self.deps, run)
                return await after_failure(self.deps, run, None)
            return await self._forward(run, held)
        except InfraError as error:
            if error.code == "ledger-unavailable":
                raise
            return await after_failure(self.deps, run, error)

    def _elsewhere(self, run: Run) -> str:
        """Why a request that has begun cannot go on: a place's name stands for another place by now."""
        for part in run.record.parts:
            now = self.deps.places.where(self.deps.policy(), part.driver, part.place)
            if part.where != now:
                return f"It was begun on {part.where}, and the policy names {now}."
        return ""

    async def _forward(self, run: Run, held: Held) -> Receipt | None:
        started, denied = time(), 0.0
        for attempt in range(_ATTEMPTS):
            try:
                return await self._attempt(run, held)
            except Moved as moved:
                if attempt == _ATTEMPTS - 1:
                    raise InfraError(
                        "object-moved", f"{moved} kept changing while this change was under way."
                    ) from moved
                await anyio.sleep(0.01 * attempt)
            except InfraError as error:
                # Before our first write a place that does not answer, or refuses rights, is an answer; after it, we
                # look again.
                silent = isinstance(error, Unavailable) and time() - started <= _PATIENCE
                denied = (denied or time()) if error.code == DENIED else 0.0
                if not run.begun or not (silent or (denied and time() - denied < DENIED_FOR)):
                    raise
                await anyio.sleep(min(0.2 * 2**attempt, 5.0))
        raise InfraError("cluster-unreachable", "The cluster stopped answering during the change.")

    async def _attempt(self, run: Run, held: Held) -> Receipt | None:
        if await park_if_not_due(self.deps, run):
            return None
        await self._plan(run, held)
        verdict = await self._decide(run)
        effect = run.plan.effect
        if run.request.dry_run:
            await self._check_movable(run)
            first = "" if verdict.decision == "allow" else f" It would have to wait: {verdict.reason}"
            return await self._end(run, State.PREVIEWED, f"This is what would be done; nothing was changed.{first}")
        if effect.already_so and not run.begun:
            facts = await gather(partial(confirm, run, part) for part in run.plan.parts)
            return await self._end(run, State.UNCHANGED, f"already so: {'; '.join(filter(None, facts))}")
        if not run.begun:
            if await park_if_unapproved(self.deps, run, verdict):
                return None
            await self._prepare(run)
        await self._begin(run, verdict)
        return await self._end(run, State.LANDED, await self._carry_out(run))

    async def _plan(self, run: Run, held: Held) -> None:
        """Plan on the branch's head and on what is live, until everything that the plan touches is held.

        After an interruption the plan shows what is left to do. What an interrupted request has done is looked at
        before any decision, even if it may do nothing more.
        """
        run.say("planning")
        if run.begun:
            await observe_commits(self.deps, run)
        self._require(self._admit(run))
        if not run.record.nonce:
            run.record = run.record.update(nonce=token_hex(16))
        while True:
            run.planned, run.draft = await plan(self.deps, run), None
            about = RULES[run.request.action.action].about(self.deps.policy(), run.request.action)
            keys = held.keys | about.keys | run.planned.keys
            if run.request.dry_run or held.extend(keys):
                run.record = run.record.update(keys=tuple(sorted(keys)))
                return
            run.say("waiting for its turn")
            await held.wait_for(keys)

    async def _prepare(self, run: Run) -> None:
        """Record the plan; at its side, see whether the branch could move, and build the commit that would move it."""
        effect, first = run.plan.effect, run.plan.stages[0]
        run.record = run.record.update(when=run.record.when or int(time()))
        planned = report.shown_plan(run.plan)
        record = run.record.kept()
        steps: list[Callable[[], Awaitable[Any]]] = [
            partial(
                self.deps.ledger.record,
                run.request.id,
                State.PLANNED,
                "planned",
                planned,
                record=record,
                effect_digest=effect.digest,
            )
        ]
        if effect.files:
            steps.append(partial(self._check_movable, run))
        if any(file.stage == 0 for file in effect.files):
            steps.append(partial(draft, self.deps, run, first))
        await gather(steps)

    async def _check_movable(self, run: Run) -> None:
        """Refuse now what a commit, or the move of the branch to it, would be refused for."""
        if paths := sorted({file.path for file in run.plan.effect.files}):
            base = run.plan.stages[0].before.base
            await self.deps.git.check_movable(self.deps.policy().tree.branch, base, paths)

    async def _begin(self, run: Run, verdict: Verdict) -> None:
        """From here on it is too late to cancel, and what was approved is used up."""
        run.begun = True
        effect = run.plan.effect
        run.record = run.record.update(digest=run.record.digest or effect.digest)
        if run.approved:
            run.record = run.record.update(approved=scope(effect))
            run.approved = False
            digest, now = run.record.digest or "", self.deps.now()
            if not await used_up(self.deps.ledger, run.request, verdict, digest, now):
                run.reset()
                raise Moved("who approved it")

    async def _carry_out(self, run: Run) -> str:
        try:
            return await carry_out(self.deps, run, self._decide)
        except Moved:
            if not any(stage.commit for stage in run.record.stages) and not run.wrote:
                run.reset()  # nothing is recorded as begun: it is planned, and decided, from the start
            raise

    async def _decide(self, run: Run) -> Verdict:
        """Policy on the effect, by the policy in force at this moment.

        Returns:
            A verdict that allows, or that wants approvals: of a request that has begun, those it was begun on hold.
        """
        request, effect = run.request, run.plan.effect
        now = self._moment(run)
        verdict = judge(self.deps.policy(), request.caller, request.action, effect, attendant=run.attended, now=now)
        self._require(verdict)
        if verdict.decision != "allow" and run.begun:
            await still_carried(self.deps.ledger, request, verdict, run.record, effect)
        return verdict

    def _admit(self, run: Run) -> Verdict:
        request, now = run.request, self._moment(run)
        return admit(self.deps.policy(), request.caller, request.action, attendant=run.attended, now=now)

    def _moment(self, run: Run) -> datetime | None:
        """The time, where a freeze would refuse: what has begun goes on, and a release is held by it instead."""
        return None if run.begun or run.request.notify else self.deps.now()

    @staticmethod
    def _require(verdict: Verdict) -> None:
        if verdict.decision == "refuse":
            raise refusal(verdict)

    async def _end(self, run: Run, state: State, facts: str) -> Receipt:
        return await self.deps.ledger.finish(run.request.id, report.receipt(run, state, facts), {})
