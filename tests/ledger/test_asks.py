"""Asks and the delivery of their acks."""

import pytest

from infra_mcp.ledger import AskIn, Ledger
from infra_mcp.model.peer import Address

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


@pytest.mark.promise("report.ack", "audit.every-change")
async def test_an_ask_that_becomes_no_request_is_kept_with_its_one_ack(ledger, docs):
    ask_id = await ledger.answer(docs, AskIn(text="make me a sandwich"), "not understood", "not-understood", NOW)
    ask = await ledger.ask(ask_id)
    assert (ask.sender, ask.circle, ask.receiver, ask.text) == ("docs", "docs", "infra", "make me a sandwich")
    assert (ask.state, ask.reply, ask.responder, ask.request) == ("acked", "not understood", "infra", None)
    event = (await ledger.search("sandwich", circle="docs")).events[0]
    assert (event.kind, event.ask, event.data["reply"]) == ("not-understood", ask_id, "not understood")
    assert await ledger.open_requests() == []


async def test_an_ask_nobody_made_is_not_there(ledger):
    assert await ledger.ask("ask-000000000000") is None


@pytest.mark.promise("report.ack")
async def test_an_ack_waits_until_it_was_delivered_even_through_a_restart(
    ledger, accept, receipt, place, docs, at, undelivered
):
    taken = await accept(ledger, ask="w")
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    await ledger.aclose()
    again = await Ledger.open_in(place)
    try:
        waiting = (await again.mail.inbox(at(docs))).acks
        assert [(one.id, one.reply) for one in waiting] == [(taken.ask_id, "namespace docs-staging up")]
        assert (await again.mail.inbox(at(docs))).acks == waiting, "looking is not delivering"
        await again.delivered(taken.ask_id)
        await again.delivered(taken.ask_id)
        assert await undelivered(again) == set()
    finally:
        await again.aclose()


async def test_waiting_acks_are_found_by_whose_they_are(ledger, docs, shop, at, undelivered):
    first = await ledger.answer(docs, AskIn(text="a"), "r", "not-understood", NOW)
    second = await ledger.answer(shop, AskIn(text="b"), "r", "not-understood", NOW)
    assert [one.id for one in (await ledger.mail.inbox(at(shop))).acks] == [second]
    assert (await ledger.mail.inbox(Address(name="shop", circle="docs"))).acks == ()
    assert await undelivered(ledger) == {first, second}


async def test_delivery_of_an_ask_nobody_made_changes_nothing(ledger, undelivered):
    await ledger.delivered("ask-000000000000")
    assert await undelivered(ledger) == set()
