"""The one place where a typed action enters the engine, from a tool or an ask."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio

from infra_mcp.engine.past import past_of
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import RollbackOf
from infra_mcp.policy.decide import admit, refusal

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Accepted, AskIn
    from infra_mcp.mesh.limits import Limits
    from infra_mcp.model.request import Submission


_VOID: Final = frozenset({"idempotency-conflict", "invalid-argument"})  # of which the ledger keeps each


def now() -> str:
    """The time, as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


async def enter(
    engine: Engine, submission: Submission, ask: AskIn | None = None, limits: Limits | None = None
) -> Accepted:
    """Submit a request, whole or not at all, also when the client disconnects.

    Raises:
        InfraError: `idempotency-conflict`, `ledger-unavailable`, `invalid-argument`; `too-many`, when too many are open
            or too many dry runs came, and the policy's refusal, when too many refused requests came to keep each.
    """
    refused, action, caller = None, submission.action, submission.caller
    try:
        if past := await past_of(engine.ledger, caller, action):
            action = RollbackOf(request=past.request, of=past.action)
    except InfraError as error:
        refused = error
    with suppress(InfraError):  # no policy in force; the engine decides all of it again
        verdict = admit(engine.policy.current(), caller, action, attendant=submission.attendant is not None)
        refused = refused or (refusal(verdict) if verdict.decision == "refuse" else None)
    idle = submission.dry_run or refused is not None
    if idle and limits is not None and not limits.spare(submission.caller):
        if refused is not None:
            raise refused
        many = InfraError("too-many", "Too many dry runs of one peer.", next_step="Wait some seconds, then send fewer.")
        await limits.note(caller, many)
        raise many
    if limits is not None:
        await limits.not_void(caller)
    with anyio.CancelScope(shield=True):
        try:
            accepted = await engine.submit(submission, ask)
        except InfraError as error:
            if error.code == "too-many" and limits is not None:
                await limits.note(caller, error)
            elif error.code in _VOID and limits is not None:
                limits.void(caller)
            raise
    return accepted
