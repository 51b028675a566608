"""Ends a request that did not land: nothing was written, hold it, or roll it back; and says which."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import time
from typing import TypeVar

from anyio import sleep

from infra_mcp.drivers.base import Context, Driver, Undone
from infra_mcp.engine import report
from infra_mcp.engine.commits import observe_commits, revert_stage
from infra_mcp.engine.planning import context_of
from infra_mcp.engine.propose import propose_reversal, withdraw
from infra_mcp.engine.repositories import AWAY, once_there
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError, Locked, Moved, Unavailable
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.record import PartRecord
from infra_mcp.model.request import State
from infra_mcp.telemetry import Phase

T = TypeVar("T")
_TRIES = 6
_MOVED_PAUSE = 0.05  # seconds, longer each time, while the branch keeps moving
_LOCKED = (1.0, 2.0, 5.0, 10.0, *(30.0,) * 19)  # seconds between two looks at a lock: ten minutes in all
DENIED = frozenset({"cluster-denied", "admission-denied"})
# Seconds that these may last: an API server that was restarted, or whose admin has just applied `rbac render`, has not
# read its rules and admission policies yet.
DENIED_FOR = 10.0


async def after_failure(deps: Dependencies, run: Run, error: InfraError | None) -> Receipt | None:
    """End a request that did not land. `error` is None to continue an interrupted rollback.

    Returns:
        The receipt; None when the request was parked: the pull request that reverts it waits for people.
    """
    if error is None:
        return await _roll_back(deps, run, InfraError.from_data(run.record.cause or {}))
    if error.code == "cannot-observe":
        return await give_up(deps, run, error)
    # What people put on the branch in place of a merged change of ours is their will; nothing of it was applied yet.
    taken = error.code == "superseded" and run.request.state is State.PROPOSED and not run.applied
    if run.begun and not taken:
        try:
            await observe_commits(deps, run)  # git may have moved the branch and then failed
        except InfraError as unknown:
            return await give_up(deps, run, unknown)
    if taken or (not run.on_branch and not run.applied):
        if (proposal := run.record.proposal) and not run.merged:
            why = f"{error.what} Nothing was changed."
            if not await once_there(partial(withdraw, deps, proposal, why), run.say):
                what = f"{error.what} {proposal.url} was merged meanwhile: what it changes is on the branch."
                return await report.finish(deps.ledger, run, State.NEEDS_OPERATOR, what, error)
        message = f"{error.what} Nothing was changed." if run.begun and not taken else error.what
        return await report.finish(deps.ledger, run, report.end_for(error), message, error)
    run.record = run.record.update(cause=error.as_dict())
    await deps.save(run, State.ROLLING_BACK, "not_landed", error.as_dict(), commit=run.commit)
    with Phase("undo"):
        return await _roll_back(deps, run, error)


async def give_up(deps: Dependencies, run: Run, error: InfraError) -> Receipt:
    """Leave a request to an operator: nothing more is written, since we cannot tell what to undo."""
    commits = ", ".join(stage.commit for stage in run.record.stages if stage.commit)
    message = f"{error.what} Commit: {commits or 'none'}. Objects: {', '.join(run.targets) or 'none'}."
    return await report.finish(deps.ledger, run, State.NEEDS_OPERATOR, message, error)


@dataclass
class _Rollback:
    """How far a rollback came: what was restored, what could not be, and what is kept on purpose."""

    problems: list[str] = field(default_factory=list)
    restored: list[tuple[PartRecord, Driver]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unmerged: list[int] = field(default_factory=list)  # stages whose commits a pull request has to take back


async def _roll_back(deps: Dependencies, run: Run, error: InfraError) -> Receipt | None:
    """Undo the stages, wait for the former state, and report how far that came; or for people to merge the revert."""
    run.say(f"rolling back: {error.what}")
    done = await _undo_stages(deps, run, error)
    if done.unmerged and await _propose_reversal(deps, run, error, done):
        return None
    former = await _former(deps, run, done) if done.restored and not done.problems else ""
    kept = _kept(run, done)
    if done.problems:
        message = f"{error.what} The rollback is incomplete: {'; '.join(done.problems)}."
        if done.names:
            message += f" Restored: {', '.join(done.names)}."
        stuck = InfraError("undo-incomplete", f"{message}{kept}")
        return await report.finish(deps.ledger, run, State.NEEDS_OPERATOR, stuck.what, stuck)
    undone = f" Rolled back: {former}." if done.restored else ""
    git = "".join(f" Commit {one.commit} was reverted by {one.revert}." for one in run.record.stages if one.revert)
    state = State.ROLLED_BACK if undone and not kept else State.FAILED
    nothing = "" if undone or kept else " Nothing live was changed."
    return await report.finish(deps.ledger, run, state, f"{error.what}{undone}{nothing}{kept}{git}", error)


def _kept(run: Run, done: _Rollback) -> str:
    """What is kept on purpose, as a sentence; empty where nothing is."""
    if not done.kept:
        return ""
    stages = [run.record.stage(number) for number in sorted(run.on_branch)]
    stay = [one.commit for one in stages if one.commit and not one.revert]
    commits = f"commit {stay[0]} stays" if len(stay) == 1 else f"commits {', '.join(stay)} stay"
    return f" What was made is kept ({', '.join(done.kept)}), and {commits if stay else 'commit none stays'}."


async def _undo_stages(deps: Dependencies, run: Run, error: InfraError) -> _Rollback:
    """Undo each stage, the last first: git, then its parts in reverse. One failure does not stop the others.

    A stage with a part that holds and has written something is kept, with its commit.
    """
    done = _Rollback()
    for number in reversed(range(max(len(run.record.stages), 1))):
        parts = [part for part in run.record.parts if part.stage == number]
        kept = [part for part in parts if await _is_kept(deps, run, part)]
        if kept:
            made = [name for part in kept for name in _names(part)]
            done.kept = [*made, *done.kept]
            continue
        undoes = any(part.key in run.applied and part.on_failure != "hold" for part in parts)
        reverted = await _revert(deps, run, number, error.what, done, waits=not undoes)
        for part in reversed(parts):
            await _undo(deps, run, part, done)
        if not reverted:  # the places did not wait for another git's lock
            await _revert(deps, run, number, error.what, done, waits=True)
    return done


async def _revert(deps: Dependencies, run: Run, number: int, cause: str, done: _Rollback, *, waits: bool) -> bool:
    """Revert a stage's commit, or add the problem; False when another git's lock is in the way and we do not wait.

    A commit that came by a pull request is taken back by another one, of all stages at once.
    """
    if run.merged:
        if number in run.on_branch and not (run.record.reversal and run.record.reversal.merged):
            done.unmerged.append(number)
        return True
    for seconds in (*_LOCKED, 0.0):
        try:
            await once_there(lambda: _persist(lambda: revert_stage(deps, run, number, cause)), run.say)
        except Locked as held:
            if not waits:
                return False
            if not seconds:
                done.problems.append(held.what)
            run.say("rolling back: waiting for another git process to release its lock")
            await sleep(seconds)
            continue
        except InfraError as failed:
            if failed.code == "ledger-unavailable":
                raise
            done.problems.append(failed.what)
        except Moved as moved:
            done.problems.append(f"the branch kept moving ({moved})")
        break
    return True


async def _propose_reversal(deps: Dependencies, run: Run, error: InfraError, done: _Rollback) -> bool:
    """Open the pull request that takes the change back; False where nothing is left to take back, or it cannot be."""
    try:
        return await _persist(lambda: propose_reversal(deps, run, set(done.unmerged), error.what))
    except InfraError as failed:
        if failed.code == "ledger-unavailable":
            raise
        done.problems.append(failed.what)
        return False


async def _undo(deps: Dependencies, run: Run, part: PartRecord, done: _Rollback) -> None:
    """Undo one part where a write may have reached it; what the driver skipped is a problem."""
    if part.key not in run.applied or part.on_failure == "hold":
        return
    try:
        driver = await _driver(deps, part)
        context = _context(deps, run, part)
        undone: Undone = await _persist(lambda: driver.undo(context, part.written))
    except InfraError as failed:
        done.problems.append(failed.what)
        return
    done.problems += undone.skipped
    if undone.restored:
        done.restored.append((part, driver))
        done.names += undone.restored


async def _former(deps: Dependencies, run: Run, done: _Rollback) -> str:
    """Wait for the former state of what was restored: a text that says so, or more problems.

    The deadline is chosen once: as long as the change itself may take to land.
    """
    if run.record.former is None:
        run.record = run.record.update(former=time() + max(part.timeout for part, _ in done.restored))
        await deps.save(run, State.ROLLING_BACK, "restored", {"objects": run.targets})
    facts = []
    for part, driver in done.restored:
        try:
            seconds = max((run.record.former or 0.0) - time(), 5.0)
            facts.append(await driver.settled(_context(deps, run, part), part.written, seconds))
        except InfraError as error:
            done.problems.append(f"the former version was restored and is not ready: {error.what.rstrip('.')}")
    return "; ".join(facts)


async def _is_kept(deps: Dependencies, run: Run, part: PartRecord) -> bool:
    """Whether a part holds what it made: it is not undone, and some of it is there, or we cannot tell."""
    if part.on_failure != "hold" or part.key not in run.applied:
        return False
    try:
        return await (await _driver(deps, part)).observe(_context(deps, run, part), part.written)
    except InfraError:
        return True


def _context(deps: Dependencies, run: Run, part: PartRecord) -> Context:
    """The context of a part's undo: the commit is the one that takes the change back."""
    revert = run.record.stage(part.stage).revert or ""
    return replace(context_of(run, deps.policy()), before=part.before, commit=revert)


def _names(part: PartRecord) -> list[str]:
    """What a part has made, for people; others may have made anything where they deliver it."""
    return [str(one.target) for one in part.written] or [f"what {part.driver} delivers to {part.where}"]


async def _driver(deps: Dependencies, part: PartRecord) -> Driver:
    return await deps.places.driver(deps.policy(), part.driver, part.place)


async def _persist(call: Callable[[], Awaitable[T]]) -> T:
    """Try again for a bounded time while the branch moves, or a place does not answer or denies a write."""
    began = time()
    for attempt in range(_TRIES):
        try:
            return await call()
        except Moved:
            await sleep(_MOVED_PAUSE * 2**attempt)
        except InfraError as error:
            may_pass = error.code in DENIED and time() - began < DENIED_FOR
            if error.code in AWAY or (not isinstance(error, Unavailable) and not may_pass):
                raise
            await sleep(0.5 * 2**attempt)
    return await call()
