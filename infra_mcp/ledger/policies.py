"""Accepted policies. The text is kept, so that a changed file does not change the policy in force."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, insert, select

from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Repository, Tx
from infra_mcp.ledger.events import Entry, append, written

_KIND = "policy-accepted"
_ROWS, _EVENTS = schema.policies.c, schema.events.c
_NEWEST = select(_ROWS.digest, _ROWS.text).order_by(_ROWS.id.desc()).limit(1)
_FREEZES = "freezes-changed"
# Events of no circle have an index of their own, and are few.
_NEWEST_FREEZES = (
    select(_EVENTS.data).where(_EVENTS.circle.is_(None), _EVENTS.kind == _FREEZES).order_by(_EVENTS.seq.desc()).limit(1)
)


class Policies(Repository):
    """The policies that operators accepted; the last one is in force."""

    @effect("ledger.policy")
    async def accept_policy(self, digest: str, text: str, by: str, actions: Collection[str] | None = None) -> None:
        """Put a policy in force, in the name of an operator, with the actions that exist now.

        Raises:
            InfraError: `policy-invalid`, when it contains what looks like a secret: it would be stored unmasked.
        """

        def step(tx: Tx) -> None:
            if written(self.masker, text) != text:
                what, again = (
                    "The policy file contains what looks like a secret.",
                    "Remove it; name the secret instead.",
                )
                raise InfraError("policy-invalid", what, next_step=again)
            row = {"digest": digest, "text": text, "by": by, "at": clock.now()}
            tx.connection.execute(insert(schema.policies), row)
            data = {"digest": digest, "policy": text} | ({} if actions is None else {"actions": sorted(actions)})
            append(tx, Entry(row["at"], _KIND, by, None, data=data))

        await self._database.write(step)

    async def accepted_policy(self) -> tuple[str, str] | None:
        """Digest and text of the policy in force."""
        row = await self._database.read(lambda connection: connection.execute(_NEWEST).first())
        return (row.digest, row.text) if row else None

    async def accepted_by(self, digest: str) -> tuple[str, str] | None:
        """Who accepted a policy last, and when; None where none was accepted."""
        found = select(_ROWS.by, _ROWS.at).where(_ROWS.digest == digest).order_by(_ROWS.id.desc()).limit(1)
        row = await self._database.read(lambda connection: connection.execute(found).first())
        return (row.by, row.at) if row else None

    async def accepted_actions(self, digest: str) -> frozenset[str] | None:
        """The actions that existed when a policy was last accepted; None where its event does not name them."""

        def look(connection: Connection) -> str:
            last = select(_ROWS.at).where(_ROWS.digest == digest).order_by(_ROWS.id.desc()).limit(1).scalar_subquery()
            event = select(_EVENTS.data).where(_EVENTS.kind == _KIND, _EVENTS.at == last)
            return connection.execute(event.order_by(_EVENTS.seq.desc()).limit(1)).scalar() or "{}"

        data = json.loads(await self._database.read(look))
        return frozenset(data["actions"]) if data.get("digest") == digest and "actions" in data else None

    @effect("ledger.freezes")
    async def change_freezes(
        self, change: Callable[[list[dict[str, Any]], int], list[dict[str, Any]]], by: str, text: str
    ) -> list[dict[str, Any]]:
        """Change the freezes that operators ordered, as one event that holds all that are left.

        Args:
            change: of those there are to those there are to be, by the highest number that one ever had; it may raise.
            by: the operator.
            text: what changes, for people.
        """

        def step(tx: Tx) -> list[dict[str, Any]]:
            before = _newest_freezes(tx.connection)
            known = before.get("freezes", [])
            last = max([before.get("last", 0), *map(_number, known)])
            after: list[dict[str, Any]] = written(self.masker, change(known, last))
            last = max([last, *map(_number, after)])
            data = {"freezes": after, "last": last, "message": written(self.masker, text)}
            append(tx, Entry(clock.now(), _FREEZES, by, None, text=data["message"], data=data))
            return after

        return await self._database.write(step)

    async def freezes(self) -> list[dict[str, Any]]:
        """The freezes that operators ordered and did not lift, also those that are over."""
        found: list[dict[str, Any]] = (await self._database.read(_newest_freezes)).get("freezes", [])
        return found


def _newest_freezes(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(connection.execute(_NEWEST_FREEZES).scalar() or "{}")
    return found


def _number(freeze: dict[str, Any]) -> int:
    return int(freeze["id"].rpartition("-")[2])
