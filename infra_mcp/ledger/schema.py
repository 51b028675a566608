"""The tables, as the newest migration leaves them.

Times are UTC in ISO 8601 with microseconds, so that they sort as text.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

__all__ = ["HEAD", "REVISIONS", "SEARCH", "asks", "events", "meta", "metadata", "outbox", "peers", "policies"]
__all__ += ["requests", "subjects", "tokens"]

# Every migration there is, oldest first. A ledger at another revision was written by a newer version.
REVISIONS = ("0001",)
HEAD = REVISIONS[-1]
# The full-text index beside `events`: an FTS5 table, which SQLAlchemy cannot describe.
SEARCH = "events_search"

metadata = MetaData()

# One row, `ledger`: the random id that ties this file to keys.json, so that a lost ledger is not taken for a new one.
meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# Append-only: triggers refuse every other change. `hash` covers all other columns and the hash before.
events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text),
    Column("request", Text),
    Column("ask", Text),
    Column("peer", Text),
    Column("circle", Text),
    Column("namespaces", Text, nullable=False),  # JSON lists, as hashed
    Column("objects", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("data", Text, nullable=False),  # canonical JSON
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Index("events_by_request", "request", "seq"),
    Index("events_by_circle", "circle", "seq"),
)

# Which namespaces and objects an event names, for exact filters.
subjects = Table(
    "subjects",
    metadata,
    Column("what", Text, primary_key=True),  # namespace or object
    Column("value", Text, primary_key=True),
    Column("seq", Integer, ForeignKey("events.seq"), primary_key=True),
    Column("request", Text),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False, unique=True),  # seq of its first event: the order of the queue
    Column("caller", Text, nullable=False),
    Column("circle", Text),
    Column("strength", Text, nullable=False),
    Column("operator", Boolean, nullable=False),
    Column("door", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("digest", Text, nullable=False),  # of action and dry_run: what an idempotency key stands for
    Column("state", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("created", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("dry_run", Boolean, nullable=False),
    Column("ask", Text),
    Column("commit_id", Text),
    Column("revert_id", Text),
    Column("effect_digest", Text),
    Column("record", Text, nullable=False),
    Column("receipt", Text),
    UniqueConstraint("caller", "idempotency_key", name="one_request_a_key"),
    Index("requests_by_open", "open", "caller"),
    Index("requests_by_circle", "circle", "position"),
)

asks = Table(
    "asks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sender", Text, nullable=False),
    Column("circle", Text),
    Column("receiver", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("request", Text, ForeignKey("requests.id")),
    Column("state", Text, nullable=False),
    Column("reply", Text),
    Column("responder", Text),
    Column("acked_at", Text),
    Index("asks_by_request", "request"),
)

# An ack to deliver, at least once, under the ask's id; written in the transaction that acks.
outbox = Table(
    "outbox",
    metadata,
    Column("ask", Text, ForeignKey("asks.id"), primary_key=True),
    Column("receiver", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("delivered", Text),
    Index("outbox_by_delivered", "delivered"),
)

peers = Table(
    "peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("circle", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the token; the token itself has 256 random bits
    Column("peer", Text, ForeignKey("peers.name", ondelete="CASCADE"), nullable=False),
    Column("created", Text, nullable=False),
    Index("tokens_by_peer", "peer"),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Text, nullable=False),
)
