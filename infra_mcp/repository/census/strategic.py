"""A strategic merge patch laid over an object as kustomize does it, with its directives. Pure.

Source: kubernetes-sigs/kustomize, kyaml `merge2`: a list of items with keys has those of the patch first, in its order.
"""

from __future__ import annotations

from copy import deepcopy

from infra_mcp.repository.partial import ATOMIC, item_keys, list_keys
from infra_mcp.repository.scalars import Json

_HOW = "$patch"
_ANEW = {_HOW: "replace"}  # an item of a list: the others are all that there is


def laid_strategically(low: Json, high: Json, names: tuple[str, ...] = ()) -> Json:
    """A value with a patch laid over it; None where the patch deletes it.

    Args:
        low: a value.
        high: the patch.
        names: the field names that lead to it.
    """
    if isinstance(high, dict):
        return _map(low, high, names)
    if not isinstance(high, list):
        return high
    keys = list_keys(names, {}) if names else ATOMIC
    if not keys:
        return deepcopy(high)
    items = [item for item in high if item != _ANEW]
    old = low if isinstance(low, list) and len(items) == len(high) else []
    known = [item_keys(item, keys) for item in old]
    wanted = [item_keys(item, keys) for item in items]
    laid = [
        _item(old[known.index(key)] if key in known else None, item, names)
        for item, key in zip(items, wanted, strict=True)
    ]
    rest = [item for item, key in zip(old, known, strict=True) if key is None or key not in wanted]
    return [item for item in laid if item is not None] + rest


def deletes(patch: Json) -> bool:
    """Whether a patch removes the whole object."""
    return isinstance(patch, dict) and patch.get(_HOW) == "delete"


def _item(old: Json, item: Json, names: tuple[str, ...]) -> Json:
    if isinstance(item, dict) and item.get(_HOW) == "replace" and old is not None:
        return old  # kustomize passes over it
    return laid_strategically(old, item, names)


def _map(low: Json, high: dict[str, Json], names: tuple[str, ...]) -> Json:
    how = high.get(_HOW)
    if how == "delete":
        return None
    out = dict(low) if isinstance(low, dict) and how != "replace" else {}
    for key, item in high.items():
        laid = None if key == _HOW or item is None else laid_strategically(out.get(key), item, (*names, key))
        if laid is None:
            out.pop(key, None)
        else:
            out[key] = laid
    return out
