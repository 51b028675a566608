"""The checks of a restart: an app of the caller, in a granted namespace."""

from __future__ import annotations

from infra_mcp.policy.actions.base import KUBERNETES, ActionRules

RULES = ActionRules(systems=frozenset({KUBERNETES}))
