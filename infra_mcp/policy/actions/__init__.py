"""The checks of policy for each action, one file an action."""

from __future__ import annotations

from infra_mcp.policy.actions import (
    change_set,
    configure,
    deploy,
    dns_record,
    helm_release,
    provision_namespace,
    restart,
    rollback,
    scale,
    terraform_apply,
)
from infra_mcp.policy.actions.base import ActionRules

RULES: dict[str, ActionRules] = {
    "provision_namespace": provision_namespace.RULES,
    "deploy": deploy.RULES,
    "configure": configure.RULES,
    "restart": restart.RULES,
    "scale": scale.RULES,
    "dns_record": dns_record.RULES,
    "terraform_apply": terraform_apply.RULES,
    "helm_release": helm_release.RULES,
}
RULES["change_set"] = change_set.rules(RULES)
RULES["rollback"] = rollback.rules(RULES)
