"""Releases that came by a notify: when one may begin, and whether another has overtaken it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.actions import Release
from infra_mcp.model.request import Request, State
from infra_mcp.policy.matching import active_freeze
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import Freeze
from infra_mcp.policy.versions import compare

_MAX_FREEZES = 16  # without a gap between them, that are added up to a due time


@dataclass(frozen=True)
class Hold:
    """Why a release does not begin yet."""

    due: datetime  # when it may, as far as is known now
    by: str  # `schedule` or `freeze.ID`
    text: str

    def shown(self) -> dict[str, Any]:
        """As events and `status` show it."""
        return {"due": self.due.astimezone(UTC).isoformat(timespec="seconds"), "held_by": self.by, "why": self.text}


def hold(policy: Policy, request: Request, now: datetime) -> Hold | None:
    """Why a release must wait now, by the policy in force; None when it may begin. Pure.

    Where a freeze begins before the schedule opens, it is due after that freeze. A release of an app that is no longer
    in the catalogue does not wait: it is refused.
    """
    action = request.action
    app = policy.apps.get(action.app) if isinstance(action, Release) and request.notify else None
    if app is None or not isinstance(action, Release):
        return None
    arrived = datetime.fromisoformat(request.created)
    schedule = app.when_in(action.environment)
    frozen = partial(
        active_freeze,
        policy,
        app=action.app,
        namespaces=app.namespaces(action.environment) or None,  # unknown ones count as frozen: a freeze only delays
        circle=request.caller.circle,
        environments={action.environment} if action.environment else app.environments,
    )
    due = max(schedule.due(arrived, now), now)
    by, text = "schedule", f"its schedule ({schedule.text}) opens"
    if due <= now and (first := frozen(now=now)):
        by, text = f"freeze.{first.id}", _of(first)
    for _ in range(_MAX_FREEZES):
        found = frozen(now=due)
        if found is None:
            break
        due = max(schedule.due(arrived, found.until), found.until)
    return Hold(due, by, text) if due > now else None


def _of(found: Freeze) -> str:
    return f"freeze {found.id} ends" + (f" ({found.reason})" if found.reason else "")


async def overtaken_by(ledger: Ledger, policy: Policy, request: Request) -> str | None:
    """The newer version that landed, or is on its way, while this release waited; by the app's own order.

    Where that order cannot compare two versions, the later request is newer.
    """
    action = request.action
    app = policy.apps.get(action.app) if isinstance(action, Release) else None
    if app is None or not isinstance(action, Release):
        return None
    after = False  # whether the request came after this one: the ledger lists the oldest first
    for other in await ledger.open_releases(action.app, action.environment):
        if other.id == request.id:
            after = True
        elif is_on_its_way(other):
            late, early = (other, request) if after else (request, other)
            sign = compare(app.order, _version(late), _version(early)).sign
            if (sign > 0) if after else (sign < 0):
                return _version(other)
    landed = await ledger.landed_version(action.app, action.environment)
    if landed is None or landed == action.version:
        return None
    found = compare(app.order, landed, action.version)
    if found.by == "arrival" and not await ledger.landed_after(action.app, landed, request.id, action.environment):
        return None
    return landed if found.sign > 0 else None


def rolled_back(app: str, version: str, by: str) -> InfraError:
    """The refusal of a notice of a version that was rolled back: it may be an old one that was sent again."""
    return InfraError("rolled-back", f"{app} {version} was rolled back by {by}, and a notice does not bring it back.")


def is_on_its_way(other: Request) -> bool:
    """Whether an open request counts against a release: another release, or a request that policy has let through."""
    return other.notify is not None or other.state not in {State.RECEIVED, State.QUEUED}


def _version(request: Request) -> str:
    return request.action.version if isinstance(request.action, Release) else ""


async def park_if_not_due(deps: Dependencies, run: Run) -> bool:
    """Park a release that has not begun and must wait for its time; whether it was parked.

    Called with its locks held, since another release may have landed while it waited for them.

    Raises:
        InfraError: `superseded`, when a newer version landed or is on its way by now; `rolled-back`, when this one
            was rolled back.
    """
    request = run.request
    if request.notify is None or run.begun:
        return False
    policy, action = deps.policy(), request.action
    if isinstance(action, Release) and (
        by := await deps.ledger.rolled_back(action.app, action.version, action.environment)
    ):
        raise rolled_back(action.app, action.version, by)
    if newer := await overtaken_by(deps.ledger, policy, request):
        raise InfraError("superseded", f"{newer} took its place before it began.")
    if found := hold(policy, request, deps.now()):
        data = found.shown() | {"message": f"It waits until {found.text}."}
        await deps.save(run, State.SCHEDULED, "held", data)
        return True
    if request.state is State.SCHEDULED:
        await deps.save(run, State.QUEUED, "due", {})
        run.request = request.model_copy(update={"state": State.QUEUED})
    return False
