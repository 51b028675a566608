"""Which policy an operator accepted last. The text is kept, so that a changed file does not change what is in force."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.masking import Masker

__all__ = ["accept", "accepted"]


def accept(tx: Tx, masker: Masker, digest: str, text: str, by: str) -> None:
    """Keep a policy as the one in force.

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
    append(tx, Entry(row["at"], "policy-accepted", by, None, data={"digest": digest, "policy": text}))


def accepted(connection: Connection) -> tuple[str, str] | None:
    """Digest and text of the policy in force, if any was ever accepted."""
    columns = schema.policies.c
    row = connection.execute(select(columns.digest, columns.text).order_by(columns.id.desc()).limit(1)).first()
    return (row.digest, row.text) if row else None
