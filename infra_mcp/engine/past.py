"""The request that a rollback is about, found in the ledger: one that landed, or failed and was kept."""

from infra_mcp.actions.base import Past
from infra_mcp.engine.run import record_of
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.actions import ActionModel, Rollback
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import BROUGHT, Request, State
from infra_mcp.repository.edits import kept


async def past_of(ledger: Ledger, caller: Caller, action: ActionModel) -> Past | None:
    """The request that an action rolls back, as far as its caller may see it; None for any other action.

    Raises:
        InfraError: `not-found`, with the same message for another circle's; `no-rollback`: it neither landed nor
            was kept, or its record cannot be read.
    """
    if not isinstance(action, Rollback):
        return None
    found = await _landed(ledger, caller, action.request)
    try:
        stages = tuple(kept(stage.edits) for stage in record_of(found).stages if stage.commit)
    except (TypeError, ValueError, LookupError):
        raise InfraError("no-rollback", f"The record of what {found.id} changed cannot be read.") from None
    first = found
    while isinstance(first.action, Rollback):
        first = await _landed(ledger, caller, first.action.request)
    return Past(found.id, first.action, stages)


async def _landed(ledger: Ledger, caller: Caller, request_id: str) -> Request:
    found = await ledger.request(request_id)
    if found is None or caller.circle is None or found.caller.circle != caller.circle:
        raise InfraError("not-found", f"There is no request {request_id}, or it is not yours.")
    if found.state not in BROUGHT and not _is_kept(found):
        only = "only what landed, is on the branch, or failed and was kept, can be rolled back"
        what = f"{request_id} is {found.state.value}: {only}."
        raise InfraError("no-rollback", what)
    return found


def _is_kept(found: Request) -> bool:
    """Whether a request failed, and what it made stays with its commit."""
    try:
        stages = record_of(found).stages
    except ValueError:
        return False
    return found.state is State.FAILED and any(stage.commit and not stage.revert for stage in stages)
