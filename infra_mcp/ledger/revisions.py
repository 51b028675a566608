"""The schema of a ledger: its revision, and upgrading an older one."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text

from infra_mcp.errors import InfraError
from infra_mcp.ledger.keys import LEDGER, Keys, lost
from infra_mcp.ledger.schema import HEAD, REVISIONS, create, meta


def outdated(connection: Connection) -> bool:
    """Whether the schema is missing or older than ours. Reads only.

    Raises:
        InfraError: `ledger-newer`, when it is one we do not know.
    """
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise InfraError("ledger-unavailable", "The file in the ledger's place is another program's database.")
        return True
    found = [row[0] for row in connection.execute(text("SELECT version_num FROM alembic_version"))]
    if len(found) != 1 or found[0] not in REVISIONS:
        raise InfraError("ledger-newer", "The ledger has a schema this version does not know; nothing was touched.")
    return bool(found[0] != HEAD)


def upgrade(connection: Connection) -> None:
    """Make the schema, or run the missing migrations, on this connection, inside the transaction it is in."""
    if not inspect(connection).get_table_names():
        create(connection)
        return
    from alembic import command  # noqa: PLC0415 - 0.3 s that a start with the newest schema does not spend
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def belongs(connection: Connection, keys: Keys) -> None:
    """Check that this is the ledger its keys were made for. Reads only.

    A ledger without an event may be that of a first start which was killed before its keys were written.

    Raises:
        InfraError: `ledger-unavailable`: the ledger was lost, emptied or replaced, or its keys were.
    """
    kept, own = keys.peek(LEDGER), identity(connection)
    if kept is None and own is not None and connection.execute(text("SELECT 1 FROM events LIMIT 1")).first():
        raise lost()
    if kept is not None and own != kept:
        raise InfraError(
            "ledger-unavailable",
            "The ledger in the state directory is not the one its keys belong to: it was lost, emptied or replaced.",
            next_step="An operator restores the ledger from a backup, or moves keys.json away to begin a new one.",
        )


def identity(connection: Connection) -> bytes | None:
    """The ledger's own random id; None before there is one."""
    if not inspect(connection).has_table(meta.name):
        return None
    written = connection.execute(select(meta.c.value).where(meta.c.name == LEDGER)).scalar()
    return base64.b64decode(written) if written else None


def claim(connection: Connection) -> None:
    """Give a new ledger its id."""
    if identity(connection) is None:
        written = base64.b64encode(secrets.token_bytes(32)).decode()
        connection.execute(insert(meta).values(name=LEDGER, value=written))
