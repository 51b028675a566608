"""A change that was merged at the forge: whether the branch still has it, and who took it away if it does not."""

from __future__ import annotations

from collections.abc import Iterable

from anyio import to_thread

from infra_mcp.engine.approvals import beyond
from infra_mcp.engine.commits import place_of
from infra_mcp.engine.repositories import once_there
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Need
from infra_mcp.model.record import ProposalRecord
from infra_mcp.model.request import State
from infra_mcp.policy.approvals import BY_MERGE, against_operator, missing_reviews
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.carries import lost
from infra_mcp.repository.edits import kept

_MAX_COMMITS = 200  # that are searched for the one that took the change back


async def require_carried(deps: Dependencies, run: Run, proposal: ProposalRecord) -> str:
    """Check that the head of the branch has every value of a change that was merged.

    Returns:
        That head, which was fetched.

    Raises:
        InfraError: `superseded`, naming the commit and its author.
    """
    branch = deps.policy().tree.branch
    merged = proposal.merged or ""
    there = await once_there(lambda: deps.git.contains(branch, merged), run.say)  # which fetches it
    head = await deps.git.head(branch)
    if not there:
        raise InfraError("superseded", f"{proposal.url} was merged, and branch {branch} does not have {merged}.")
    missing = await _lost(deps, run, proposal, head)
    if not missing:
        if run.request.state is State.PROPOSED:  # nothing is applied yet, and the remote need not be asked again
            run.on_branch = frozenset(number for number, stage in enumerate(run.record.stages) if stage.commit)
        return head
    if await _lost(deps, run, proposal, merged):
        what = f"{proposal.url} was merged by {proposal.merged_by or 'someone'} with another value: {missing}."
        raise InfraError("superseded", f"{what} Nothing of it is applied by infra-mcp.")
    commit, author = await _taker(deps, run, proposal, head)
    what = f"{missing} was merged as {merged[:12]} and taken back by commit {commit[:12]} of {author}."
    raise InfraError("superseded", f"{what} Nothing of it is applied by infra-mcp.")


async def require_approved(deps: Dependencies, run: Run, needs: Iterable[Need]) -> None:
    """Check that people approved a merged change as rules want it, and that no more is left to do than was proposed.

    Args:
        deps: of the engine.
        run: merged, and planned again.
        needs: what rules want of people at its pull request by the policy in force.

    Raises:
        InfraError: `needs-approval`: it was merged without that, such as by the forge itself or a bot, by an account
            that policy maps to no operator, by the asker or an author, or with too few reviews of the merged commit;
            `object-moved`: the rest of it was not part of what was proposed.
    """
    merged = run.merged
    if merged is None or not (wanted := {need.rule: need for need in (*merged.needs, *needs)}):
        return
    policy = deps.policy()
    for _, need in sorted(wanted.items() if not run.applied else ()):  # what has begun was approved then
        if lacks := await lacks_approval(deps, policy, run.request.caller.name, merged, need):
            what = f"{merged}, and that approves nothing (rule {need.rule}): {lacks}."
            step = "Once it is taken back, ask again, and have it approved at its pull request before it is merged."
            raise InfraError("needs-approval", what, next_step=step, rule=need.rule)
    strange = beyond(run.record.approved, run.plan.effect.changed) if run.record.approved else "It"
    if strange:
        raise InfraError("object-moved", f"{strange} changed since it was proposed and merged.")


async def lacks_approval(deps: Dependencies, policy: Policy, requester: str, merged: ProposalRecord, need: Need) -> str:
    """Why people at the forge did not approve a change as a rule wants it; empty where they did."""
    known = await deps.ledger.approvals.operators()
    gone = known.known - known.there.keys()
    operators = policy.forge.operators
    if need.by != BY_MERGE:
        return missing_reviews(need, merged.reviews, operators, requester, gone=gone, uncounted=known.uncounted)
    operator = operators.get(merged.merged_by, "")
    if merged.merged_alone:
        return "it was merged by a bot or the forge itself"
    if why := against_operator(merged.merged_by, operator, requester):
        return why
    if operator in gone:
        return f"{operator} is no longer an operator"
    return f"{merged.merged_by} opened it" if merged.merged_by == merged.author else ""


async def _lost(deps: Dependencies, run: Run, proposal: ProposalRecord, revision: str) -> str:
    stages = [kept(stage.edits) for stage in run.record.stages]
    place = next((found for edits in stages if (found := place_of(edits))), "")
    policy = deps.policy()
    ours, there = await deps.tree(policy, proposal.head, place), await deps.tree(policy, revision, place)
    return await to_thread.run_sync(lost, stages, ours, there)


async def _taker(deps: Dependencies, run: Run, proposal: ProposalRecord, head: str) -> tuple[str, str]:
    """The first commit after the merge that does not have the change, and its author."""
    newest = await deps.git.log_trailers(deps.policy().tree.branch, _MAX_COMMITS)
    since = []
    for one in newest:
        if one.commit == proposal.merged:
            break
        since.append(one)
    for one in reversed(since):
        if await _lost(deps, run, proposal, one.commit):
            return one.commit, one.author
    return head, "someone"
