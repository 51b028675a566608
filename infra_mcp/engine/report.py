"""The texts of receipts and plans, and the end of a request."""

from typing import Any

from infra_mcp.codes import Exit
from infra_mcp.engine.run import Planned, Run
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.actions import Rollback
from infra_mcp.model.effect import FieldChange, show_path
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.policy.guard.judge import shown

_ENDS = {
    Exit.INVALID: State.REFUSED,
    Exit.REFUSED: State.REFUSED,
    Exit.WAITING: State.REFUSED,
    Exit.NEEDS_OPERATOR: State.NEEDS_OPERATOR,
}


def end_for(error: InfraError) -> State:
    """The end state of a request that ended by an error before anything was written."""
    return State.SUPERSEDED if error.code == "superseded" else _ENDS.get(error.exit, State.FAILED)


async def finish(ledger: Ledger, run: Run, state: State, message: str, error: InfraError | None = None) -> Receipt:
    """Record the end of a request; the ledger adds the audit head to its receipt."""
    made = receipt(run, state, message, error)
    return await ledger.finish(run.request.id, made, error.as_dict() if error else {}, run.judged)


def receipt(run: Run, state: State, message: str, error: InfraError | None = None) -> Receipt:
    """The one terminal answer. Its effect digest is that of the plan that was committed, not of what remained later."""
    request, plan = run.request, run.planned
    if request.notify is not None and request.reason:  # a release's note: which versions its order could not compare
        message = f"{message} {request.reason}"
    if isinstance(request.action, Rollback) and state in {State.LANDED, State.UNCHANGED}:
        message = f"{message}; {request.action.request} is rolled back"
    return Receipt(
        request=request.id,
        state=state,
        message=message,
        action=request.action.action,
        effect_digest=run.record.digest or (plan.effect.digest if plan else request.effect_digest),
        commit=run.commit,
        revert=run.revert,
        objects=tuple(str(change.target) for change in plan.effect.changes) if plan else (),
        error=error.as_dict() if error else None,
        plan=shown_plan(plan) if plan and state is State.PREVIEWED else None,
    )


def shown_plan(plan: Planned) -> dict[str, Any]:
    """A plan as people and models read it: object by object, with takeovers, drift and blast radius."""
    return {
        "effect_digest": plan.effect.digest,
        "objects": [
            {
                "object": str(change.target),
                "operation": change.operation,
                "changes": [_field(field) for field in change.fields],
                "adopts": [f"{take.field} from {take.manager}" for take in change.takes],
                "checked": change.checked,
                "guardrails": shown(change),
            }
            for change in plan.effect.changes
        ],
        "files": [{"path": file.path, "operation": file.operation, "diff": file.diff} for file in plan.effect.files],
        "drift": [str(one) for part in plan.parts for one in part.prepared.drift],
        "notes": plan.notes,
        "blast_radius": plan.effect.blast_radius(),
        "base": plan.stages[0].before.base if plan.stages else "",
        "parts": [
            {"delivery": part.delivery, "place": part.place, "on_failure": part.prepared.on_failure}
            for part in plan.parts
            if part.prepared.writes
        ],
    }


def _field(field: FieldChange) -> str:
    before = repr(field.before) if field.had else "absent"
    after = repr(field.after) if field.has else "absent"
    return f"{show_path(field.path)}: {before} → {after}"
