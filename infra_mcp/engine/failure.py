"""What happens when a change does not land: nothing was written, hold it, or roll it back; and what to say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import TypeVar

from anyio import sleep

from infra_mcp.clients.kube import KubeError
from infra_mcp.clients.kube.errors import DENIED_FOR, is_denied
from infra_mcp.drivers.manifests.undo import Undone
from infra_mcp.engine import report
from infra_mcp.engine.commits import observe_commit, revert_plan
from infra_mcp.engine.run import Run
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError, Locked, Moved
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State

__all__ = ["after_failure", "give_up"]

T = TypeVar("T")
_TRIES = 6
_LOCKED = (1.0, 2.0, 5.0, 10.0, *(30.0,) * 19)  # seconds between two looks at a lock: ten minutes in all
_FORMER_SECONDS = 60.0  # seconds the former version gets to be healthy again where no app says how long it takes


async def after_failure(tools: Tools, run: Run, error: InfraError | None) -> Receipt:
    """End a request that did not land. `error` is None when a rollback was interrupted and goes on.

    Raises:
        InfraError: `ledger-unavailable`.
    """
    if error is None:
        kept = run.memory["cause"]
        error = InfraError(kept["code"], kept["what"], next_step=kept["next"], rule=kept.get("rule"))
        return await _roll_back(tools, run, error)
    if error.code == "cannot-observe":
        return await give_up(tools, run, error)
    if run.begun:
        try:
            await observe_commit(tools, run)  # git may have moved the branch and failed to say so
        except InfraError as unknown:
            return await give_up(tools, run, unknown)
    if run.commit is None and not run.wrote:
        message = f"{error.what} Nothing was changed." if run.begun else error.what
        return await _end(tools, run, report.end_for(error), message, error)
    run.remember(cause=error.as_dict())
    await tools.ledger.record(
        run.request.id, State.ROLLING_BACK, "not_landed", error.as_dict(), record=run.memory, commit=run.commit
    )
    return await _roll_back(tools, run, error)


async def give_up(tools: Tools, run: Run, error: InfraError) -> Receipt:
    """End a request in a person's hands: nothing more is written, since nobody can say what would be undone."""
    kept = ", ".join(str(one.ref) for one in run.writes)
    message = f"{error.what} Commit: {run.recorded or 'none'}. Objects: {kept or 'none'}."
    return await _end(tools, run, State.NEEDS_OPERATOR, message, error)


async def _roll_back(tools: Tools, run: Run, error: InfraError) -> Receipt:
    """Git first, then the cluster; each is tried even when the other cannot be."""
    run.say(f"rolling back: {error.what}")
    holds = run.memory.get("failure") == "hold"
    if holds and await _anything_written(tools, run):
        kept = ", ".join(str(one.ref) for one in run.writes)
        message = f"{error.what} What was made is kept ({kept}), and commit {run.commit or 'none'} stays."
        return await _end(tools, run, State.FAILED, message, error)
    problems: list[str] = []
    undoes = run.wrote and not holds
    reverted = await _revert(tools, run, error.what, problems, waits=not undoes)
    undone = await _undo(tools, run, problems) if undoes else Undone((), ())
    if not reverted:  # the cluster did not wait for somebody's lock
        await _revert(tools, run, error.what, problems, waits=True)
    former = await _former(tools, run, problems) if undone.restored and not problems else ""
    if problems:
        message = f"{error.what} The rollback is incomplete: {'; '.join(problems)}."
        if undone.restored:
            message += f" Restored: {', '.join(undone.restored)}."
        stuck = InfraError("undo-incomplete", message)
        return await _end(tools, run, State.NEEDS_OPERATOR, message, stuck)
    if not undone.restored:
        git = f" Commit {run.commit} was reverted by {run.revert}." if run.revert else ""
        return await _end(tools, run, State.FAILED, f"{error.what} Nothing in the cluster was changed.{git}", error)
    git = f" Commit {run.commit} was reverted by {run.revert}." if run.revert else ""
    return await _end(tools, run, State.ROLLED_BACK, f"{error.what} Rolled back: {former}.{git}", error)


async def _revert(tools: Tools, run: Run, cause: str, problems: list[str], *, waits: bool) -> bool:
    """Take the commit back, or add why not to the problems; False when another git's lock is in the way at first."""
    for seconds in (*_LOCKED, 0.0):
        try:
            run.revert = await _persist(lambda: revert_plan(tools, run, cause))
        except Locked as held:
            if not waits:
                return False
            if not seconds:
                problems.append(held.what)
            run.say("rolling back: waits for another git process to let go of its lock")
            await sleep(seconds)
        except InfraError as failed:
            if failed.code == "ledger-unavailable":
                raise
            problems.append(failed.what)
            break
        except Moved as moved:
            problems.append(f"the branch kept moving ({moved})")
            break
        else:
            break
    return True


async def _undo(tools: Tools, run: Run, problems: list[str]) -> Undone:
    """Put the former values back in the cluster; what was left is added to the problems."""
    try:
        undone = await _persist(lambda: tools.driver.undo(run.require_task(), run.writes))
    except (InfraError, KubeError) as failed:
        problems.append(failed.what if isinstance(failed, InfraError) else failed.translate(None).what)
        return Undone((), ())
    problems += undone.left
    return undone


async def _former(tools: Tools, run: Run, problems: list[str]) -> str:
    """Wait for the former version: the sentence that says it is up, or another problem."""
    deadline = await _former_deadline(tools, run)
    try:
        return await tools.driver.after_undo(run.require_task(), run.writes, deadline)
    except InfraError as error:
        problems.append(f"the former version was put back and is not up: {error.what.rstrip('.')}")
        return ""


async def _former_deadline(tools: Tools, run: Run) -> float:
    """Seconds that remain for the former version, chosen once: as long as the app may take to come up."""
    if "former" not in run.memory:
        try:
            seconds = tools.driver.timeout(run.require_task())
        except InfraError:  # the app is in the catalogue no more
            seconds = _FORMER_SECONDS
        await tools.ledger.record(
            run.request.id,
            State.ROLLING_BACK,
            "restored",
            {"objects": [str(one.ref) for one in run.writes]},
            record=run.remember(former=time() + seconds),
        )
    return max(float(run.memory["former"]) - time(), 5.0)


async def _anything_written(tools: Tools, run: Run) -> bool:
    if not run.wrote:
        return False
    try:
        return await tools.driver.any_written(run.require_task(), run.writes)
    except (InfraError, KubeError):
        return True  # it cannot be told, so nothing is taken back


async def _persist(call: Callable[[], Awaitable[T]]) -> T:
    """Try again while the branch moves, or the cluster does not answer or refuses rights, for a bounded time."""
    began = time()
    for attempt in range(_TRIES):
        try:
            return await call()
        except Moved:
            await sleep(0.05 * 2**attempt)
        except (KubeError, InfraError) as error:
            silent = isinstance(error, KubeError) and not error.status
            if not silent and not (is_denied(error) and time() - began < DENIED_FOR):
                raise
            await sleep(0.5 * 2**attempt)
    return await call()


async def _end(tools: Tools, run: Run, state: State, message: str, error: InfraError) -> Receipt:
    made = report.receipt(run, state, message, error)
    return await tools.ledger.finish(run.request.id, made, error.as_dict())
