"""Checking the ledger against itself: the chain, and whether the rows made from it still say what it says."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from infra_mcp.ledger import schema
from infra_mcp.ledger.chain import Walk
from infra_mcp.ledger.records import ChainReport

__all__ = ["Audit"]

_PIECE = 2_000  # events checked in one go, so that writers wait milliseconds, not minutes


class Audit:
    """One check of the whole ledger, in pieces.

    Args:
        heads: heads that were given out.
    """

    def __init__(self, heads: frozenset[str]) -> None:
        self._walk = Walk(heads)
        self._told = _Told()
        self._last = 0

    def piece(self, connection: Connection) -> bool:
        """Check the next piece of the chain; whether there was one."""
        columns = schema.events.c
        piece = select(schema.events).where(columns.seq > self._last).order_by(columns.seq).limit(_PIECE)
        rows = [dict(row) for row in connection.execute(piece).mappings()]
        self._walk.feed(rows)
        for row in rows:
            self._told.take(row)
            self._last = row["seq"]
        return bool(rows)

    def report(self, connection: Connection) -> ChainReport:
        """Check what has come since the last piece, and the rows made from the events, on one state of the database."""
        while self.piece(connection):
            pass
        wrong = [
            row["id"] for row in connection.execute(select(schema.requests)).mappings() if not self._told.request(row)
        ]
        wrong += [row["id"] for row in connection.execute(select(schema.asks)).mappings() if not self._told.ask(row)]
        return ChainReport(
            consistent=self._walk.broken_at is None and not wrong,
            events=self._walk.events,
            proved_to=self._walk.proved_to,
            broken_at=self._walk.broken_at,
            missing_heads=self._walk.missing,
            differing=tuple(sorted(wrong)),
        )


class _Told:
    """What the events say of each request and ask."""

    def __init__(self) -> None:
        self.requests: dict[str, dict[str, Any]] = {}
        self.asks: dict[str, dict[str, Any]] = {}

    def take(self, row: Any) -> None:  # noqa: ANN401 - a row of `events`
        data = _parsed(row["data"])
        if row["kind"] == "received" and row["request"]:
            known = {"words": row["text"], "action": data.get("action"), "caller": row["peer"], "circle": row["circle"]}
            self.requests[row["request"]] = known | {"receipt": None}
        said = self.requests.get(row["request"] or "")
        if said is not None and row["state"]:
            said["state"] = row["state"]
        if said is not None and row["kind"] == "finished":
            said["receipt"] = _part(data, "receipt") | {"audit_head": row["hash"]}
        if row["ask"] and row["ask"] not in self.asks:
            reply = data.get("reply") if row["request"] is None else None
            words = data.get("ask", row["text"])
            self.asks[row["ask"]] = {"text": words, "sender": row["peer"], "request": row["request"], "reply": reply}

    def request(self, row: Any) -> bool:  # noqa: ANN401 - a row of `requests`
        said = self.requests.get(row["id"])
        shown = {name: row[name] for name in ("words", "caller", "circle", "state")}
        shown["action"] = _parsed(row["action"])
        shown["receipt"] = _parsed(row["receipt"]) if row["receipt"] else None
        return said == shown

    def ask(self, row: Any) -> bool:  # noqa: ANN401 - a row of `asks`
        said = self.asks.get(row["id"])
        if said is None or any(said[name] != row[name] for name in ("text", "sender", "request")):
            return False
        about = self.requests.get(row["request"] or "")
        if about is None:
            return bool(said["reply"] == row["reply"])
        return bool(row["reply"] == (about["receipt"].get("message") if about["receipt"] else None))


def _parsed(text: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever stands in the file
    """A JSON object; what someone made of it otherwise differs from every true one, and that is all there is to say."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
