"""Partial objects: laid over one another, looked into, compared. Pure.

Lists are merged as server-side apply merges them, so it must be known which kind each is. `managedFields` say so for
every list that is live (see `adopt.lists`); for the rest stands what Kubernetes' own schemas say of the well-known
ones. A list nobody knows is atomic: one value, replaced whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

from infra_mcp.model.effect import FieldPath

# The names of the fields that identify an item; none for an atomic list, "=" for a set of scalars.
Keys = tuple[str, ...]
# Which kind of list stands at a path; the path is of field names only, items left out.
Lists = Mapping[tuple[str, ...], Keys]

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
}
KEY_DEFAULTS = {"protocol": "TCP"}  # a key that need not be said: its default counts
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
    """Which kind of list stands at a path of field names: the names of its keys, `SET` or `ATOMIC`."""
    if path in lists:
        return lists[path]
    if path in _LISTS:
        return _LISTS[path]
    if path[:1] == ("spec",):
        if path[-1] == "ports" and path[-2].lower().endswith("containers"):
            return ("containerPort", "protocol")
        return _POD_LISTS.get(path[-1], ATOMIC)
    return ATOMIC


def item_keys(item: Any, keys: Keys) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
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
        body: what is there.
        sets: what is to be; items of keyed lists carry their keys.
        lists: which lists are keyed, by path.
    """
    merged = _merge(body, sets, (), lists or {})
    return dict(merged)


def _merge(old: Any, new: Any, path: tuple[str, ...], lists: Lists) -> Any:  # noqa: ANN401 - any JSON value
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


def covers(live: Any, sets: Any, lists: Lists | None = None) -> bool:  # noqa: ANN401 - any JSON value
    """Whether everything a partial object says is so already."""
    return _covers(live, sets, (), lists or {})


def _covers(live: Any, sets: Any, path: tuple[str, ...], lists: Lists) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(sets, Mapping):
        return isinstance(live, dict) and all(
            _covers(live.get(k, _MISSING), v, (*path, k), lists) for k, v in sets.items()
        )
    if isinstance(sets, list):
        keys = list_keys(path, lists)
        if not sets:  # no item of a keyed list is asked for; and the API server leaves empty lists out
            return bool(keys) or live is _MISSING or live == []
        if keys and isinstance(live, list):
            for item in sets:
                wanted = item_keys(item, keys)
                index = None if wanted is None else _find(live, wanted)
                if index is None or (keys != SET and not _covers(live[index], item, path, lists)):
                    return False
            return True
    return type(live) is type(sets) and bool(live == sets)


def leaves(sets: Mapping[str, Any], lists: Lists | None = None) -> Iterator[FieldPath]:
    """The paths a partial object sets; keys of items are no paths of their own, unless an item is nothing else."""
    if sets:  # the path of nothing would be the whole object
        yield from _leaves(sets, (), (), lists or {}, frozenset())


def _leaves(
    value: Any,  # noqa: ANN401 - any JSON value
    path: FieldPath,
    names: tuple[str, ...],
    lists: Lists,
    skip: frozenset[str],
) -> Iterator[FieldPath]:
    if isinstance(value, Mapping) and set(value) - skip:
        for key in value:
            if key not in skip:
                yield from _leaves(value[key], (*path, key), (*names, key), lists, frozenset())
        return
    keys = list_keys(names, lists) if isinstance(value, list) and value else ATOMIC
    found = [item_keys(item, keys) for item in value] if keys else []
    if not keys or None in found:
        yield path
        return
    for item, step in zip(value, found, strict=True):
        if step is not None:
            yield from _leaves(item if keys != SET else {}, (*path, step), names, lists, frozenset(step))


def get_path(obj: Any, path: FieldPath) -> tuple[bool, Any]:  # noqa: ANN401 - any JSON value
    """Whether there is something at the path, and what."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(obj, dict) or step not in obj:
                return False, None
            obj = obj[step]
        else:
            index = _find(obj, step) if isinstance(obj, list) else None
            if index is None:
                return False, None
            obj = obj[index]
    return True, obj


def set_path(obj: dict[str, Any], path: FieldPath, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Put a value at the path, in place; what is missing on the way is made, items with their keys.

    Raises:
        ValueError: something on the way is neither map nor list as the path says.
    """
    at: Any = obj
    for here, after in zip(path, (*path[1:], None), strict=True):
        empty: Any = value if after is None else ({} if isinstance(after, str) else [])
        if isinstance(here, str) and isinstance(at, dict):
            if after is None or here not in at:
                at[here] = empty
            at = at[here]
        elif not isinstance(here, str) and isinstance(at, list):
            index = _find(at, here)
            if index is None:
                at.append(here["="] if "=" in here else dict(here))
                index = len(at) - 1
            if after is None:
                at[index] = value
            at = at[index]
        else:
            msg = "the path does not fit the object"
            raise ValueError(msg)  # noqa: TRY004 - values do not fit each other; no type is wrong


def remove_path(obj: dict[str, Any], path: FieldPath) -> bool:
    """Take out what is at the path, in place; whether something was there. What is left empty by it stays."""
    parent_path: Sequence[Any] = path[:-1]
    found, parent = get_path(obj, tuple(parent_path))
    last = path[-1]
    if not found:
        return False
    if isinstance(last, str):
        return isinstance(parent, dict) and parent.pop(last, _MISSING) is not _MISSING
    index = _find(parent, last) if isinstance(parent, list) else None
    if index is not None:
        del parent[index]
    return index is not None


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


def named_leaves(sets: Any, prefix: FieldPath = ()) -> Iterator[FieldPath]:  # noqa: ANN401 - any JSON value
    """The outermost fields of a partial object that `differences` compares as one value."""
    if isinstance(sets, dict) and sets:
        for key, value in sets.items():
            yield from named_leaves(value, (*prefix, key))
    elif _named(sets):
        for item in sets:
            rest = {key: value for key, value in item.items() if key != "name"}
            yield from named_leaves(rest, (*prefix, {"name": item["name"]}))
    else:
        yield prefix


def ordered_like(sets: Any, live: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A partial object whose named items stand in the order of the live ones: another order is no other content."""
    if isinstance(sets, dict) and isinstance(live, dict):
        return {key: ordered_like(value, live.get(key)) for key, value in sets.items()}
    if not (_named(sets) and isinstance(live, list)):
        return sets
    names = [item.get("name") if isinstance(item, dict) else None for item in live]
    items = [ordered_like(item, live[names.index(item["name"])] if item["name"] in names else None) for item in sets]
    return sorted(items, key=lambda item: names.index(item["name"]) if item["name"] in names else len(names))
