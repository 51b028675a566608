"""Verification of a real ledger file that someone changed past the ledger."""

import json

import pytest

from infra_mcp.ledger import Ledger
from infra_mcp.ledger.chain import FIELDS, link
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
REORDERED = """
UPDATE events SET seq = CASE seq WHEN 4 THEN -5 WHEN 5 THEN -4 END WHERE seq IN (4, 5);
UPDATE events SET seq = -seq WHERE seq < 0;
"""
INSERTED = """
UPDATE events SET seq = seq + 100 WHERE seq >= 4;
UPDATE events SET seq = seq - 99 WHERE seq >= 104;
INSERT INTO events SELECT 4, at, 'made-up', state, request, ask, peer, circle, namespaces, objects, text, data, prev,
    'made-up' FROM events WHERE seq = 5;
"""
TRIGGERS = ("events_no_update", "events_no_delete", "events_in_order")


@pytest.fixture
async def heads(ledger, accept, receipt):
    """A ledger with three requests ended, and the heads that went out with their acks."""
    given = []
    for number in range(3):
        taken = await accept(ledger, f"docs-{number}", ask=f"I need a namespace docs-{number}")
        await ledger.record(taken.request.id, State.PLANNED, "planned", {"n": number})
        given.append((await ledger.finish(taken.request.id, receipt(taken.request), {})).audit_head)
    return given


async def report_on(directory, heads=()):
    opened = await Ledger.open_in(directory)
    try:
        return await opened.verify(heads)
    finally:
        await opened.aclose()


def unguarded(raw, directory):
    connection = raw(directory / "ledger.sqlite3")
    for trigger in TRIGGERS:
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


@pytest.mark.promise("audit.chain")
async def test_an_untouched_ledger_is_proved_up_to_the_newest_head_given_out(copy, heads):
    report = await report_on(copy(), heads)
    assert report.consistent
    assert (report.events, report.proved_to, report.broken_at, report.missing_heads) == (9, 9, None, ())
    assert (await report_on(copy(), heads[:2])).proved_to == 6


@pytest.mark.promise("audit.chain")
async def test_without_heads_only_consistency_is_claimed(copy, heads):
    assert heads
    report = await report_on(copy())
    assert (report.consistent, report.proved_to, report.missing_heads) == (True, None, ())


@pytest.mark.promise("audit.chain")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET text = 'nothing happened' WHERE seq = 4",
        "UPDATE events SET peer = 'shop' WHERE seq = 4",
        "UPDATE events SET circle = NULL WHERE seq = 4",
        "UPDATE events SET data = '{}' WHERE seq = 4",
        "UPDATE events SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 4",
        "UPDATE events SET state = 'refused' WHERE seq = 4",
        "UPDATE events SET namespaces = '[]' WHERE seq = 4",
        "DELETE FROM events WHERE seq = 4",
        REORDERED,
        INSERTED,
    ],
    ids=["text", "peer", "circle", "data", "time", "state", "namespaces", "deleted", "reordered", "inserted"],
)
async def test_an_edited_ledger_is_noticed(raw, copy, heads, change):
    directory = copy()
    unguarded(raw, directory).executescript(change)
    report = await report_on(directory, heads)
    assert not report.consistent
    assert report.broken_at == 4
    assert report.proved_to == 3
    assert set(report.missing_heads) == set(heads[1:])


@pytest.mark.promise("audit.chain")
async def test_a_cut_ledger_is_noticed_against_a_head_given_out(raw, copy, heads):
    directory = copy()
    connection = unguarded(raw, directory)
    newest = connection.execute("SELECT request FROM events WHERE seq = 9").fetchone()["request"]
    for table, column in (("subjects", "request"), ("asks", "request"), ("requests", "id"), ("events", "request")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [newest])
    report = await report_on(directory)
    assert report.consistent, "without heads the cut cannot be known"
    report = await report_on(directory, heads)
    assert (report.proved_to, report.missing_heads) == (6, (heads[2],))


