"""What git says of an object and the cluster does not: named, and left alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from infra_mcp.drivers.manifests.prepared import differences
from infra_mcp.model.plan import Drift, FieldPath, ObjectRef, show_path

__all__ = ["drift"]

_LIMIT = 20


def drift(
    ref: ObjectRef, git: dict[str, Any], live: dict[str, Any], leave_out: Collection[FieldPath]
) -> tuple[Drift, ...]:
    """Fields that git sets and the live object has otherwise, less the ones this request is about.

    Quantities and defaults may be written in more than one way (`1` and `1000m`): such a difference shows, and harms
    nothing, since nothing acts on it. At most 20 are listed.
    """
    found = []
    for path, before, after, _ in _fields(live, git):
        if path not in leave_out and path[:1] != ("status",):
            found.append(Drift(ref=ref, field=show_path(path), git=after, live=before))
    return tuple(found[:_LIMIT])


def _fields(live: dict[str, Any], git: dict[str, Any]) -> Iterator[tuple[FieldPath, Any, Any, bool]]:
    comparable = {key: value for key, value in git.items() if key not in {"apiVersion", "kind"}}
    yield from differences(live, comparable)
