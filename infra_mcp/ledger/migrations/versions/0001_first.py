"""The first edition's schema, which ledgers of today come from; a new ledger is made from `ledger/schema.py`."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    pass
