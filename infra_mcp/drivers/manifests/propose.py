"""From a wanted object and its live state to a plan's item, and from items to the plan."""

from __future__ import annotations

from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.drivers.manifests.prepared import Item, Task, Wanted, differences, is_within
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import digest
from infra_mcp.model.plan import (
    Basis,
    Drift,
    Effect,
    FieldChange,
    FileChange,
    ObjectBasis,
    ObjectChange,
    Plan,
    TreeEdit,
)
from infra_mcp.repository.value import Tree

__all__ = ["item_for", "plan_of", "restores"]

_HIDDEN = ("content", "changed")
_UNREAD = 5  # files named in a note


async def item_for(task: Task, cluster: Cluster, want: Wanted, live: dict[str, Any] | None, bootstrap: bool) -> Item:
    """Compare one wanted object with the live one; a server-side dry-run unless nothing changes or it cannot be yet.

    Raises:
        InfraError: `field-conflict`, `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    intent = want.content or digest(want.sets)
    if live is not None and is_within(want.sets, live):
        change = ObjectChange(
            ref=want.ref, operation="unchanged", identity=want.identity, intent=intent, checked="none"
        )
        return Item(want, change, live)
    if want.identity == "server" or (bootstrap and want.ref.namespace):
        # The namespace does not exist yet, or only its creation is ours: checked offline, dry-run as soon as it exists.
        if faults := await cluster.schema_errors(want.sets):
            raise InfraError("object-invalid", f"{want.ref}: {'; '.join(faults[:5])}.")
        fields = tuple(_shown(want, live))
        change = ObjectChange(
            ref=want.ref,
            operation="create" if live is None and not _made_by_the_cluster(want) else "update",
            fields=fields,
            identity=want.identity,
            intent=intent,
            checked="schema",
        )
        return Item(want, change, live)
    proposal = await ssa.propose(cluster, want.ref, live, want.sets, as_=task.user, adopt=task.policy.tree.adopt)
    fields = tuple(_shown(want, live)) if want.content else changes(proposal.live, proposal.dry)
    change = ObjectChange(
        ref=want.ref,
        operation="create" if live is None else "update",
        fields=fields,
        adoptions=proposal.adoptions,
        identity=want.identity,
        intent=intent,
    )
    return Item(want, change, proposal.live, proposal, restores(want, proposal.live))


def _made_by_the_cluster(want: Wanted) -> bool:
    """A namespace's `default` service account: a controller makes it, so it is never a create of ours."""
    return want.ref.kind == "ServiceAccount" and want.ref.name == "default"


def _shown(want: Wanted, live: dict[str, Any] | None) -> list[FieldChange]:
    """The set fields as changes; hidden content shows as its keyed hash only."""
    if want.content:
        return [
            FieldChange(
                path=_HIDDEN[:1], after=want.content, had=live is not None, before=None if live is None else "other"
            )
        ]
    body = {k: v for k, v in want.sets.items() if k not in {"apiVersion", "kind"}}
    return [
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live or {}, body)
    ]


def restores(want: Wanted, live: dict[str, Any] | None) -> tuple[FieldChange, ...]:
    """The set fields as they were live, for an undo: git's values differ when someone changed the cluster by hand."""
    if live is None or want.content:
        return ()
    return tuple(
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live, want.sets)
    )


def plan_of(
    task: Task,
    base: Tree,
    items: list[Item],
    files: tuple[FileChange, ...],
    edits: tuple[TreeEdit, ...],
    drift: tuple[Drift, ...] = (),
) -> Plan:
    """The plan as a value: equal requests on equal ground give equal bytes."""
    effect = Effect(
        action=task.request.action.model_dump(mode="json", exclude_none=True),
        objects=tuple(item.change for item in sorted(items, key=lambda item: item.change.ref.key)),
        files=files,
    )
    basis = Basis(
        commit=base.base,
        objects=tuple(sorted((_basis(item) for item in items), key=lambda entry: entry.key)),
    )
    notes = tuple(
        f"{item.change.ref} is checked against the server's schema now and dry-run as soon as its namespace exists"
        for item in items
        if item.change.checked == "schema" and item.wanted.identity == "circle"
    )
    if unread := list(base.broken.values()):
        more = f" And {len(unread) - _UNREAD} more." if len(unread) > _UNREAD else ""
        notes += (f"not read: {' '.join(unread[:_UNREAD])}{more}",)
    return Plan(effect=effect, basis=basis, edits=edits, drift=drift, notes=notes)


def _basis(item: Item) -> ObjectBasis:
    """Uid and the set fields as they were: status, managedFields and everything else may move."""
    if item.live is None:
        return ObjectBasis(key=item.change.ref.key, uid=None, content=None)
    before = [[list(path), value] for path, value, _, _ in differences(item.live, item.wanted.sets)]
    content = item.wanted.content or digest(before)
    return ObjectBasis(key=item.change.ref.key, uid=item.live["metadata"]["uid"], content=content)
