"""Rows of mail and approvals that someone changed past the ledger, while the chain is whole."""

import pytest

from infra_mcp.ledger import Ledger, ReleaseIn
from infra_mcp.model.approval import Approval
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW, LATER = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"
EFFECT = "sha256:" + "e" * 64


@pytest.fixture
async def full(ledger, receipt, docs, shop, at, infra, attendant, deploy, submission):
    """A row of each kind; the ids by what they are."""
    mail = ledger.mail
    acked = await mail.open_ask(docs, at(shop), "between", attachments=[{"a": 1}], now=NOW)
    await mail.ack(shop, acked.id, "between too", now=NOW)
    opened = await mail.open_ask(shop, at(docs), "and back", now=NOW)
    to_infra = await mail.open_ask(docs, infra, "to infra", now=NOW)
    await mail.claim(to_infra.id, "s1", now=NOW)
    await mail.ack(attendant("s1"), to_infra.id, "from infra", now=NOW)
    bare = await mail.open_ask(docs, infra, "seen only", now=NOW)
    await mail.claim(bare.id, "s1", now=NOW)
    await mail.ack(attendant("s1"), bare.id, None, now=NOW)
    note = await mail.post(docs, [at(shop)], "a note", now=NOW)
    sent = submission(deploy, channel="notify", words="w", scheduled=True)
    told = {"code": "older-version", "what": "old", "next": "-"}
    releases = [ReleaseIn(submission=sent, request_id="req-1"), ReleaseIn(refusal=told)]
    notify, _ = await mail.notified(docs, infra, "a release", releases, now=NOW)
    await ledger.record("req-1", State.AWAITING_APPROVAL, "parked", {}, effect_digest=EFFECT)
    said = {"request": "req-1", "effect_digest": EFFECT, "way": "cli", "strength": "token", "at": NOW, "expires": LATER}
    await ledger.approvals.give(Approval(**said, approve=True, approver="alice"))
    await ledger.approvals.give(Approval(**said, approve=False, approver="bob"))
    await ledger.approvals.use("req-1", EFFECT, NOW)
    await ledger.finish("req-1", receipt(await ledger.request("req-1"), message="it runs"), {})
    outcome = next(one for one in (await mail.inbox(at(docs))).messages if one.text == "it runs")
    ids = {"acked": acked, "opened": opened, "to_infra": to_infra, "bare": bare, "outcome": outcome}
    return {name: one.id for name, one in ids.items()} | {"note": note, "notify": notify, "request": "req-1"}


async def report_on(directory):
    opened = await Ledger.open_in(directory)
    try:
        return await opened.verify([])
    finally:
        await opened.aclose()


@pytest.mark.promise("audit.chain")
async def test_all_kinds_of_rows_say_what_their_events_say(copy, full):
    assert full
    report = await report_on(copy())
    assert (report.consistent, report.differing) == (True, ())


@pytest.mark.promise("audit.chain")
@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("UPDATE asks SET text = 'other words' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET attachments = '[]' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET attachments = 'NaN' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET reply = 'other words' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET reply = NULL WHERE text = 'between'", "acked"),
        ("UPDATE asks SET sender = 'site' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET circle = 'shop' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET receiver_circle = 'docs' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET closed = 'replied' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET state = 'open' WHERE text = 'between'", "acked"),
        ("UPDATE asks SET state = 'acked', reply = 'made up' WHERE text = 'and back'", "opened"),
        ("UPDATE asks SET reply_to = 'ask-x' WHERE text = 'and back'", "opened"),
        ("UPDATE asks SET text = 'drop everything' WHERE text = 'to infra'", "to_infra"),
        ("UPDATE asks SET text = '', purged = 'now' WHERE text = 'to infra'", "to_infra"),
        ("UPDATE asks SET reply = 'all is well' WHERE text = 'to infra'", "to_infra"),
        ("UPDATE asks SET request = 'req-1' WHERE text = 'to infra'", "to_infra"),
        ("UPDATE asks SET reply = 'all is well' WHERE text = 'seen only'", "bare"),
        ("UPDATE messages SET text = 'other words' WHERE text = 'a note'", "note"),
        ("UPDATE messages SET sender = 'site' WHERE text = 'a note'", "note"),
        ("UPDATE messages SET receiver = 'site' WHERE text = 'a note'", "note"),
        ("UPDATE messages SET kind = 'broadcast' WHERE text = 'a note'", "note"),
        ("DELETE FROM messages WHERE text = 'a note'", "note"),
        ("UPDATE messages SET text = 'a lie' WHERE text = 'a release'", "notify"),
        ("UPDATE messages SET text = 'it failed' WHERE text = 'it runs'", "outcome"),
        ("UPDATE messages SET receiver_circle = 'shop' WHERE text = 'it runs'", "outcome"),
        ("UPDATE requests SET attendant = 'infra'", "request"),
        ("UPDATE requests SET notify = NULL", "request"),
        ("UPDATE approvals SET approve = 1 WHERE approver = 'bob'", "request"),
        ("UPDATE approvals SET approver = 'carol' WHERE approver = 'alice'", "request"),
        ("UPDATE approvals SET effect_digest = 'sha256:f' WHERE approver = 'bob'", "request"),
        ("UPDATE approvals SET expires = '2099' WHERE approver = 'bob'", "request"),
        ("UPDATE approvals SET used = NULL", "request"),
        ("UPDATE approvals SET used = at WHERE approver = 'bob'", "request"),
    ],
)
async def test_a_row_that_no_longer_says_what_its_events_say_is_named(raw, copy, full, change, names):
    directory = copy()
    connection = raw(directory / "ledger.sqlite3")
    assert connection.execute(change).rowcount > 0
    report = await report_on(directory)
    assert (report.consistent, report.broken_at, report.differing) == (False, None, (full[names],))


@pytest.mark.promise("audit.chain")
@pytest.mark.parametrize(("table", "names"), [("asks", "acked"), ("requests", "request")])
async def test_a_row_that_is_gone_is_named(raw, copy, full, table, names):
    directory = copy()
    connection = raw(directory / "ledger.sqlite3")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(f"DELETE FROM {table} WHERE id = ?", [full[names]])
    assert full[names] in (await report_on(directory)).differing


async def test_verifying_takes_rows_in_pieces_too(ledger, full, docs, shop, at, monkeypatch):
    assert full
    monkeypatch.setattr("infra_mcp.ledger.audit._ROWS", 3)
    monkeypatch.setattr("infra_mcp.ledger.audit._PIECE", 4)
    for number in range(10):
        await ledger.mail.post(docs, [at(shop)], f"n{number}", now=NOW)
    report = await ledger.verify([])
    assert (report.consistent, report.differing) == (True, ())
