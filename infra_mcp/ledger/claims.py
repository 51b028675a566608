"""Claims: which attending session may act for whoever asked the infra peer. A claim ends with its session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append
from infra_mcp.ledger.records import Ask

_ROWS = schema.asks


def claim(tx: Tx, ask_id: str, session: str, at: str) -> Ask:
    """Give an ask to a session; one it has already stays with it.

    Raises:
        InfraError: `not-found`, when there is no such ask to the infra peer; `claim-taken`, when it is another
            session's, is acked, or is a request already.
    """
    found = asks.ask(tx.connection, ask_id)
    if found is None or found.receiver_circle is not None or _to_operator(tx.connection, found):
        raise InfraError("not-found", "There is no such ask to the infra peer.")
    if found.claim == session and found.state == "open" and found.request is None:
        return found
    _free(found)
    values = {"claim": session, "claimed_at": at}
    tx.connection.execute(update(_ROWS).where(_ROWS.c.id == ask_id).values(**values))
    _note(tx, found, "claimed", session, at)
    return found.model_copy(update=values)


def release(tx: Tx, session: str | None, at: str) -> list[str]:
    """Give back what a session, or any, has claimed and not made a request of. Returns the asks' ids, oldest first."""
    claimed = _ROWS.c.claim.is_not(None) if session is None else _ROWS.c.claim == session
    open_ones = select(_ROWS).where(claimed, _ROWS.c.state == "open", _ROWS.c.request.is_(None))
    found = asks.listed(tx.connection, open_ones.order_by(_ROWS.c.position))
    for one in found:
        tx.connection.execute(update(_ROWS).where(_ROWS.c.id == one.id).values(claim=None, claimed_at=None))
        _note(tx, one, "released", one.claim or "", at)
    return [one.id for one in found]


def held(connection: Connection, ask_id: str, session: str | None) -> Ask:
    """An open ask that this session holds.

    Raises:
        InfraError: `claim-taken`: it does not. The same for an ask that is not there.
    """
    found = asks.ask(connection, ask_id)
    if found is None or session is None or found.claim != session or found.state != "open":
        raise InfraError("claim-taken", "The ask is not, or no longer, this session's to act for.")
    return found


def _free(found: Ask) -> None:
    if found.state != "open":
        raise InfraError("claim-taken", "The ask is acked already.", next_step="Nothing: it has its answer.")
    if found.request is not None:
        what = f"The ask is request {found.request} already, whose end acks it."
        raise InfraError("claim-taken", what, next_step="Look at that request.")
    if found.claim is not None:
        what = "Another attending session has claimed the ask."
        raise InfraError("claim-taken", what, next_step="Take another one; this one comes back when that session ends.")


def _to_operator(connection: Connection, found: Ask) -> bool:
    peers = schema.peers.c
    return (
        connection.execute(select(peers.name).where(peers.name == found.receiver, peers.circle == "")).first()
        is not None
    )


def _note(tx: Tx, ask: Ask, kind: str, session: str, at: str) -> None:
    # In the asker's name, so that the asker finds it.
    data: dict[str, Any] = {"receiver": ask.receiver, "session": session}
    append(tx, Entry(at, kind, ask.sender, ask.circle, "", data, None, None, ask.id))
