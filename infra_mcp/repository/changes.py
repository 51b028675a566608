"""The smallest changes that lead from the values of a text to the desired ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from infra_mcp.repository.partial import same
from infra_mcp.repository.scalars import Json

Key = str | int
Path = tuple[Key, ...]
_DIGITS = re.compile(r"([0-9]+)")
_SORTED = 3  # so many keys in order are no accident


@dataclass(frozen=True)
class Change:
    """One of the smallest changes from a text to the desired values; the path begins with the document."""

    kind: Literal["replace", "insert", "add", "remove"]  # insert: a key of a map; add: an item of a list
    path: Path
    value: Any = None
    index: int = 0  # of an inserted key among those of its map

    @property
    def place(self) -> tuple[str, Path]:
        """What tells it apart from the other changes."""
        return self.kind, self.path


def differences(now: Json, desired: Json, path: Path = ()) -> Iterator[Change]:
    """The smallest changes left to make."""
    if isinstance(now, dict) and isinstance(desired, dict) and (now.keys() & desired.keys() or not now):
        for key, value in desired.items():
            if key in now:
                yield from differences(now[key], value, (*path, key))
        for key, value in desired.items():
            if key not in now:
                place = sorted_place(list(now), key) if len(path) > 1 and len(now) >= _SORTED else len(now)
                yield Change("insert", (*path, key), value, place)
        yield from (Change("remove", (*path, key)) for key in now if key not in desired)
    elif isinstance(now, list) and isinstance(desired, list):
        yield from _of_lists(now, desired, path)
    elif not same(now, desired):
        yield Change("replace", path, desired)


def sorted_place(items: list[Any], new: Json) -> int:
    """The index for a new text among texts: its place where they are sorted, else the end."""
    texts = [item for item in items if isinstance(item, str)]
    orders: tuple[Callable[[str], Any], ...] = (str, str.casefold, natural)
    for order in orders:
        if isinstance(new, str) and len(texts) == len(items) > 1 and sorted(texts, key=order) == texts:
            return sum(order(text) <= order(new) for text in texts)
    return len(items)


def natural(text: str) -> list[str | int]:
    """A key by which numbers in texts are ordered as numbers: `web2` before `web10`; octoDNS' order of names."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(text)]


def _of_lists(now: list[Any], desired: list[Any], path: Path) -> Iterator[Change]:
    if (added := _others(desired, now)) is not None:
        kept = [item for i, item in enumerate(desired) if i not in added]
        for i, (old, new) in enumerate(zip(now, kept, strict=True)):
            yield from differences(old, new, (*path, i))
        yield from (Change("add", (*path, i), desired[i]) for i in added)
    elif dropped := _others(now, desired):
        kept = [i for i in range(len(now)) if i not in dropped]
        for i, new in zip(kept, desired, strict=True):
            yield from differences(now[i], new, (*path, i))
        yield from (Change("remove", (*path, i)) for i in reversed(dropped))
    elif _correspond(now, desired):
        for i, value in enumerate(desired):
            if i < len(now):
                yield from differences(now[i], value, (*path, i))
            else:
                yield Change("add", (*path, i), value)
    else:
        yield Change("replace", path, desired)


def _others(longer: list[Any], shorter: list[Any]) -> list[int] | None:
    """The indexes of the items of one list that another has not, which has all others in the same order; else None."""
    if not shorter or len(longer) <= len(shorter):
        return None
    found, at = [], 0
    for i, item in enumerate(longer):
        if at < len(shorter) and _is_one(item, shorter[at]):
            at += 1
        else:
            found.append(i)
    return found if at == len(shorter) else None


def _is_one(one: Json, other: Json) -> bool:
    """Whether it is the same item, perhaps changed: a name identifies an item."""
    if isinstance(one, dict) and isinstance(other, dict) and isinstance(_name(one), str):
        return same(_name(one), _name(other))
    return same(one, other)


def _correspond(now: list[Any], desired: list[Any]) -> bool:
    """Whether items at one index are the same item, perhaps changed: a name identifies an item."""
    pairs = list(zip(now, desired, strict=False))
    if len(now) > len(desired) or any(_shape(a) is not _shape(b) for a, b in pairs):
        return False
    others = sum(_name(a) != _name(b) for a, b in pairs)
    return bool(others <= (len(now) == len(desired)))  # one item may have another name


def _shape(item: Json) -> type:
    return next((shape for shape in (dict, list) if isinstance(item, shape)), object)


def _name(item: Json) -> Json:
    return item.get("name") if isinstance(item, dict) else None
