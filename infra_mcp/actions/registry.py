"""The edit of every action, by its name. A test compares the keys with `model.actions` and `policy.actions`."""

from functools import partial

from infra_mcp.actions import (
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
from infra_mcp.actions.base import EditOf

EDITS: dict[str, EditOf] = {
    "provision_namespace": provision_namespace.edit,
    "deploy": deploy.edit,
    "configure": configure.edit,
    "restart": restart.edit,
    "scale": scale.edit,
    "terraform_apply": terraform_apply.edit,
    "rollback": rollback.edit,
    "dns_record": dns_record.edit,
    "helm_release": helm_release.edit,
}
EDITS["change_set"] = partial(change_set.edit, EDITS)
