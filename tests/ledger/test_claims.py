"""Claims of attending sessions, and requests made on behalf of whoever asked."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import AskIn, Ledger
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"
INFRA = Address(name="infra")


async def refusal(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


@pytest.fixture
async def asked(ledger, docs):
    """An ask of docs to infra that the server could not answer."""
    return await ledger.mail.open_ask(docs, INFRA, "make it nicer", now=NOW)


@pytest.fixture
def act(ledger, accept):
    """Acts for docs in a session."""

    async def run(ask_id, session, action="docs-staging", **given):
        return await accept(ledger, action, on_behalf_of=ask_id, attendant="infra", session=session, **given)

    return run


# -- claiming


@pytest.mark.promise("attend.claim")
async def test_a_claimed_ask_is_one_sessions_and_claiming_it_again_changes_nothing(ledger, asked):
    first = await ledger.mail.claim(asked.id, "s1", now="2026-11-22T10:01:00Z")
    assert (first.claim, first.claimed_at) == ("s1", "2026-11-22T10:01:00.000000Z")
    head = await ledger.head()
    assert await ledger.mail.claim(asked.id, "s1", now="2026-11-22T10:02:00Z") == first
    assert await ledger.head() == head
    error = await refusal(ledger.mail.claim(asked.id, "s2", now=NOW))
    assert (error.code, await ledger.ask(asked.id)) == ("claim-taken", first)
    assert await ledger.mail.unanswered("infra") == [first], "it is still open"


@pytest.mark.promise("attend.claim")
async def test_a_claim_dies_with_its_session_and_the_ask_is_free_again(ledger, asked, docs):
    other = await ledger.mail.open_ask(docs, INFRA, "another", now=NOW)
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    await ledger.mail.claim(other.id, "s2", now=NOW)
    assert await ledger.mail.release("s1") == [asked.id]
    assert ((await ledger.ask(asked.id)).claim, (await ledger.ask(other.id)).claim) == (None, "s2")
    assert (await ledger.mail.claim(asked.id, "s2", now=NOW)).claim == "s2"
    assert await ledger.mail.release("s1") == []
    kinds = [one.kind for one in (await ledger.search("", circle="docs")).events]
    assert kinds == ["claimed", "released", "claimed", "claimed", "asked", "asked"], "the asker finds them"


@pytest.mark.promise("attend.claim")
async def test_a_server_that_starts_again_gives_back_what_dead_sessions_held(ledger, asked, place):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    await ledger.aclose()
    again = await Ledger.open_in(place)
    try:
        assert (await again.ask(asked.id)).claim == "s1", "a claim is on disk"
        assert await again.mail.release(None) == [asked.id]
        assert await again.mail.release(None) == []
        assert (await again.mail.claim(asked.id, "s2", now=NOW)).claim == "s2"
    finally:
        await again.aclose()


@pytest.mark.promise("attend.claim")
async def test_what_is_not_open_to_infra_cannot_be_claimed(ledger, asked, accept, docs, shop, at, attendant):
    await ledger.add_peer("alice", "", operator=True)
    between = await ledger.mail.open_ask(docs, at(shop), "x", now=NOW)
    to_alice = await ledger.mail.open_ask(docs, Address(name="alice"), "x", now=NOW)
    for ask_id in (between.id, to_alice.id, "ask-000000000000"):
        assert (await refusal(ledger.mail.claim(ask_id, "s1", now=NOW))).code == "not-found"
    in_work = await accept(ledger, ask="I need a namespace docs-staging")
    answered = await ledger.answer(docs, AskIn(text="x"), "no", "not-understood", NOW)
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    await ledger.mail.ack(attendant("s1"), asked.id, "done", now=NOW)
    for ask_id in (in_work.ask_id, answered, asked.id):
        for session in ("s1", "s2"):
            assert (await refusal(ledger.mail.claim(ask_id, session, now=NOW))).code == "claim-taken"


# -- acking what was claimed


@pytest.mark.promise("attend.claim")
async def test_an_attendant_acks_what_it_claimed_in_the_infra_peers_name(ledger, asked, attendant, docs, at):
    for session in ("s1", "s2"):
        assert (await refusal(ledger.mail.ack(attendant(session), asked.id, "x", now=NOW))).code == "claim-taken"
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    assert (await refusal(ledger.mail.ack(attendant("s2"), asked.id, "x", now=NOW))).code == "claim-taken"
    server = Caller(name="infra", circle=None, strength="same-user")
    assert (await refusal(ledger.mail.ack(server, asked.id, "help", now=NOW))).code == "claim-taken"
    acked = await ledger.mail.ack(attendant("s1"), asked.id, "it is nicer now", now=NOW)
    assert (acked.state, acked.reply, acked.responder) == ("acked", "it is nicer now", "infra")
    assert (acked.acted_by, acked.claim) == ("s1", None)
    assert (await ledger.mail.inbox(at(docs))).acks == (acked,)
    assert await ledger.mail.release("s1") == []


async def test_the_server_itself_acks_what_nobody_claimed(ledger, asked):
    server = Caller(name="infra", circle=None, strength="same-user")
    acked = await ledger.mail.ack(server, asked.id, "what can be asked: …", now=NOW)
    assert (acked.reply, acked.acted_by) == ("what can be asked: …", None)


@pytest.mark.promise("attend.claim")
async def test_an_attendant_asks_back_what_it_claimed(ledger, asked, attendant, docs, at):
    one = attendant("s1")
    given = {"reply_to": asked.id, "now": NOW}
    assert (await refusal(ledger.mail.open_ask(one, at(docs), "how?", **given))).code == "claim-taken"
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    back = await ledger.mail.open_ask(one, at(docs), "how?", **given)
    closed = await ledger.ask(asked.id)
    assert (closed.closed, closed.reply, closed.acted_by) == ("replied", "how?", "s1")
    assert (back.sender, back.circle) == ("infra", None)
    await ledger.mail.ack(docs, back.id, "with flowers", now=NOW)
    assert [ack.reply for ack in (await ledger.mail.inbox(INFRA)).acks] == ["with flowers"]
    assert (await ledger.verify([])).consistent


# -- acting for the asker


@pytest.mark.promise("attend.claim")
async def test_a_request_on_behalf_is_the_askers_and_its_end_acks_the_ask(ledger, asked, act, docs, receipt, at):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    taken = await act(asked.id, "s1")
    assert (taken.fresh, taken.ask_id) == (True, asked.id)
    assert (taken.request.caller, taken.request.attendant, taken.request.ask) == (docs, "infra", asked.id)
    linked = await ledger.ask(asked.id)
    assert (linked.request, linked.acted_by, linked.state) == (taken.request.id, "s1", "open")
    assert await ledger.mail.unanswered("infra") == []
    assert await ledger.mail.release("s1") == [], "the request goes on without its session"
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    assert [ack.reply for ack in (await ledger.mail.inbox(at(docs))).acks] == ["namespace docs-staging up"]
    event = (await ledger.trail(taken.request.id))[0]
    assert {name: event.data[name] for name in ("attendant", "session", "on_behalf_of")} == {
        "attendant": "infra",
        "session": "s1",
        "on_behalf_of": asked.id,
    }
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("attend.claim")
async def test_without_the_claim_nobody_acts_for_an_ask(ledger, asked, act, attendant):
    assert (await refusal(act(asked.id, "s1"))).code == "claim-taken"
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    for ask_id, session in ((asked.id, "s2"), (asked.id, None), ("ask-000000000000", "s1")):
        assert (await refusal(act(ask_id, session))).code == "claim-taken"
    await ledger.mail.release("s1")
    assert (await refusal(act(asked.id, "s1"))).code == "claim-taken"
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    await ledger.mail.ack(attendant("s1"), asked.id, "no", now=NOW)
    assert (await refusal(act(asked.id, "s1"))).code == "claim-taken"
    assert await ledger.open_requests() == []


@pytest.mark.promise("attend.claim")
async def test_nobody_acts_in_the_name_of_another_than_the_asker(ledger, asked, act, shop):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    namesake = Caller(name="docs", circle="shop", strength="token")
    for caller in (shop, namesake):
        assert (await refusal(act(asked.id, "s1", caller=caller))).code == "claim-taken"


@pytest.mark.promise("attend.claim")
async def test_one_request_acts_for_an_ask(ledger, asked, act):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    first = await act(asked.id, "s1", idempotency_key="k")
    assert (await refusal(act(asked.id, "s1", "docs-other"))).code == "claim-taken"
    assert (await refusal(act(asked.id, "s1"))).code == "claim-taken"
    again = await act(asked.id, "s1", idempotency_key="k")
    assert (again.fresh, again.request.id, again.ask_id) == (False, first.request.id, asked.id)


async def test_what_became_a_request_is_not_acked_by_hand(ledger, asked, act, attendant, docs, at):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    await act(asked.id, "s1")
    assert (await refusal(ledger.mail.ack(attendant("s1"), asked.id, "done", now=NOW))).code == "claim-taken"
    back = ledger.mail.open_ask(attendant("s1"), at(docs), "how?", reply_to=asked.id, now=NOW)
    assert (await refusal(back)).code == "claim-taken"


async def test_a_preview_on_behalf_leaves_the_ask_for_the_real_thing(ledger, asked, act, receipt):
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    preview = await act(asked.id, "s1", dry_run=True)
    assert (preview.ask_id, preview.request.ask, (await ledger.ask(asked.id)).request) == (None, None, None)
    await ledger.finish(preview.request.id, receipt(preview.request, State.PREVIEWED, "would do"), {})
    assert (await ledger.ask(asked.id)).state == "open"
    assert (await act(asked.id, "s1")).ask_id == asked.id
    assert (await ledger.verify([])).consistent


@pytest.mark.parametrize("ended", [True, False])
async def test_an_ask_whose_request_was_made_before_by_key_waits_for_the_same_end(
    ledger, asked, act, accept, receipt, ended
):
    first = await accept(ledger, idempotency_key="ci-1")
    if ended:
        await ledger.finish(first.request.id, receipt(first.request), {})
    assert (await refusal(act(asked.id, "s1", idempotency_key="ci-1"))).code == "claim-taken"
    await ledger.mail.claim(asked.id, "s1", now=NOW)
    joined = await act(asked.id, "s1", idempotency_key="ci-1")
    assert (joined.fresh, joined.request.id, joined.ask_id) == (False, first.request.id, asked.id)
    if not ended:
        assert (await ledger.ask(asked.id)).state == "open"
        await ledger.finish(first.request.id, receipt(first.request), {})
    assert (await ledger.ask(asked.id)).reply == "namespace docs-staging up"
    assert (await ledger.verify([])).consistent
