"""Merges, reads and compares partial objects. Pure.

Lists are merged as server-side apply merges them. Which kind each is, `managedFields` say for lists that are live (see
`adopt.lists`), and Kubernetes' own schemas for the well-known ones. Any other list is atomic: replaced whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from typing import Any

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.scalars import Json

# The names of the fields that identify an item; none for an atomic list, "=" for a set of scalars.
Keys = tuple[str, ...]
# The kind of each list, by its path of field names, without items.
Lists = Mapping[tuple[str, ...], Keys]
# Whether an entry of a partial object asks for nothing: by its key, its value, the live value (or None), its list keys.
IsVoid = Callable[[str, Any, Any, Keys], bool]
Difference = tuple[FieldPath, Any, Any, bool]

ATOMIC: Keys = ()
SET: Keys = ("=",)

_POD_LISTS: dict[str, Keys] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_LISTS: dict[tuple[str, ...], Keys] = {
    ("metadata", "finalizers"): SET,
    ("metadata", "ownerReferences"): ("uid",),
    ("status", "conditions"): ("type",),
    ("secrets",): ("name",),  # of a ServiceAccount; its imagePullSecrets are atomic
    ("spec", "ports"): ("port", "protocol"),  # of a Service
    ("webhooks",): ("name",),
    ("subjects",): ("kind", "name"),  # of a binding: atomic to the server, but another subject changes none of these
}
KEY_DEFAULTS = {"protocol": "TCP"}  # the default of a key that may be left out
_MISSING = object()
# resource.Quantity: the API server writes 1024Mi as 1Gi.
_QUANTITIES = frozenset({"hard", "limits", "requests", "default", "defaultRequest"})
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|[KMGTPE]i|[MGTPE])?")
_UNITS = {"": Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(base) ** (power + 1)
    for power, letter in enumerate("KMGTPE")
    for unit, base in ((f"{letter}i", 1024), (letter.replace("K", "k"), 1000))
}


def list_keys(path: tuple[str, ...], lists: Lists) -> Keys:
    """The kind of the list at a path of field names: the names of its keys, `SET` or `ATOMIC`."""
    if path in lists:
        return lists[path]
    if path in _LISTS:
        return _LISTS[path]
    if path[:1] == ("spec",):
        if path[-1] == "ports" and path[-2].lower().endswith("containers"):
            return ("containerPort", "protocol")
        return _POD_LISTS.get(path[-1], ATOMIC)
    return ATOMIC


def item_keys(item: Json, keys: Keys) -> dict[str, Any] | None:
    """What identifies an item among its list; None when it lacks a key."""
    if keys == SET:
        return {"=": item}
    if not isinstance(item, dict):
        return None
    found = {key: item.get(key, KEY_DEFAULTS.get(key, _MISSING)) for key in keys}
    return None if any(v is _MISSING for v in found.values()) else found


def _find(items: list[Any], wanted: Mapping[str, Any]) -> int | None:
    keys = tuple(wanted)
    return next((i for i, item in enumerate(items) if item_keys(item, keys) == wanted), None)


def merge(body: dict[str, Any], sets: Mapping[str, Any], lists: Lists | None = None) -> dict[str, Any]:
    """The body with a partial object laid over it; neither argument is changed.

    Args:
        body: an object.
        sets: a partial object; items of keyed lists carry their keys.
        lists: which lists are keyed, by path.
    """
    return dict(_merge(body, sets, (), lists or {}))


def _merge(old: Json, new: Json, path: tuple[str, ...], lists: Lists) -> Json:
    if isinstance(old, dict) and isinstance(new, Mapping):
        out = {k: deepcopy(v) for k, v in old.items() if k not in new}
        return out | {k: _merge(old.get(k), v, (*path, k), lists) for k, v in new.items()}
    keys = list_keys(path, lists) if isinstance(old, list) and isinstance(new, list) else ATOMIC
    if not keys:
        return deepcopy(new)
    out_items = deepcopy(old)
    for item in new:
        wanted = item_keys(item, keys)
        index = None if wanted is None else _find(out_items, wanted)
        if index is None:
            out_items.append(deepcopy(item))
        else:
            out_items[index] = _merge(out_items[index], item, path, lists)
    return out_items


def differences(
    live: Json, sets: Json, lists: Lists | None = None, *, exact: bool = False, is_void: IsVoid | None = None
) -> Iterator[Difference]:
    """Each outermost field of a partial object that `live` has otherwise: path, before, after, whether it was there.

    Items of keyed lists are compared by their keys, of several with equal keys the last counts; a list that lacks one
    of them differs as a whole, as an atomic list does.

    Args:
        live: an object.
        sets: a partial object.
        lists: which lists are keyed, by path.
        exact: whether another form of a quantity differs, and what the server adds to items of atomic lists (defaults).
        is_void: which entries ask for nothing; empty lists where it is left out.
    """
    return _differences(live, sets, (), (), (lists or {}, exact, is_void or _is_void))


def _differences(
    live: Json, sets: Json, path: FieldPath, names: tuple[str, ...], rules: tuple[Lists, bool, IsVoid]
) -> Iterator[Difference]:
    lists, exact, is_void = rules
    if isinstance(sets, Mapping) and isinstance(live, dict):
        for key, value in sets.items():
            below = (*names, key)
            if is_void(key, value, live.get(key), list_keys(below, lists)):
                continue
            if key in live:
                yield from _differences(live[key], value, (*path, key), below, rules)
            else:
                yield (*path, key), None, value, False
        return
    keys = list_keys(names, lists)
    items, there = dict(keyed(sets, keys)), dict(keyed(live, keys))
    if items and items.keys() <= there.keys():
        for key, (step, item) in items.items():
            yield from _differences(there[key][1], item, (*path, step), names, rules)
    elif not same(live, sets) and (
        exact or not (_adds_defaults(live, sets, is_void) or same_quantity(path, live, sets))
    ):
        yield path, live, sets, True


def _is_void(_key: str, value: Json, live: Json, keys: Keys) -> bool:
    """An empty list asks for no item of a keyed list; and the API server leaves empty lists out."""
    return bool(value == [] and (keys or live is None))


def keyed(items: Json, keys: Keys) -> Iterator[tuple[str, tuple[dict[str, Any], Any]]]:
    """Each item of a keyed list with its keys, by the text of these; nothing where a key is missing, or no list."""
    steps = [item_keys(item, keys) for item in items] if keys and isinstance(items, list) else []
    if None not in steps:
        for step, item in zip(steps, items if steps else (), strict=True):
            yield json.dumps(step, sort_keys=True), (step or {}, item)


def _adds_defaults(live: Json, sets: Json, is_void: IsVoid) -> bool:
    """Whether an atomic list only has more fields in its items than was set."""
    if not isinstance(live, list) or not isinstance(sets, list):
        return False
    if len(live) != len(sets):  # equal items count once
        sets = [item for at, item in enumerate(sets) if item not in sets[:at]]
    return len(live) == len(sets) and all(
        isinstance(a, dict) and isinstance(b, dict) and next(differences(a, b, is_void=is_void), None) is None
        for a, b in zip(live, sets, strict=True)
    )


def same_quantity(path: FieldPath, one: Json, other: Json) -> bool:
    """Whether two values of a field are the same quantity in two forms: the API server writes 1024Mi as 1Gi."""
    if not any(step in _QUANTITIES for step in path if isinstance(step, str)):
        return False
    found = [_QUANTITY.fullmatch(str(value)) for value in (one, other)]
    return all(found) and len({Decimal(match[1]) * _UNITS[match[2] or ""] for match in found if match}) == 1


def is_within(sets: Json, live: Json, names: tuple[str, ...] = ()) -> bool:
    """Whether the live object has all values of a partial one, except for defaults and forms of quantities.

    Args:
        sets: a partial object, or a part of one.
        live: the same part of the live one.
        names: the field names that lead to a part.
    """
    return next(_differences(live, sets, (), names, ({}, False, _is_void)), None) is None


def covers(live: Json, sets: Json, lists: Lists | None = None) -> bool:
    """Whether the live object has exactly the values of a partial one."""
    return next(differences(live, sets, lists, exact=True), None) is None


def same(one: Json, other: Json) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def leaves(sets: Mapping[str, Any], lists: Lists | None = None) -> Iterator[FieldPath]:
    """The paths a partial object sets; keys of items are no paths of their own, unless an item is nothing else."""
    if sets:  # the path of nothing would be the whole object
        yield from _leaves(sets, (), (), lists or {}, {})


def _leaves(
    value: Json, path: FieldPath, names: tuple[str, ...], lists: Lists, keys: Mapping[str, Any]
) -> Iterator[FieldPath]:
    if isinstance(value, Mapping) and value.keys() - keys.keys():
        for key in value:
            if key not in keys:
                yield from _leaves(value[key], (*path, key), (*names, key), lists, {})
        return
    items = list(keyed(value, list_keys(names, lists)))
    for _, (step, item) in items:
        yield from _leaves({} if "=" in step else item, (*path, step), names, lists, step)
    if not items:
        yield path


def get_path(obj: Json, path: FieldPath) -> tuple[bool, Any]:
    """Whether there is something at the path, and what."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(obj, dict) or step not in obj:
                return False, None
            obj = obj[step]
        else:
            index = _index(obj, step)
            if index is None:
                return False, None
            obj = obj[index]
    return True, obj


