"""What retention takes, and what it leaves."""

import pytest

from infra_mcp.ledger import AskIn

pytestmark = pytest.mark.anyio
OLD, NEW = "2026-01-01T10:00:00Z", "2026-11-22T10:00:00Z"
BEFORE = "2026-06-01T00:00:00Z"
WORDS = "a sentence that nobody needs any more"


@pytest.fixture
def mail(ledger, docs, shop, at):
    """An old ask between peers, acked, its ack seen."""

    async def run(asked=OLD, acked=OLD, *, seen=True):
        sent = await ledger.mail.open_ask(docs, at(shop), WORDS, attachments=[{"a": WORDS}], now=asked)
        await ledger.mail.ack(shop, sent.id, f"re: {WORDS}", attachments=[{"b": WORDS}], now=acked)
        if seen:
            await ledger.mail.mark_read(at(docs), [sent.id], now=acked)
        return sent.id

    return run


async def test_the_words_of_a_closed_ask_between_peers_go_and_who_and_when_stay(ledger, mail, place):
    sent = await mail()
    before = await ledger.ask(sent)
    # Some systems' SQLite overwrites by itself; not all do.
    await ledger._database.read(lambda connection: connection.exec_driver_sql("PRAGMA secure_delete=OFF").all())
    assert await ledger.mail.purge(BEFORE) == 1
    after = await ledger.ask(sent)
    gone = {"text": "", "attachments": (), "reply": None, "reply_attachments": (), "purged": after.purged}
    assert after == before.model_copy(update=gone)
    assert after.purged is not None
    assert await ledger.mail.purge(BEFORE) == 0
    await ledger.aclose()
    for file in place.iterdir():
        assert WORDS.encode() not in file.read_bytes(), file.name


async def test_what_is_open_or_newer_stays(ledger, mail, docs, shop, at):
    opened = await ledger.mail.open_ask(docs, at(shop), WORDS, now=OLD)
    newer = await mail(OLD, NEW)
    assert await ledger.mail.purge(BEFORE) == 0
    for ask_id in (opened.id, newer):
        assert (await ledger.ask(ask_id)).text == WORDS


async def test_what_its_sender_has_not_seen_stays(ledger, mail, docs, at):
    sent = await mail(seen=False)
    assert await ledger.mail.purge(BEFORE) == 0
    kept = await ledger.ask(sent)
    assert (kept.text, kept.reply, kept.purged) == (WORDS, f"re: {WORDS}", None)
    await ledger.mail.mark_read(at(docs), [sent], now=NEW)
    assert await ledger.mail.purge(BEFORE) == 1
    assert (await ledger.ask(sent)).reply is None
    assert (await ledger.verify([])).consistent


async def test_messages_go_once_they_were_read(ledger, docs, shop, at, infra):
    read = await ledger.mail.post(docs, [at(shop), infra], WORDS, now=OLD)
    unread = await ledger.mail.post(docs, [at(shop)], WORDS, now=OLD)
    await ledger.mail.mark_read(at(shop), [read], now=OLD)
    assert await ledger.mail.purge(BEFORE) == 1
    assert [(one.id, one.text) for one in (await ledger.mail.inbox(at(shop))).messages] == [(unread, WORDS)]
    assert [one.id for one in (await ledger.mail.inbox(infra)).messages] == [read], "its own copy is not read"


async def test_what_was_asked_of_the_infra_peer_and_the_chain_stay(ledger, accept, receipt, docs):
    taken = await accept(ledger, ask=WORDS, now=OLD)
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    answered = await ledger.answer(docs, AskIn(text=WORDS), "no", "not-understood", OLD)
    await ledger.delivered(answered)
    head = await ledger.head()
    assert await ledger.mail.purge("2099-01-01") == 0
    assert (await ledger.ask(answered)).text == (await ledger.ask(taken.ask_id)).text == WORDS
    assert (await ledger.request(taken.request.id)).words == WORDS
    assert await ledger.head() == head


@pytest.mark.promise("audit.chain")
async def test_the_ledger_adds_up_after_it_and_says_that_it_was(ledger, mail, docs, shop, at):
    await mail()
    read = await ledger.mail.post(docs, [at(shop)], WORDS, now=OLD)
    await ledger.mail.mark_read(at(shop), [read], now=OLD)
    head = await ledger.head()
    assert await ledger.mail.purge(BEFORE) == 2
    newest = (await ledger.search("", circle=None)).events[0]
    assert (newest.kind, newest.data) == ("messages-purged", {"before": "2026-06-01T00:00:00.000000Z", "count": 2})
    report = await ledger.verify([head])
    assert report.consistent
    assert report.proved_to == report.events - 1
