"""Taking words away after a while: of asks between peers and of messages that were read. The chain loses nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append

_ASKS, _MESSAGES, _OUTBOX = schema.asks, schema.messages, schema.outbox


def purge(tx: Tx, before: str) -> int:
    """Empty the words of asks between peers closed before a time, and of messages read before it.

    What nobody has read is not taken: an ask keeps its words until its sender has seen the ack. What the file held is
    overwritten; copies in its journal are, as the journal is written anew.
    """
    connection, now = tx.connection, clock.now()
    connection.exec_driver_sql("PRAGMA secure_delete=ON")
    seen = select(_OUTBOX.c.ask).where(_OUTBOX.c.ask == _ASKS.c.id, _OUTBOX.c.delivered.is_not(None)).exists()
    closed = update(_ASKS).where(
        _ASKS.c.purged.is_(None),
        _ASKS.c.acked_at < before,
        _ASKS.c.circle.is_not(None),
        _ASKS.c.receiver_circle.is_not(None),
        seen,
    )
    gone = {"text": "", "attachments": "[]", "reply": None, "reply_attachments": "[]", "purged": now}
    done = connection.execute(closed.values(**gone)).rowcount
    read = update(_MESSAGES).where(_MESSAGES.c.purged.is_(None), _MESSAGES.c.read < before)
    done += connection.execute(read.values(text="", purged=now)).rowcount
    if done:
        data: dict[str, Any] = {"before": before, "count": done}
        append(tx, Entry(now, "messages-purged", None, None, data=data))
    return done