@pytest.mark.promise("audit.chain")
async def test_a_ledger_rewritten_with_right_hashes_is_noticed_against_a_head_given_out(raw, copy, heads):
    directory = copy()
    connection = unguarded(raw, directory)
    connection.execute("UPDATE events SET peer = 'shop' WHERE seq = 4")
    connection.execute("UPDATE requests SET caller = 'shop' WHERE position = 4")
    connection.execute("UPDATE asks SET sender = 'shop' WHERE request = (SELECT id FROM requests WHERE position = 4)")
    prev = None
    for row in connection.execute("SELECT * FROM events ORDER BY seq").fetchall():
        event = dict(row) | ({"prev": prev} if prev else {})
        prev = link({name: event[name] for name in FIELDS})
        connection.execute("UPDATE events SET prev = ?, hash = ? WHERE seq = ?", [event["prev"], prev, row["seq"]])
        if row["kind"] == "finished":
            told = json.dumps(json.loads(row["data"])["receipt"] | {"audit_head": prev})
            connection.execute("UPDATE requests SET receipt = ? WHERE id = ?", [told, row["request"]])
    assert (await report_on(directory)).consistent, "without heads it cannot be known"
    report = await report_on(directory, heads)
    assert (report.proved_to, set(report.missing_heads)) == (3, set(heads[1:]))


@pytest.mark.promise("audit.chain")
@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("UPDATE requests SET state = 'refused' WHERE position = 4", "request"),
        ("UPDATE requests SET words = 'delete everything' WHERE position = 4", "request"),
        ("UPDATE requests SET caller = 'shop' WHERE position = 4", "request"),
        ("UPDATE requests SET action = replace(action, 'docs-1', 'shop-1') WHERE position = 4", "request"),
        ("UPDATE requests SET receipt = replace(receipt, 'up', 'gone') WHERE position = 4", "request"),
        ("UPDATE asks SET reply = 'all is well' WHERE text LIKE '%docs-1'", "ask"),
        ("UPDATE asks SET sender = 'shop' WHERE text LIKE '%docs-1'", "ask"),
        ("UPDATE asks SET text = 'other words' WHERE text LIKE '%docs-1'", "ask"),
    ],
)
async def test_a_row_that_no_longer_says_what_its_events_say_is_noticed(raw, copy, heads, change, names):
    directory = copy()
    connection = raw(directory / "ledger.sqlite3")
    row = connection.execute("SELECT id AS request, ask FROM requests WHERE position = 4").fetchone()
    connection.execute(change)
    report = await report_on(directory, heads)
    assert not report.consistent
    assert report.broken_at is None
    assert report.differing == (row[names],)


@pytest.mark.parametrize(
    "change", ["UPDATE events SET text = 'x'", "DELETE FROM events", "REPLACE INTO events SELECT * FROM events"]
)
async def test_the_file_itself_refuses_to_change_events(raw, ledger, heads, change):
    assert heads
    connection = raw()
    with pytest.raises(Exception, match="append-only"):
        connection.execute(change)
    assert (await ledger.verify(heads)).consistent


async def test_verification_goes_on_while_requests_come_in(ledger, accept, monkeypatch):
    monkeypatch.setattr("infra_mcp.ledger.audit._PIECE", 2)
    for number in range(5):
        await accept(ledger, f"docs-{number}")
    read, pieces = ledger._database.read, []

    async def counted(step):
        found = await read(step)
        pieces.append(found)
        if len(pieces) == 2:
            await accept(ledger, "docs-late")
        return found

    head = await ledger.head()
    monkeypatch.setattr(ledger._database, "read", counted)
    report = await ledger.verify([head])
    assert (report.consistent, report.events, report.proved_to) == (True, 6, 5)
    assert pieces[:-1] == [True, True, True, True, False], "three of events, one of rows"
