"""Schemas: which of them are known, and never touched when newer."""

import os
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest
from alembic.script import ScriptDirectory

import infra_mcp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger, schema

pytestmark = pytest.mark.anyio
MIGRATIONS = Path(schema.__file__).parent / "migrations"
PACKAGE = {"PYTHONPATH": str(Path(infra_mcp.__file__).parent.parent)}


async def test_the_known_revisions_are_those_in_the_package():
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(schema.REVISIONS)
    assert scripts.get_current_head() == schema.HEAD


@pytest.mark.promise("ledger.newer")
@pytest.mark.parametrize("revision", ["9999", ""])
async def test_a_newer_ledger_is_told_and_not_touched(place, raw, revision):
    await (await Ledger.open_in(place)).aclose()
    connection = raw()
    connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = (place / "ledger.sqlite3").read_bytes()
    with pytest.raises(InfraError) as caught:
        await Ledger.open_in(place)
    assert caught.value.code == "ledger-newer"
    assert (place / "ledger.sqlite3").read_bytes() == before


async def test_a_migration_that_fails_leaves_no_half_of_it(place, monkeypatch):
    def fail(_connection):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("infra_mcp.ledger.revisions.claim", fail)
        with pytest.raises(InfraError, match="ledger-unavailable"):
            await Ledger.open_in(place)
    connection = sqlite3.connect(place / "ledger.sqlite3")
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
    await (await Ledger.open_in(place)).aclose()


@pytest.mark.process
async def test_opening_the_newest_schema_does_not_load_the_migration_library(place):
    await (await Ledger.open_in(place)).aclose()
    code = (
        "import anyio, pathlib, sys\nfrom infra_mcp.ledger import Ledger\n"
        "async def main():\n    await (await Ledger.open_in(pathlib.Path(sys.argv[1]))).aclose()\n"
        "anyio.run(main)\nassert 'alembic' not in sys.modules"
    )
    environment = os.environ | PACKAGE
    await anyio.run_process([sys.executable, "-c", code, str(place)], env=environment)


async def test_a_ledger_in_memory_is_one_too():
    from infra_mcp.masking import Masker  # noqa: PLC0415 - only here

    ledger = await Ledger.open("sqlite://", Masker(b"k" * 32))
    head = await ledger.note("kind", None, {"a": 1})
    assert await ledger.head() == head
    assert await ledger.key("secrets") == await ledger.key("secrets")
    await ledger.aclose()
