"""What policy asks of a restart: an app of the caller's own, in a namespace of its circle's. Pure."""

from __future__ import annotations

from infra_mcp.policy.actions.base import WORKLOADS, ActionRules, app_about, app_refusals, is_workload, same_images

RULES = ActionRules(
    writes=WORKLOADS, about=app_about, is_about=is_workload, refusals=app_refusals, effect_refusals=same_images
)
