"""What the driver hands from step to step: task, wanted objects, and the plan with what it takes to apply it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from infra_mcp.drivers.kubernetes.own import Own
from infra_mcp.drivers.kubernetes.ssa import Proposal
from infra_mcp.model.plan import FieldChange, FieldPath, ObjectChange, ObjectRef, Plan
from infra_mcp.model.request import Request
from infra_mcp.policy.rules import Policy
from infra_mcp.repository.value import Tree

__all__ = ["Item", "Prepared", "Task", "Wanted", "differences", "is_within"]


# resource.Quantity: the API server writes 1024Mi as 1Gi.
_QUANTITIES = frozenset({"hard", "limits", "requests", "default", "defaultRequest"})
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|[KMGTPE]i|[MGTPE])?")
_UNITS = {"": Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(base) ** (power + 1)
    for power, letter in enumerate("KMGTPE")
    for unit, base in ((f"{letter}i", 1024), (letter.replace("K", "k"), 1000))
}


@dataclass(frozen=True)
class Task:
    """One request with what its planning may look at."""

    request: Request
    policy: Policy
    cluster: str
    user: str  # the circle's Kubernetes identity
    secret: str = ""  # of the request, random and recorded before its first write; see `own`

    @property
    def circle(self) -> str:
        """The requester's circle."""
        return self.request.caller.circle or ""

    @property
    def own(self) -> Own:
        """By what this request's own writes are recognised."""
        return Own(self.request.id, self.secret)

    @property
    def role(self) -> str:
        """The ClusterRole that a circle's accounts are bound to."""
        rules = self.policy.cluster(self.cluster)
        return rules.circle_role if rules else ""


@dataclass(frozen=True)
class Wanted:
    """One object the action addresses, as the fields it sets.

    `content` is the digest of what must not be shown (a pull secret); it stands for `sets` in the plan.
    """

    ref: ObjectRef
    sets: dict[str, Any]
    identity: Literal["circle", "server"] = "circle"
    in_git: bool = True
    content: str | None = None


@dataclass(frozen=True)
class Item:
    """One object of the plan: wanted, as it was live, and the proposal that a dry-run answered."""

    wanted: Wanted
    change: ObjectChange
    live: dict[str, Any] | None
    proposal: Proposal | None = None
    restores: tuple[FieldChange, ...] = ()  # what an undo puts back: the set fields, live before and after


@dataclass(frozen=True)
class Prepared:
    """A plan with what it takes to carry it out; the plan alone is what is stored and shown."""

    plan: Plan
    tree: Tree
    items: tuple[Item, ...]
    bootstrap: bool = False  # the namespace is created by this change, so its contents are dry-run after it
    failure: Literal["rollback", "hold"] = "hold"
    names: dict[str, str] = field(default_factory=dict)  # words for the receipt

    @property
    def to_write(self) -> tuple[Item, ...]:
        """The items that are not already so."""
        return tuple(item for item in self.items if item.change.operation != "unchanged")

    def settled(self, items: tuple[Item, ...]) -> Prepared:
        """The same with other items."""
        return replace(self, items=items)


def differences(current: Any, sets: Any, prefix: FieldPath = ()) -> Iterator[tuple[FieldPath, Any, Any, bool]]:  # noqa: ANN401
    """Each outermost field of `sets` that `current` has otherwise: path, before, after, whether it was there.

    Lists are compared whole unless both sides' items carry a `name`, as containers do; of several with one name the
    last counts. What the server adds to an item (defaults) is no difference, nor is another way to write the same
    quantity.
    """
    if isinstance(sets, dict) and isinstance(current, dict):
        for key, value in sets.items():
            if key not in current:
                yield (*prefix, key), None, value, False
            else:
                yield from differences(current[key], value, (*prefix, key))
    elif _named(sets) and _named(current) and {i["name"] for i in sets} <= {i["name"] for i in current}:
        by_name = {item["name"]: item for item in current}
        for name, item in {item["name"]: item for item in sets}.items():
            yield from differences(by_name[name], item, (*prefix, {"name": name}))
    elif current != sets and not _alike(current, sets) and not _same_quantity(prefix, current, sets):
        yield prefix, current, sets, True


def _alike(current: Any, sets: Any) -> bool:  # noqa: ANN401
    if not isinstance(current, list) or not isinstance(sets, list):
        return False
    if len(current) != len(sets):  # an item that stands twice says it once
        sets = [item for at, item in enumerate(sets) if item not in sets[:at]]
    return len(current) == len(sets) and all(
        isinstance(a, dict) and isinstance(b, dict) and is_within(b, a) for a, b in zip(current, sets, strict=True)
    )


def _same_quantity(path: FieldPath, current: Any, sets: Any) -> bool:  # noqa: ANN401
    if not any(step in _QUANTITIES for step in path if isinstance(step, str)):
        return False
    one, other = (_QUANTITY.fullmatch(str(value)) for value in (current, sets))
    return bool(one and other) and _value(one) == _value(other)


def _value(match: re.Match[str] | None) -> Decimal | None:
    return Decimal(match[1]) * _UNITS[match[2] or ""] if match else None


def _named(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(i, dict) and len(i) > 1 and "name" in i for i in value)
    )


def is_within(sets: Any, live: Any) -> bool:  # noqa: ANN401
    """Whether `live` says everything that `sets` says."""
    return next(differences(live, sets), None) is None
