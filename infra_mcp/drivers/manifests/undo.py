"""Undo as a new plan: the live values from before our write, only on objects still as we left them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra_mcp.clients.kube import FIELD_MANAGER, Cluster
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.adopt import owners
from infra_mcp.drivers.kubernetes.merge import get_path, set_path
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.outcome import Written
from infra_mcp.model.plan import FieldChange, show_path

__all__ = ["Undone", "is_ours", "undo"]

_TRIES = 5


@dataclass(frozen=True)
class Undone:
    """What an undo came to: what was restored, and what was left because others changed it."""

    restored: tuple[str, ...]
    left: tuple[str, ...]


async def undo(cluster: Cluster, written: Sequence[Written], request: str, *, as_: str, adopt: Sequence[str]) -> Undone:
    """Restore each written object, in reverse order.

    A namespace is never deleted by an undo, nor anything else we created: that would cascade. Such objects are left
    and named. An object that already has its former values counts as restored; doing it twice writes once.

    Raises:
        InfraError: `cluster-denied`, which may pass: do it again.
        KubeError: the cluster could not be asked.
    """
    restored, left = [], []
    for one in reversed(written):
        reason = await _restore(cluster, one, request, as_=as_, adopt=adopt)
        if reason is None:
            restored.append(str(one.ref))
        else:
            left.append(f"{one.ref} ({reason})")
    return Undone(tuple(restored), tuple(left))


async def _restore(cluster: Cluster, one: Written, request: str, *, as_: str, adopt: Sequence[str]) -> str | None:
    """Restore one object; the reason when it is left alone."""
    if one.operation == "create":
        return "created by this request and kept"
    for _ in range(_TRIES):
        live = await cluster.get(one.ref, as_=as_)
        if live is not None and live["metadata"]["uid"] == one.uid and _is_former(live, one):
            return None
        if reason := _changed_by_others(live, one):
            return reason
        try:
            gained = [field.path for field in one.fields if not field.had]
            proposal = await ssa.propose(cluster, one.ref, live, _former(one), as_=as_, adopt=adopt, removes=gained)
            await ssa.write(cluster, proposal, as_=as_, request=f"{request}.undo")
        except Moved:
            continue
        except InfraError as error:
            if is_denied(error):
                raise
            return error.what
        return None
    return "it kept changing"


def _changed_by_others(live: dict[str, Any] | None, one: Written) -> str | None:
    """Why the object is not as we left it: another uid, or our fields with other values or no longer ours."""
    if live is None:
        return "it is gone"
    if live["metadata"]["uid"] != one.uid:
        return "it was replaced by someone else"
    moved = [show_path(field.path) for field in one.fields if not is_ours(live, field)]
    return f"someone else changed {', '.join(moved)} since" if moved else None


def is_ours(live: dict[str, Any], field: FieldChange) -> bool:
    """Whether the field still has the value we wrote, and we still own it."""
    return get_path(live, field.path) == (True, field.after) and FIELD_MANAGER in owners(live, field.path)


def _former(one: Written) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for field in one.fields:
        if field.had:
            set_path(sets, field.path, field.before)
    return sets


def _is_former(live: dict[str, Any], one: Written) -> bool:
    return all(get_path(live, field.path) == (field.had, field.before) for field in one.fields)
