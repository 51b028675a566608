"""The effect of a request, which approvals are for: every change of every part, and every file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue

from infra_mcp.model.digest import digest
from infra_mcp.model.names import Frozen
from infra_mcp.model.target import Target

# A step is a map key, or the identifying keys of a list item as managedFields write them (`k:{"name":"web"}`), or the
# value of a set item (`v:"x"`, written {"=": "x"}), or the index of an item that nothing else tells apart.
FieldPath = tuple[str | int | dict[str, JsonValue], ...]


def show_path(path: FieldPath) -> str:
    """A field path as the API server writes it: `.spec.containers[name="web"].image`."""
    shown = ""
    for step in path:
        if isinstance(step, str):
            shown += f".{step}"
        elif isinstance(step, int):
            shown += f"[{step}]"
        else:
            shown += "[" + ",".join(f'{k}="{v}"' if k != "=" else f"={v}" for k, v in step.items()) + "]"
    return shown


class FieldChange(Frozen):
    """One field, before and after. `None` with `had` or `has` false means that it is absent. Secrets are hashed."""

    path: FieldPath
    before: JsonValue = None
    after: JsonValue = None
    had: bool = True
    has: bool = True


class Takeover(Frozen):
    """A field to take over from another manager. It has no time, since that changes without us."""

    field: str
    manager: str
    operation: str


class Drift(Frozen):
    """A difference between git and the live state that this request did not make and leaves alone."""

    target: Target
    field: str  # the field's path in it
    git: JsonValue = None  # its value in git; every text that shows it is masked
    live: JsonValue = None  # its live value, masked likewise
    manager: str | None = None  # the field manager that keeps a field that git no longer sets

    def __str__(self) -> str:
        """As plans and `status` show it."""
        if self.manager is not None:
            return f"{self.target}{self.field}: not in git, live {self.live!r}, held by {self.manager}"
        return f"{self.target}{self.field}: git {self.git!r}, live {self.live!r}"


class Trait(Frozen):
    """A property of a rendered object that a guardrail of policy judges: privileged, a host name, a node port."""

    rule: str  # the guardrail's name
    where: str = ""  # what of the object has it: `container web`
    value: str = ""  # what it is judged by: a host's name, a capability


class Change(Frozen):
    """The change of one target."""

    target: Target
    # `run` is work that leaves no object of its own, such as a hook.
    operation: Literal["create", "update", "replace", "delete", "run", "unchanged"]
    fields: tuple[FieldChange, ...] = ()  # its changes, against the live state
    takes: tuple[Takeover, ...] = ()  # the fields taken over from other managers
    # What checked it: a dry run of the system, its schema only, a plan of a provider, or nothing since nothing
    # changes.
    checked: Literal["server-dry-run", "schema", "plan", "none"] = "server-dry-run"
    # Whose rights it is written with: the circle's, the server's own, or those that Helm has for the circle.
    identity: Literal["circle", "server", "helm"] = "circle"
    images: tuple[str, ...] = ()  # every image that it would newly run
    intent: str = ""  # digest of the desired state; the same each time it is planned
    by: str = ""  # the key of the target whose rendering gives it: a release; empty where it stands for itself
    traits: tuple[Trait, ...] | None = None  # of the object as it would be; None where nothing looked at it


class FileChange(Frozen):
    """One file of the repository, in the commit of one stage. The diff has no context lines."""

    path: str
    operation: Literal["create", "edit", "delete"]
    before: str | None  # blob id at the base
    diff: str
    stage: int = 0


class Reached(Frozen):
    """A delivery that reads a changed file."""

    delivery: str  # `kubernetes`, `flux`, `argocd`, …
    root: str  # the folder or file that it delivers
    cluster: str | None = None  # where to, as far as policy or the repository says
    by: str = ""  # what delivers it, for people: `Kustomization flux-system/apps`
    apps: tuple[str, ...] = ()  # the apps that are delivered with it
    own: bool = False  # whether the request is about it; else it is reached beside
    unbuilt: str = ""  # why it was not built, so that what it would give is not known
    renderer: str = ""  # what built it, with its version; empty where it was not built
    targets: tuple[str, ...] = ()  # the keys of the targets that its build gives otherwise
    renders: tuple[Change, ...] = ()  # these, where others make them live: no driver compares them with what is live
    stage: int = 0


class Part(Frozen):
    """One driver's share of a change, at one place, in one stage."""

    driver: str
    place: str
    stage: int
    changes: tuple[Change, ...]


class Effect(Frozen):
    """Everything that an approval is for, over all stages."""

    action: dict[str, Any]
    parts: tuple[Part, ...]
    files: tuple[FileChange, ...]
    reach: tuple[Reached, ...] = ()

    def of_stage(self, stage: int) -> Effect:
        """What one stage does."""
        return Effect(
            action=self.action,
            parts=tuple(one for one in self.parts if one.stage == stage),
            files=tuple(one for one in self.files if one.stage == stage),
            reach=tuple(one for one in self.reach if one.stage == stage),
        )

    @property
    def stages(self) -> tuple[int, ...]:
        """The numbers of the stages that do or reach anything."""
        parts, files, reach = ({one.stage for one in several} for several in (self.parts, self.files, self.reach))
        return tuple(sorted(parts | files | reach))

    @property
    def digest(self) -> str:
        """The effect digest, which approvals, commits and receipts name. Nothing that changes without us is in it."""
        value = self.model_dump(mode="json")
        for file in value["files"]:
            del file["before"]
        return digest(value)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of all parts, in order."""
        return tuple(change for part in self.parts for change in part.changes)

    @property
    def changed(self) -> tuple[Change, ...]:
        """The changes without the unchanged targets."""
        return tuple(change for change in self.changes if change.operation != "unchanged")

    @property
    def already_so(self) -> bool:
        """Whether the repository and every place already are as asked."""
        return not self.changed and not self.files

    def blast_radius(self) -> dict[str, Any]:
        """Counts, namespaces, deletions, takeovers and the owners they are from."""
        counts = {
            name: sum(change.operation == name for change in self.changes)
            for name in ("create", "update", "replace", "unchanged", "delete")
        }
        return counts | {
            "files": len(self.files),
            "namespaces": sorted({home for change in self.changed if (home := change.target.home)}),
            "adopted_from": sorted({take.manager for change in self.changed for take in change.takes}),
        }