def positions(obj: Json, path: FieldPath) -> tuple[str | int, ...] | None:
    """A path with the index of each item that it names by keys; None where a list has no such item."""
    found: list[str | int] = []
    for step in path:
        here = _index(obj, step) if isinstance(step, dict) else step
        if here is None:
            return None
        found.append(here)
        obj = get_path(obj, (here,))[1]
    return tuple(found)


def _index(items: Json, step: int | dict[str, Any]) -> int | None:
    if not isinstance(items, list):
        return None
    if isinstance(step, int):
        return step if 0 <= step < len(items) else None
    return _find(items, step)


def set_path(obj: dict[str, Any], path: FieldPath, value: Json) -> None:
    """Set the value at the path, in place; missing maps, lists and items on the way are made.

    Raises:
        ValueError: the path does not fit the object.
    """
    at: Any = obj
    for here, after in zip(path, (*path[1:], None), strict=True):
        empty: Any = value if after is None else ({} if isinstance(after, str) else [])
        if isinstance(here, str) and isinstance(at, dict):
            if after is None or here not in at:
                at[here] = empty
            at = at[here]
        elif not isinstance(here, str) and isinstance(at, list):
            index = _index(at, here)
            if index is None:
                at.append(_new_item(at, here, empty))
                index = len(at) - 1
            if after is None:
                at[index] = value
            at = at[index]
        else:
            msg = "the path does not fit the object"
            raise ValueError(msg)  # noqa: TRY004 - values do not fit each other; no type is wrong


