"""Compares the live object with the answer of a dry run (changes), and with git (drift). Pure.

Lists are compared item by item where their items have keys, as the server says in `managedFields`. What the server sets
itself (versions, status, generated names and addresses) and our own marks are no changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from infra_mcp.drivers.kubernetes.adopt import LAST_APPLIED, applied_by_others, lists
from infra_mcp.model.effect import Drift, FieldChange, FieldPath, show_path
from infra_mcp.model.marks import REQUEST, WRITE
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.partial import Keys, Lists, differences, is_within, keyed, list_keys
from infra_mcp.repository.scalars import Json

# The identity, and what the server sets: a file may leave them out.
_UNCOMPARED: set[tuple[str, ...]] = {
    *(("apiVersion",), ("kind",), ("status",)),
    *(("metadata", "name"), ("metadata", "namespace")),
}
_IGNORED: set[tuple[str, ...]] = _UNCOMPARED | {
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
_MAX_DRIFT = 20
# Fields that the API server drops when they are false or 0. For others that is a value: `runAsUser: 0`.
_DROPPED: Final = {
    *("paused", "minReadySeconds", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly"),
    *("initialDelaySeconds", "hostPort", "publishNotReadyAddresses"),
}
_ABSENT = object()


def changes(live: Mapping[str, Any] | None, dry: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """The fields that differ, in a stable order, defaults that the server adds among them; a Secret's values hidden.

    A map shows by its leaves; an item that a keyed list gains or loses shows as a whole.

    Args:
        live: the object as it is; None when it would be created.
        dry: the object as it would be.
    """
    ignored, made_up = set(_IGNORED), None
    if live is None:
        made_up = dry.get("metadata", {}).get("uid")  # a Job's labels carry it
        ignored |= _ALLOCATED if dry.get("kind") == "Service" else set()
    found = []
    for path, old, new in _walk(live or {}, dry, (), (), lists(live, dry), ignored):
        if live is None and new == made_up:
            continue
        if dry.get("kind") == "Secret" and (path[0] in {"data", "stringData"} or path[-1] == LAST_APPLIED):
            old, new = _hidden(old), _hidden(new)  # noqa: PLW2901 - from here on only masked
        had, has = old is not _ABSENT, new is not _ABSENT
        before, after = old if had else None, new if has else None
        found.append(FieldChange(path=path, before=before, after=after, had=had, has=has))
    return tuple(found)


def _hidden(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _hidden(inner) for key, inner in value.items()}
    return value if value is _ABSENT else "[hidden]"


def drift(
    ref: ObjectRef, git: dict[str, Any], live: dict[str, Any], leave_out: Collection[FieldPath]
) -> tuple[Drift, ...]:
    """The first 20 fields, except those of this request, in which git and the live object differ.

    These are the fields that git sets and the live object has otherwise, and the fields that another manager applied,
    that git no longer sets and that are still live. A field that git leaves empty is not compared with an absent one.
    """
    comparable = {key: value for key, value in git.items() if key not in {"apiVersion", "kind", "status"}}
    found: list[tuple[FieldPath, Any, Any, str | None]] = [
        (path, after, before, None) for path, before, after, _ in differences(live, comparable, is_void=_is_unset)
    ]
    for manager, applied in applied_by_others(live):
        found += [(path, None, value, manager) for path, value in _left(git, applied, live)]
    return tuple(
        Drift(target=ref.target, field=show_path(path), git=value, live=there, manager=manager)
        for path, value, there, manager in found
        if path not in leave_out
    )[:_MAX_DRIFT]


def _left(
    git: Json, applied: Json, live: Json, path: FieldPath = (), names: tuple[str, ...] = ()
) -> Iterator[tuple[FieldPath, Any]]:
    """The outermost fields that were applied, are not in git any more and are live as applied."""
    keys = list_keys(names, {})
    git, applied, live = (
        {key: (key, inner) for key, inner in value.items()} if isinstance(value, dict) else dict(keyed(value, keys))
        for value in (git, applied, live)
    )
    for key, (step, value) in applied.items():
        here, below = (*path, step), (*names, step) if isinstance(step, str) else names
        if key not in live or below in _UNCOMPARED or value in (None, "", [], {}):
            continue
        there = live[key][1]
        if key in git and git[key][1] is not None:
            yield from _left(git[key][1], value, there, here, below)
        elif is_within(value, there, below):
            yield here, there


def _is_unset(key: str, value: Json, live: Json, keys: Keys = ()) -> bool:
    """Whether git sets nothing: a null, or an empty value where the live object has none."""
    if value is None or live is not None:
        return value is None
    if isinstance(value, dict):
        return all(_is_unset(inner, below, None, keys) for inner, below in value.items())
    return value in ("", [], [None]) or (key in _DROPPED and not value)


def _walk(
    old: Json, new: Json, path: FieldPath, names: tuple[str, ...], known: Lists, ignored: set[tuple[str, ...]]
) -> Iterator[tuple[FieldPath, Any, Any]]:
    if names in ignored or old == new:
        return
    sides = [value for value in (old, new) if value is not _ABSENT]
    # A map that comes or goes empty is itself the change.
    if all(isinstance(value, dict) for value in sides) and (len(sides) > 1 or sides[0]):
        older, newer = ({} if value is _ABSENT else value for value in (old, new))
        for key in sorted({*older, *newer}):
            pair = older.get(key, _ABSENT), newer.get(key, _ABSENT)
            yield from _walk(*pair, (*path, key), (*names, key), known, ignored)
        return
    pairs = _pairs(old, new, list_keys(names, known))
    if pairs is None:
        yield path, old, new
        return
    for step, one, other in pairs:
        if one is _ABSENT or other is _ABSENT:
            before, after = (
                {key: inner for key, inner in value.items() if (*names, key) not in ignored}
                if isinstance(value, dict)
                else value
                for value in (one, other)
            )
            yield (*path, step), before, after
        else:
            yield from _walk(one, other, (*path, step), names, known, ignored)


def _pairs(old: Json, new: Json, keys: Keys) -> list[tuple[dict[str, Any], Any, Any]] | None:
    """The items of two keyed lists side by side, in their order; None where keys are missing or repeated."""
    values = [[] if value is _ABSENT else value for value in (old, new)]
    if not keys or not all(isinstance(value, list) for value in values):
        return None
    before, after = (dict(keyed(value, keys)) for value in values)
    if [len(before), len(after)] != [len(value) for value in values]:
        return None
    none: Any = {}, _ABSENT
    return [(step, before.get(key, none)[1], after.get(key, none)[1]) for key, (step, _) in (before | after).items()]


def gone(known: Json, one: Json, path: FieldPath = (), names: tuple[str, ...] = ()) -> Iterator[FieldPath]:
    """Each outermost field, or item of a keyed list, of `known` that is no longer there in `one`."""
    if isinstance(known, dict) and isinstance(one, dict):
        for key, value in known.items():
            if key not in one:
                yield (*path, key)
            else:
                yield from gone(value, one[key], (*path, key), (*names, key))
        return
    keys = list_keys(names, {})
    there, items = dict(keyed(known, keys)), dict(keyed(one, keys))
    for key, (step, item) in there.items():
        if key not in items:
            yield (*path, step)
        else:
            yield from gone(item, items[key][1], (*path, step), names)
