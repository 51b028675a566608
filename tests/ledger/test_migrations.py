"""Ledgers of older versions, brought up to date with all that is in them; and a newer one, which is left alone."""

import base64
import json
import sqlite3
from pathlib import Path

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import AskIn, Ledger
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW = "2026-11-23T10:00:00Z"
# A ledger that the first version wrote: every row of every table, its keys, its tokens, and heads that went out.
FIRST = json.loads(Path(__file__).with_name("first_ledger.json").read_text(encoding="utf-8"))
SAME = ("requests", "asks", "outbox", "tokens", "policies", "events", "meta", "peers")


def first_ledger(place):
    """The first version's ledger as a state directory."""
    place.mkdir(mode=0o700)
    (place / "keys.json").write_text(json.dumps(FIRST["keys"]), encoding="utf-8")
    connection = sqlite3.connect(place / "ledger.sqlite3")
    connection.executescript(Path(__file__).with_name("first_ledger.sql").read_text(encoding="utf-8"))
    with connection:
        for name, rows in FIRST["tables"].items():
            for row in rows:
                names = ", ".join(row)
                marks = ", ".join(f":{key}" for key in row)
                connection.execute(f"INSERT INTO {name} ({names}) VALUES ({marks})", row)
        for event in FIRST["tables"]["events"]:
            names = ("text", "peer", "namespaces", "objects", "kind")
            values = (event["seq"], *(event[name] for name in names))
            statement = f"INSERT INTO events_search (rowid, {', '.join(names)}) VALUES (?, ?, ?, ?, ?, ?)"
            connection.execute(statement, values)
    connection.close()


@pytest.fixture
async def old(place, anyio_backend):  # noqa: ARG001 - the loop the fixture runs on
    first_ledger(place)
    ledger = await Ledger.open_in(place)
    yield ledger
    await ledger.aclose()


def _schema(file):
    """Columns, keys, indexes, triggers and the search table of a ledger, however their statements are laid out."""
    connection = sqlite3.connect(file)

    def rows(pragma, name):
        return [row[1:] for row in connection.execute(f"PRAGMA {pragma}({name})")]

    kept = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    found = {(kind, name): sql for kind, name, sql in kept if kind == "trigger" or name == "events_search"}
    for name in (name for kind, name, _ in kept if kind == "table" and not name.startswith("events_search_")):
        found["table", name] = sorted(rows("table_info", name)), sorted(rows("foreign_key_list", name))
        for index, *about in rows("index_list", name):
            columns = tuple(column for *_, column in rows("index_info", index))
            found["index", name, index if "c" in about else columns] = about, columns
    connection.close()
    return found


@pytest.mark.promise("upgrade.schema")
async def test_an_older_ledger_gets_the_schema_that_a_new_one_is_made_with(place, tmp_path):
    first_ledger(place)
    for folder in (place, tmp_path / "new"):
        await (await Ledger.open_in(folder)).aclose()

    made, migrated = _schema(tmp_path / "new" / "ledger.sqlite3"), _schema(place / "ledger.sqlite3")

    assert {kind for kind, *_ in made} == {"table", "index", "trigger"}
    assert migrated == made


@pytest.mark.promise("upgrade.schema")
async def test_every_value_of_the_first_schema_is_there_after_the_migration(old, raw):
    await old.head()
    connection = raw()
    for name in SAME:
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY rowid")]
        kept = [{key: row[key] for key in before} for row, before in zip(found, FIRST["tables"][name], strict=True)]
        assert kept == FIRST["tables"][name], name
    kept = [dict(row) for row in connection.execute("SELECT * FROM subjects WHERE what <> 'end' ORDER BY rowid")]
    assert kept == FIRST["tables"]["subjects"]


@pytest.mark.promise("upgrade.schema", "audit.chain")
async def test_the_chain_is_proved_by_heads_that_went_out_before_the_migration(old):
    report = await old.verify(FIRST["heads"])
    assert report.consistent, report
    assert (report.events, report.missing_heads) == (len(FIRST["tables"]["events"]), ())
    last = next(e["seq"] for e in FIRST["tables"]["events"] if e["hash"] == FIRST["heads"][-1])
    assert report.proved_to == last


@pytest.mark.promise("upgrade.schema")
async def test_peers_keep_their_tokens_and_words(old):
    peers = [(one.name, one.circle, one.role, one.description, one.tokens) for one in await old.peers()]
    assert peers == [("docs", "docs", "agent", "writes pages", 1), ("shop", "shop", "agent", "", 1)]
    for name in ("docs", "shop"):
        found = await old.caller_for_token(FIRST["tokens"][name])
        assert found == Caller(name=name, circle=name, strength="token")
    assert await old.caller_for_token(FIRST["tokens"]["gone"]) is None
    known = {(one.peer, one.expires, one.expired, one.used, one.sponsor) for one in await old.tokens()}
    assert known == {(name, None, False, None, None) for name in ("docs", "shop")}
    assert [one.caller.sponsor for one in await old.open_requests()] == [None, None]
    await old.remove_peer("docs")
    assert await old.caller_for_token(FIRST["tokens"]["docs"]) is None


