"""A change that was merged at the forge: whether the branch still has it, and who took it away if it does not."""

from __future__ import annotations

from collections.abc import Iterable

from anyio import to_thread

from infra_mcp.engine.approvals import beyond
from infra_mcp.engine.commits import place_of
from infra_mcp.engine.repositories import once_there
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError
from infra_mcp.model.record import ProposalRecord
from infra_mcp.model.request import State
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


def require_approved(policy: Policy, run: Run, rules: Iterable[str]) -> None:
    """Check that a merge approves what rules want it to, and that no more is left to do than was proposed.

    Raises:
        InfraError: `needs-approval`: it was merged by the forge itself or a bot, by an account that policy maps to no
            operator, or by the asker or author; `object-moved`: the rest of it was not part of what was proposed.
    """
    merged = run.merged
    if merged is None or not (wanted := sorted({*rules, *merged.approves})):
        return
    operator = policy.forge.operators.get(merged.merged_by)
    if merged.merged_alone:
        why = "it was merged by a bot or the forge itself"
    elif operator is None:
        why = f"forge.operators maps {merged.merged_by or 'an unnamed account'} to no operator"
    elif operator == run.request.caller.name:
        why = f"{operator} asked for it"
    elif merged.merged_by == merged.author:
        why = f"{merged.merged_by} opened it"
    else:
        if run.record.approved is None or (strange := beyond(run.record.approved, run.plan.effect.changed)):
            raise InfraError("object-moved", f"{strange or 'It'} changed since it was proposed and merged.")
        return
    what = f"{merged}, and that approves nothing (rule {wanted[0]}): {why}."
    raise InfraError("needs-approval", what, rule=wanted[0])


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
