"""From a desired object and its live state to a planned one: unchanged, dry-run, or checked by schema."""

from __future__ import annotations

from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.drivers.manifests.planned import Desired, PlannedObject, Rights
from infra_mcp.drivers.manifests.scaling import through
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.policy.images import images_in
from infra_mcp.repository.partial import differences, is_within

_HIDDEN = ("content",)


async def planned(
    cluster: Cluster, rights: Rights, want: Desired, live: dict[str, Any] | None, *, late: bool
) -> PlannedObject:
    """Compare one desired object with the live one; a server-side dry run unless nothing changes or it cannot be yet.

    Args:
        cluster: where.
        rights: as whom, and whose fields may be taken over.
        want: the object.
        live: as it is; None when it is not there.
        late: whether it lies in a namespace that is yet to be made.

    Raises:
        InfraError: `field-conflict`, `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    same: dict[str, Any] = {
        "target": want.ref.target,
        "identity": want.identity,
        "intent": want.content or digest(want.sets),
    }
    if live is not None and is_within(want.sets, live):
        return PlannedObject(want, Change(operation="unchanged", checked="none", **same), live)
    if want.identity == "server" or late:
        # The namespace does not exist yet, or only its creation is ours: checked offline, dry-run as soon as it exists.
        if faults := await cluster.schema_errors(want.sets):
            raise InfraError("object-invalid", f"{want.ref}: {'; '.join(faults[:5])}.")
        fields = tuple(_shown(want, live))
        creates = live is None and not _made_by_the_cluster(want)
        operation = "create" if creates else "update"
        return PlannedObject(want, _change(operation, fields, checked="schema", **same), live)
    proposal = await ssa.propose(
        cluster, want.ref, live, want.sets, as_user=rights.user, adopt=rights.adopt, through=through(want)
    )
    fields = tuple(_shown(want, live)) if want.content else changes(proposal.live, proposal.dry)
    operation = "create" if live is None else "update"
    change = _change(operation, fields, takes=proposal.takes, **same)
    return PlannedObject(want, change, proposal.live, proposal, _undo_fields(want, proposal.live))


def _change(operation: Any, fields: tuple[FieldChange, ...], **rest: Any) -> Change:  # noqa: ANN401 - its fields
    images = dict.fromkeys(image for field in fields if field.has for image in _images(field))
    return Change(operation=operation, fields=fields, images=tuple(images), **rest)


def _images(field: FieldChange) -> list[str]:
    last = field.path[-1] if field.path else ""
    return list(images_in({last: field.after} if isinstance(last, str) else field.after))


def _made_by_the_cluster(want: Desired) -> bool:
    """A namespace's `default` service account: a controller makes it, so it is never a create of ours."""
    return want.ref.kind == "ServiceAccount" and want.ref.name == "default"


def _shown(want: Desired, live: dict[str, Any] | None) -> list[FieldChange]:
    """The set fields as changes; hidden content shows as its keyed hash only."""
    if want.content:
        before = None if live is None else "other"
        return [FieldChange(path=_HIDDEN, after=want.content, had=live is not None, before=before)]
    body = {k: v for k, v in want.sets.items() if k not in {"apiVersion", "kind"}}
    return [
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live or {}, body)
    ]


def _undo_fields(want: Desired, live: dict[str, Any] | None) -> tuple[FieldChange, ...]:
    """The set fields as they were live, for an undo: git's values differ when someone changed the cluster by hand."""
    if live is None or want.content:
        return ()
    return tuple(
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live, want.sets)
    )
