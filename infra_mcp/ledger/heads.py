"""Audit heads found in commits: which of them this ledger gave out, and which anyone may have made up.

A commit is the ledger's own if a request has it, or if its head comes with a proof by the ledger's key. Only of such a
head it is certain that the ledger once had it, also when it was cut since.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from sqlalchemy import Connection, select

from infra_mcp.ledger import schema
from infra_mcp.model.names import Frozen

HEADS = "heads"  # the name of the key
_ROWS = schema.requests.c


class Committed(Frozen):
    """A head as a commit's trailers have it."""

    commit: str
    head: str
    proof: str = ""


def proof_of(key: bytes, head: str) -> str:
    """What only a holder of the key can say of a head: HMAC-SHA-256, as 64 hex digits."""
    return hmac.new(key, head.encode(), hashlib.sha256).hexdigest()


def given_out(connection: Connection, key: bytes, found: Sequence[Committed]) -> frozenset[Committed]:
    """Those of the heads that this ledger gave out."""
    columns = (_ROWS.commit_id, _ROWS.revert_id)
    own = {one for column in columns for one in connection.execute(select(column)).scalars()}
    return frozenset(one for one in found if one.commit in own or one.proof == proof_of(key, one.head))
