"""Compares one desired object with the live one: unchanged, dry-run on the server, or checked by schema."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.drivers.manifests.objects import Access, Desired, PlannedObject
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.policy.images import new_images
from infra_mcp.repository.partial import differences, is_within


async def planned(access: Access, want: Desired, live: dict[str, Any] | None, *, late: bool) -> PlannedObject:
    """Compare one desired object with the live one.

    Args:
        access: the cluster, as the request may use it.
        want: the object.
        live: the live object; None when it is not there.
        late: whether it lies in a namespace that does not exist yet.

    Raises:
        InfraError: `field-conflict`, `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    same: Any = {"target": want.ref.target, "identity": want.identity, "intent": want.content or digest(want.sets)}
    if live is not None and is_within(want.sets, live):
        return PlannedObject(want, Change(operation="unchanged", checked="none", **same), live)
    operation: Literal["create", "update"] = "create" if live is None else "update"
    proposal = None
    if want.identity == "server" or late:
        # The namespace does not exist yet, or only its creation is ours: checked offline, dry-run as soon as it exists.
        if faults := await access.cluster.schema_errors(want.sets):
            raise InfraError("object-invalid", f"{want.ref}: {'; '.join(faults[:5])}.")
        if want.ref.kind == "ServiceAccount" and want.ref.name == "default":
            operation = "update"  # a controller creates it
        same["checked"] = "schema"
    else:
        proposal = await dry_run(access, want, live)
        live, same["takes"] = proposal.live, proposal.takes
    fields = _shown(want, live) if proposal is None or want.content else changes(proposal.live, proposal.dry)
    change = Change(operation=operation, fields=fields, **same)
    return PlannedObject(want, change.model_copy(update={"images": new_images(change)}), live, proposal)


async def dry_run(access: Access, want: Desired, live: dict[str, Any] | None) -> ssa.Proposal:
    """Propose an object as the circle. Replicas may be taken over from `kubectl scale`, which writes by `scale`."""
    through = ("scale",) if _scales(want) else ()
    return await ssa.propose(
        access.cluster, want.ref, live, want.sets, as_user=access.user, adopt=access.adopt, through=through
    )


def _shown(want: Desired, live: dict[str, Any] | None) -> tuple[FieldChange, ...]:
    """The set fields as changes; hidden content shows as its keyed hash only."""
    if want.content:
        before = None if live is None else "other"
        return (FieldChange(path=("content",), after=want.content, had=live is not None, before=before),)
    return set_fields({k: v for k, v in want.sets.items() if k not in {"apiVersion", "kind"}}, live or {})


def set_fields(sets: dict[str, Any], live: dict[str, Any]) -> tuple[FieldChange, ...]:
    """The set fields that the live object has otherwise, as changes."""
    return tuple(
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live, sets)
    )


async def refuse_autoscaled(access: Access, wanted: Iterable[Desired]) -> None:
    """Refuse to set the replicas of a workload that an autoscaler scales (`autoscaling/v2`, also KEDA's).

    Raises:
        InfraError: `owned-elsewhere`, naming the autoscaler; `cluster-denied`: the circle may not list autoscalers.
    """
    for one in filter(_scales, wanted):
        for scaler in await _autoscalers(access, one.ref.namespace or ""):
            target = scaler["spec"].get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (one.ref.kind, one.ref.name):
                name = f"{one.ref.namespace}/{scaler['metadata']['name']}"
                what = f"{one.ref} is scaled by the autoscaler {name}, which would set its own number."
                raise InfraError("owned-elsewhere", what, next_step="Change the autoscaler's bounds in its manifest.")


async def _autoscalers(access: Access, namespace: str) -> list[dict[str, Any]]:
    try:
        listed = await access.cluster.list("autoscaling/v2", "HorizontalPodAutoscaler", namespace, as_user=access.user)
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        what = f"The circle's role may not list the autoscalers of {namespace}, and one could undo a scaling."
        step = "A cluster admin applies the current output of `infra-mcp rbac render`."
        raise InfraError("cluster-denied", what, next_step=step) from error
    found: list[dict[str, Any]] = listed["items"]
    return found


def _scales(one: Desired) -> bool:
    return not one.whole and "replicas" in (one.sets.get("spec") or {})
