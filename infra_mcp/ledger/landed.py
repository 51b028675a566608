"""The versions of an app: open releases, what landed last, and what was rolled back since."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from pydantic_core import from_json
from sqlalchemy import Connection, bindparam, func, or_, select

from infra_mcp.ledger import schema
from infra_mcp.ledger.database import Repository
from infra_mcp.ledger.requests import ROLLED_BACK, SO, listed, read, request
from infra_mcp.model.actions import ACTIONS, Release, Rollback
from infra_mcp.model.request import Request, State

_ROWS = schema.requests
_ENVIRONMENT = func.json_extract(_ROWS.c.action, "$.environment")
# Of one environment: those that name it, and those that name none, for then there was only one.
_HERE = or_(bindparam("here").is_(None), _ENVIRONMENT.is_(None), bindparam("here") == _ENVIRONMENT)
_OF_APP = select(_ROWS).where(_ROWS.c.app == bindparam("of"), ~_ROWS.c.dry_run, _HERE)
_ACTION = func.json_extract(_ROWS.c.action, "$.action")
# An action may be about an app without bringing a version of it.
_RELEASES = _OF_APP.where(_ACTION.in_([name for name, model in ACTIONS.items() if issubclass(model, Release)]))
_OPEN = _RELEASES.where(_ROWS.c.ended.is_(None)).order_by(_ROWS.c.position)
_SO = _ROWS.c.state.in_(sorted(SO))
_LANDED = _RELEASES.where(_ROWS.c.state.in_(bindparam("ends", expanding=True))).order_by(_ROWS.c.ended.desc())
_ROLLBACKS = _OF_APP.where(Rollback.model_fields["action"].default == _ACTION, _SO).order_by(_ROWS.c.ended)
_OF_VERSION = _RELEASES.where(_SO, func.json_extract(_ROWS.c.action, "$.version") == bindparam("version")).limit(1)
_POSITION = select(_ROWS.c.position).where(_ROWS.c.id == bindparam("which")).scalar_subquery()
_LANDED_AFTER = _OF_VERSION.where(_ROWS.c.position > _POSITION)
_LANDED_SINCE = _OF_VERSION.where(_ROWS.c.ended > bindparam("since"))

_EVENTS = schema.events.c
_ROLLED_BACK = (
    select(_EVENTS.request, _EVENTS.data)
    .where(_EVENTS.request.in_(bindparam("which", expanding=True)), _EVENTS.kind == ROLLED_BACK)
    .order_by(_EVENTS.seq)
)


class _Standing(NamedTuple):
    """The version that an app was brought to last, and those that were rolled back since, each with the rollback."""

    landed: str | None
    rolled_back: dict[str, str]


class Landed(Repository):
    """The releases in the ledger. Whether a caller may see one is the channel's decision."""

    async def open_releases(self, app: str, environment: str | None = None) -> list[Request]:
        """The releases of an app that have not ended, by any channel, oldest first, without dry runs.

        Args:
            app: its name.
            environment: only those of this one, and those that name none; None for all. Elsewhere likewise.
        """
        given = {"of": app, "here": environment}
        return await self._database.read(lambda connection: listed(connection, _OPEN, given))

    async def landed_version(self, app: str, environment: str | None = None, *, confirmed: bool = False) -> str | None:
        """The version that an app was brought to last, or had already; None before the first.

        One that was rolled back since does not count: the one before it does.

        Args:
            app: its name.
            environment: as in `open_releases`.
            confirmed: only those that were confirmed to be live; else also what is only on the branch.
        """
        ends = {State.LANDED, State.UNCHANGED} if confirmed else SO
        return (await self._database.read(lambda connection: _standing(connection, app, environment, ends))).landed

    async def rolled_back(self, app: str, version: str, environment: str | None = None) -> str | None:
        """The request that rolled a version of an app back, unless the version was brought again since; else None."""
        standing = await self._database.read(lambda connection: _standing(connection, app, environment))
        return standing.rolled_back.get(version)

    async def landed_after(self, app: str, version: str, request_id: str, environment: str | None = None) -> bool:
        """Whether a version of an app landed, or was found there, by a request that came after this one."""
        given = {"of": app, "version": version, "which": request_id, "here": environment}
        return bool(await self._database.read(lambda connection: listed(connection, _LANDED_AFTER, given)))

    async def rolled_back_by(self, requests: Iterable[str]) -> dict[str, str]:
        """The last rollback that landed of each of these requests, by request; those without one are left out."""
        which = {"which": list(requests)}
        rows = await self._database.read(lambda connection: connection.execute(_ROLLED_BACK, which).all())
        return {request: from_json(data)["by"] for request, data in rows}


def _standing(connection: Connection, app: str, environment: str | None, ends: Collection[State] = SO) -> _Standing:
    last: dict[str, tuple[int, str, bool]] = {}  # by version: its last rollback, and whether that took it away
    given = {"of": app, "here": environment}
    for row in connection.execute(_ROLLBACKS, given).mappings().all():
        first, away = _first(connection, read(row))
        if first is not None and isinstance(first.action, Release) and _is_here(first.action, environment):
            last[first.action.version] = row["ended"], row["id"], away
    gone = {
        version: by
        for version, (since, by, away) in last.items()
        if away and not listed(connection, _LANDED_SINCE, given | {"version": version, "since": since})
    }
    brought = [(since, version) for version, (since, _, away) in last.items() if not away]
    for row in connection.execute(_LANDED, given | {"ends": sorted(ends)}).mappings():
        version = getattr(read(row).action, "version", "")
        if version not in gone:
            brought.append((row["ended"], version))
            break
    return _Standing(max(brought)[1] if brought else None, gone)


def _is_here(action: Release, environment: str | None) -> bool:
    return environment is None or action.environment in {None, environment}


def _first(connection: Connection, found: Request | None) -> tuple[Request | None, bool]:
    """The request that a chain of rollbacks began with, and whether its last rollback took it away or brought it back.

    Every rollback is of an earlier request, so the chain has an end.
    """
    away = False
    while found is not None and isinstance(found.action, Rollback):
        found, away = request(connection, found.action.request), not away
    return found, away
