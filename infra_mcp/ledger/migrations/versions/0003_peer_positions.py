"""Where in the chain a peer was added: what is older is of a former peer of that name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("peers", sa.Column("position", sa.Integer, nullable=False, server_default="0"))
    op.execute(
        "UPDATE peers SET position = coalesce((SELECT max(seq) FROM events WHERE kind = 'peer-added' "
        "AND events.peer = peers.name AND coalesce(events.circle, '') = peers.circle), 0)"
    )
