"""The closed union of typed changes. There is no "run this command"."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field

from infra_mcp.model.names import (
    AppName,
    ClusterName,
    Cpu,
    DnsLabel,
    Frozen,
    LabelKey,
    LabelValue,
    Memory,
    PeerName,
    PullSecretName,
    Version,
)

__all__ = ["ACTIONS", "Action", "ContainerLimits", "Deploy", "ProvisionNamespace", "Quota"]


class Quota(Frozen):
    """Upper bounds for a whole namespace (a ResourceQuota). An absent field bounds nothing."""

    cpu: Cpu | None = Field(None, description="Sum of CPU requests and limits, e.g. 4 or 500m.")
    memory: Memory | None = Field(None, description="Sum of memory requests and limits, e.g. 8Gi.")
    pods: int | None = Field(None, ge=1, le=10_000, description="How many pods may be there.")


class ContainerLimits(Frozen):
    """What a container gets that names no limits of its own (a LimitRange)."""

    cpu: Cpu | None = Field(None, description="Default CPU limit of a container, e.g. 500m.")
    memory: Memory | None = Field(None, description="Default memory limit of a container, e.g. 512Mi.")


class ProvisionNamespace(Frozen):
    """A namespace with what belongs into it: labels, pull secrets, bounds, a default network policy."""

    action: Literal["provision_namespace"] = "provision_namespace"
    namespace: DnsLabel = Field(description="The namespace's name, e.g. docs-staging.")
    pull_secrets: tuple[PullSecretName, ...] = Field(
        (),
        max_length=10,
        description="Names of pull secrets as policy knows them; the default service account gets them.",
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=20, description="Labels of the namespace."
    )
    quota: Quota | None = Field(None, description="Upper bounds for the whole namespace.")
    limits: ContainerLimits | None = Field(None, description="Defaults for containers that name no limits.")
    default_deny: bool = Field(False, description="Deny all traffic into pods unless a network policy allows it.")
    owner: PeerName | None = Field(None, description="Who to ask about it, as an annotation.")
    cluster: ClusterName | None = Field(
        None, description="The cluster's name in policy; may be left out when there is one."
    )


class Deploy(Frozen):
    """An app of the catalogue, brought to a version and watched until it is out."""

    action: Literal["deploy"] = "deploy"
    app: AppName = Field(description="The app's name in the policy's catalogue.")
    version: Version = Field(description="The image tag to run, e.g. 0.13.4.")
    on_failure: Literal["rollback", "hold"] | None = Field(
        None, description="What to do when it does not land; the catalogue's choice when left out."
    )
    cluster: ClusterName | None = Field(
        None, description="The cluster's name in policy; may be left out when there is one."
    )


Action = Annotated[Union[ProvisionNamespace, Deploy], Field(discriminator="action")]  # noqa: UP007 - pydantic's form

ACTIONS: dict[str, type[ProvisionNamespace | Deploy]] = {"provision_namespace": ProvisionNamespace, "deploy": Deploy}
