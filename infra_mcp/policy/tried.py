"""A policy tried on stored requests: what it would decide on what was recorded when they were decided. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from infra_mcp.model.actions import ACTIONS, ActionModel, Rollback, RollbackOf
from infra_mcp.model.judged import Judged
from infra_mcp.model.request import BROUGHT, Request, State
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import Policy
from infra_mcp.text import one_line

# What a plan is made by, beside the repository and the live state: where it differs, so may the plan.
_PLANNED_BY: Final = (
    "tree",
    "clusters",
    "apps",
    "pull_secrets",
    "owners",
    "pod_security",
    "helm",
    "zones",
    "workspaces",
)
_PASSED: Final = BROUGHT | {State.UNCHANGED, State.PREVIEWED, State.ROLLED_BACK, State.PROPOSED}
_MAX_LINE: Final = 200
_DENIED: Final = "policy-denied"


class Tried(NamedTuple):
    """One request: the verdict then and now, or why it cannot be judged again."""

    request: str
    asked: str  # who asked for what, in one line
    created: str
    then: str  # allow, refuse, needs-approval; empty where it was not decided
    then_rule: str
    now: str = ""  # empty where it cannot be judged again
    rule: str = ""
    reason: str = ""
    differs: bool = False
    unknown: str = ""  # why it cannot be judged again


def tried(policy: Policy, request: Request, judged: Judged | None) -> Tried:
    """What a policy would decide on a stored request, by the function that decides live ones.

    The plan that was judged then is judged again, at the time of then. A request whose plan was not kept is judged as
    before its planning, which can only refuse: whether the rest would pass is not known, and not guessed.

    Args:
        policy: to be tried.
        request: with the action that was asked for.
        judged: how it was decided; None where that was not kept.
    """
    decision, rule = _then(request, judged)
    found = Tried(request.id, _line(request), request.created, decision, rule)
    if not decision:
        return found._replace(unknown=_undecided(request))
    try:
        action = _action(request, judged)
    except (LookupError, ValidationError):
        return found._replace(unknown="what it rolls back was not kept, or is no action of this version")
    around: dict[str, Any] = {"attendant": request.attendant is not None, "now": _time(request, judged)}
    effect = judged.effect if judged else None
    verdict = judge(policy, request.caller, action, effect, **around)
    if effect is None and verdict.decision != "refuse":
        return found._replace(unknown=(judged and judged.lacks) or "its plan was not kept")
    same = decision == verdict.decision and (judged is None or judged.needs == verdict.needs)
    return found._replace(now=verdict.decision, rule=verdict.rule, reason=verdict.reason, differs=not same)


def planned_otherwise(policy: Policy, other: Policy) -> list[str]:
    """The sections that shape plans and in which two policies differ: a stored plan may differ from a new one."""
    return [name for name in _PLANNED_BY if getattr(policy, name) != getattr(other, name)]


def _then(request: Request, judged: Judged | None) -> tuple[str, str]:
    if judged is not None:
        return judged.decision, judged.rule
    error = (request.receipt or {}).get("error") or {}
    if error.get("code") == _DENIED:
        return "refuse", str(error.get("rule", ""))
    if request.record.get("awaiting"):
        return "needs-approval", ""
    return ("allow" if request.state in _PASSED else ""), ""


def _action(request: Request, judged: Judged | None) -> ActionModel:
    action = request.action
    if not isinstance(action, Rollback):
        return action
    of = (judged and judged.of) or {}
    return RollbackOf(request=action.request, of=ACTIONS[of["action"]].model_validate(of))


def _time(request: Request, judged: Judged | None) -> datetime | None:
    """The time by which freezes are judged: as then; where it was not decided, when it came."""
    if judged is not None:
        return datetime.fromisoformat(judged.now) if judged.now else None
    return None if request.notify else datetime.fromisoformat(request.created)


def _undecided(request: Request) -> str:
    waits = request.state in {State.RECEIVED, State.SCHEDULED, State.QUEUED}
    return "it is not planned yet" if waits else f"it ended ({request.state.value}) before it was decided"


def _line(request: Request) -> str:
    given = request.action.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"action"})
    words = [request.action.action, *(f"{name}={value}" for name, value in given.items())]
    who = f"{request.caller.name} of {request.caller.circle}" if request.caller.circle else request.caller.name
    return one_line(f"{who}: {' '.join(words)}", _MAX_LINE)
