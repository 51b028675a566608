"""What Alembic runs: the migrations, on the connection and inside the transaction it is given."""

from __future__ import annotations

from alembic import context

from infra_mcp.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
