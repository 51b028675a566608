"""Carries out a plan: each stage's commit, then its parts, each confirmed while the next is applied."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import time

import anyio
from anyio.abc import TaskGroup

from infra_mcp.engine.approvals import beyond, scope
from infra_mcp.engine.commits import commit_stage
from infra_mcp.engine.planning import in_step, plan_part
from infra_mcp.engine.run import Dependencies, PlannedPart, PlannedStage, Run
from infra_mcp.errors import InfraError
from infra_mcp.model.request import State
from infra_mcp.model.target import Target
from infra_mcp.repository.rebase import changed
from infra_mcp.telemetry import Phase

_MIN_SECONDS = 10.0  # that a confirmation gets after a restart, however late
_MIN_PAUSE, _MAX_PAUSE = 0.01, 0.5  # seconds between two looks at a target that a later part needs

Decide = Callable[[Run], Awaitable[object]]


async def carry_out(deps: Dependencies, run: Run, decide: Decide) -> str:
    """Commit, apply and confirm what is left to do of the plan. Each part is decided again before it is applied.

    Returns:
        What is now true.

    Raises:
        Moved: the branch or the live state changed; plan again.
        InfraError: the first failure.
    """
    async with anyio.create_task_group() as group:
        work = _Work(group)
        await work.guarded(partial(_carry_out, deps, run, decide, work))
    if work.failed:
        raise work.failed[0]
    return "; ".join(fact for _, fact in sorted(work.facts.items()) if fact)


async def confirm(run: Run, part: PlannedPart) -> str:
    """Watch one part until it has landed. Its deadline is chosen once: a restart does not extend it."""
    deadline = time() + part.prepared.timeout
    if known := run.record.part(part.key):
        deadline = known.deadline or deadline
        run.record = run.record.with_part(known.model_copy(update={"deadline": deadline}))
    with Phase("verify", driver=part.delivery, place=part.place):
        return await part.driver.verify(part.context, part.prepared, max(deadline - time(), _MIN_SECONDS))


@dataclass
class _Work:
    """Concurrent work: the first failure cancels the rest, and is raised as itself, not in a group."""

    group: TaskGroup
    failed: list[Exception] = field(default_factory=list)
    facts: dict[tuple[int, str, str], str] = field(default_factory=dict)

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised by `carry_out`
            self.failed.append(error)
            self.group.cancel_scope.cancel()

    def confirm(self, run: Run, part: PlannedPart) -> None:
        async def confirmed() -> None:
            with in_step(run.request.action, part.stage):
                self.facts[part.key] = await confirm(run, part)

        self.group.start_soon(self.guarded, confirmed)


async def _carry_out(deps: Dependencies, run: Run, decide: Decide, work: _Work) -> None:
    for stage in run.plan.stages:
        await _commit(deps, run, stage)
        for part in stage.parts:
            if not part.driver.carries_out:
                run.reach([part.key])
                commit = run.record.stage(stage.number).commit if stage.number in run.on_branch else None
                head = run.merged.merged_head if run.merged else ""
                about = replace(part.context, commit=commit or "", head=head)
                work.confirm(run, replace(part, context=about))  # others deliver it, as soon as it is committed
        for part in stage.parts:
            if part.driver.carries_out:
                with in_step(run.request.action, part.stage):
                    applied = await _apply(deps, run, part, decide)
                work.confirm(run, applied)
    # Started, so that no confirmation waits for the ledger.
    work.group.start_soon(work.guarded, partial(_save, deps, run, State.VERIFYING, "applied"))


async def _commit(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    """Git first: what is applied is a commit on the branch. From the first one on it is too late to cancel."""
    for part in stage.parts:
        run.note(part)
    if not changed(stage.before, stage.edit.tree):
        # Nothing to commit, or another commit did the same, which is not ours to revert.
        await _save(deps, run, State.APPLYING, "applying")
        run.reach(part.key for part in stage.parts)
    elif run.merged:
        what = f"{run.merged.url} was merged, and by now more would have to change: {', '.join(_files(stage))}."
        raise InfraError("superseded", what)
    elif stage.number in run.on_branch:
        commit = run.record.stage(stage.number).commit
        raise InfraError("object-moved", f"Commit {commit} was reverted by someone else while it was being applied.")
    else:
        run.say("committing")
        with Phase("commit", stage=stage.number) as phase:
            await commit_stage(deps, run, stage)
            phase.set(commit=run.record.stage(stage.number).commit)


def _files(stage: PlannedStage) -> list[str]:
    return list(changed(stage.before, stage.edit.tree))


async def _apply(deps: Dependencies, run: Run, part: PlannedPart, decide: Decide) -> PlannedPart:
    """Apply one part, once the targets that it needs are there."""
    if part.prepared.needs:
        part = await _when_ready(deps, run, part)
    if part.prepared.writes:
        await decide(run)  # the policy may have changed while we waited for git
        run.say(f"applying {(count := len(part.prepared.writes))} change{'s' * (count != 1)}")
        run.reach([part.key])
        with Phase("apply", driver=part.delivery, place=part.place, targets=count):
            await part.driver.apply(part.context, part.prepared)
    return part


async def _when_ready(deps: Dependencies, run: Run, part: PlannedPart) -> PlannedPart:
    """Plan a part again on what earlier parts made; it must do nothing that was not shown."""
    for target in part.prepared.needs:
        await _present(run, part, target)
    context = replace(part.context, made=frozenset(), seen={})
    fresh = await plan_part(deps, context, part.delivery, part.place, part.stage, part.share)
    shown = run.record.approved or scope(run.plan.effect)
    if strange := beyond(shown, fresh.prepared.changes):
        what = f"{strange} changed while this change was under way: the rest of it differs from what was shown."
        raise InfraError("object-moved", what)
    run.note(fresh)
    await _save(deps, run, State.APPLYING, "applying")
    return fresh


async def _present(run: Run, part: PlannedPart, target: Target) -> None:
    """Wait until a target is there, as the driver of the part that makes it sees it; else that of this part."""
    makers = (one for one in run.plan.parts if any(c.target.key == target.key for c in one.prepared.changes))
    maker = next(makers, part)
    pause = _MIN_PAUSE
    with anyio.move_on_after(maker.prepared.timeout):
        # What was read when it was planned says nothing of now.
        while not await maker.driver.present(replace(maker.context, seen={}), target):
            run.say(f"waiting for {target}")
            await anyio.sleep(pause)
            pause = min(pause * 1.5, _MAX_PAUSE)
        return
    raise InfraError("not-landed", f"{target}, which a later part needs, is not there.")


async def _save(deps: Dependencies, run: Run, state: State, kind: str) -> None:
    await deps.save(run, state, kind, {"objects": run.targets, "commit": run.commit or ""}, commit=run.commit)
