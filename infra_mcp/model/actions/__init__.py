"""The closed set of typed changes. There is no "run this command". A new action: a file here, a name in `_MODELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from infra_mcp.model.actions.base import ActionModel, AppAction, Release
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace

__all__ = ["ACTIONS", "Action", "ActionModel", "AppAction", "Release"]

_MODELS: tuple[type[ActionModel], ...] = (ProvisionNamespace, Deploy)

ACTIONS: dict[str, type[ActionModel]] = {model.model_fields["action"].default: model for model in _MODELS}

if TYPE_CHECKING:
    Action = ActionModel
else:
    Action = Annotated[Union[_MODELS], Field(discriminator="action")]  # noqa: UP007 - made from the tuple
