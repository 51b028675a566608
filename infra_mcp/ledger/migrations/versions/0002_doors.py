"""Peers by name and circle, asks between any two, messages, claims, approvals; and an index for every question.

SQLite cannot change keys in place, so the tables whose keys change are made anew and filled from the old ones. Parents
are dropped after their children, or dropping would take the children's rows along.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_REBUILT = ("requests", "asks", "outbox", "peers", "tokens")  # parents first
_OLD_INDEXES = ("requests_by_open", "requests_by_circle", "asks_by_request", "outbox_by_delivered", "tokens_by_peer")


def upgrade() -> None:
    for name in _OLD_INDEXES:
        op.drop_index(name)
    for name in _REBUILT:
        op.rename_table(name, f"old_{name}")  # the children's foreign keys follow
    _requests()
    _asks()
    _outbox()
    _peers()
    for name in reversed(_REBUILT):
        op.drop_table(f"old_{name}")
    _messages()
    _approvals()
    _indexes()
    _ends()


def _requests() -> None:
    text = sa.Text
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
        sa.Column("app", text),
        sa.Column("digest", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("created", text, nullable=False),
        sa.Column("ended", sa.Integer),
        sa.Column("words", text, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("idempotency_key", text),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("attendant", text),
        sa.Column("notify", text),
        sa.Column("ask", text),
        sa.Column("commit_id", text),
        sa.Column("revert_id", text),
        sa.Column("effect_digest", text),
        sa.Column("record", text, nullable=False),
        sa.Column("receipt", text),
        sa.UniqueConstraint("caller", "circle", "idempotency_key", name="one_request_a_key"),
    )
    same = (
        "id, position, caller, circle, strength, operator, door, action, digest, state, open, created, words, reason, "
        "idempotency_key, dry_run, ask, commit_id, revert_id, effect_digest, record, receipt"
    )
    op.execute(
        f"INSERT INTO requests ({same}, app, ended) SELECT {same}, json_extract(action, '$.app'), "  # noqa: S608 - ours
        "(SELECT max(seq) FROM events WHERE events.request = old_requests.id AND events.kind = 'finished') "
        "FROM old_requests ORDER BY position"
    )


def _asks() -> None:
    text = sa.Text
    op.create_table(
        "asks",
        sa.Column("id", text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("sender", text, nullable=False),
        sa.Column("circle", text),
        sa.Column("receiver", text, nullable=False),
        sa.Column("receiver_circle", text),
        sa.Column("text", text, nullable=False),
        sa.Column("attachments", text, nullable=False),
        sa.Column("reply_to", text),
        sa.Column("created", text, nullable=False),
        sa.Column("request", text, sa.ForeignKey("requests.id")),
        sa.Column("state", text, nullable=False),
        sa.Column("closed", text),
        sa.Column("reply", text),
        sa.Column("reply_attachments", text, nullable=False),
        sa.Column("responder", text),
        sa.Column("acked_at", text),
        sa.Column("seen", text),
        sa.Column("claim", text),
        sa.Column("claimed_at", text),
        sa.Column("acted_by", text),
        sa.Column("purged", text),
    )
    same = "id, sender, circle, receiver, text, created, request, state, reply, responder, acked_at"
    # Every ask has its event; one whose event is missing (the ledger was tampered with) keeps its place by its age.
    op.execute(
        "CREATE TEMP TABLE first_events AS SELECT ask, min(seq) AS seq FROM events WHERE ask IS NOT NULL GROUP BY ask"
    )
    op.execute("CREATE UNIQUE INDEX temp.first_events_by_ask ON first_events (ask)")
    op.execute(
        f"INSERT INTO asks ({same}, position, attachments, reply_attachments, closed) "  # noqa: S608 - ours
        f"SELECT {same}, coalesce((SELECT seq FROM first_events WHERE ask = old_asks.id), 0), '[]', '[]', "
        "CASE state WHEN 'acked' THEN 'acked' END FROM old_asks ORDER BY rowid"
    )
    op.execute("DROP TABLE temp.first_events")


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("ask", sa.Text, sa.ForeignKey("asks.id"), primary_key=True),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("circle", sa.Text),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("delivered", sa.Text),
    )
    op.execute(
        "INSERT INTO outbox (ask, receiver, circle, created, delivered) SELECT o.ask, o.receiver, a.circle, o.created, "
        "o.delivered FROM old_outbox AS o JOIN asks AS a ON a.id = o.ask"
    )


def _peers() -> None:
    op.create_table(
        "peers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("circle", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
    )
    op.execute(
        "INSERT INTO peers (name, circle, role, description, created) "
        "SELECT name, circle, 'agent', description, created FROM old_peers"
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("circle", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["peer", "circle"], ["peers.name", "peers.circle"], ondelete="CASCADE"),
    )
    op.execute(
        "INSERT INTO tokens (hash, peer, circle, created) SELECT t.hash, t.peer, p.circle, t.created "
        "FROM old_tokens AS t JOIN peers AS p ON p.name = t.peer"
    )


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("event", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("circle", sa.Text),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("receiver_circle", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("request", sa.Text),
        sa.Column("reply_to", sa.Text),
        sa.Column("read", sa.Text),
        sa.Column("purged", sa.Text),
    )


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event", sa.Integer, nullable=False),
        sa.Column("request", sa.Text, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("effect_digest", sa.Text, nullable=False),
        sa.Column("approve", sa.Boolean, nullable=False),
        sa.Column("approver", sa.Text, nullable=False),
        sa.Column("way", sa.Text, nullable=False),
        sa.Column("strength", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("expires", sa.Text, nullable=False),
        sa.Column("used", sa.Text),
    )


def _indexes() -> None:
    for name, table, columns in (
        ("events_by_ask", "events", ["ask", "seq"]),
        ("events_by_peer", "events", ["peer", "seq"]),
        ("events_by_time", "events", ["at"]),
        ("requests_by_open", "requests", ["open", "caller", "circle"]),
        ("requests_by_state", "requests", ["state", "position"]),
        ("requests_by_circle", "requests", ["circle", "position"]),
        ("requests_by_app", "requests", ["app", "ended"]),
        ("asks_by_request", "asks", ["request"]),
        ("asks_by_receiver", "asks", ["receiver", "receiver_circle", "state", "position"]),
        ("asks_by_sender", "asks", ["sender", "circle", "state", "position"]),
        ("asks_by_claim", "asks", ["claim"]),
        ("asks_by_purge", "asks", ["purged", "acked_at"]),
        ("outbox_by_delivered", "outbox", ["delivered"]),
        ("outbox_by_receiver", "outbox", ["receiver", "circle", "delivered", "created"]),
        ("messages_by_receiver", "messages", ["receiver", "receiver_circle", "read", "number"]),
        ("messages_by_id", "messages", ["id"]),
        ("messages_by_purge", "messages", ["purged", "read"]),
        ("approvals_by_request", "approvals", ["request", "effect_digest"]),
        ("tokens_by_peer", "tokens", ["peer", "circle"]),
    ):
        op.create_index(name, table, columns)


def _ends() -> None:
    """What objects' names end in, so that `deployment/docs` is found without reading every name."""
    connection = op.get_bind()
    objects = connection.execute(sa.text("SELECT DISTINCT value FROM subjects WHERE what = 'object'")).scalars().all()
    fill = sa.text(
        "INSERT OR IGNORE INTO subjects (what, value, seq, request) "
        "SELECT 'end', :end, seq, request FROM subjects WHERE what = 'object' AND value = :value"
    )
    for value in objects:
        parts = value.split("/")
        for first in range(1, len(parts)):
            connection.execute(fill, {"end": "/".join(parts[first:]), "value": value})
