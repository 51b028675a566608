"""Compares plans: what differs without a reason, and what is left of one that was interrupted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from infra_mcp.drivers.terraform.effect import UNKNOWN, PlanView, ResourceChange
from infra_mcp.model.effect import FieldChange, FieldPath, show_path

VOLATILE: Final = "(differs from plan to plan)"


def volatile(one: PlanView, other: PlanView) -> list[str]:
    """What differs between two plans of the same ground, as `address.field`."""
    found: list[str] = []
    both = [{change.address: change for change in view.resources} for view in (one, other)]
    for address in sorted(both[0].keys() | both[1].keys()):
        first, second = (side.get(address) for side in both)
        if first is None or second is None or first.operation != second.operation:
            found.append(address)
            continue
        found += [f"{address}{show_path(path)}" for path in _differing(first.fields, second.fields)]
    return found + [show_path(path)[1:] for path in _differing(one.outputs, other.outputs)]


def without(view: PlanView, is_volatile: Callable[[str], bool]) -> PlanView:
    """A plan in which what may differ is named instead of shown."""

    def hidden(prefix: str, fields: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
        return tuple(
            one.model_copy(update={"after": VOLATILE})
            if is_volatile(f"{prefix}{show_path(one.path)}".lstrip("."))
            else one
            for one in fields
        )

    resources = tuple(replace(one, fields=hidden(one.address, one.fields)) for one in view.resources)
    return replace(view, resources=resources, outputs=hidden("", view.outputs))


def as_before(view: PlanView, unknown: Mapping[str, Iterable[str]]) -> PlanView:
    """A plan in which what was unknown when it was approved is unknown still, though the first part of it has run.

    Args:
        view: of the rest.
        unknown: the fields that were unknown, by address.
    """

    def hidden(change: ResourceChange) -> ResourceChange:
        names = frozenset(unknown.get(change.address, ()))
        fields = (
            one.model_copy(update={"after": UNKNOWN, "has": True}) if show_path(one.path) in names else one
            for one in change.fields
        )
        return replace(change, fields=tuple(fields))

    return replace(view, resources=tuple(map(hidden, view.resources)))


def _differing(one: Iterable[FieldChange], other: Iterable[FieldChange]) -> list[FieldPath]:
    sides = [{show_path(field.path): field for field in fields} for fields in (one, other)]
    names = sorted(sides[0].keys() | sides[1].keys())
    return [(sides[0].get(name) or sides[1][name]).path for name in names if sides[0].get(name) != sides[1].get(name)]
