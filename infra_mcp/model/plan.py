"""What a request would do (effect), what that was worked out on (basis), and what policy says of it (verdict)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from infra_mcp.model.approval import Need
from infra_mcp.model.digest import digest
from infra_mcp.model.names import Frozen

__all__ = [
    "Adoption",
    "Basis",
    "Drift",
    "Effect",
    "FieldChange",
    "FieldPath",
    "FileChange",
    "ObjectBasis",
    "ObjectChange",
    "ObjectRef",
    "Plan",
    "TreeEdit",
    "Verdict",
    "show_path",
]

# A step is a map key, or the identifying keys of a list item as managedFields write them (`k:{"name":"web"}`), or the
# value of a set item (`v:"x"`, written {"=": "x"}).
FieldPath = tuple[str | dict[str, JsonValue], ...]


def show_path(path: FieldPath) -> str:
    """A field path as the API server writes it: `.spec.containers[name="web"].image`."""
    shown = ""
    for step in path:
        if isinstance(step, str):
            shown += f".{step}"
        else:
            shown += "[" + ",".join(f'{k}="{v}"' if k != "=" else f"={v}" for k, v in step.items()) + "]"
    return shown


class ObjectRef(Frozen):
    """The identity of an object: cluster, kind and name. The API version is how it is spoken to, not who it is."""

    cluster: str
    api_version: str
    kind: str
    namespace: str | None
    name: str

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def home(self) -> str | None:
        """The namespace it lies in, or is; None for what belongs to the cluster as a whole."""
        is_namespace = (self.group, self.kind) == ("", "Namespace")
        return self.namespace or (self.name if is_namespace else None)

    @property
    def key(self) -> str:
        """The identity as one string: what locks and indexes use."""
        return "|".join((self.cluster, self.group, self.kind, self.namespace or "", self.name))

    def __str__(self) -> str:
        """As people write it: `docs-live/deployment/docs`."""
        inside = f"{self.namespace}/" if self.namespace else ""
        return f"{inside}{self.kind.lower()}/{self.name}"


class FieldChange(Frozen):
    """One field, before and after. `None` with `had`/`has` false means the field is not there. Secrets come hashed."""

    path: FieldPath
    before: JsonValue = None
    after: JsonValue = None
    had: bool = True
    has: bool = True


class Adoption(Frozen):
    """A field taken over from another manager, as shown before it is taken."""

    field: str
    manager: str
    operation: str
    since: str | None = None


class Drift(Frozen):
    """A difference between git and cluster that this request did not make and leaves alone."""

    ref: ObjectRef
    field: str
    git: JsonValue = None
    live: JsonValue = None

    def __str__(self) -> str:
        """One line, as plans and status show it."""
        return f"{self.ref}{self.field}: git {self.git!r}, live {self.live!r}"


class ObjectChange(Frozen):
    """What happens to one object."""

    ref: ObjectRef
    operation: Literal["create", "update", "unchanged"]
    fields: tuple[FieldChange, ...] = ()
    adoptions: tuple[Adoption, ...] = ()
    checked: Literal["server-dry-run", "schema", "none"] = "server-dry-run"
    identity: Literal["circle", "server"] = "circle"
    intent: str = ""  # digest of what the tree (or the pull secret's keyed hash) says the object should be


class TreeEdit(Frozen):
    """One value set in one object of one file; enough to make it again on another head, and to undo it."""

    path: str
    ref: ObjectRef
    field: FieldPath
    before: JsonValue = None
    after: JsonValue = None


class FileChange(Frozen):
    """One file of the repository: created, or edited in place. The diff is unified, without context from elsewhere."""

    path: str
    operation: Literal["create", "edit"]
    before: str | None  # blob id at the base
    diff: str


class Effect(Frozen):
    """Everything an approval would be about."""

    action: dict[str, Any]
    objects: tuple[ObjectChange, ...]
    files: tuple[FileChange, ...]

    @property
    def digest(self) -> str:
        """The effect digest: what approvals, commits and receipts name. Nothing in it moves by itself."""
        adoptions = {"__all__": {"adoptions": {"__all__": {"since"}}}}
        return digest(self.model_dump(mode="json", exclude={"objects": adoptions, "files": {"__all__": {"before"}}}))


class ObjectBasis(Frozen):
    """What a live object was when the plan was made; `uid` None means it was not there."""

    key: str
    uid: str | None
    content: str | None  # digest of the fields the plan read or writes


class Basis(Frozen):
    """What a plan was worked out on."""

    commit: str
    objects: tuple[ObjectBasis, ...]


class Plan(Frozen):
    """Effect and basis, with what a reader should know beside them."""

    effect: Effect
    basis: Basis
    edits: tuple[TreeEdit, ...] = ()
    drift: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[ObjectChange, ...]:
        """The objects that will be written."""
        return tuple(o for o in self.effect.objects if o.operation != "unchanged")

    @property
    def already_so(self) -> bool:
        """Whether git and cluster both say already what was asked."""
        return not self.changed and not self.effect.files

    def blast_radius(self) -> dict[str, Any]:
        """Counts, namespaces, deletions, adoptions and other owners touched."""
        return {
            "create": sum(o.operation == "create" for o in self.effect.objects),
            "update": sum(o.operation == "update" for o in self.effect.objects),
            "unchanged": sum(o.operation == "unchanged" for o in self.effect.objects),
            "delete": 0,
            "files": len(self.effect.files),
            "namespaces": sorted({o.ref.home for o in self.changed if o.ref.home}),
            "adopted_from": sorted({a.manager for o in self.changed for a in o.adoptions}),
        }


class Verdict(Frozen):
    """What policy says: allow, refuse, or needs approval; by which rule; and what would pass."""

    decision: Literal["allow", "refuse", "needs-approval"]
    rule: str
    reason: Annotated[str, Field(max_length=1000)]
    would_pass: str = ""
    policy: str = ""  # digest of the policy that decided
    needs: tuple[Need, ...] = ()  # with needs-approval: what every rule that requires one wants
