"""Asks between any two peers, and their one ack."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

import infra_mcp
from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address, Caller

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"
PACKAGE = {"PYTHONPATH": str(Path(infra_mcp.__file__).parent.parent)}
# A process that is killed the moment the last of several writes has returned.
KILLED = """
import anyio, os, signal, sys
from pathlib import Path
from infra_mcp.ledger import Ledger
from infra_mcp.model.peer import Address, Caller

NOW = "2026-11-22T10:00:00Z"

async def main():
    mail = (await Ledger.open_in(Path(sys.argv[1]))).mail
    docs, shop = (Caller(name=name, circle=name, strength="token") for name in ("docs", "shop"))
    to_shop, infra = Address(name="shop", circle="shop"), Address(name="infra")
    kept = [(await mail.open_ask(docs, to_shop, "open", now=NOW)).id]
    kept.append((await mail.open_ask(docs, to_shop, "acked", now=NOW)).id)
    await mail.ack(shop, kept[1], "done", now=NOW)
    kept.append(await mail.post(docs, [to_shop], "note", now=NOW))
    kept.append((await mail.open_ask(docs, infra, "claimed", now=NOW)).id)
    await mail.claim(kept[3], "session-1", now=NOW)
    print(*kept, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


async def refusal(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


@pytest.fixture
def asked(ledger, docs, shop, at):
    """Has docs ask shop, unless told otherwise."""

    async def run(text="which version runs?", *, sender=docs, receiver=None, **given):
        return await ledger.mail.open_ask(sender, receiver or at(shop), text, now=NOW, **given)

    return run


@pytest.mark.process
@pytest.mark.promise("mesh.durable")
async def test_what_was_accepted_survives_a_kill_the_moment_it_was_answered(place, at, docs, shop):
    done = await anyio.run_process([sys.executable, "-c", KILLED, str(place)], env=os.environ | PACKAGE, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    opened, acked, note, claimed = done.stdout.decode().split()
    ledger = await Ledger.open_in(place)
    try:
        inbox = await ledger.mail.inbox(at(shop))
        assert [(one.id, one.text) for one in inbox.asks] == [(opened, "open")]
        assert [(one.id, one.text) for one in inbox.messages] == [(note, "note")]
        assert [(one.id, one.reply) for one in (await ledger.mail.inbox(at(docs))).acks] == [(acked, "done")]
        assert (await ledger.ask(claimed)).claim == "session-1"
        assert (await ledger.verify([])).consistent
    finally:
        await ledger.aclose()


@pytest.mark.promise("mesh.durable")
async def test_an_ask_is_kept_with_its_words_and_its_two_ends(ledger, asked):
    sent = await asked(attachments=[{"type": "file", "text": "a page"}])
    found = await ledger.ask(sent.id)
    assert found == sent
    assert (found.sender, found.circle, found.receiver, found.receiver_circle) == ("docs", "docs", "shop", "shop")
    assert (found.text, found.attachments) == ("which version runs?", ({"type": "file", "text": "a page"},))
    assert (found.state, found.reply, found.seen) == ("open", None, None)


async def test_each_ask_is_a_new_one_whatever_its_words(ledger, asked, at, shop):
    first, second = await asked(), await asked()
    assert first.id != second.id
    assert [one.id for one in (await ledger.mail.inbox(at(shop))).asks] == [first.id, second.id]


@pytest.mark.promise("secrets.nowhere", "intake.verbatim")
async def test_what_looks_like_a_secret_is_masked_before_it_is_kept(ledger, asked, shop, docs, at, place):
    leak = "password=hunter2-IS-SECRET"
    sent = await asked(f"log in, {leak} please", attachments=[{"note": leak, "token": "hunter2-IS"}])
    assert sent.text.startswith("log in, password=[masked:")
    assert sent.text.endswith("] please")
    await ledger.mail.ack(shop, sent.id, f"no: {leak}", attachments=[{"x": leak}], now=NOW)
    await ledger.mail.post(docs, [at(shop)], leak, now=NOW)
    await ledger.mail.notified(docs, Address(name="infra"), leak, [], now=NOW)
    await ledger.aclose()
    files = [file.read_bytes() for file in place.iterdir()]
    assert any(b"[masked:" in content for content in files)
    assert not any(b"hunter2" in content for content in files)


async def test_between_peers_the_chain_has_length_and_hash_and_no_words(ledger, asked, shop, place):
    sent = await asked("the words of docs", attachments=[{"a": "attached"}])
    await ledger.mail.ack(shop, sent.id, "the words of shop", now=NOW)
    found = {one.kind: one for one in (await ledger.search("", circle=None)).events}
    asked_event, acked = found["asked"], found["acked"]
    assert (asked_event.ask, asked_event.peer, asked_event.circle) == (sent.id, "docs", "docs")
    assert (asked_event.data["from"], asked_event.data["to"], asked_event.data["length"]) == (
        "docs/docs",
        "shop/shop",
        17,
    )
    assert (acked.ask, acked.peer, acked.data["length"]) == (sent.id, "shop", 17)
    for one in (asked_event, acked):
        assert one.data["hash"].startswith("hmac:")
        assert "words" not in one.model_dump_json()
        assert "attached" not in one.model_dump_json()
    assert (await ledger.search("words", circle=None)).total == 0
    assert place


async def test_equal_words_have_equal_hashes_and_other_ledgers_others(ledger, asked, docs, shop, at, tmp_path):
    for text in ("yes", "yes", "no"):
        await asked(text)
    hashes = [one.data["hash"] for one in (await ledger.search("", circle=None)).events]
    assert hashes[1] == hashes[2] != hashes[0]
    other = await Ledger.open_in(tmp_path / "other")
    await other.mail.open_ask(docs, at(shop), "yes", now=NOW)
    assert (await other.search("", circle=None)).events[0].data["hash"] not in hashes
    await other.aclose()


async def test_to_and_from_the_infra_peer_the_words_stand_in_the_chain_and_the_asker_finds_them(
    ledger, asked, infra, attendant, docs
):
    sent = await asked("make room for docs", receiver=infra)
    await ledger.mail.claim(sent.id, "s1", now=NOW)
    await ledger.mail.ack(attendant("s1"), sent.id, "there is room", now=NOW)
    found = [(one.kind, one.text) for one in (await ledger.search("room", circle=docs.circle)).events]
    assert found == [("acked", "there is room"), ("asked", "make room for docs")]
    assert (await ledger.search("room", circle="shop")).total == 0


# -- acks


@pytest.mark.promise("mesh.durable")
async def test_an_ack_with_a_message_is_the_reply_and_waits_for_the_asker(ledger, asked, shop, docs, at):
    sent = await asked()
    acked = await ledger.mail.ack(shop, sent.id, "0.13.4", attachments=[{"n": 1}], now="2026-11-22T10:00:01Z")
    assert (acked.state, acked.closed, acked.reply, acked.responder) == ("acked", "acked", "0.13.4", "shop")
    assert (acked.reply_attachments, acked.acked_at) == (({"n": 1},), "2026-11-22T10:00:01.000000Z")
    assert await ledger.ask(sent.id) == acked
    assert (await ledger.mail.inbox(at(shop))).asks == ()
    assert (await ledger.mail.inbox(at(docs))).acks == (acked,)


async def test_an_ack_without_a_message_says_only_that_it_was_seen(ledger, asked, shop):
    acked = await ledger.mail.ack(shop, (await asked()).id, None, now=NOW)
    assert (acked.state, acked.reply) == ("acked", None)
    assert (await ledger.verify([])).consistent


async def test_the_same_ack_again_changes_nothing_and_another_is_told(ledger, asked, shop):
    sent = await asked()
    first = await ledger.mail.ack(shop, sent.id, "0.13.4, password=hunter2-IS-SECRET", now=NOW)
    head = await ledger.head()
    again = await ledger.mail.ack(shop, sent.id, "0.13.4, password=hunter2-IS-SECRET", now=NOW)
    bare = await ledger.mail.ack(shop, sent.id, None, now=NOW)
    assert first == again == bare
    for other in ({"message": "0.13.5"}, {"message": first.reply, "attachments": [{"n": 1}]}):
        error = await refusal(ledger.mail.ack(shop, sent.id, other.pop("message"), now=NOW, **other))
        assert error.code == "already-acked"
    assert await ledger.head() == head


async def test_only_the_one_who_was_asked_can_ack(ledger, asked, docs, infra, attendant):
    sent = await asked()
    namesake = Caller(name="shop", circle="docs", strength="token")
    reader = Caller(name="shop", circle="shop", strength="same-user", reader=True)
    operator = Caller(name="shop", circle=None, strength="token", operator=True)
    unknown = await refusal(ledger.mail.ack(docs, "ask-000000000000", "x", now=NOW))
    for other in (docs, namesake, reader, operator, attendant("s1")):
        error = await refusal(ledger.mail.ack(other, sent.id, "x", now=NOW))
        assert (error.code, error.what) == ("not-found", unknown.what)
    to_infra = await asked(receiver=infra)
    assert (await refusal(ledger.mail.ack(docs, to_infra.id, "x", now=NOW))).code == "not-found"
    assert {(await ledger.ask(one.id)).state for one in (sent, to_infra)} == {"open"}


# -- replies by ask


@pytest.mark.promise("mesh.durable")
async def test_a_question_back_closes_the_ask_it_answers_in_the_same_transaction(ledger, asked, docs, shop, at):
    first = await asked("deploy please")
    back = await asked("which version?", sender=shop, receiver=at(docs), reply_to=first.id)
    closed = await ledger.ask(first.id)
    assert (closed.state, closed.closed, closed.reply, closed.responder) == (
        "acked",
        "replied",
        "which version?",
        "shop",
    )
    assert (back.state, back.reply_to) == ("open", first.id)
    inbox = await ledger.mail.inbox(at(docs))
    assert ([one.id for one in inbox.asks], [one.id for one in inbox.acks]) == ([back.id], [first.id])
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("mesh.durable")
async def test_the_same_reply_again_is_the_first_one_and_adds_nothing(ledger, asked, docs, shop, at):
    hung = [{"text": "the list of versions"}]
    first = await asked("deploy please")
    back = await asked("which version?", sender=shop, receiver=at(docs), reply_to=first.id, attachments=hung)
    head = await ledger.head()
    again = await asked("which version?", sender=shop, receiver=at(docs), reply_to=first.id, attachments=hung)
    assert (again, await ledger.head()) == (back, head)
    await ledger.mail.ack(docs, back.id, "0.13.4", now=NOW)
    acked = await asked("which version?", sender=shop, receiver=at(docs), reply_to=first.id, attachments=hung)
    assert (acked.id, acked.reply) == (back.id, "0.13.4")


@pytest.mark.promise("mesh.durable")
async def test_another_reply_to_an_ask_that_was_replied_to_is_refused(ledger, asked, docs, shop, at):
    first = await asked("deploy please")
    third = Caller(name="site", circle="docs", strength="token")
    await asked("which version?", sender=shop, receiver=at(docs), reply_to=first.id)
    head = await ledger.head()
    for given in ({"text": "which one?"}, {"text": "which version?", "attachments": [{"text": "these"}]}):
        error = await refusal(asked(sender=shop, receiver=at(docs), reply_to=first.id, **given))
        assert error.code == "already-acked"
    error = await refusal(asked("which version?", sender=third, receiver=at(docs), reply_to=first.id))
    assert error.code == "not-found"
    assert await ledger.head() == head


async def test_a_question_back_is_made_and_closes_or_neither(ledger, asked, docs, shop, at, monkeypatch):
    first = await asked()
    head = await ledger.head()

    def fail(*_given, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("infra_mcp.ledger.asks.close", fail)
    error = await refusal(asked(sender=shop, receiver=at(docs), reply_to=first.id))
    assert error.code == "ledger-unavailable"
    assert await ledger.head() == head
    assert (await ledger.mail.inbox(at(docs))).asks == ()


async def test_a_reply_must_answer_an_open_ask_of_that_receiver_to_the_sender(ledger, asked, docs, shop, at, infra):
    first = await asked()
    third = Caller(name="site", circle="docs", strength="token")
    for sender, receiver, reply_to in (
        (docs, at(shop), first.id),
        (third, at(docs), first.id),
        (shop, at(third), first.id),
        (shop, infra, first.id),
        (shop, at(docs), "ask-000000000000"),
    ):
        assert (await refusal(asked(sender=sender, receiver=receiver, reply_to=reply_to))).code == "not-found"
    await ledger.mail.ack(shop, first.id, None, now=NOW)
    error = await refusal(asked(sender=shop, receiver=at(docs), reply_to=first.id))
    assert error.code == "already-acked"
    assert (await ledger.mail.counts(at(shop), at(docs))).open_from_sender == 0


# -- how much


async def test_what_is_open_is_counted_by_name_and_circle(ledger, asked, docs, shop, at):
    namesake = Caller(name="docs", circle="shop", strength="token")
    await asked()
    await asked(receiver=at(namesake))
    await asked(sender=namesake)
    await ledger.mail.ack(shop, (await asked()).id, None, now=NOW)
    await ledger.mail.post(docs, [at(shop)], "x", now=NOW)
    there, back = await ledger.mail.counts(at(docs), at(shop)), await ledger.mail.counts(at(shop), at(docs))
    assert (there.open_from_sender, there.open_between, back.open_between) == (2, 1, 0)
    assert there.unread == 3, "two asks that are open, one message"
    assert back.unread == 0


async def test_an_exchange_is_as_deep_as_its_asks_answered_one_another(ledger, asked, docs, shop, at):
    last = await asked()
    for turn in range(6):
        sender, receiver = ((shop, docs), (docs, shop))[turn % 2]
        last = await asked(sender=sender, receiver=at(receiver), reply_to=last.id)
    assert await ledger.mail.depth(last.id) == 7
    assert await ledger.mail.depth((await asked()).id) == 1
    assert await ledger.mail.depth("ask-000000000000") == 0
    assert (await ledger.mail.counts(at(docs), at(shop), last.id)).depth == 7
