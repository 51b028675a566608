"""The one flow, in order: plan, decide, commit, apply, confirm, report. Every door ends here.

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

from infra_mcp.clients.kube import KubeError
from infra_mcp.clients.kube.errors import DENIED_FOR, is_denied
from infra_mcp.drivers.manifests.prepared import Task
from infra_mcp.engine import report
from infra_mcp.engine.approvals import scope, still_carried, used_up
from infra_mcp.engine.commits import commit_plan, draft, observe_commit
from infra_mcp.engine.failure import after_failure, give_up
from infra_mcp.engine.parking import held, unapproved
from infra_mcp.engine.run import Run
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.plan import Verdict
from infra_mcp.model.request import State
from infra_mcp.policy.decide import admit, judge, refusal
from infra_mcp.together import both, together

__all__ = ["Pipeline"]

_ATTEMPTS = 12
_PATIENCE = 90.0  # seconds for a cluster that stops answering after our first write
_LEAST = 10.0  # seconds a rollout gets after a restart, however late


class Pipeline:
    """Carries requests from queued to their end."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def carry(self, run: Run) -> Receipt | None:
        """Bring one request to its end, and record that end. The caller holds the request's object locks.

        Returns:
            The receipt; None when the request must wait first, for its time or for people, which is recorded then. When
            it may go on it comes here again, to be planned and decided anew.

        Raises:
            InfraError: `ledger-unavailable` only: then nothing was changed after the last record.
        """
        try:
            if run.begun and run.memory.get("place", self.tools.place) != self.tools.place:
                what = f"It was begun on {run.memory['place']}, and the policy in force names {self.tools.place}."
                return await give_up(self.tools, run, InfraError("cannot-observe", what))
            if run.request.state is State.ROLLING_BACK:
                await self._take_up(run)
                return await after_failure(self.tools, run, None)
            return await self._forward(run)
        except InfraError as error:
            if error.code == "ledger-unavailable":
                raise
            return await after_failure(self.tools, run, error)
        except KubeError as error:
            return await after_failure(self.tools, run, error.translate(None))

    async def _forward(self, run: Run) -> Receipt | None:
        started, denied = time(), 0.0
        for attempt in range(_ATTEMPTS):
            try:
                return await self._attempt(run)
            except Moved as moved:
                if attempt == _ATTEMPTS - 1:
                    raise InfraError(
                        "object-moved", f"{moved} kept changing while this change was under way."
                    ) from moved
                await anyio.sleep(0.01 * attempt)
            except (KubeError, InfraError) as error:
                # Before our first write a cluster that does not answer, or refuses rights, is an answer; after it, we
                # look again.
                silent = isinstance(error, KubeError) and not error.status and time() - started <= _PATIENCE
                denied = (denied or time()) if is_denied(error) else 0.0
                if not run.begun or not (silent or (denied and time() - denied < DENIED_FOR)):
                    raise
                await anyio.sleep(min(0.2 * 2**attempt, 5.0))
        raise InfraError("cluster-unreachable", "The cluster stopped answering during the change.")

    async def _attempt(self, run: Run) -> Receipt | None:
        if await held(self.tools, run):
            return None
        await self._plan(run)
        verdict = await self._decide(run)
        if run.request.dry_run:
            await self._check_movable(run)
            first = "" if verdict.decision == "allow" else f" It would have to wait: {verdict.reason}"
            return await self._end(run, State.PREVIEWED, f"This is what would be done; nothing was changed.{first}")
        task, prepared = run.planned
        if prepared.plan.already_so and not run.begun:
            facts = await self.tools.driver.verify(task, prepared, seconds=_LEAST, say=run.say)
            return await self._end(run, State.UNCHANGED, f"already so: {facts}")
        if not run.begun:
            if await unapproved(self.tools, run, verdict):
                return None
            await self._prepare(run)
        await self._commit(run, verdict)
        await self._apply(run)
        facts = await self._confirm(run)
        return await self._end(run, State.LANDED, facts)

    async def _plan(self, run: Run) -> None:
        """Plan on the branch's head and the live cluster; after an interruption that shows what is left to do."""
        run.say("planning")
        policy = self.tools.policy()
        await self._take_up(run)
        self._require(self._admit(run))
        head = await self.tools.git.head(policy.tree.branch)
        tree = await self.tools.tree(policy, head)
        run.prepared, run.draft = await self.tools.driver.plan(run.require_task(), tree), None

    async def _prepare(self, run: Run) -> None:
        """Record the plan; at its side, see whether the branch could move, and build the commit that would move it."""
        _, prepared = run.planned
        effect = prepared.plan.effect
        steps: list[Callable[[], Awaitable[Any]]] = [
            partial(
                self.tools.ledger.record,
                run.request.id,
                State.PLANNED,
                "planned",
                report.shown_plan(prepared.plan),
                record=run.remember(
                    when=run.memory.get("when", int(time())), failure=prepared.failure, place=self.tools.place
                ),
                effect_digest=effect.digest,
            )
        ]
        if effect.files:
            steps += [partial(self._check_movable, run), partial(draft, self.tools, run)]
        await together(steps)

    async def _check_movable(self, run: Run) -> None:
        """Refuse now what the commit, or the move of the branch to it, would be refused for."""
        task, prepared = run.planned
        if paths := [file.path for file in prepared.plan.effect.files]:
            await self.tools.git.check_movable(task.policy.tree.branch, prepared.tree.base, paths)

    async def _take_up(self, run: Run) -> None:
        """What the steps go by; and after an interruption, whether our commit is on the branch.

        Comes before any decision: what an interrupted request has done is looked at even if it may do nothing more.
        """
        policy = self.tools.policy()
        user = policy.service_account(run.request.caller.circle or "")
        secret = run.memory.setdefault("nonce", token_hex(16))  # recorded before anything is written
        run.task = Task(run.request, policy, self.tools.cluster, user, secret)
        if run.begun:
            await observe_commit(self.tools, run)

    async def _decide(self, run: Run) -> Verdict:
        """Policy on the effect, by the policy in force at this moment.

        Returns:
            A verdict that allows, or that wants approvals: of a request that has begun, those it was begun on hold.
        """
        self._require(self._admit(run))
        request, (_, prepared) = run.request, run.planned
        verdict = judge(
            self.tools.policy(),
            request.caller,
            request.action,
            prepared.plan,
            attendant=run.attended,
            now=self._moment(run),
        )
        self._require(verdict)
        if verdict.decision != "allow" and run.begun:
            await still_carried(self.tools.ledger, request, verdict, run.memory, prepared.plan)
        return verdict

    def _admit(self, run: Run) -> Verdict:
        request, now = run.request, self._moment(run)
        return admit(self.tools.policy(), request.caller, request.action, attendant=run.attended, now=now)

    def _moment(self, run: Run) -> datetime | None:
        """The time, where a freeze would refuse: what has begun goes on, and a release is held by it instead."""
        return None if run.begun or run.request.notify else self.tools.now()

    @staticmethod
    def _require(verdict: Verdict) -> None:
        if verdict.decision == "refuse":
            raise refusal(verdict)

    async def _commit(self, run: Run, verdict: Verdict) -> None:
        """Git first: what is applied is a commit on the branch. From here on it is too late to cancel."""
        run.say("committing")
        _, prepared = run.planned
        run.begun = True
        run.memory.setdefault("digest", prepared.plan.effect.digest)
        if run.approved:
            run.remember(approved=scope(prepared.plan))
            run.approved = False
            if not await used_up(self.tools.ledger, run.request, verdict, run.memory["digest"], self.tools.now()):
                run.forget_beginning()
                raise Moved("who approved it")
        run.add_writes(self.tools.driver.writes(prepared))
        if not prepared.tree.changed:
            if run.commit is None:
                run.remember(edits=[], created=[])  # someone else committed the same: theirs is not ours to take back
            await self._record(run, State.APPLYING, "applying")
        elif run.commit:
            raise InfraError("object-moved", f"Someone took back commit {run.commit} while it was being applied.")
        else:
            await self._committed(run)

    async def _committed(self, run: Run) -> None:
        try:
            run.commit = await commit_plan(self.tools, run)
        except Moved:
            if run.recorded is None:  # nothing is recorded as begun, so it is planned, and decided, from the start
                run.forget_beginning()
            raise

    async def _apply(self, run: Run) -> None:
        task, prepared = run.planned
        if prepared.to_write:
            await self._decide(run)  # the policy may have changed while we waited for git
            run.say(f"applying {len(prepared.to_write)} objects")
            run.wrote = True
            await self.tools.driver.apply(task, prepared)

    async def _confirm(self, run: Run) -> str:
        """Watch until it is so. The deadline is chosen once, so that a restart does not start it anew."""
        task, prepared = run.planned
        deadline = run.memory.get("deadline") or time() + self.tools.driver.timeout(task)
        run.remember(deadline=deadline)
        _, facts = await both(
            partial(self._record, run, State.VERIFYING, "applied"),
            partial(self.tools.driver.verify, task, prepared, seconds=max(deadline - time(), _LEAST), say=run.say),
        )
        return facts

    async def _record(self, run: Run, state: State, kind: str) -> None:
        data = {"objects": [str(one.ref) for one in run.writes], "commit": run.commit or ""}
        await self.tools.ledger.record(run.request.id, state, kind, data, record=run.memory, commit=run.commit)

    async def _end(self, run: Run, state: State, facts: str) -> Receipt:
        return await self.tools.ledger.finish(run.request.id, report.receipt(run, state, facts), {})
