"""Which policy an operator accepted last. The text is kept, so that a changed file does not change what is in force."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import Connection, insert, select

from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.masking import Masker

_KIND = "policy-accepted"


def accept(tx: Tx, masker: Masker, digest: str, text: str, by: str, known: Collection[str] | None) -> None:
    """Keep a policy as the one in force, with the actions that there were when it was accepted.

    Raises:
        InfraError: `policy-invalid`, when there is what looks like a secret in it: it would have to be kept as it is.
    """
    if written(masker, text) != text:
        raise InfraError(
            "policy-invalid",
            "The policy file holds what looks like a secret.",
            next_step="Take it out; policy names secrets and never holds them.",
        )
    row = {"digest": digest, "text": text, "by": by, "at": clock.now()}
    tx.connection.execute(insert(schema.policies), row)
    data = {"digest": digest, "policy": text} | ({} if known is None else {"actions": sorted(known)})
    append(tx, Entry(row["at"], _KIND, by, None, data=data))


def accepted(connection: Connection) -> tuple[str, str] | None:
    """Digest and text of the policy in force, if any was ever accepted."""
    columns = schema.policies.c
    row = connection.execute(select(columns.digest, columns.text).order_by(columns.id.desc()).limit(1)).first()
    return (row.digest, row.text) if row else None


def actions(connection: Connection, digest: str) -> frozenset[str] | None:
    """The actions that there were when a policy was last accepted; None where its acceptance does not say."""
    rows, found = schema.policies.c, schema.events.c
    last = select(rows.at).where(rows.digest == digest).order_by(rows.id.desc()).limit(1).scalar_subquery()
    event = select(found.data).where(found.kind == _KIND, found.at == last).order_by(found.seq.desc()).limit(1)
    data = json.loads(connection.execute(event).scalar() or "{}")
    return frozenset(data["actions"]) if data.get("digest") == digest and "actions" in data else None
