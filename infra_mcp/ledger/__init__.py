"""What was asked, decided and done: durable before any effect, append-only, hash-chained, searchable."""

from infra_mcp.ledger.records import (
    Accepted,
    Ask,
    AskIn,
    ChainReport,
    Counts,
    Event,
    Inbox,
    Message,
    Peer,
    ReleaseIn,
    SearchPage,
)
from infra_mcp.ledger.store import Ledger

__all__ = ["Accepted", "Ask", "AskIn", "ChainReport", "Counts", "Event", "Inbox", "Ledger", "Message", "Peer"]
__all__ += ["ReleaseIn", "SearchPage"]
