"""The identity of a Kubernetes object, with the API version to use for it."""

from typing import Any, Self

from infra_mcp.model.names import Frozen
from infra_mcp.model.target import Target


class ObjectRef(Frozen):
    """The identity of an object: cluster, kind and name. The API version is not part of the identity."""

    cluster: str
    api_version: str
    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, target: Target, api_version: str) -> Self:
        """The object that a target names, in an API version."""
        kind = target.kind.rpartition("/")[2]
        return cls(cluster=target.place, api_version=api_version, kind=kind, namespace=target.scope, name=target.name)

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def key(self) -> str:
        """The identity as one string, for indexes."""
        return "|".join((self.cluster, self.group, self.kind, self.namespace or "", self.name))

    @property
    def target(self) -> Target:
        """The same identity in the form that everything above the drivers uses."""
        kind = f"{self.group}/{self.kind}" if self.group else self.kind
        return Target(system="kubernetes", place=self.cluster, scope=self.namespace, kind=kind, name=self.name)

    @property
    def identity(self) -> dict[str, Any]:
        """The identity as a partial object: how a body of it begins."""
        metadata = {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}

    def __str__(self) -> str:
        """As people write it: `docs-live/deployment/docs`."""
        return str(self.target)
