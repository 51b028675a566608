"""The checks of settings: declared for the app, of their type and within their bounds. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.peer import Caller
from infra_mcp.model.setting import check
from infra_mcp.model.target import Target
from infra_mcp.policy.actions.base import WORKLOADS, ActionRules, app_refusals, is_workload
from infra_mcp.policy.grants import Grant, Refusal, replicas, some
from infra_mcp.policy.policy import Policy

_OTHERS: Final = frozenset({"ConfigMap", "ResourceQuota", "LimitRange", "autoscaling/HorizontalPodAutoscaler"})


def _refusals(policy: Policy, caller: Caller, to: Grant, action: Configure) -> Iterator[Refusal]:
    yield from (refused := list(app_refusals(policy, caller, to, action)))
    if any(one.rule.startswith(("apps.", "clusters")) for one in refused):
        return  # do not reveal the settings of other peers' apps
    for name, value in action.settings.items():
        rule = policy.setting(action.app, name)
        if name == "version":
            yield Refusal("settings.version", "The version of an app is no setting to configure.", "A deploy.")
        elif rule is None:
            declared = some(sorted(policy.settings_of(action.app)))
            yield Refusal(f"settings.{name}", f"App {action.app} has no setting {name}.", f"One of: {declared}.")
        else:
            roots = [policy.root_of(at.path) for at in rule.places] or [None]
            for root in roots:
                try:
                    written = check(rule, value, name=name, delivery=root.delivery if root else "")
                except InfraError as error:
                    yield Refusal(f"settings.{name}", error.what, error.next_step)
                    break
                if name == "replicas" and type(written) is int:
                    yield from replicas(to, written)
                    break


def _is_about(policy: Policy, action: Configure, target: Target) -> bool:
    """Whether a target is the app's workload, or another object in its namespace."""
    if target.kind in WORKLOADS:
        return is_workload(policy, action, target)
    app = policy.apps.get(action.app)
    known = app.namespaces(action.environment) if app else frozenset[str]()
    return not known or target.home in known


# Images and amounts of the plan are judged for every action, in `decide`.
RULES = ActionRules(_refusals, lambda *_: iter(()), WORKLOADS | _OTHERS, is_about=_is_about)
