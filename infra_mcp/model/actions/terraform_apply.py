"""The action that sets variables of a Terraform workspace, and applies it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, StringConstraints

from infra_mcp.model.actions.base import ActionModel
from infra_mcp.model.names import WorkspaceName

# An identifier of HCL, as short as the names that refusals repeat.
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]


class TerraformApply(ActionModel):
    """A Terraform workspace with variables set, planned, and applied exactly as planned."""

    title: ClassVar[str] = "Apply a Terraform workspace"
    description: ClassVar[str] = (
        "Use this to set variables of a Terraform or OpenTofu workspace that policy names, or to apply it as the "
        "repository has it. Edits each variable where it stands, plans, commits, applies exactly that plan, and "
        "answers when a second plan is empty. Destroying and replacing need an approval."
    )
    summary: ClassVar[str] = "set variables of a Terraform workspace, apply exactly its plan, and confirm it"
    example: ClassVar[dict[str, object]] = {"workspace": "network", "variables": {"instances": 3}}
    positional: ClassVar[tuple[str, ...]] = ("workspace",)
    options: ClassVar[dict[str, str]] = {"variables": "var"}
    verbs: ClassVar[frozenset[str]] = frozenset({"terraform", "tofu", "opentofu"})

    action: Literal["terraform_apply"] = "terraform_apply"
    workspace: WorkspaceName = Field(description="The workspace's name in policy, e.g. network.")
    variables: dict[VariableName, JsonValue] = Field(
        default_factory=dict, max_length=50, description="New values of its variables; none applies what git has."
    )
