"""Restores the live values from before our write, as a new plan, only on objects still as we left them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from infra_mcp.clients.kube import FIELD_MANAGER, Cluster
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.base import Undone
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.adopt import owners
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.digest import canonical
from infra_mcp.model.effect import FieldChange, show_path
from infra_mcp.model.names import Frozen
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.outcome import Written
from infra_mcp.repository.partial import get_path, set_path

_TRIES = 5
_REPLICAS = ("spec", "replicas")


class Left(Frozen):
    """One object as we wrote it, from a request's record: what it takes to recognise our write and to undo it."""

    ref: ObjectRef
    operation: str
    fields: tuple[FieldChange, ...]  # the set fields, as they were and as we set them
    uid: str | None  # of the object that was written to; None for a created one
    generated: bool = False  # a created one that nothing reads any more once its readers are restored
    grace: float = 30.0  # seconds that a temporary cause is tolerated; the first edition's records have none

    @classmethod
    def of(cls, written: Written) -> Left:
        """The object of one recorded write."""
        kept: Any = written.undo
        ref = ObjectRef.of(written.target, kept["api_version"]).model_dump()
        rest = {key: value for key, value in kept.items() if key not in {"api_version", "identity"}}
        return cls.model_validate_json(canonical({**rest, "ref": ref, "operation": written.operation}))


async def undo(
    cluster: Cluster, written: Sequence[Written], request: str, *, as_user: str, adopt: Sequence[str]
) -> Undone:
    """Restore each written object, in reverse order.

    Created objects stay and are named: to delete a namespace would cascade. Generated ones stay without a word, as
    with kubectl: their names are of their content, and no one reads them. An object that has its former values already
    counts as restored; an undo that runs twice writes once.

    Raises:
        InfraError: `cluster-denied`, which may pass: do it again.
        KubeError: the cluster could not be asked.
    """
    restored, skipped = [], []
    for one in map(Left.of, reversed(written)):
        if one.generated:
            continue
        reason = await _restore(cluster, one, request, as_user=as_user, adopt=adopt)
        if reason is None:
            restored.append(str(one.ref))
        else:
            skipped.append(f"{one.ref} ({reason})")
    return Undone(tuple(restored), tuple(skipped))


async def settled(cluster: Cluster, written: Sequence[Written], seconds: float, *, as_user: str) -> str:
    """Wait until restored workloads are out again, and say so.

    Raises:
        InfraError: one is not, with the cause; also when it could not be observed.
    """
    facts = []
    for one in map(Left.of, written):
        if one.ref.kind not in WORKLOADS or one.operation == "create":
            continue
        so = partial(_is_former, one=one)
        out = await rollout(
            cluster, one.ref, one.uid or "", as_user=as_user, expect=so, grace=one.grace, deadline=seconds
        )
        was = ", ".join(sorted({str(f.before) for f in one.fields if f.path[-1:] == ("image",)}))
        was = was or ", ".join(f"{f.before} replicas" for f in one.fields if f.path == _REPLICAS)
        facts.append(f"{one.ref} {'runs' if out.ready else 'is set to'} {was or 'what it was'} again")
    return "; ".join(facts) or "what it created is kept"


async def _restore(cluster: Cluster, one: Left, request: str, *, as_user: str, adopt: Sequence[str]) -> str | None:
    """Restore one object; the reason when it is left alone."""
    if one.operation == "create":
        return "created by this request and kept"
    former: dict[str, Any] = {}
    for field in one.fields:
        if field.had:
            set_path(former, field.path, field.before)
    gained = [field.path for field in one.fields if not field.had]
    for _ in range(_TRIES):
        live = await cluster.get(one.ref, as_user=as_user)
        if live is not None and live["metadata"]["uid"] == one.uid and _is_former(live, one):
            return None
        if reason := _changed_by_others(live, one):
            return reason
        try:
            proposal = await ssa.propose(cluster, one.ref, live, former, as_user=as_user, adopt=adopt, removes=gained)
            await ssa.write(cluster, proposal, as_user=as_user, request=f"{request}.undo")
        except Moved:
            continue
        except InfraError as error:
            if is_denied(error):
                raise
            return error.what
        return None
    return "it kept changing"


def _changed_by_others(live: dict[str, Any] | None, one: Left) -> str | None:
    """Why the object is not as we left it: another uid, or our fields with other values or no longer ours."""
    if live is None:
        return "it is gone"
    if live["metadata"]["uid"] != one.uid:
        return "it was replaced by someone else"
    moved = [show_path(field.path) for field in one.fields if not is_ours(live, field)]
    return f"someone else changed {', '.join(moved)} since" if moved else None


def is_ours(live: dict[str, Any], field: FieldChange) -> bool:
    """Whether the field still has the value we wrote, and we still own it; or is still removed."""
    is_so = get_path(live, field.path) == (field.has, field.after)
    return is_so and (not field.has or FIELD_MANAGER in owners(live, field.path))


def _is_former(live: dict[str, Any], one: Left) -> bool:
    return all(get_path(live, field.path) == (field.had, field.before) for field in one.fields)
