"""The checks of a deploy: an app of the caller, and a granted image. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions.base import FAULT, ActionRules, app_refusals
from infra_mcp.policy.grants import Grant, Refusal, image
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy


def _refusals(policy: Policy, caller: Caller, to: Grant, action: Deploy) -> Iterator[Refusal]:
    yield from (refused := list(app_refusals(policy, caller, to, action)))
    app = policy.apps.get(action.app)
    if app is None or any(one.rule.startswith(("apps.", "clusters")) for one in refused):
        return
    asked = app.image_for(action.version)
    if action.version.casefold() == "latest" or asked.rpartition(":")[2].casefold() == "latest":
        what = "The tag latest moves, so the version that landed would be unknown."
        yield Refusal("version.latest", what, "The version's own tag.")
    yield from image(to, asked)


def _effect(policy: Policy, _: Caller, action: Deploy, change: Change) -> Iterator[Refusal]:
    app = policy.apps.get(action.app)
    for reference in new_images(change):
        if app is not None and reference != app.image_for(action.version):
            what = f"The plan would set {reference[:200]}, and the deploy is to {app.image_for(action.version)}."
            yield Refusal("effect.scope", what, FAULT)


RULES = ActionRules(_refusals, _effect)
