"""What policy asks of a deploy: an app of the caller's own, and an image that its circle may run. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Change
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions.base import FAULT, WORKLOADS, ActionRules, app_about, app_refusals, is_workload
from infra_mcp.policy.grants import Grant, Refusal, image
from infra_mcp.policy.images import new_images
from infra_mcp.policy.policy import Policy


def _refusals(policy: Policy, caller: Caller, to: Grant, action: Deploy) -> Iterator[Refusal]:
    refused = list(app_refusals(policy, caller, to, action))
    yield from refused
    app = policy.apps.get(action.app)
    if app is None or any(one.rule.startswith(("apps.", "clusters")) for one in refused):
        return
    asked = app.image_for(action.version)
    if action.version.casefold() == "latest" or asked.rpartition(":")[2].casefold() == "latest":
        yield Refusal(
            "version.latest",
            "The tag latest moves, so nobody could tell which version landed.",
            "The version's own tag.",
        )
    yield from image(to, asked)


def _effect(policy: Policy, _: Caller, action: Deploy, change: Change) -> Iterator[Refusal]:
    app = policy.apps.get(action.app)
    for reference in new_images(change):
        if app is not None and reference != app.image_for(action.version):
            what = f"The plan would set {reference[:200]}, and the deploy is to {app.image_for(action.version)}."
            yield Refusal("effect.scope", what, FAULT)


RULES = ActionRules(
    writes=WORKLOADS, about=app_about, is_about=is_workload, refusals=_refusals, effect_refusals=_effect
)
