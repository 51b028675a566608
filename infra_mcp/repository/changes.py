"""What is to change, as data: a value put where it is wanted, and the smallest changes that lead there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from infra_mcp.repository.partial import same

Key = str | int
ABSENT = object()  # the wanted value of what is to be taken out
# Empty maps that mean the same as none, so that taking out what we put in leaves no trace.
_PRUNED = ("annotations", "labels")


@dataclass(frozen=True)
class Change:
    """The smallest change that brings a text nearer to what it should say; the path begins with the document."""

    kind: Literal["replace", "insert", "append", "remove"]
    path: tuple[Key, ...]
    value: Any = None


def put(documents: list[Any], index: int, path: tuple[Key, ...], value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Set a value in one of the documents, making maps on the way, or take it out (`ABSENT`).

    Returns:
        Whether there is such a place.
    """
    if not 0 <= index < len(documents) or not path:
        return False
    holder: Any = documents
    for key, after in zip((index, *path), path, strict=False):
        if isinstance(holder, dict) and isinstance(after, str) and holder.get(str(key)) is None:
            if value is ABSENT:
                return True
            holder[str(key)] = {}
        if not _holds(holder, key):
            return False
        holder = holder[key]
    key = path[-1]
    if isinstance(holder, dict) and isinstance(key, str):
        if value is not ABSENT:
            holder[key] = copy.deepcopy(value)
        elif holder.pop(key, ABSENT) is not ABSENT:
            _prune(documents[index], path[:-1])
        return True
    if isinstance(holder, list) and isinstance(key, int) and 0 <= key <= len(holder):
        holder[key : key + 1] = [] if value is ABSENT else [copy.deepcopy(value)]
        return True
    return False


def _holds(holder: Any, key: Key) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(holder, dict):
        return isinstance(key, str) and key in holder
    return isinstance(holder, list) and isinstance(key, int) and 0 <= key < len(holder)


def _prune(root: Any, path: tuple[Key, ...]) -> None:  # noqa: ANN401 - any JSON value
    if path and path[-1] in _PRUNED:
        holder = root
        for key in path[:-1]:
            holder = holder[key]
        if not holder[path[-1]]:
            del holder[path[-1]]


def differences(now: Any, wanted: Any, path: tuple[Key, ...] = ()) -> Iterator[Change]:  # noqa: ANN401 - any JSON value
    """What is still to do, in the smallest changes that keep what is equal."""
    if isinstance(now, dict) and isinstance(wanted, dict) and (now.keys() & wanted.keys() or not now):
        for key, value in wanted.items():
            if key in now:
                yield from differences(now[key], value, (*path, key))
            else:
                yield Change("insert", (*path, key), value)
        for key in now:
            if key not in wanted:
                yield Change("remove", (*path, key))
    elif isinstance(now, list) and isinstance(wanted, list):
        yield from _list_differences(now, wanted, path)
    elif not same(now, wanted):
        yield Change("replace", path, wanted)


def _list_differences(now: list[Any], wanted: list[Any], path: tuple[Key, ...]) -> Iterator[Change]:
    if _correspond(now, wanted):
        for i, item in enumerate(now):
            yield from differences(item, wanted[i], (*path, i))
        for i in range(len(now), len(wanted)):
            yield Change("append", (*path, i), wanted[i])
        return
    dropped = _dropped(now, wanted)
    if dropped is None:
        yield Change("replace", path, wanted)
    else:
        yield from (Change("remove", (*path, i)) for i in reversed(dropped))


def _correspond(now: list[Any], wanted: list[Any]) -> bool:
    """Whether items at one index are the same thing, perhaps changed: things with a name are known by it."""
    if len(now) > len(wanted) or any(_shape(a) is not _shape(b) for a, b in zip(now, wanted, strict=False)):
        return False
    others = [a != b for a, b in zip(map(_name, now), map(_name, wanted), strict=False)]
    return bool(sum(others) <= (len(now) == len(wanted)))  # one item may have been given another name


def _shape(item: Any) -> type:  # noqa: ANN401 - any JSON value
    return next((shape for shape in (dict, list) if isinstance(item, shape)), object)


def _name(item: Any) -> Any:  # noqa: ANN401 - any JSON value
    return item.get("name") if isinstance(item, dict) else None


def _dropped(now: list[Any], wanted: list[Any]) -> list[int] | None:
    """The indexes to take out of `now` to get `wanted`, or None when that does not do it."""
    rest = iter(wanted)
    ahead = next(rest, ABSENT)
    dropped = []
    for i, item in enumerate(now):
        if ahead is not ABSENT and same(item, ahead):
            ahead = next(rest, ABSENT)
        else:
            dropped.append(i)
    return dropped if ahead is ABSENT and len(dropped) < len(now) else None