def _new_item(items: list[Any], step: int | dict[str, Any], empty: Json) -> Json:
    if isinstance(step, dict):
        return step["="] if "=" in step else dict(step)
    if step != len(items):
        msg = "the list has no item at that index"
        raise ValueError(msg)
    return empty


def remove_path(obj: dict[str, Any], path: FieldPath) -> bool:
    """Remove the value at the path, in place; whether there was one. A parent that it leaves empty stays."""
    found, _ = get_path(obj, path)
    if found:
        _, parent = get_path(obj, path[:-1])
        last = path[-1]
        del parent[last if isinstance(last, str) else _index(parent, last)]
    return found


def ordered_like(sets: Json, live: Json, names: tuple[str, ...] = ()) -> Json:
    """A partial object with its keyed items in the order of the live ones: their order is no content."""
    if isinstance(sets, dict) and isinstance(live, dict):
        return {key: ordered_like(value, live.get(key), (*names, key)) for key, value in sets.items()}
    keys = list_keys(names, {})
    items, there = dict(keyed(sets, keys)), dict(keyed(live, keys))
    if not items or len(items) < len(sets) or not there:
        return sets
    ranks = {key: rank for rank, key in enumerate(there)}
    return [
        ordered_like(item, there[key][1] if key in there else None, names)
        for key, (_, item) in sorted(items.items(), key=lambda one: ranks.get(one[0], len(ranks)))
    ]
