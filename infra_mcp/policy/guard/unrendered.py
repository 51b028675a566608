"""An effect that could not be rendered: it is said, and needs an approval by default. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from infra_mcp.model.actions import ActionModel
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.approval import Need
from infra_mcp.model.effect import Effect, Reached
from infra_mcp.policy.grants import Grant, some
from infra_mcp.policy.guard.kinds import delivers
from infra_mcp.policy.guard.rules import UNRENDERED
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import CARRIED_OUT

_PLAIN: Final = "kubernetes"  # what is built here; a manifest that is not built is applied as it stands
_MAX_REASON: Final = 200


class Unrendered(NamedTuple):
    """Something whose rendering is not known here."""

    what: str
    why: str
    of: Reached | None = None  # the delivery that it is, or is part of

    def __str__(self) -> str:
        """As a plan shows it."""
        return f"not rendered: {self.what} ({self.why[:_MAX_REASON]})"


def unrendered(effect: Effect, carried: Collection[str] = ()) -> Iterator[Unrendered]:
    """What could not be rendered: a build that failed, a delivery of others, an object that delivers in turn.

    Args:
        effect: of a plan.
        carried: deliveries that are rendered by who carries them out, beside those of the effect's parts.
    """
    drivers = {*carried, *(part.driver for part in effect.parts if part.driver in CARRIED_OUT)}
    reached = {key: one for one in effect.reach for key in one.targets}
    for one in effect.reach:
        name = f"{one.by} of {one.root}" if one.by else one.root
        if one.unbuilt:
            yield Unrendered(name, one.unbuilt, one)
        elif one.delivery != _PLAIN and not one.renderer and one.delivery not in drivers:
            why = "nothing says what delivers it" if one.delivery == "none" else f"{one.delivery} renders it"
            yield Unrendered(name, why, one)
    for change in (*effect.changed, *(change for one in effect.reach for change in one.renders)):
        if delivers(change.target.kind) and change.operation != "delete":
            why = f"a {change.target.kind.rpartition('/')[2]} is rendered by who carries it out"
            yield Unrendered(str(change.target), why, reached.get(change.target.key))


def requirement(
    policy: Policy,
    granted: Sequence[Grant],
    action: ActionModel,
    effect: Effect,
    carried: Collection[str] = (),
) -> Iterator[tuple[Need, str]]:
    """The approval that an unrendered effect needs, and why.

    None is needed for a deploy of a version that the app's `versions` name, as far as it reaches that app alone; nor
    where `allow` of all that must grant the request says so.

    Args:
        policy: in force.
        granted: all that must grant the request; empty without a requester.
        action: the request, or a step of it.
        effect: of that.
        carried: as there.
    """
    if granted and all(UNRENDERED in to.own.allow for to in granted):
        return
    app = action.app if isinstance(action, Deploy) and _is_listed(policy, action) else None
    if left := [one.what for one in unrendered(effect, carried) if app is None or not _is_of(one, app)]:
        yield Need(rule=UNRENDERED), f"what it makes live could not be rendered: {some(dict.fromkeys(left))}"


def _is_listed(policy: Policy, action: Deploy) -> bool:
    app = policy.apps.get(action.app)
    return app is not None and bool(app.versions) and app.allows(action.version.partition("@")[0])


def _is_of(one: Unrendered, app: str) -> bool:
    return one.of is not None and (one.of.own or set(one.of.apps) == {app})
