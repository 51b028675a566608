"""What git says of an object and the cluster does not: named, and left alone. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from infra_mcp.model.effect import Drift, FieldPath, show_path
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.partial import differences

_LIMIT = 20
# Fields that the API server drops when they are false or 0. For others that is a value: `runAsUser: 0`.
_DROPPED: Final = {
    *("paused", "minReadySeconds", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly"),
    *("initialDelaySeconds", "hostPort", "publishNotReadyAddresses"),
}


def drift(
    ref: ObjectRef, git: dict[str, Any], live: dict[str, Any], leave_out: Collection[FieldPath]
) -> tuple[Drift, ...]:
    """Fields that git sets and the live object has otherwise, less the ones this request is about.

    What git leaves empty says nothing about what the cluster does not have. Quantities and defaults may be written in
    more than one way (`1` and `1000m`): such a difference shows, and harms nothing, since nothing acts on it. No more
    than 20 are listed.
    """
    comparable = {key: value for key, value in git.items() if key not in {"apiVersion", "kind", "status"}}
    found = []
    for path, before, after, _ in differences(live, _said(comparable, live)):
        if path not in leave_out:
            found.append(Drift(target=ref.target, field=show_path(path), git=after, live=before))
    return tuple(found[:_LIMIT])


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
