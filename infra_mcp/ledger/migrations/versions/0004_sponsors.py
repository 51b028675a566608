"""Tokens get an end, a last use and the person who answers for them; what came by one names that person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Tokens from before have no end, and no known sponsor.
    for table, names in (
        ("tokens", ("expires", "used", "sponsor")),
        ("requests", ("sponsor", "identity")),
        ("asks", ("sponsor", "identity")),
    ):
        for name in names:
            op.add_column(table, sa.Column(name, sa.Text))
