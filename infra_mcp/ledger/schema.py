"""The tables: a new ledger is made from them, and the migrations bring an older one to the same.

Times are UTC in ISO 8601 with microseconds, so that they sort as text. A peer is its name in its circle; where a
circle is NULL, the row is about the infra peer or an operator.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
)
from sqlalchemy import UniqueConstraint as Unique

# Every migration there is, oldest first. A ledger at another revision was written by a newer version.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]
# The full-text index beside `events`: an FTS5 table, which SQLAlchemy cannot describe.
SEARCH = "events_search"

# Rows are added at the end only, never changed, never taken away. REPLACE would delete without firing a delete
# trigger, so the insert itself is checked too.
_GUARDS = (
    """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    """CREATE TRIGGER events_in_order BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
      OR NEW.prev IS NOT coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), printf('%064d', 0))
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
)
# Contentless: the words stand in `events`; this is only the index, by the same seq.
_SEARCH = f"""CREATE VIRTUAL TABLE {SEARCH}
    USING fts5(text, peer, namespaces, objects, kind, content='', tokenize="unicode61 remove_diacritics 2")"""

metadata = MetaData()
# Alembic's own table: which revision the ledger is at.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))

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
    Index("events_by_ask", "ask", "seq"),
    Index("events_by_circle", "circle", "seq"),
    Index("events_by_peer", "peer", "seq"),
    Index("events_by_time", "at"),
)

# Which namespaces and objects an event names, for exact filters.
subjects = Table(
    "subjects",
    metadata,
    Column("what", Text, primary_key=True),  # namespace, object, or end: what an object's name ends in
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
    Column("sponsor", Text),  # the person who answers for the caller's token
    Column("identity", Text),  # JSON: issuer, subject and run of a caller who came by an issuer's token
    Column("operator", Boolean, nullable=False),
    Column("door", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("app", Text),  # the app of a deploy
    Column("digest", Text, nullable=False),  # of action and dry_run: what an idempotency key stands for
    Column("state", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("created", Text, nullable=False),
    Column("ended", Integer),  # seq of its last event
    Column("words", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("dry_run", Boolean, nullable=False),
    Column("attendant", Text),
    Column("notify", Text),
    Column("ask", Text),
    Column("commit_id", Text),
    Column("revert_id", Text),
    Column("effect_digest", Text),
    Column("record", Text, nullable=False),
    Column("receipt", Text),
    # A caller without a circle is not held to it by the database, only by looking first, in the same transaction.
    Unique("caller", "circle", "idempotency_key", name="one_request_a_key"),
    Index("requests_by_open", "open", "caller", "circle"),
    Index("requests_by_state", "state", "position"),
    Index("requests_by_circle", "circle", "position"),
    Index("requests_by_app", "app", "ended"),
    Index("requests_by_caller", "caller", "circle", "created"),
    Index("requests_by_time", "circle", "created"),
)

asks = Table(
    "asks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False),  # seq of its first event
    Column("sender", Text, nullable=False),
    Column("circle", Text),
    Column("receiver", Text, nullable=False),
    Column("receiver_circle", Text),
    Column("text", Text, nullable=False),
    Column("attachments", Text, nullable=False),  # a JSON list
    Column("reply_to", Text),
    Column("created", Text, nullable=False),
    Column("request", Text, ForeignKey("requests.id")),
    Column("state", Text, nullable=False),
    Column("closed", Text),  # how: acked or replied
    Column("reply", Text),
    Column("reply_attachments", Text, nullable=False),
    Column("responder", Text),
    Column("acked_at", Text),
    Column("seen", Text),  # when the receiver marked it as read
    Column("claim", Text),  # the attending session that may act for the asker
    Column("claimed_at", Text),
    Column("acted_by", Text),  # the attending session that did
    Column("purged", Text),  # when retention took its words
    Column("sponsor", Text),  # as of a request
    Column("identity", Text),
    Index("asks_by_request", "request"),
    Index("asks_by_receiver", "receiver", "receiver_circle", "state", "position"),
    Index("asks_by_sender", "sender", "circle", "state", "position"),
    Index("asks_by_claim", "claim"),
    Index("asks_by_purge", "purged", "acked_at"),
)

# An ack to deliver, at least once, under the ask's id; written in the transaction that acks.
outbox = Table(
    "outbox",
    metadata,
    Column("ask", Text, ForeignKey("asks.id"), primary_key=True),
    Column("receiver", Text, nullable=False),
    Column("circle", Text),
    Column("created", Text, nullable=False),
    Column("delivered", Text),
    Index("outbox_by_delivered", "delivered"),
    Index("outbox_by_receiver", "receiver", "circle", "delivered", "created"),
)

# What wants no answer: notifies, broadcasts (a row a receiver) and what came of a notify.
messages = Table(
    "messages",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("event", Integer, nullable=False),  # seq of the event that made it
    Column("kind", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("circle", Text),
    Column("receiver", Text, nullable=False),
    Column("receiver_circle", Text),
    Column("text", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("request", Text),
    Column("reply_to", Text),
    Column("read", Text),
    Column("purged", Text),
    Index("messages_by_receiver", "receiver", "receiver_circle", "read", "number"),
    Index("messages_by_id", "id"),
    Index("messages_by_purge", "purged", "read"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("event", Integer, nullable=False),
    Column("request", Text, ForeignKey("requests.id"), nullable=False),
    Column("effect_digest", Text, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("approver", Text, nullable=False),
    Column("way", Text, nullable=False),
    Column("strength", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("expires", Text, nullable=False),
    Column("used", Text),
    Index("approvals_by_request", "request", "effect_digest"),
)

peers = Table(
    "peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("circle", Text, primary_key=True),  # empty for an operator
    Column("role", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("position", Integer, nullable=False, server_default="0"),  # seq of the event that added it
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the token; the token itself has 256 random bits
    Column("peer", Text, nullable=False),
    Column("circle", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("expires", Text),  # NULL for one without an end
    Column("used", Text),  # when it was last used, to the hour; in no event
    Column("sponsor", Text),  # the person who answers for it; NULL for one of an older version
    ForeignKeyConstraint(["peer", "circle"], ["peers.name", "peers.circle"], ondelete="CASCADE"),
    Index("tokens_by_peer", "peer", "circle"),
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

# How a request was decided last, so that another policy can be tried on it. In no event: it is checked by the digest of
# the effect, which is. Only the newest are kept.
judgements = Table(
    "judgements",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("request", Text, ForeignKey("requests.id"), nullable=False, unique=True),
    Column("judged", LargeBinary, nullable=False),  # JSON of `model.judged.Judged`, compressed
)


def create(connection: Connection) -> None:
    """Make the schema of a new ledger."""
    metadata.create_all(connection)
    for statement in (*_GUARDS, _SEARCH):
        connection.exec_driver_sql(statement)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=HEAD))
