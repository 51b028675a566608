"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

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
_SEARCH = """CREATE VIRTUAL TABLE events_search
    USING fts5(text, peer, namespaces, objects, kind, content='', tokenize="unicode61 remove_diacritics 2")"""


def upgrade() -> None:
    text = sa.Text
    op.create_table("meta", sa.Column("name", text, primary_key=True), sa.Column("value", text, nullable=False))
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("state", text),
        sa.Column("request", text),
        sa.Column("ask", text),
        sa.Column("peer", text),
        sa.Column("circle", text),
        sa.Column("namespaces", text, nullable=False),
        sa.Column("objects", text, nullable=False),
        sa.Column("text", text, nullable=False),
        sa.Column("data", text, nullable=False),
        sa.Column("prev", text, nullable=False),
        sa.Column("hash", text, nullable=False, unique=True),
    )
    op.create_index("events_by_request", "events", ["request", "seq"])
    op.create_index("events_by_circle", "events", ["circle", "seq"])
    op.create_table(
        "subjects",
        sa.Column("what", text, primary_key=True),
        sa.Column("value", text, primary_key=True),
        sa.Column("seq", sa.Integer, sa.ForeignKey("events.seq"), primary_key=True),
        sa.Column("request", text),
    )
    op.create_table(
        "requests",
        sa.Column("id", text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False, unique=True),
        sa.Column("caller", text, nullable=False),
        sa.Column("circle", text),
        sa.Column("strength", text, nullable=False),
        sa.Column("operator", sa.Boolean, nullable=False),
        sa.Column("door", text, nullable=False),
        sa.Column("action", text, nullable=False),
        sa.Column("digest", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("created", text, nullable=False),
        sa.Column("words", text, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("idempotency_key", text),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("ask", text),
        sa.Column("commit_id", text),
        sa.Column("revert_id", text),
        sa.Column("effect_digest", text),
        sa.Column("record", text, nullable=False),
        sa.Column("receipt", text),
        sa.UniqueConstraint("caller", "idempotency_key", name="one_request_a_key"),
    )
    op.create_index("requests_by_open", "requests", ["open", "caller"])
    op.create_index("requests_by_circle", "requests", ["circle", "position"])
    op.create_table(
        "asks",
        sa.Column("id", text, primary_key=True),
        sa.Column("sender", text, nullable=False),
        sa.Column("circle", text),
        sa.Column("receiver", text, nullable=False),
        sa.Column("text", text, nullable=False),
        sa.Column("created", text, nullable=False),
        sa.Column("request", text, sa.ForeignKey("requests.id")),
        sa.Column("state", text, nullable=False),
        sa.Column("reply", text),
        sa.Column("responder", text),
        sa.Column("acked_at", text),
    )
    op.create_index("asks_by_request", "asks", ["request"])
    op.create_table(
        "outbox",
        sa.Column("ask", text, sa.ForeignKey("asks.id"), primary_key=True),
        sa.Column("receiver", text, nullable=False),
        sa.Column("created", text, nullable=False),
        sa.Column("delivered", text),
    )
    op.create_index("outbox_by_delivered", "outbox", ["delivered"])
    op.create_table(
        "peers",
        sa.Column("name", text, primary_key=True),
        sa.Column("circle", text, nullable=False),
        sa.Column("description", text, nullable=False),
        sa.Column("created", text, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", text, primary_key=True),
        sa.Column("peer", text, sa.ForeignKey("peers.name", ondelete="CASCADE"), nullable=False),
        sa.Column("created", text, nullable=False),
    )
    op.create_index("tokens_by_peer", "tokens", ["peer"])
    op.create_table(
        "policies",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", text, nullable=False),
        sa.Column("text", text, nullable=False),
        sa.Column("by", text, nullable=False),
        sa.Column("at", text, nullable=False),
    )
    for statement in (*_GUARDS, _SEARCH):
        op.execute(statement)
