"""What git says of an object and the cluster does not: named, and left alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from infra_mcp.drivers.kubernetes.adopt import applied_by_others
from infra_mcp.model.effect import Drift, FieldPath, show_path
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.partial import differences, is_within

_LIMIT = 20
# Which object it is, and what the server keeps: a file need not say either.
_SILENT: Final[tuple[FieldPath, ...]] = (
    ("apiVersion",),
    ("kind",),
    ("status",),
    ("metadata", "name"),
    ("metadata", "namespace"),
)
# Fields that the API server drops when they are false or 0. For others that is a value: `runAsUser: 0`.
_DROPPED: Final = {
    *("paused", "minReadySeconds", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly"),
    *("initialDelaySeconds", "hostPort", "publishNotReadyAddresses"),
}


def drift(
    ref: ObjectRef, git: dict[str, Any], live: dict[str, Any], leave_out: Collection[FieldPath]
) -> tuple[Drift, ...]:
    """The first 20 fields, except those of this request, in which git and the live object differ.

    These are the fields that git sets and the live object has otherwise, and the fields that another manager applied,
    that git no longer sets and that are still live. A field that git leaves empty is not compared with an absent one.
    """
    comparable = {key: value for key, value in git.items() if key not in {"apiVersion", "kind", "status"}}
    found = []
    for path, before, after, _ in differences(live, _said(comparable, live)):
        if path not in leave_out:
            found.append(Drift(target=ref.target, field=show_path(path), git=after, live=before))
    for manager, applied in applied_by_others(live):
        for path, value in _left(git, applied, live):
            if path not in leave_out:
                found.append(Drift(target=ref.target, field=show_path(path), live=value, manager=manager))
    return tuple(found[:_LIMIT])


def _left(git: Any, applied: Any, live: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:  # noqa: ANN401
    """The outermost fields that were applied, are not in git any more and are live as applied."""
    git, applied, live = _fields(git), _fields(applied), _fields(live)
    for key, value in applied.items():
        step = {"name": key[0]} if isinstance(key, tuple) else key
        if key not in live or (*path, step) in _SILENT or value in (None, "", [], {}):
            continue
        if git.get(key) is not None:
            yield from _left(git[key], value, live[key], (*path, step))
        elif is_within(value, live[key]):
            yield (*path, step), live[key]


def _fields(value: Any) -> dict[Any, Any]:  # noqa: ANN401 - any JSON value
    """A map as it is, a list of named items by their names; empty for everything else."""
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return {(item["name"],): item for item in value}
    return value if isinstance(value, dict) else {}


def _said(git: Any, live: Any) -> Any:  # noqa: ANN401 - any JSON value
    """What git says, less each null, and less what it leaves empty where the live object has nothing."""
    if isinstance(git, dict):
        there = live if isinstance(live, dict) else {}
        kept = {key: _said(value, there.get(key)) for key, value in git.items() if value is not None}
        return {key: value for key, value in kept.items() if there.get(key) is not None or not _is_empty(key, value)}
    if isinstance(git, list):
        return [_said(item, _namesake(item, live, at)) for at, item in enumerate(git) if item is not None]
    return git


def _namesake(item: Any, live: Any, at: int) -> Any:  # noqa: ANN401 - any JSON value
    """The live item of the same name, else the one in the same place."""
    items = live if isinstance(live, list) else []
    if isinstance(item, dict) and "name" in item:
        return next((one for one in items if isinstance(one, dict) and one.get("name") == item["name"]), None)
    return items[at] if at < len(items) else None


def _is_empty(key: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return value in ("", [], {}) or (key in _DROPPED and not value)
