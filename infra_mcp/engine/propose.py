"""Proposes a change at the forge, or that it be taken back: a branch of ours, and a pull request of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from infra_mcp.clients.git import Upstream
from infra_mcp.effects import effect
from infra_mcp.engine import proposal_text
from infra_mcp.engine.commits import build_revert, commit_message
from infra_mcp.engine.repositories import once_there
from infra_mcp.engine.run import Dependencies, Run, record_of, stamp
from infra_mcp.errors import InfraError, Raced
from infra_mcp.model.actions import Release
from infra_mcp.model.approval import Need
from infra_mcp.model.forge_text import inert
from infra_mcp.model.record import ProposalRecord
from infra_mcp.model.request import Request, State
from infra_mcp.policy.approvals import in_words
from infra_mcp.policy.grammar import seconds
from infra_mcp.repository.edits import keep
from infra_mcp.repository.rebase import changed

if TYPE_CHECKING:
    from infra_mcp.clients.forge import Forge, Proposal

PREFIX = "infra-mcp/"  # of the branches that are ours at the remote


async def propose(deps: Dependencies, run: Run, needs: tuple[Need, ...] = ()) -> None:
    """Push the commits of a plan to a branch of ours, open a pull request of it, and park the request.

    After an interruption, and where its files were changed on the branch since, it is built again on the head.

    Args:
        deps: of the engine.
        run: planned, decided and begun.
        needs: what rules want of people there.

    Raises:
        InfraError: `push-refused`, `forge-refused`.
    """
    run.say("proposing")
    base = commit = run.plan.stages[0].before.base
    for part in run.plan.parts:
        if not part.driver.carries_out:
            run.note(part)  # with what is live before the change
    for stage in run.plan.stages:
        if files := changed(stage.before, stage.edit.tree):
            text = await commit_message(deps, run, stage)
            commit = await deps.git.build_commit(commit, files, text, run.record.when or 0)
            run.record = run.record.with_stage(stage.number, edits=keep(stage.edit.changes), commit=commit)
    known = run.record.proposal or _new(deps, f"{PREFIX}{run.request.id}")
    texts = proposal_text.title(run), proposal_text.body(run, known.until, needs)
    made = await _open(deps, run, "proposal", _with(known, commit, base, needs), texts)
    if deps.policy().forge.merge == "auto" and not made.auto:
        await once_there(partial((await deps.forge()).merge_when_ready, made), run.say)
    wanted = "".join(f" Rule {need.rule.removeprefix('rules.')} wants {in_words(need)} there." for need in needs)
    message = f"It waits for people to merge {made.url}, until {known.until}.{wanted}"
    data = {"url": made.url, "number": made.number, "branch": known.branch, "commit": commit, "message": message}
    await deps.save(run, State.PROPOSED, "proposed", data, effect_digest=run.record.digest)


async def join(deps: Dependencies, run: Run) -> bool:
    """Park a request with the one that has proposed the same change already; whether there is one.

    It is one of the same circle, and the newest proposal for its instance: an older one is about to be closed.
    """
    request = run.request
    if run.record.proposal is not None:
        return False
    parked = [one for one in await deps.ledger.parked() if one.state is State.PROPOSED]
    first = next((one for one in reversed(parked) if _about(one) == _about(request)), None)
    there = record_of(first).proposal if first else None
    if first is None or there is None or there.number is None or there.merged is not None:
        return False
    if (first.action, first.caller.circle) != (request.action, request.caller.circle):
        return False
    there = there.model_copy(update={"of": there.of or first.id})
    run.record = run.record.update(proposal=there)
    message = f"{there.of} proposes the same already: it waits for people to merge {there.url}, until {there.until}."
    data = {"url": there.url, "number": there.number, "branch": there.branch, "message": message}
    await deps.save(run, State.PROPOSED, "proposed", data, effect_digest=run.plan.effect.digest)
    return True


def _about(request: Request) -> object:
    """What a request is about, of which only the newest proposal stays open."""
    action = request.action
    return (action.app, action.environment) if isinstance(action, Release) else action


async def propose_reversal(deps: Dependencies, run: Run, stages: Iterable[int], cause: str) -> bool:
    """Open a pull request that takes the commits of these stages back, the latest first; False where nothing is left.

    Raises:
        InfraError: `undo-incomplete`: others changed the same since; `push-refused`, `forge-refused`.
    """
    base = commit = await once_there(partial(deps.git.latest, deps.policy().tree.branch), run.say)
    for number in sorted(stages, reverse=True):
        commit = await build_revert(deps, run, number, commit, cause) or commit
    if commit == base:
        return False
    known = run.record.reversal or _new(deps, f"{PREFIX}{run.request.id}-revert")
    made = await _open(deps, run, "reversal", _with(known, commit, base), proposal_text.reversal(run, cause))
    message = f"{cause} Urgent: merge {made.url}, which takes the change back."
    data = {"url": made.url, "number": made.number, "branch": known.branch, "commit": commit, "message": message}
    await deps.save(run, State.REVERTING, "revert-proposed", data)
    return True


def _new(deps: Dependencies, branch: str) -> ProposalRecord:
    until = stamp(deps.now() + timedelta(seconds=seconds(deps.policy().forge.expires)))
    return ProposalRecord(branch=branch, heads=(), base="", until=until)


def _with(known: ProposalRecord, commit: str, base: str, needs: tuple[Need, ...] = ()) -> ProposalRecord:
    """What is proposed now, on top of what was proposed before."""
    heads = (*(one for one in known.heads if one != commit), commit)
    return known.model_copy(update={"heads": heads, "base": base, "needs": needs})


async def _open(
    deps: Dependencies,
    run: Run,
    which: Literal["proposal", "reversal"],
    record: ProposalRecord,
    texts: tuple[str, str],
) -> Proposal:
    """Record, push, and open: each may have been done before an interruption, and is then found as it is."""
    former = run.record.proposal if which == "proposal" else run.record.reversal
    run.record = run.record.update(**{which: record})
    state = State.PLANNED if which == "proposal" else State.ROLLING_BACK
    await deps.save(run, state, "proposing", {"branch": record.branch, "commit": record.head})
    try:
        await once_there(partial(upstream_of(deps).publish, record.branch, record.head, record.heads), run.say)
    except Raced as raced:
        what = f"Branch {record.branch} has commits of others, so what is proposed there cannot be planned again."
        step = "Merge or close the pull request, then send it again."
        raise InfraError("push-refused", what, next_step=step) from raced
    policy, forge = deps.policy(), await deps.forge()
    # Of a branch that was proposed before: people may have merged or closed it meanwhile, which its next look shows.
    known = await once_there(partial(forge.proposal_of, record.branch), run.say) if former else None
    if known is None:
        ask = partial(_ask, forge, record.branch, policy.tree.branch, texts, policy.forge.labels)
        made = await once_there(ask, run.say)
    else:
        made = known
        if known.state == "open":
            await once_there(partial(forge.describe, made.number, *texts), run.say)
    record = record.model_copy(update={"number": made.number, "url": made.url, "author": made.author.name})
    run.record = run.record.update(**{which: record})
    return made


@effect("forge.propose")
async def _ask(forge: Forge, branch: str, base: str, texts: tuple[str, str], labels: Sequence[str]) -> Proposal:
    return await forge.propose(branch, base, *texts, labels)


@effect("forge.close")
async def _close(forge: Forge, number: int, why: str, see: str) -> None:
    await forge.comment(number, f"{inert(why)} {see}".strip())
    await forge.close(number)


async def withdraw(deps: Dependencies, proposal: ProposalRecord, why: str, see: str = "") -> bool:
    """Close a pull request of ours, say why below it, and delete its branch; one that is gone already is fine.

    One that another request opened is left to that.

    Args:
        deps: of the engine.
        proposal: which.
        why: a sentence, which is made inert.
        see: the address of another pull request of ours.

    Returns:
        False when people have merged it meanwhile: then nothing is done.

    Raises:
        Unavailable: the forge or the remote is away: try again.
    """
    if proposal.of:
        return True
    try:
        if not await _withdraw(deps, proposal, why, see):
            return False
    except InfraError as refused:
        if refused.code not in {"forge-refused", "not-found"}:
            raise  # without its branch it is closed, too
    await unpublish(deps, proposal.branch, proposal.heads)
    return True


async def _withdraw(deps: Dependencies, proposal: ProposalRecord, why: str, see: str) -> bool:
    forge = await deps.forge()
    if proposal.number is None:  # it may have been opened, and the answer never came
        found = await forge.proposal_of(proposal.branch)
    else:
        found = await forge.proposal(proposal.number)
    if found is not None and found.state == "open":
        await _close(forge, found.number, why, see)
    return found is None or found.state != "merged"


async def unpublish(deps: Dependencies, branch: str, ours: Sequence[str]) -> None:
    """Delete a branch of ours, unless others have pushed to it or the remote keeps it."""
    try:
        await upstream_of(deps).unpublish(branch, ours)
    except Raced:
        return
    except InfraError as error:
        if error.code != "push-refused":
            raise


def upstream_of(deps: Dependencies) -> Upstream:
    """The repository at its remote.

    Raises:
        InfraError: `setup-failed`, where the policy in force writes to none.
    """
    git = deps.git
    if not isinstance(git, Upstream):
        raise InfraError("setup-failed", "The policy in force writes to no remote, where a proposal would be pushed.")
    return git
