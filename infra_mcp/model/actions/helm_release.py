"""The action that installs a Helm release, or brings it to another chart version or other values."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from infra_mcp.model.actions.base import ActionModel, Cluster
from infra_mcp.model.location import parse_field
from infra_mcp.model.names import ChartReference, ChartRepository, ChartVersion, DnsLabel, ReleaseName


def _field(text: str) -> str:
    parse_field(text)
    return text


ValueName = Annotated[str, StringConstraints(max_length=300), AfterValidator(_field)]


class HelmRelease(ActionModel):
    """A Helm release: installed or upgraded as the repository then declares it."""

    title: ClassVar[str] = "Install or upgrade a Helm release"
    description: ClassVar[str] = (
        "Use this to install a Helm release, or to bring it to another chart version or other values. Edits where the "
        "repository declares it, renders it twice, judges every object that it would bring, commits, runs helm upgrade "
        "and watches until all of it landed; rolls back on failure. Never uninstalls."
    )
    summary: ClassVar[str] = "install or upgrade a Helm release, and wait until all of it has landed"
    example: ClassVar[dict[str, object]] = {
        "namespace": "docs-live",
        "release": "search",
        "version": "1.2.4",
        "values": {"image.tag": "0.13.4", "replicas": 2},
    }
    positional: ClassVar[tuple[str, ...]] = ("namespace", "release")
    options: ClassVar[dict[str, str]] = {"values": "set"}
    verbs: ClassVar[frozenset[str]] = frozenset({"helm", "install"})

    action: Literal["helm_release"] = "helm_release"
    namespace: DnsLabel = Field(description="The namespace of the release.")
    release: ReleaseName = Field(description="Its name.")
    chart: ChartReference | None = Field(
        None,
        description="The chart of a new release: a name with its repository, oci://…/NAME, or ./PATH from the top of "
        "this repository.",
    )
    repository: ChartRepository | None = Field(None, description="The chart's repository, https://…, for a name.")
    version: ChartVersion | None = Field(None, description="The chart's version: one version, no range.")
    values: dict[ValueName, JsonValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Values to set, by their place: image.tag, ingress.hosts[0].host. null removes one.",
    )
    on_failure: Literal["rollback", "hold"] | None = Field(
        None, description="When an upgrade does not land: rollback (default) or hold. An install is kept."
    )
    cluster: Cluster = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.repository is not None and (self.chart is None or self.chart.startswith((".", "oci://"))):
            msg = "must have a repository only with a chart's name"
            raise ValueError(msg)
        if self.version is not None and (self.chart or "").startswith("."):
            msg = "must have no version for a chart of this repository: that is in its Chart.yaml"
            raise ValueError(msg)
        return self
