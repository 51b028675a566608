"""The action that provides a namespace with what belongs in it."""

from typing import ClassVar, Literal

from pydantic import Field

from infra_mcp.model.actions.base import ActionModel, Cluster
from infra_mcp.model.names import Cpu, DnsLabel, Frozen, LabelKey, LabelValue, Memory, PeerName, PullSecretName


class Quota(Frozen):
    """Upper bounds for a whole namespace (a ResourceQuota). An absent field sets no bound."""

    cpu: Cpu | None = Field(None, description="Sum of CPU requests and limits, e.g. 4 or 500m.")
    memory: Memory | None = Field(None, description="Sum of memory requests and limits, e.g. 8Gi.")
    pods: int | None = Field(None, ge=1, le=10_000, description="How many pods may be there.")


class ContainerLimits(Frozen):
    """Defaults for containers that set no limits (a LimitRange)."""

    cpu: Cpu | None = Field(None, description="Default CPU limit of a container, e.g. 500m.")
    memory: Memory | None = Field(None, description="Default memory limit of a container, e.g. 512Mi.")


class ProvisionNamespace(ActionModel):
    """A namespace with what belongs in it: labels, pull secrets, bounds, a default network policy."""

    title: ClassVar[str] = "Provision a namespace"
    description: ClassVar[str] = (
        "Use this when a namespace is needed, with pull secrets, labels, quota, limits or a default-deny network "
        "policy. Commits to the infra repository, applies, and answers when it has landed. Does not touch a namespace "
        "of another circle and deletes nothing."
    )
    summary: ClassVar[str] = "a namespace with pull secrets, labels, bounds and a default network policy"
    example: ClassVar[dict[str, object]] = {"namespace": "docs-staging", "pull_secrets": ["X"]}
    positional: ClassVar[tuple[str, ...]] = ("namespace",)
    sentences: ClassVar[dict[str, str]] = {
        "namespace": "I need a namespace 'docs-staging'",
        "pull_secrets": "I need a namespace 'docs-staging' with image-pull secret X",
        "labels": "Please create namespace docs-staging with label team=docs",
        "quota": "We need a namespace docs-staging with a quota of 4 cpu, 8Gi memory and 20 pods",
        "limits": "Create namespace docs-staging with container limits of 500m cpu and 512Mi memory",
        "default_deny": "Can you make a namespace docs-staging with default-deny?",
        "owner": "I need a namespace called docs owned by docs",
        "cluster": "I need a namespace docs-staging on cluster sandbox",
    }
    first_edition: ClassVar[bool] = True
    listed: ClassVar[bool] = True

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
    cluster: Cluster = None
