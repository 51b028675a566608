"""A stage as a commit on the branch, and its revert: the event first, then the branch moves."""

from __future__ import annotations

from anyio import to_thread

from infra_mcp.engine.dependencies import Dependencies
from infra_mcp.engine.run import PlannedStage, Run
from infra_mcp.errors import InfraError
from infra_mcp.ledger.heads import HEADS, proof_of
from infra_mcp.model.request import State
from infra_mcp.repository.commit import message
from infra_mcp.repository.edits import keep, kept
from infra_mcp.repository.rebase import changed, rebase, revert


async def draft(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    """Build a stage's commit on the head it was planned on; no ref moves, and it may never be used."""
    text = _message(run, stage, await _head(deps))
    base = stage.before.base
    run.draft = base, await deps.git.build_commit(base, changed(stage.before, stage.edit.tree), text, _when(run))


async def commit_stage(deps: Dependencies, run: Run, stage: PlannedStage) -> None:
    """Commit what a stage edits and move the branch to it.

    Commits that others made meanwhile are built upon, unless they touch a file of ours.

    Raises:
        Moved: someone changed one of our files, or moved the branch at the last moment.
        InfraError: `checkout-refused`, with the files; nothing is applied then.
    """
    policy = deps.policy()
    branch, files = policy.tree.branch, changed(stage.before, stage.edit.tree)
    async with deps.git.exclusive():
        head = await deps.git.head(branch)
        if head != stage.before.base:
            tree = await deps.tree(policy, head)
            files = await to_thread.run_sync(rebase, stage.before, stage.edit.tree, tree)
        if run.draft and run.draft[0] == head and stage.number == 0:
            commit = run.draft[1]
        else:
            text = _message(run, stage, await _head(deps))
            commit = await deps.git.build_commit(head, files, text, _when(run))
        run.record = run.record.with_stage(stage.number, edits=keep(stage.edit.changes), commit=commit)
        await deps.ledger.record(
            run.request.id,
            State.APPLYING,
            "committing",
            {"commit": commit, "files": sorted(files), "objects": run.targets},
            record=run.record.kept(),
            commit=commit,
            effect_digest=run.record.digest,
        )
        await deps.git.move(branch, commit, head)
    run.on_branch |= {stage.number}


async def observe_commits(deps: Dependencies, run: Run) -> None:
    """Ask the branch itself which recorded commits are on it, after waiting for a git that outlived us.

    Raises:
        InfraError: `cannot-observe`, when it cannot be told.
    """
    for number, stage in enumerate(run.record.stages):
        if number in run.on_branch or stage.commit is None:
            continue
        try:
            there = await deps.git.contains(deps.policy().tree.branch, stage.commit)
        except InfraError as error:
            what = f"Whether commit {stage.commit} is on the branch: {error.what}"
            raise InfraError("cannot-observe", what) from error
        if there:
            run.on_branch |= {number}
            run.reach(part.key for part in run.record.parts if part.stage == number)


async def revert_stage(deps: Dependencies, run: Run, number: int, cause: str) -> None:
    """Commit the inverse of what a stage committed, edit by edit, on the present head.

    What others changed in the same files stays. When the branch says already what it said before, nothing is done.

    Raises:
        InfraError: `checkout-refused`; `undo-incomplete` when someone changed the very fields since.
        Moved: the branch moved at the last moment.
    """
    policy, stage = deps.policy(), run.record.stage(number)
    branch, ours = policy.tree.branch, stage.commit
    if ours is None or number not in run.on_branch:
        return
    async with deps.git.exclusive():
        head = await deps.git.head(branch)
        trees = await deps.tree(policy, ours), await deps.tree(policy, head)
        changes = await to_thread.run_sync(revert, kept(stage.edits), *trees, ours)
        if not changes:
            return
        trailers = {"Infra-Request": run.request.id, **_by(run), **await _head(deps)}
        text = message(f"Roll back {run.request.id}", f"{cause}\n\nReverts {ours}.", trailers)
        reverting = await deps.git.build_commit(head, changes, text, _when(run))
        run.record = run.record.with_stage(number, revert=reverting)
        await deps.ledger.record(
            run.request.id,
            State.ROLLING_BACK,
            "reverting",
            {"commit": ours, "revert": reverting},
            record=run.record.kept(),
            revert=reverting,
        )
        await deps.git.move(branch, reverting, head)


def _when(run: Run) -> int:
    """The time of this request's commits: chosen once, so that building one again gives the same id."""
    return run.record.when or 0


async def _head(deps: Dependencies) -> dict[str, str]:
    """The trailers that bind a commit to the ledger: its head, and that this ledger's keys gave it out."""
    head = await deps.ledger.head()
    return {"Audit-Head": head, "Audit-Proof": proof_of(await deps.ledger.key(HEADS), head)}


def _message(run: Run, stage: PlannedStage, head: dict[str, str]) -> str:
    request = run.request
    trailers = {
        "Infra-Request": request.id,
        **_by(run),
        "Effect-Digest": run.record.digest or run.plan.effect.digest,
        **head,
    }
    if request.idempotency_key:
        trailers["Idempotency-Key"] = request.idempotency_key
    return message(stage.edit.goal.title, request.reason or request.words, trailers)


def _by(run: Run) -> dict[str, str]:
    """Who asked, and who acted for them where somebody did."""
    request = run.request
    acted = {"Acted-By": request.attendant} if request.attendant else {}
    return {"Requested-By": request.caller.name} | acted
