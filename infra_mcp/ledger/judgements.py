"""How requests were decided, kept with the plans that were judged: so another policy can be tried on them."""

from __future__ import annotations

import zlib
from typing import Final

from pydantic import ValidationError
from sqlalchemy import bindparam, delete, insert

from infra_mcp.ledger import schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import written
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical
from infra_mcp.model.judged import Judged

KEPT: Final = 5_000  # the newest
MAX_BYTES: Final = 262_144  # of one, compressed
_MAX_JSON: Final = 64 << 20  # of one that is read: no more is taken out of what others may have put there
_ROWS = schema.judgements
_OLD = delete(_ROWS).where(_ROWS.c.number <= bindparam("number") - KEPT)
_ADD = insert(_ROWS).returning(_ROWS.c.number)
_DROP = delete(_ROWS).where(_ROWS.c.request == bindparam("which"))


def keep(tx: Tx, masker: Masker, request_id: str, judged: Judged) -> None:
    """Keep how a request was decided, in place of an earlier decision.

    A plan that is too large, or that holds what looks like a secret, is left out: it could not be judged as it was.
    """
    value = judged.model_dump(mode="json")
    if written(masker, value) != value:
        value |= {"effect": None, "lacks": "its plan holds what looks like a secret"}
        value = written(masker, value)
    packed = zlib.compress(canonical(value))
    if len(packed) > MAX_BYTES:
        packed = zlib.compress(canonical(value | {"effect": None, "lacks": "its plan is too large to be kept"}))
    tx.connection.execute(_DROP, {"which": request_id})
    number = tx.connection.execute(_ADD, {"request": request_id, "judged": packed}).scalar_one()
    tx.connection.execute(_OLD, {"number": number})


def unpacked(packed: bytes | None) -> Judged | None:
    """A kept decision; without its plan where that is not the one whose digest it names."""
    if packed is None:
        return None
    try:
        found = Judged.model_validate_json(zlib.decompressobj().decompress(packed, _MAX_JSON))
    except (zlib.error, ValidationError):
        return None
    if found.effect is not None and found.effect.digest != found.digest:
        return found.model_copy(update={"effect": None, "lacks": "its plan was changed in the ledger"})
    return found
