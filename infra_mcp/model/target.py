"""What a change is about, in any system."""

from infra_mcp.model.names import Frozen


class Target(Frozen):
    """One object, release, record or resource."""

    system: str  # `kubernetes`, `helm`, `dns`, `terraform`
    place: str  # the name in policy of the cluster, name server or workspace
    scope: str | None  # the namespace or zone, by which policy grants; None where it belongs to the whole place
    kind: str  # its kind in that system: `apps/Deployment`, `Namespace`, `A`
    name: str  # its name in the scope

    @property
    def key(self) -> str:
        """The identity as one string, for locks and records."""
        return "|".join((self.system, self.place, self.scope or "", self.kind, self.name))

    @property
    def home(self) -> str | None:
        """The scope that it is in, or is; None where it belongs to the whole place."""
        return self.scope or (self.name if self.kind == "Namespace" else None)

    def __str__(self) -> str:
        """As people write it: `docs-live/deployment/docs`."""
        inside = f"{self.scope}/" if self.scope else ""
        return f"{inside}{self.kind.rpartition('/')[2].lower()}/{self.name}"
