"""The action that brings an app to a version."""

from typing import ClassVar, Literal

from pydantic import Field

from infra_mcp.model.actions.base import Release


class Deploy(Release):
    """An app of the catalogue, brought to a version and watched until it is out."""

    title: ClassVar[str] = "Deploy a version"
    description: ClassVar[str] = (
        "Use this to bring an app of the catalogue to a version. Edits the image where it is written, commits, "
        "applies, watches the rollout, and rolls back in cluster and git when it does not land. Leaves replicas as "
        "they are."
    )
    summary: ClassVar[str] = "bring an app of the catalogue to a version, and wait until it has landed"
    example: ClassVar[dict[str, object]] = {"app": "docs", "version": "0.13.4"}
    positional: ClassVar[tuple[str, ...]] = ("app", "version")
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"deploy", "ship", "release", "rollout", "roll", "upgrade", "downgrade", "bump", "promote", "redeploy"}
    )
    nouns: ClassVar[frozenset[str]] = frozenset({"image", "tag", "version"})
    first_edition: ClassVar[bool] = True
    listed: ClassVar[bool] = True
    later: ClassVar[frozenset[str]] = frozenset({"environment", "drop_digest"})

    action: Literal["deploy"] = "deploy"
    drop_digest: bool | None = Field(None, description="Drop the digest that pins the image now.")
    on_failure: Literal["rollback", "hold"] | None = Field(
        None, description="When it does not land; left out, as the catalogue says."
    )
