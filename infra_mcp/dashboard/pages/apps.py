"""*Apps*: every app of the repository, its instances side by side with their live health, and what last landed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio

from infra_mcp.dashboard.evidence import asked
from infra_mcp.dashboard.look import Look
from infra_mcp.errors import InfraError
from infra_mcp.model.request import Request

_PATIENCE: Final = 20.0  # seconds for the repository
_LIVE: Final = 2.0  # seconds for the clusters, all together: a slow one must not hold the page
_RECENT: Final = 500  # requests searched for the last change of each app


async def read(look: Look) -> dict[str, Any]:
    """The page's values; where the repository cannot be read, `problem` says why."""
    lines: list[dict[str, Any]] = []
    problem = "The repository was not read in time."
    with anyio.move_on_after(_PATIENCE):
        try:
            lines, problem = await look.engine.apps(look.session.caller), ""
            read = await look.engine.healths(lines, _LIVE)
            lines = [one | {"live": live} for one, live in zip(lines, read, strict=True)]
        except InfraError as error:
            problem = str(error)
    return {"apps": side_by_side(lines, last_changes(await look.ledger.recent(None, _RECENT))), "problem": problem}


def last_changes(requests: Sequence[Request]) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The newest request about each app in each environment, and in any (None); requests come newest first."""
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for one in requests:
        app = getattr(one.action, "app", None)
        if app is None or one.dry_run:
            continue
        told = {"request": one.id, "asked": asked(one.action), "at": one.created, "state": one.state.value}
        found.setdefault((app, getattr(one.action, "environment", None)), told)
        found.setdefault((app, None), told)
    return found


def side_by_side(
    lines: Sequence[Mapping[str, Any]], changes: Mapping[tuple[str, str | None], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Apps by name, each with its instances; versions that differ are said."""
    apps: dict[str, list[dict[str, Any]]] = {}
    for one in lines:
        names = ("environment", "version", "delivery", "by", "cluster", "namespace", "owner", "at", "live")
        shown = {name: one.get(name) for name in names}
        last = changes.get((one["app"], one.get("environment"))) or changes.get((one["app"], None))
        apps.setdefault(one["app"], []).append(shown | {"last": last})
    return [
        {
            "app": name,
            "owner": next((one["owner"] for one in instances if one["owner"]), None),
            "instances": instances,
            "differ": len({one["version"] for one in instances}) > 1,
        }
        for name, instances in sorted(apps.items())
    ]
