"""The edit of every action, by its name. A test holds its keys to those of `model.actions` and `policy.actions`."""

from __future__ import annotations

from typing import Any

from infra_mcp.actions import deploy, provision_namespace, restart, scale
from infra_mcp.actions.base import EditOf

EDITS: dict[str, EditOf[Any]] = {
    "provision_namespace": provision_namespace.edit,
    "deploy": deploy.edit,
    "restart": restart.edit,
    "scale": scale.edit,
}
