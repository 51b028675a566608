"""What the steps of the driver hand on: desired objects, and each with its proposal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.kubernetes.own import Own
from infra_mcp.drivers.kubernetes.ssa import Proposal
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.edits import Goal


@dataclass(frozen=True)
class Rights:
    """As whom objects are read and written, and whose fields may be taken over."""

    user: str  # the circle's identity
    adopt: tuple[str, ...]  # managers that may lose a field
    own: Own  # by what this request's own writes are recognised

    @classmethod
    def of(cls, context: Context, cluster: str) -> Rights:
        """Those of a request's circle, by the policy in force."""
        user = context.policy.service_account(context.circle, cluster)
        return cls(user, context.policy.tree.adopt, Own(context.request, context.nonce))


@dataclass(frozen=True)
class Desired:
    """One object that the change is about, as the fields it sets.

    Args:
        ref: which.
        sets: a partial object; all of it where the object is to be made.
        whole: whether it may be made; else only fields of one that is there are set.
        content: the digest of what must not be shown (a pull secret); it stands for `sets` in the plan.
        secret: the pull secret's name in policy.
        path: the file that says it; empty where none does.
        restarts: whether it is set so that all pods are replaced.
    """

    ref: ObjectRef
    sets: dict[str, Any] = field(repr=False)
    whole: bool = True
    content: str | None = None
    secret: str = ""
    path: str = ""
    restarts: bool = False

    @property
    def identity(self) -> Literal["circle", "server"]:
        """Whose rights it is written with: a namespace and a circle's binding are what a circle cannot make."""
        return "server" if self.ref.kind in {"Namespace", "RoleBinding"} else "circle"


@dataclass(frozen=True)
class PlannedObject:
    """One object of the plan: desired, as it was live, and the proposal that a dry run answered.

    Args:
        undo_fields: what an undo puts back: the set fields, live before and after.
    """

    desired: Desired
    change: Change
    live: dict[str, Any] | None = field(repr=False)
    proposal: Proposal | None = field(default=None, repr=False)
    undo_fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True)
class Work:
    """What the driver keeps from its plan.

    Args:
        objects: every object of it, in the order the edit named them.
        goal: what is to be true in the end.
        late: whether what lies inside a namespace could only be checked by schema, since that is yet to be made.
    """

    objects: tuple[PlannedObject, ...]
    goal: Goal
    late: bool = False

    @property
    def to_write(self) -> tuple[PlannedObject, ...]:
        """The objects that are not already so."""
        return tuple(one for one in self.objects if one.change.operation != "unchanged")
