"""What a change is about, whatever system holds it."""

from __future__ import annotations

from infra_mcp.model.names import Frozen


class Target(Frozen):
    """One thing that a change is about: an object, a release, a record, a resource.

    Args:
        system: what holds it: `kubernetes`, `helm`, `dns`, `terraform`.
        place: policy's name of the cluster, name server or workspace.
        scope: what policy grants by: a namespace or a zone; None where it belongs to the whole place.
        kind: its kind in that system: `apps/Deployment`, `Namespace`, `A`.
        name: its name in the scope.
    """

    system: str
    place: str
    scope: str | None
    kind: str
    name: str

    @property
    def key(self) -> str:
        """The identity as one string: what locks and records use."""
        return "|".join((self.system, self.place, self.scope or "", self.kind, self.name))

    @property
    def home(self) -> str | None:
        """The scope it lies in, or is; None for what belongs to its place as a whole."""
        return self.scope or (self.name if self.kind == "Namespace" else None)

    def __str__(self) -> str:
        """As people write it: `docs-live/deployment/docs`."""
        inside = f"{self.scope}/" if self.scope else ""
        return f"{inside}{self.kind.rpartition('/')[2].lower()}/{self.name}"
