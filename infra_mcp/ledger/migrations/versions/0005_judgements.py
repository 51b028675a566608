"""How each request was decided is kept, so that another policy can be tried on it; a peer's requests are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "judgements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("request", sa.Text, sa.ForeignKey("requests.id"), nullable=False, unique=True),
        sa.Column("judged", sa.LargeBinary, nullable=False),
    )
    op.create_index("requests_by_caller", "requests", ["caller", "circle", "created"])
    op.create_index("requests_by_time", "requests", ["circle", "created"])
