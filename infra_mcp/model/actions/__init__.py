"""The closed set of typed changes. There is no "run this command".

A new action: a file here and its name in `_MODELS`, one in `policy.actions` and one in `actions` with their lines in
`RULES` and `EDITS`. `python tests/pages.py` then writes its part of the pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from infra_mcp.model.actions.base import ActionModel, AppAction, Release
from infra_mcp.model.actions.change_set import ChangeSet, accept
from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.actions.helm_release import HelmRelease
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.rollback import Rollback, RollbackOf
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.actions.terraform_apply import TerraformApply

__all__ = ["ACTIONS", "FIRST_EDITION", "RELEASE", "SAID", "Action", "ActionModel", "AppAction", "Release"]
__all__ += ["Rollback", "RollbackOf"]

_MODELS: tuple[type[ActionModel], ...] = (
    ProvisionNamespace,
    Deploy,
    Configure,
    Restart,
    Scale,
    TerraformApply,
    Rollback,
    DnsRecord,
    HelmRelease,
    ChangeSet,
)

ACTIONS: dict[str, type[ActionModel]] = {model.model_fields["action"].default: model for model in _MODELS}
# A step is a change of its own: neither a set nor the rollback of another request.
accept({name: model for name, model in ACTIONS.items() if model not in (Rollback, ChangeSet)})
# The action of a release notice, and that of the grammar of sentences.
RELEASE: type[Release] = next(model for model in _MODELS if issubclass(model, Release))
SAID: type[ActionModel] = next(model for model in _MODELS if model.sentences)
FIRST_EDITION = frozenset(name for name, model in ACTIONS.items() if model.first_edition)

if TYPE_CHECKING:
    Action = ActionModel
else:
    Action = Annotated[Union[_MODELS], Field(discriminator="action")]  # noqa: UP007 - made from the tuple
