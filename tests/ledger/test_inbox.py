"""Inboxes: what waits for whom, in which order, and who may say that it was read."""

import pytest

from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address, Caller

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"
NAMESAKE = Caller(name="shop", circle="docs", strength="token")


@pytest.fixture
async def full(ledger, docs, shop, at):
    """Something of each kind for shop: two asks, a notify and a broadcast, an ack of its own ask. Ids by what it is."""
    mail, to = ledger.mail, [at(shop)]
    own = await mail.open_ask(shop, at(docs), "own", now=NOW)
    await mail.ack(docs, own.id, "yes", now=NOW)
    return {
        "first": (await mail.open_ask(docs, at(shop), "first", now=NOW)).id,
        "notify": await mail.post(docs, to, "note", now=NOW),
        "second": (await mail.open_ask(docs, at(shop), "second", now="2026-11-22T09:00:00Z")).id,
        "broadcast": await mail.post(docs, [*to, at(NAMESAKE)], "all", "broadcast", now=NOW),
        "own": own.id,
    }


def ids(inbox):
    return [[one.id for one in kind] for kind in (inbox.asks, inbox.messages, inbox.acks)]


def everything(full):
    return [[full["first"], full["second"]], [full["notify"], full["broadcast"]], [full["own"]]]


@pytest.mark.promise("mesh.durable")
async def test_looking_marks_nothing_even_through_a_restart(ledger, full, shop, at, place):
    assert ids(await ledger.mail.inbox(at(shop))) == everything(full)
    await ledger.aclose()
    again = await Ledger.open_in(place)
    try:
        for _ in range(2):
            assert ids(await again.mail.inbox(at(shop))) == everything(full), "the oldest first, as they came"
    finally:
        await again.aclose()


@pytest.mark.promise("mesh.durable")
async def test_what_its_receiver_marks_is_marked_and_an_ask_stays_open(ledger, full, shop, at):
    marked = await ledger.mail.mark_read(at(shop), list(full.values()), now="2026-11-22T11:00:00Z")
    assert marked == 5
    assert ids(await ledger.mail.inbox(at(shop))) == [[full["first"], full["second"]], [], []]
    assert (await ledger.ask(full["first"])).seen == "2026-11-22T11:00:00.000000Z"
    assert (await ledger.ask(full["own"])).seen is None, "shop sent that one"
    assert await ledger.mail.mark_read(at(shop), list(full.values()), now=NOW) == 0


@pytest.mark.promise("mesh.durable")
@pytest.mark.parametrize(
    ("other", "its_own"),
    [
        (Address(name="docs", circle="docs"), 1),  # the ask that shop sent it
        (Address(name="shop", circle="docs"), 1),  # its copy of the broadcast
        (Address(name="shop"), 0),
        (Address(name="infra"), 0),
    ],
    ids=["the sender", "a namesake", "an operator of that name", "infra"],
)
async def test_nobody_marks_what_is_anothers(ledger, full, shop, at, other, its_own):
    assert await ledger.mail.mark_read(other, list(full.values()), now=NOW) == its_own
    assert ids(await ledger.mail.inbox(at(shop))) == everything(full)
    assert (await ledger.ask(full["first"])).seen is None


async def test_inboxes_are_of_a_name_in_a_circle(ledger, full, at):
    assert ids(await ledger.mail.inbox(at(NAMESAKE))) == [[], [full["broadcast"]], []]
    assert ids(await ledger.mail.inbox(Address(name="shop"))) == [[], [], []]


async def test_the_infra_peers_and_operators_inboxes_are_without_a_circle(ledger, docs, infra, at):
    alice = Caller(name="alice", circle=None, strength="token", operator=True)
    note = await ledger.mail.post(docs, [Address(name="alice", circle="")], "for the operator", now=NOW)
    asked = await ledger.mail.open_ask(docs, infra, "for infra", now=NOW)
    assert ids(await ledger.mail.inbox(at(alice))) == [[], [note], []]
    assert ids(await ledger.mail.inbox(infra)) == [[asked.id], [], []]
    assert await ledger.mail.mark_read(Address(name="alice", circle=""), [note], now=NOW) == 1


async def test_an_ask_that_is_a_request_waits_for_its_end_and_not_for_an_answer(ledger, accept, infra):
    await accept(ledger, ask="I need a namespace docs-staging")
    assert ids(await ledger.mail.inbox(infra)) == [[], [], []]
    assert await ledger.mail.unanswered("infra") == []


async def test_more_than_is_shown_is_counted(ledger, docs, shop, at):
    for number in range(5):
        await ledger.mail.open_ask(docs, at(shop), f"a{number}", now=NOW)
        await ledger.mail.post(docs, [at(shop)], f"m{number}", now=NOW)
    acked = await ledger.mail.open_ask(shop, at(docs), "x", now=NOW)
    await ledger.mail.ack(docs, acked.id, None, now=NOW)
    inbox = await ledger.mail.inbox(at(shop), limit=3)
    assert [one.text for one in inbox.asks] == ["a0", "a1", "a2"]
    assert [one.text for one in inbox.messages] == ["m0", "m1", "m2"]
    assert inbox.more == {"asks": 2, "messages": 2, "acks": 0}
    assert (await ledger.mail.inbox(at(shop), limit=5)).more == {"asks": 0, "messages": 0, "acks": 0}


async def test_a_broadcast_has_one_id_one_event_and_a_copy_for_each(ledger, docs, shop, at):
    others = [Address(name=f"p{number}", circle="many") for number in range(3)]
    sent = await ledger.mail.post(docs, [at(shop), *others], "to all", "broadcast", now=NOW)
    for one in (at(shop), *others):
        (copy,) = (await ledger.mail.inbox(one)).messages
        assert (copy.id, copy.kind, copy.text, copy.sender, copy.circle) == (
            sent,
            "broadcast",
            "to all",
            "docs",
            "docs",
        )
    (event,) = (await ledger.search("", circle=None)).events
    assert (event.kind, event.data["id"]) == ("broadcast", sent)
    assert event.data["to"] == ["shop/shop", "many/p0", "many/p1", "many/p2"]
    assert "to all" not in event.model_dump_json()
    await ledger.mail.mark_read(others[0], [sent], now=NOW)
    assert (await ledger.mail.inbox(others[1])).messages != ()
    assert (await ledger.verify([])).consistent


async def test_many_ids_are_marked_at_once(ledger, docs, shop, at):
    sent = [await ledger.mail.post(docs, [at(shop)], "x", now=NOW) for _ in range(3)]
    ids_given = [f"notif-{number:012}" for number in range(1_200)] + sent + sent
    assert await ledger.mail.mark_read(at(shop), ids_given, now=NOW) == 3


async def test_one_message_is_shown_to_its_receiver_read_or_not(ledger, full, docs, shop, at):
    found = await ledger.mail.message(at(shop), full["broadcast"])
    assert (found.text, found.receiver, found.receiver_circle) == ("all", "shop", "shop")
    await ledger.mail.mark_read(at(shop), [full["broadcast"]], now=NOW)
    assert (await ledger.mail.message(at(shop), full["broadcast"])).read is not None
    for other in (at(docs), Address(name="shop")):
        assert await ledger.mail.message(other, full["broadcast"]) is None
    assert await ledger.mail.message(at(NAMESAKE), full["notify"]) is None
