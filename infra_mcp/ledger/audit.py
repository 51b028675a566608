"""Checking the ledger: its chain, and whether the rows made from the chain still agree with it.

It goes piece by piece, so that writers wait milliseconds, and keeps nothing of a piece but the ids of wrong rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from infra_mcp.ledger import schema
from infra_mcp.ledger.chain import ChainVerifier, Committed, proof_of
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import ChainReport
from infra_mcp.ledger.verify_rows import approvals, asks, messages, parsed, requests

_PIECE = 500  # events checked in one go
_ROWS = 100  # rows checked in one go, each with its events
_MAX_WRONG = 1_000  # ids in a report

_COMMITS = (schema.requests.c.commit_id, schema.requests.c.revert_id)
Check = Callable[[Connection, list[dict[str, Any]], MessageDigests], list[str]]
_TABLES: tuple[tuple[Any, Check], ...] = (
    (schema.requests, requests),
    (schema.asks, asks),
    (schema.messages, messages),
    (schema.approvals, approvals),
)


class Audit:
    """One check of the whole ledger, in pieces, against `heads` that were given out and heads found in `commits`.

    A head in a commit that is in the chain proves as much as any. One that is not is missing if it was given out here
    (`key` proves that), else it is a claim that anyone may have made.
    """

    def __init__(
        self, heads: frozenset[str], digests: MessageDigests, key: bytes, commits: Sequence[Committed]
    ) -> None:
        self._heads, self._digests, self._key, self._commits = heads, digests, key, commits
        self._verifier = ChainVerifier(heads | {one.head for one in commits})
        self._last = 0  # the last event checked
        self._rows = [0] * len(_TABLES)  # and the last row of each table
        self._wrong: set[str] = set()

    def piece(self, connection: Connection) -> bool:
        """Check the next piece; whether there was one."""
        return self._chain(connection) or any(self._table(connection, number) for number in range(len(_TABLES)))

    def report(self, connection: Connection) -> ChainReport:
        """Check the events since the last piece, and report."""
        while self.piece(connection):
            pass
        lost = [one for one in self._commits if one.head not in self._verifier.found]
        # A commit is the ledger's own if a request has it, or if its head comes with a proof by the ledger's key.
        commits = {one for column in _COMMITS for one in connection.execute(select(column)).scalars()}
        own = {one for one in lost if one.commit in commits or one.proof == proof_of(self._key, one.head)}
        ours = self._heads | {one.head for one in own}
        return ChainReport(
            consistent=self._verifier.broken_at is None and not self._wrong,
            events=self._verifier.events,
            proved_to=self._verifier.proved_to,
            broken_at=self._verifier.broken_at,
            missing_heads=tuple(head for head in self._verifier.missing if head in ours),
            claims=tuple(one.commit for one in lost if one not in own),
            differing=tuple(sorted(self._wrong)[:_MAX_WRONG]),
        )

    def _chain(self, connection: Connection) -> bool:
        columns = schema.events.c
        piece = select(schema.events).where(columns.seq > self._last).order_by(columns.seq).limit(_PIECE)
        rows = [dict(row) for row in connection.execute(piece).mappings()]
        if rows:
            self._verifier.feed(rows)
            self._wrong |= _gone(connection, rows)
            self._last = rows[-1]["seq"]
        return bool(rows)

    def _table(self, connection: Connection, number: int) -> bool:
        table, check = _TABLES[number]
        place: ColumnElement[int] = literal_column("rowid")
        piece = select(place.label("place"), table).where(place > self._rows[number]).order_by(place).limit(_ROWS)
        rows = [dict(row) for row in connection.execute(piece).mappings()]
        if rows:
            self._wrong |= set(check(connection, rows, self._digests))
            self._rows[number] = rows[-1]["place"]
        return bool(rows)


def _gone(connection: Connection, events: list[dict[str, Any]]) -> set[str]:
    """Ids that events name and that have no row any more."""
    missing: set[str] = set()
    for table, column in ((schema.requests, "request"), (schema.asks, "ask")):
        named = {event[column] for event in events} - {None}
        found = select(table.c.id).where(table.c.id.in_(named))
        missing |= named - set(connection.execute(found).scalars())
    sent: dict[str, int] = {}
    for event in events:
        if event["kind"] in {"notify", "broadcast"}:
            data: dict[str, Any] = parsed(event["data"], {})
            to = data.get("to")
            sent[str(data.get("id"))] = len(to) if isinstance(to, list) else 0
    columns = schema.messages.c
    copies = select(columns.id, func.count()).where(columns.id.in_(sent)).group_by(columns.id)
    kept = {row[0]: row[1] for row in connection.execute(copies)}
    return missing | {one for one, count in sent.items() if kept.get(one, 0) < count}
