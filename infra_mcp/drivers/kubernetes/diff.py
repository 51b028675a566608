"""What would change in an object, field by field: the live object against what a dry run answered. Pure.

Lists are compared item by item where their items have keys, as the server says in `managedFields`. What the server
keeps for itself (versions, status, generated names and addresses) and our own marks are no changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from infra_mcp.drivers.kubernetes.adopt import LAST_APPLIED, lists
from infra_mcp.model.effect import FieldChange, FieldPath
from infra_mcp.model.marks import REQUEST, WRITE
from infra_mcp.repository.partial import SET, Lists, item_keys, list_keys

_IGNORED: set[tuple[str, ...]] = {
    ("apiVersion",),
    ("kind",),
    ("status",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("metadata", "managedFields"),
    ("metadata", "resourceVersion"),
    ("metadata", "generation"),
    ("metadata", "uid"),
    ("metadata", "creationTimestamp"),
    ("metadata", "selfLink"),
    ("metadata", "annotations", REQUEST),
    ("metadata", "annotations", WRITE),
}
# A dry run of a create allocates these at random, so they are no part of a plan.
_ALLOCATED: set[tuple[str, ...]] = {
    ("spec", "clusterIP"),
    ("spec", "clusterIPs"),
    ("spec", "healthCheckNodePort"),
    ("spec", "ports", "nodePort"),
}
_ABSENT = object()
Mask = Callable[[FieldPath, Any], Any]


def changes(
    live: Mapping[str, Any] | None, dry: Mapping[str, Any], *, hide: Callable[[str], str] | None = None
) -> tuple[FieldChange, ...]:
    """The fields that differ, in a stable order; defaults the server adds are among them.

    Maps are told by their leaves; an item of a keyed list that comes or goes is told as a whole.

    Args:
        live: the object as it is; None when it would be created.
        dry: the object as it would be.
        hide: turns a Secret's value into what may be shown, such as a keyed hash. Without it they are all shown alike.
    """
    mask = _mask(hide or (lambda _: "[hidden]")) if dry.get("kind") == "Secret" else _plain
    ignored = set(_IGNORED)
    if live is None and dry.get("kind") == "Service":
        ignored |= _ALLOCATED
    before = {} if live is None else live
    made = [None] if live is not None else [dry.get("metadata", {}).get("uid")]
    found = []
    for path, old, new in _walk(before, dry, (), (), lists(live, dry), ignored):
        if live is None and new in made:
            continue  # a Job's labels carry its uid, which a dry run makes up
        found.append(
            FieldChange(
                path=path,
                before=None if old is _ABSENT else mask(path, old),
                after=None if new is _ABSENT else mask(path, new),
                had=old is not _ABSENT,
                has=new is not _ABSENT,
            )
        )
    return tuple(found)


def _plain(_path: FieldPath, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return value


def _mask(hide: Callable[[str], str]) -> Mask:
    def masked(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            return {k: masked(v) for k, v in value.items()}
        return hide(str(value))

    def mask(path: FieldPath, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if path[0] in {"data", "stringData"} or path[-1] == LAST_APPLIED:
            return masked(value)
        return value

    return mask


def _walk(
    old: Any,  # noqa: ANN401 - any JSON value
    new: Any,  # noqa: ANN401 - any JSON value
    path: FieldPath,
    names: tuple[str, ...],
    known: Lists,
    ignored: set[tuple[str, ...]],
) -> Iterator[tuple[FieldPath, Any, Any]]:
    if names in ignored or old == new:
        return
    if _is_map(old, new):
        older, newer = ({} if value is _ABSENT else value for value in (old, new))
        for key in sorted({*older, *newer}):
            pair = older.get(key, _ABSENT), newer.get(key, _ABSENT)
            yield from _walk(*pair, (*path, key), (*names, key), known, ignored)
        return
    pairs = _pairs(old, new, list_keys(names, known))
    if pairs is None:
        yield path, old, new
        return
    for step, before, after in pairs:
        if before is _ABSENT or after is _ABSENT:
            yield (*path, step), _without(before, names, ignored), _without(after, names, ignored)
        else:
            yield from _walk(before, after, (*path, step), names, known, ignored)


def _is_map(old: Any, new: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether to go on by key; a map that comes or goes empty is itself the change."""
    if isinstance(old, dict) and isinstance(new, dict):
        return True
    return (isinstance(old, dict) and new is _ABSENT and bool(old)) or (
        isinstance(new, dict) and old is _ABSENT and bool(new)
    )


def _pairs(
    old: Any,  # noqa: ANN401 - any JSON value
    new: Any,  # noqa: ANN401 - any JSON value
    keys: tuple[str, ...],
) -> list[tuple[dict[str, Any], Any, Any]] | None:
    """The items of two keyed lists side by side, in the order they stand; None when they cannot be told apart."""
    if not keys or not all(isinstance(value, list) or value is _ABSENT for value in (old, new)):
        return None
    sides: list[list[tuple[dict[str, Any], Any]]] = []
    for value in (old, new):
        side: list[tuple[dict[str, Any], Any]] = []
        for one in [] if value is _ABSENT else value:
            step = item_keys(one, keys)
            if step is None or any(step == other for other, _ in side):
                return None
            side.append((step, one))
        sides.append(side)
    before, after = sides
    steps = [step for step, _ in before] + [step for step, _ in after if all(step != other for other, _ in before)]

    def item(side: list[tuple[dict[str, Any], Any]], step: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        return next((found for other, found in side if other == step), _ABSENT)

    if keys == SET:
        return [(s, item(before, s), item(after, s)) for s in steps if item(before, s) != item(after, s)]
    return [(step, item(before, step), item(after, step)) for step in steps]


def _without(item: Any, names: tuple[str, ...], ignored: set[tuple[str, ...]]) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(item, dict):
        return item
    return {key: value for key, value in item.items() if (*names, key) not in ignored}
