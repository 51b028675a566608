"""A stage as a commit on the branch, and its revert: the event first, then the branch moves."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from anyio import to_thread

from infra_mcp.engine.repositories import AWAY, once_there
from infra_mcp.engine.run import Dependencies, PlannedStage, Run
from infra_mcp.errors import InfraError, Moved, Raced, Unavailable
from infra_mcp.ledger.chain import HEADS, proof_of
from infra_mcp.model.request import State
from infra_mcp.repository.commit import message
from infra_mcp.repository.edits import FileEdit, SetValue, keep, kept
from infra_mcp.repository.rebase import changed, rebase, revert

_RACES: Final = 40  # pushes of others in a row


async def draft(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    """Build a stage's commit on the head it was planned on; no ref moves, and it may never be used."""
    base, files = stage.before.base, changed(stage.before, stage.edit.tree)
    run.draft = (
        base,
        await deps.git.build_commit(base, files, await commit_message(deps, run, stage), run.record.when or 0),
    )


async def commit_stage(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    """Commit what a stage edits and move the branch to it, on top of commits that change none of its files.

    Raises:
        Moved: another commit changed one of its files, or one that its builds read; or moved the branch at the last
            moment.
        InfraError: `checkout-refused`, with the files; nothing is applied then.
    """
    try:
        await _again_where_raced(partial(_commit, deps, run, stage))
    except Unavailable as away:
        commit, branch = run.record.stage(stage.number).commit, deps.policy().tree.branch
        if away.code not in AWAY or commit is None:
            raise
        # The push may have come through: the remote says so as soon as it answers.
        if not await once_there(partial(deps.git.contains, branch, commit), run.say):
            raise Moved(f"branch {branch}") from away
    run.on_branch |= {stage.number}


async def _again_where_raced(write: Callable[[], Awaitable[None]]) -> None:
    """Commit on top of what others pushed meanwhile: a busy branch moves more often than a change can be planned."""
    for attempt in range(_RACES):
        try:
            await write()
        except Raced:
            if attempt == _RACES - 1:
                raise
        else:
            return


async def _commit(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    policy = deps.policy()
    branch, files = policy.tree.branch, changed(stage.before, stage.edit.tree)
    async with deps.git.exclusive():
        head = await deps.git.head(branch)
        if head != stage.before.base:
            tree = await deps.tree(policy, head, stage.before.cluster)
            read = frozenset(path for part in stage.parts for build in part.share.builds for path in build.files)
            files = await to_thread.run_sync(rebase, stage.before, stage.edit.tree, tree, read)
        if run.draft and run.draft[0] == head and stage.number == 0:
            commit = run.draft[1]
        else:
            commit = await deps.git.build_commit(
                head, files, await commit_message(deps, run, stage), run.record.when or 0
            )
        run.record = run.record.with_stage(stage.number, edits=keep(stage.edit.changes), commit=commit)
        data = {"commit": commit, "files": sorted(files), "objects": run.targets}
        await deps.save(run, State.APPLYING, "committing", data, commit=commit, effect_digest=run.record.digest)
        await deps.git.move(branch, commit, head)


async def observe_commits(deps: Dependencies, run: Run) -> None:
    """Ask the branch which recorded commits are on it, after waiting for a git process that outlived us.

    Raises:
        InfraError: `cannot-observe`, when git cannot tell.
    """
    for number, stage in enumerate(run.record.stages):
        if number in run.on_branch or stage.commit is None:
            continue
        try:
            there = await once_there(partial(deps.git.contains, deps.policy().tree.branch, stage.commit), run.say)
        except InfraError as error:
            what = f"Cannot tell whether commit {stage.commit} is on the branch: {error.what}"
            raise InfraError("cannot-observe", what) from error
        if there:
            run.on_branch |= {number}
            run.reach(part.key for part in run.record.parts if part.stage == number)


async def revert_stage(deps: Dependencies, run: Run, number: int, cause: str) -> None:
    """Commit the inverse of a stage's commit, edit by edit, on the present head.

    Changes of others in the same files stay. When the branch already has the former content, nothing is done.

    Raises:
        InfraError: `checkout-refused`; `undo-incomplete` when the very same fields were changed since.
        Moved: the branch moved at the last moment.
    """
    ours = run.record.stage(number).commit
    if ours is not None and number in run.on_branch:
        await _again_where_raced(partial(_revert, deps, run, number, ours, cause))


async def _revert(deps: Dependencies, run: Run, number: int, ours: str, cause: str) -> None:
    branch = deps.policy().tree.branch
    async with deps.git.exclusive():
        head = await deps.git.head(branch)
        reverting = await build_revert(deps, run, number, head, cause)
        if reverting is None:
            return
        run.record = run.record.with_stage(number, revert=reverting)
        data = {"commit": ours, "revert": reverting}
        await deps.save(run, State.ROLLING_BACK, "reverting", data, revert=reverting)
        await deps.git.move(branch, reverting, head)


async def build_revert(deps: Dependencies, run: Run, number: int, head: str, cause: str) -> str | None:
    """Build the commit that takes a stage's commit back, on a head; no ref moves. None where nothing is left of it.

    Raises:
        InfraError: `undo-incomplete`, as `revert_stage`.
    """
    policy, stage = deps.policy(), run.record.stage(number)
    ours, edits = stage.commit or "", kept(stage.edits)
    # Objects are found again in the cluster that they were planned for, whatever the policy says by now.
    trees = await deps.tree(policy, ours, place_of(edits)), await deps.tree(policy, head, place_of(edits))
    changes = await to_thread.run_sync(revert, edits, *trees, ours)
    if not changes:
        return None
    trailers = _trailers(run) | await _head(deps)
    text = message(f"Roll back {run.request.id}", f"{cause}\n\nReverts {ours}.", trailers)
    return await deps.git.build_commit(head, changes, text, run.record.when or 0)


def place_of(edits: Iterable[FileEdit]) -> str:
    """The cluster that edits were planned for; empty where none names an object."""
    return next((one.ref.cluster for one in edits if isinstance(one, SetValue) and one.ref), "")


async def commit_message(deps: Dependencies, run: Run, stage: PlannedStage) -> str:
    """The message of a stage's commit, with the trailers that bind it to the ledger."""
    request = run.request
    trailers = _trailers(run) | {"Effect-Digest": run.record.digest or run.plan.effect.digest} | await _head(deps)
    if request.idempotency_key:
        trailers["Idempotency-Key"] = request.idempotency_key
    return message(stage.edit.goal.title, request.reason or request.words, trailers)


def _trailers(run: Run) -> dict[str, str]:
    """The request, its asker, and the attendant that acted for them, if any."""
    acted = {"Acted-By": run.request.attendant} if run.request.attendant else {}
    return {"Infra-Request": run.request.id, "Requested-By": run.request.caller.name} | acted


async def _head(deps: Dependencies) -> dict[str, str]:
    """The trailers that bind a commit to the ledger: its head, and a proof by this ledger's keys."""
    head = await deps.ledger.head()
    return {"Audit-Head": head, "Audit-Proof": proof_of(await deps.ledger.key(HEADS), head)}
