"""The plan as a commit on the branch, and its revert: the event first, then the branch moves."""

from __future__ import annotations

from collections.abc import Mapping

from anyio import to_thread

from infra_mcp.engine.run import Run
from infra_mcp.engine.tools import Tools
from infra_mcp.errors import InfraError, Moved
from infra_mcp.ledger.heads import HEADS, proof_of
from infra_mcp.model.plan import TreeEdit
from infra_mcp.model.request import State
from infra_mcp.repository.commit import message
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.value import Tree

__all__ = ["commit_plan", "draft", "observe_commit", "revert_plan"]


async def draft(tools: Tools, run: Run) -> None:
    """Build the plan's commit on the head it was planned on; no ref moves, and it may never be used."""
    _, prepared = run.planned
    text = _message(run, await _head(tools))
    base = prepared.tree.base
    run.draft = base, await tools.git.build_commit(base, prepared.tree.changed, text, run.memory["when"])


async def commit_plan(tools: Tools, run: Run) -> str:
    """Commit the prepared tree and move the branch to it.

    Commits that others made meanwhile are built upon, unless they touch a file of ours.

    Raises:
        Moved: someone changed one of our files, or moved the branch at the last moment.
        InfraError: `checkout-refused`, with the files; nothing is applied then.
    """
    task, prepared = run.planned
    branch, changes = task.policy.tree.branch, prepared.tree.changed
    async with tools.git.exclusive():
        head = await tools.git.head(branch)
        if head != prepared.tree.base:
            await to_thread.run_sync(_untouched, run, await tools.tree(task.policy, head))
        if run.draft and run.draft[0] == head:
            commit = run.draft[1]
        else:
            text = _message(run, await _head(tools))
            commit = await tools.git.build_commit(head, changes, text, run.memory["when"])
        created = [file.path for file in prepared.plan.effect.files if file.before is None]
        await tools.ledger.record(
            run.request.id,
            State.APPLYING,
            "committing",
            {"commit": commit, "files": sorted(changes), "objects": [str(one.ref) for one in run.writes]},
            record=run.remember(edits=[edit.model_dump_json() for edit in prepared.plan.edits], created=created),
            commit=commit,
            effect_digest=prepared.plan.effect.digest,
        )
        run.recorded = commit
        await tools.git.move(branch, commit, head)
    return commit


async def observe_commit(tools: Tools, run: Run) -> None:
    """Ask the branch itself whether the recorded commit is on it, after waiting for a git that outlived us.

    Raises:
        InfraError: `cannot-observe`, when it cannot be told.
    """
    if run.commit is not None or run.recorded is None:
        return
    try:
        there = await tools.git.contains(run.require_task().policy.tree.branch, run.recorded)
    except InfraError as error:
        raise InfraError("cannot-observe", f"Whether commit {run.recorded} is on the branch: {error.what}") from error
    if there:
        run.commit, run.wrote = run.recorded, True


def _untouched(run: Run, fresh: Tree) -> None:
    """Other people's commits do not void a plan, unless they changed what it edits or added what it adds."""
    _, prepared = run.planned
    created = set()
    for file in prepared.plan.effect.files:
        if fresh.oid(file.path) != file.before:
            raise Moved(file.path)
        if file.before is None:
            created.add(file.path)
    for located in prepared.tree.objects():
        if located.path in created and fresh.find(located.ref) is not None:
            raise Moved(str(located.ref))


async def _head(tools: Tools) -> dict[str, str]:
    """The trailers that bind a commit to the ledger: its head, and that this ledger's keys gave it out."""
    head = await tools.ledger.head()
    return {"Audit-Head": head, "Audit-Proof": proof_of(await tools.ledger.key(HEADS), head)}


def _message(run: Run, head: dict[str, str]) -> str:
    _, prepared = run.planned
    request, names = run.request, prepared.names
    subject = f"Deploy {names['app']} {names['version']}" if "app" in names else f"Provision {names['namespace']}"
    trailers = {
        "Infra-Request": request.id,
        **_by(run),
        "Effect-Digest": prepared.plan.effect.digest,
        **head,
    }
    if request.idempotency_key:
        trailers["Idempotency-Key"] = request.idempotency_key
    return message(subject, request.reason or request.words, trailers)


def _by(run: Run) -> dict[str, str]:
    """Who asked, and who acted for them where somebody did."""
    request = run.request
    acted = {"Acted-By": request.attendant} if request.attendant else {}
    return {"Requested-By": request.caller.name} | acted


async def revert_plan(tools: Tools, run: Run, cause: str) -> str | None:
    """Commit the inverse of what this request committed, edit by edit, on the present head.

    What others changed in the same files stays. When the branch says already what it said before, nothing is done.

    Returns:
        The id of the revert commit, or None when this request never had one to revert.

    Raises:
        InfraError: `checkout-refused`; `undo-incomplete` when someone changed the very fields since.
        Moved: the branch moved at the last moment.
    """
    task = run.require_task()
    branch = task.policy.tree.branch
    async with tools.git.exclusive():
        head = await tools.git.head(branch)
        fresh = await tools.tree(task.policy, head)
        changes = await _inverse(tools, run, fresh)
        if not changes:
            return run.revert
        trailers = {
            "Infra-Request": run.request.id,
            **_by(run),
            **await _head(tools),
        }
        text = message(f"Roll back {run.request.id}", f"{cause}\n\nReverts {run.commit}.", trailers)
        revert = await tools.git.build_commit(head, changes, text, run.memory["when"])
        await tools.ledger.record(
            run.request.id,
            State.ROLLING_BACK,
            "reverting",
            {"commit": run.commit or "", "revert": revert},
            record=run.memory,
            revert=revert,
        )
        await tools.git.move(branch, revert, head)
    return revert


async def _inverse(tools: Tools, run: Run, fresh: Tree) -> Mapping[str, bytes | None]:
    """The files that take this request's edits back; created files go if they are still as we made them."""
    edits = [TreeEdit.model_validate_json(text) for text in run.memory.get("edits", [])]
    try:
        tree = await to_thread.run_sync(_taken_back, run, fresh, edits)
    except Moved as moved:
        what = f"{moved} was changed by someone else since; commit {run.commit} stays."
        raise InfraError("undo-incomplete", what) from moved
    changes: dict[str, bytes | None] = dict(tree.changed)
    if created := run.memory.get("created"):
        task = run.require_task()
        ours = await tools.tree(task.policy, run.commit or fresh.base)
        for path in created:
            if fresh.oid(path) is None:
                continue
            if fresh.oid(path) != ours.oid(path):
                raise InfraError("undo-incomplete", f"{path} was changed by someone else since commit {run.commit}.")
            changes[path] = None
    return changes


def _taken_back(run: Run, fresh: Tree, edits: list[TreeEdit]) -> Tree:
    return apply_edits(fresh, [_inverted(fresh, edit, run) for edit in reversed(edits)])


def _inverted(tree: Tree, edit: TreeEdit, run: Run) -> TreeEdit:
    located = tree.find(edit.ref)
    if located is None:
        raise InfraError("undo-incomplete", f"{edit.ref} is no longer in the repository; commit {run.commit} stays.")
    return edit.model_copy(update={"path": located.path, "before": edit.after, "after": edit.before})
