"""The one flow, in order: plan, decide, commit, apply, confirm, report. Every channel ends here.

Each step writes its event before its effect. After an interruption a request is planned again on what is there, which
shows what is left to do: recovery is no second way through. A request that was parked starts at the top again, too; so
does one whose pull request was merged, with its commits on the branch.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from time import time
from typing import Any

import anyio

from infra_mcp.engine import report
from infra_mcp.engine.approvals import check_covered, covers, park_if_unapproved, scope
from infra_mcp.engine.commits import draft, observe_commits
from infra_mcp.engine.failure import DENIED, DENIED_FOR, after_failure, give_up
from infra_mcp.engine.locks import Held
from infra_mcp.engine.merged import require_approved, require_carried
from infra_mcp.engine.planning import plan
from infra_mcp.engine.propose import join, propose, withdraw
from infra_mcp.engine.releases import park_if_not_due
from infra_mcp.engine.repositories import once_there
from infra_mcp.engine.run import Dependencies, Run, stamp
from infra_mcp.engine.stages import carry_out, confirm
from infra_mcp.errors import InfraError, Moved, Unavailable
from infra_mcp.gather import gather
from infra_mcp.model.approval import Need, Verdict
from infra_mcp.model.judged import Judged
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.approvals import at_forge, before_merge, in_words
from infra_mcp.policy.decide import admit, judge, refusal
from infra_mcp.telemetry import Phase

# How forges call a branch that takes no push: Gitea, GitLab and GitHub's classic rules; GitHub's rule sets.
_PROTECTED = re.compile(r"protected branch|GH006|GH013|rule violations", re.IGNORECASE)
_ATTEMPTS = 12
# The end of a request that is committed and that nothing confirms, by how commits get to the branch.
_UNCONFIRMED = {"local": State.COMMITTED, "push": State.PUSHED, "pull-request": State.MERGED}
_PATIENCE = 90.0  # seconds for a place that stops answering after our first write


@dataclass
class Pipeline:
    """Carries requests from queued to their end."""

    deps: Dependencies

    async def carry(self, run: Run, held: Held) -> Receipt | None:
        """Bring one request to its end, and record that end. The locks of its plan are added to `held`.

        Returns:
            The receipt; None when the request was parked, which is recorded then.

        Raises:
            InfraError: `ledger-unavailable` only: then nothing was changed after the last record.
        """
        try:
            if run.begun and (elsewhere := self._elsewhere(run)):
                return await give_up(self.deps, run, InfraError("cannot-observe", elsewhere))
            if run.request.state in {State.ROLLING_BACK, State.REVERTING}:
                await observe_commits(self.deps, run)
                return await after_failure(self.deps, run, None)
            return await self._forward(run, held)
        except InfraError as error:
            if error.code == "ledger-unavailable":
                raise
            return await after_failure(self.deps, run, error)

    def _elsewhere(self, run: Run) -> str:
        """Why a request that has begun cannot continue: a place's name means another place by now."""
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
                    what = f"{moved} kept changing while this change was under way."
                    raise InfraError("object-moved", what) from moved
                await anyio.sleep(0.01 * attempt)
            except InfraError as error:
                # A place that does not answer, or denies a write, fails a request before its first write. After that
                # write we try again.
                silent = isinstance(error, Unavailable) and time() - started <= _PATIENCE
                denied = (denied or time()) if error.code in DENIED else 0.0
                if not run.begun or not (silent or (denied and time() - denied < DENIED_FOR)):
                    raise
                await anyio.sleep(min(0.2 * 2**attempt, 5.0))
        raise InfraError("cluster-unreachable", "The cluster stopped answering during the change.")

    async def _attempt(self, run: Run, held: Held) -> Receipt | None:
        head = ""
        if run.merged:
            head = await require_carried(self.deps, run, run.merged)
        elif run.record.proposal:
            run.reset()  # it conflicts by now, or the server ended while it proposed
        elif await park_if_not_due(self.deps, run):
            return None
        await self._plan(run, held, head)
        verdict = await self._decide(run)
        if run.request.dry_run:
            return await self._preview(run, verdict)
        return await self._execute(run, verdict)

    async def _preview(self, run: Run, verdict: Verdict) -> Receipt:
        await self._check_movable(run)
        first = "" if verdict.decision == "allow" else f" It would have to wait: {verdict.reason}"
        return await self._end(run, State.PREVIEWED, f"This is what would be done; nothing was changed.{first}")

    async def _execute(self, run: Run, verdict: Verdict) -> Receipt | None:
        effect = run.plan.effect
        self._require_deliverable(run)
        if effect.already_so and not run.begun:
            facts = await gather(partial(confirm, run, part) for part in run.plan.parts)
            return await self._end(run, State.UNCHANGED, f"already so: {'; '.join(filter(None, facts))}")
        if not run.begun:
            if self._proposes(run) and await join(self.deps, run):
                return None
            first = before_merge(verdict) if self._proposes(run) else verdict
            await self._withdraw_unapproved(run, first)
            if await park_if_unapproved(self.deps, run, first):
                return None
            await self._prepare(run)
        await self._begin(run, verdict)
        done = None if self._proposes(run) else await self._pushed(run)
        if done is None:
            if run.record.approved is None:  # it is what people at the forge say yes to, if a rule wants that by then
                run.record = run.record.update(approved=scope(effect))
            with Phase("propose"):
                await propose(self.deps, run, at_forge(verdict))
            return None
        return await self._landed(run, done)

    async def _withdraw_unapproved(self, run: Run, verdict: Verdict) -> None:
        """Close what was proposed before its effect changed, where the new effect has no approval."""
        proposal = run.record.proposal
        if proposal is None or verdict.decision == "allow":
            return
        if await covers(self.deps.ledger, run.request, verdict, run.plan.effect.digest, self.deps.now()):
            return
        why = "What it would change has changed, and waits for another approval."
        if await once_there(partial(withdraw, self.deps, proposal, why), run.say):
            run.record = run.record.update(proposal=None)

    async def _landed(self, run: Run, facts: str) -> Receipt:
        """The end of what is live; or of what is on the branch, where nothing in policy can confirm more."""
        if any(part.prepared.confirms for part in run.plan.parts) or not run.plan.parts:
            return await self._end(run, State.LANDED, f"{facts}; {run.merged}" if run.merged else facts)
        tree = self.deps.policy().tree
        on = f"commit {run.commit or 'none'} is on {tree.branch}"
        paths = [file.path for file in run.plan.effect.files]
        state = State.MERGED if run.merged else _UNCONFIRMED[self.deps.policy().write_of(paths)]
        merged = f"; {run.merged}" if run.merged else ""
        return await self._end(run, state, f"{on}{merged}; not confirmed: {facts}")

    async def _pushed(self, run: Run) -> str | None:
        """Carry the plan out; None where a protected branch refused the push, and policy has it proposed instead."""
        try:
            return await self._carry_out(run)
        except InfraError as refused:
            if not self._falls_back(run, refused):
                raise
            return None

    def _proposes(self, run: Run) -> bool:
        """Whether people decide at the forge what is committed: there is something to commit, and no push of ours."""
        paths = [file.path for file in run.plan.effect.files]
        proposed = self.deps.policy().write_of(paths) == "pull-request" or run.record.proposal is not None
        return proposed and run.merged is None and bool(paths)

    def _falls_back(self, run: Run, refused: InfraError) -> bool:
        """Whether a push that a protected branch refused is proposed instead."""
        untouched = not run.applied and not run.on_branch
        protected = refused.code == "push-refused" and _PROTECTED.search(refused.what) is not None
        return protected and untouched and self.deps.policy().tree.fallback == "pull-request"

    async def _plan(self, run: Run, held: Held, head: str) -> None:
        """Plan until everything that the plan touches is held.

        An interrupted request looks at what it has done before any decision, even if it may do nothing more.
        """
        run.say("planning")
        if run.begun:
            await observe_commits(self.deps, run)
        self._require(admit(self.deps.policy(), run.request.caller, run.action, **self._circumstances(run)))
        if not run.record.nonce:
            run.record = run.record.update(nonce=token_hex(16))
        while True:
            with Phase("plan"):
                run.planned, run.draft = await plan(self.deps, run, head), None
            about = RULES[run.action.action].about(self.deps.policy(), run.action)
            keys = held.keys | about.keys | run.planned.keys
            if run.request.dry_run or held.extend(keys):
                run.record = run.record.update(keys=tuple(sorted(keys)))
                return
            head = ""
            run.say("waiting for its turn")
            await held.wait_for(keys)

    async def _decide(self, run: Run) -> Verdict:
        """What the policy in force says of the plan: allowed, or approvals needed.

        For a request that has begun, the approvals that it was begun on must still be enough.
        """
        request, effect = run.request, run.plan.effect
        around = self._circumstances(run)
        with Phase("judge", targets=len(effect.changes)) as phase:
            verdict = judge(self.deps.policy(), request.caller, run.action, effect, **around)
            phase.set(decision=verdict.decision, rule=verdict.rule)
        if not run.begun:
            of = run.past.action.model_dump(mode="json", exclude_none=True) if run.past else None
            run.judged = Judged.by(verdict, effect, stamp(around["now"]) if around["now"] else None, of)
        self._require(verdict)
        self._require_proposed(run, at_forge(verdict))
        if run.merged:
            await require_approved(self.deps, run, at_forge(verdict))
            verdict = before_merge(verdict)
        if verdict.decision != "allow" and run.begun:
            await check_covered(self.deps.ledger, request, verdict, run.record, effect)
        return verdict

    def _require_proposed(self, run: Run, needs: Sequence[Need]) -> None:
        """Refuse what would wait for an approval at a pull request that is never opened."""
        effect = run.plan.effect
        if not needs or run.begun or run.merged or effect.already_so or self._proposes(run):
            return
        paths = [file.path for file in effect.files]
        why = f"{min(paths)} is pushed without one" if paths else "it changes no file, so none is opened"
        what = f"It needs {in_words(needs[0])} of a pull request, and {why}"
        step = 'An operator sets write = "pull-request" for its root in infra.toml, or by = "operator" in the rule.'
        raise InfraError("policy-denied", f"{what} (rule {needs[0].rule})", next_step=step, rule=needs[0].rule)

    @staticmethod
    def _require_deliverable(run: Run) -> None:
        """Refuse before the commit what nothing would carry out or confirm."""
        if names := ", ".join(run.plan.others):
            edited = (
                "git says so already" if run.plan.effect.already_so else "the plan stands, and nothing is committed"
            )
            what = (
                f"It becomes live by delivery {names}, which this version neither carries out nor confirms: {edited}."
            )
            step = (
                'An operator sets delivery = "external" for its root in infra.toml, and names evidence that it is '
                "live: [apps.NAME.evidence]."
            )
            raise InfraError("delivery-unsupported", what, next_step=step)

    def _circumstances(self, run: Run) -> dict[str, Any]:
        """Whether an attendant acts, and the time where a freeze refuses: it parks a release, and no begun request."""
        at = None if run.begun or run.request.notify else self.deps.now()
        return {"attendant": run.request.attendant is not None, "now": at}

    @staticmethod
    def _require(verdict: Verdict) -> None:
        if verdict.decision == "refuse":
            raise refusal(verdict)

    async def _prepare(self, run: Run) -> None:
        """Record the plan; meanwhile check that the branch can move, and build the commit."""
        effect, first = run.plan.effect, run.plan.stages[0]
        run.record = run.record.update(when=run.record.when or int(time()))
        shown = report.shown_plan(run.plan)
        steps: list[Callable[[], Awaitable[Any]]] = [
            partial(self.deps.save, run, State.PLANNED, "planned", shown, effect_digest=effect.digest)
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
        """From here on it is too late to cancel, and the approvals are used up."""
        run.begun = True
        effect = run.plan.effect
        digest, now = run.record.digest or effect.digest, self.deps.now()
        run.record = run.record.update(digest=digest)
        if run.approved:
            run.record = run.record.update(approved=scope(effect))
            run.approved = False
            await self.deps.ledger.approvals.use(run.request.id, digest, stamp(now))
            if not await covers(self.deps.ledger, run.request, verdict, digest, now):  # an approver was removed
                run.reset()
                raise Moved("the approver")

    async def _carry_out(self, run: Run) -> str:
        try:
            return await carry_out(self.deps, run, self._decide)
        except Moved:
            if not run.applied and not any(stage.commit for stage in run.record.stages):
                run.reset()  # nothing is recorded as begun: it is planned, and decided, from the start
            raise

    async def _end(self, run: Run, state: State, facts: str) -> Receipt:
        return await report.finish(self.deps.ledger, run, state, facts)
