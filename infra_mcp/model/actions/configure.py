"""The action that sets values of an app."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from infra_mcp.model.actions.base import InstanceAction
from infra_mcp.model.names import SettingName

SettingValue = bool | int | float | Annotated[str, StringConstraints(max_length=4096)]


class Configure(InstanceAction):
    """Settings of an app, in the files where they stand, made live and watched until they are."""

    title: ClassVar[str] = "Configure an app"
    description: ClassVar[str] = (
        "Use this to change settings of an app that policy declares, such as replicas or memory; several at once. "
        "Edits each value where it stands, commits, applies and watches as deploy does. Never changes the version."
    )
    summary: ClassVar[str] = "change settings of an app, and wait until they are live"
    example: ClassVar[dict[str, object]] = {"app": "docs", "settings": {"replicas": 4}}
    positional: ClassVar[tuple[str, ...]] = ("app",)
    options: ClassVar[dict[str, str]] = {"settings": "set"}
    verbs: ClassVar[frozenset[str]] = frozenset({"configure", "reconfigure"})
    listed: ClassVar[bool] = True

    action: Literal["configure"] = "configure"
    settings: dict[SettingName, SettingValue] = Field(
        min_length=1, max_length=20, description="The new values, by the settings' names in policy."
    )
    on_failure: Literal["rollback", "hold"] | None = Field(
        None, description="When it does not land; left out, as the catalogue says."
    )
