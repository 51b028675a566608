"""The edit of every action, by its name. A test compares the keys with `model.actions` and `policy.actions`."""

from infra_mcp.actions import configure, deploy, provision_namespace, restart, rollback, scale
from infra_mcp.actions.base import EditOf

EDITS: dict[str, EditOf] = {
    "provision_namespace": provision_namespace.edit,
    "deploy": deploy.edit,
    "configure": configure.edit,
    "restart": restart.edit,
    "scale": scale.edit,
    "rollback": rollback.edit,
}
