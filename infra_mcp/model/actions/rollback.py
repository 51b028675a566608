"""The action that reverts the edit of a landed request."""

from typing import ClassVar, Literal

from pydantic import Field

from infra_mcp.model.actions.base import ActionModel
from infra_mcp.model.names import RequestId


class Rollback(ActionModel):
    """A landed request, rolled back as a new request: its values are set back on today's head."""

    title: ClassVar[str] = "Roll back a request"
    description: ClassVar[str] = (
        "Use this to undo a request that landed: sets its values back in today's files, commits, applies and watches, "
        "as any change. Refused where others changed those values since, and where it would remove files."
    )
    summary: ClassVar[str] = "undo a landed request: set what it set back, and wait until that has landed"
    example: ClassVar[dict[str, object]] = {"request": "req-0123456789ab"}
    positional: ClassVar[tuple[str, ...]] = ("request",)
    verbs: ClassVar[frozenset[str]] = frozenset({"rollback", "revert", "undo"})
    listed: ClassVar[bool] = True

    action: Literal["rollback"] = "rollback"
    request: RequestId = Field(description="The id of the landed request, e.g. req-0123456789ab.")


class RollbackOf(Rollback):
    """A rollback together with the action that it is about, as policy judges it. No request has this form."""

    of: ActionModel = Field(exclude=True)  # the first action: for the rollback of a rollback, what that rolled back