@pytest.mark.promise("upgrade.schema")
async def test_asks_and_acks_that_waited_wait_on(old, at, shop, undelivered):
    by_text = {row["text"]: row["id"] for row in FIRST["tables"]["asks"]}
    assert await undelivered(old) == {row["ask"] for row in FIRST["tables"]["outbox"] if row["delivered"] is None}
    waiting = await old.mail.inbox(at(shop))
    assert [one.reply for one in waiting.acks] == ["not-understood: no"]
    joined = await old.ask(by_text["deploy it"])
    assert (joined.state, joined.closed, joined.reply, joined.receiver_circle) == (
        "acked",
        "acked",
        "docs 0.13.4 runs",
        None,
    )
    still = await old.ask(by_text["namespace docs-next"])
    assert (still.state, still.closed, still.request) == ("open", None, "req-open00000001")


@pytest.mark.promise("upgrade.schema")
async def test_requests_go_on_where_they_were(old, accept, deploy):
    assert [one.id for one in await old.open_requests()] == ["req-open00000001", "req-open00000002"]
    going = await old.request("req-open00000001")
    assert (going.state, going.record, going.attendant, going.notify) == (
        State.VERIFYING,
        {"deadline": 1500000000},
        None,
        None,
    )
    receipt = Receipt(request=going.id, state=State.LANDED, message="up", action=going.action.action)
    await old.finish(going.id, receipt, {})
    assert (await old.ask(going.ask)).reply == "up"
    assert not (await accept(old, deploy, idempotency_key="ci-1")).fresh, "the key of before still stands for it"
    assert await old.landed_version("docs") == "0.13.4", "not the dry run's, nor the open one's"
    assert [one.id for one in await old.open_releases("docs")] == ["req-open00000002"]
    assert (await old.verify(FIRST["heads"])).consistent


@pytest.mark.promise("upgrade.schema", "audit.search")
async def test_what_was_found_before_is_found_after(old):
    assert (await old.search("staging", circle="docs")).total > 0
    for name in ("docs-live/deployment/docs", "deployment/docs", "docs"):
        assert "finished" in {one.kind for one in (await old.search("", circle=None, object=name)).events}, name
    about = await old.trail_of("serviceaccount/default", circle="docs")
    assert [one.kind for one in about] == ["received", "planned", "committing", "finished"]


@pytest.mark.promise("upgrade.schema")
async def test_the_key_of_a_message_is_made_beside_those_that_were_there(old, docs, shop, at, place):
    await old.mail.post(docs, [at(shop)], "hello", now=NOW)
    await old.answer(docs, AskIn(text="x"), "no", "not-understood", NOW)
    kept = json.loads((place / "keys.json").read_text(encoding="utf-8"))
    assert {name: kept[name] for name in FIRST["keys"]} == FIRST["keys"]
    assert len(base64.b64decode(kept["messages"])) == 32


@pytest.mark.promise("upgrade.schema")
async def test_a_migration_that_fails_leaves_the_older_ledger_as_it_was(place, monkeypatch):
    first_ledger(place)
    before = (place / "ledger.sqlite3").read_bytes()

    def fail(_connection):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("infra_mcp.ledger.revisions.claim", fail)
        with pytest.raises(InfraError, match="ledger-unavailable"):
            await Ledger.open_in(place)
    connection = sqlite3.connect(place / "ledger.sqlite3")
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "messages" not in tables
    assert connection.execute("SELECT count(*) FROM asks").fetchone() == (len(FIRST["tables"]["asks"]),)
    connection.close()
    assert len(before) <= (place / "ledger.sqlite3").stat().st_size
    await (await Ledger.open_in(place)).aclose()


@pytest.mark.promise("ledger.newer", "upgrade.schema")
async def test_an_older_server_that_meets_a_newer_ledger_stops_and_changes_no_byte(place, monkeypatch, docs, shop, at):
    ledger = await Ledger.open_in(place)
    await ledger.mail.post(docs, [at(shop)], "hello", now=NOW)
    await ledger.aclose()
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    monkeypatch.setattr("infra_mcp.ledger.revisions.REVISIONS", ("0001",))
    monkeypatch.setattr("infra_mcp.ledger.revisions.HEAD", "0001")
    with pytest.raises(InfraError) as caught:
        await Ledger.open_in(place)
    assert caught.value.code == "ledger-newer"
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
