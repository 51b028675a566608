"""The same again: by the same words while the first is open, or by the same key."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio


async def refusal(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


@pytest.mark.promise("intake.dedupe")
async def test_the_same_ask_while_it_is_open_gives_the_first_and_adds_nothing(ledger, accept):
    first = await accept(ledger, ask="I need a namespace docs-staging")
    head = await ledger.head()
    again = await accept(ledger, ask="I need a namespace docs-staging")
    assert (again.fresh, again.ask_id, again.request) == (False, first.ask_id, first.request)
    assert await ledger.head() == head
    assert len(await ledger.open_requests()) == 1


@pytest.mark.promise("intake.dedupe")
async def test_the_same_ask_after_its_end_is_a_new_one(ledger, accept, receipt):
    first = await accept(ledger, ask="I need a namespace docs-staging")
    await ledger.finish(first.request.id, receipt(first.request), {})
    again = await accept(ledger, ask="I need a namespace docs-staging")
    assert again.fresh
    assert again.ask_id != first.ask_id


@pytest.mark.promise("intake.dedupe")
@pytest.mark.parametrize(
    "other",
    [{"ask": "I need a namespace docs-staging!"}, {"dry_run": True}, {"action": "docs-other"}],
    ids=["words", "dry run", "action"],
)
async def test_an_ask_that_differs_is_another_one(ledger, accept, other):
    first = await accept(ledger, ask="I need a namespace docs-staging")
    again = await accept(ledger, **({"ask": "I need a namespace docs-staging"} | other))
    assert again.fresh
    assert again.request.id != first.request.id


@pytest.mark.promise("intake.dedupe")
async def test_the_same_words_of_another_peer_are_another_ask(ledger, accept, shop):
    first = await accept(ledger, ask="I need a namespace docs-staging")
    again = await accept(ledger, ask="I need a namespace docs-staging", caller=shop)
    assert again.fresh
    assert again.ask_id != first.ask_id


async def test_the_same_call_of_a_tool_is_a_new_request(ledger, accept):
    first = await accept(ledger)
    assert (await accept(ledger)).request.id != first.request.id


@pytest.mark.promise("intake.dedupe")
async def test_the_same_key_gives_the_first_in_whatever_state_it_is(ledger, accept, receipt):
    first = await accept(ledger, idempotency_key="k")
    assert (await accept(ledger, idempotency_key="k")).request.id == first.request.id
    await ledger.record(first.request.id, State.PLANNED, "planned", {})
    again = await accept(ledger, idempotency_key="k", reason="another reason", words="other words")
    assert (again.fresh, again.request.state) == (False, State.PLANNED)
    await ledger.finish(first.request.id, receipt(first.request), {})
    head = await ledger.head()
    again = await accept(ledger, idempotency_key="k")
    assert (again.fresh, again.request.state) == (False, State.LANDED)
    assert again.request.receipt["message"] == "namespace docs-staging up"
    assert await ledger.head() == head


@pytest.mark.promise("intake.dedupe")
@pytest.mark.parametrize(
    "other", [{"action": "docs-other"}, {"dry_run": True}, {"action": Deploy(app="a", version="1")}]
)
async def test_the_same_key_with_other_arguments_is_refused_and_recorded(ledger, accept, other):
    first = await accept(ledger, idempotency_key="k")
    error = await refusal(accept(ledger, **({"idempotency_key": "k"} | other)))
    assert error.code == "idempotency-conflict"
    assert first.request.id in error.what
    assert len(await ledger.open_requests()) == 1
    newest = (await ledger.search("", circle="docs", limit=1)).events[0]
    assert (newest.kind, newest.data["code"]) == ("refused", "idempotency-conflict")


@pytest.mark.promise("intake.dedupe")
async def test_a_key_is_its_callers_own(ledger, accept, shop):
    first = await accept(ledger, idempotency_key="k")
    other = await accept(ledger, "docs-other", idempotency_key="k", caller=shop)
    assert other.fresh
    assert other.request.id != first.request.id


@pytest.mark.promise("intake.dedupe")
async def test_a_key_and_words_are_of_a_name_in_a_circle(ledger, accept):
    namesake = Caller(name="docs", circle="shop", strength="token")
    first = await accept(ledger, idempotency_key="k")
    other = await accept(ledger, "docs-other", idempotency_key="k", caller=namesake)
    assert (other.fresh, other.request.caller) == (True, namesake)
    assert not (await accept(ledger, idempotency_key="k")).fresh
    asked = await accept(ledger, ask="I need a namespace docs-staging")
    again = await accept(ledger, ask="I need a namespace docs-staging", caller=namesake)
    assert again.fresh
    assert again.ask_id != asked.ask_id != first.ask_id


@pytest.mark.promise("intake.dedupe", "report.ack")
async def test_an_ask_with_the_key_of_a_call_waits_for_the_same_end(ledger, accept, receipt):
    first = await accept(ledger, idempotency_key="k")
    asked = await accept(ledger, ask="the same by words", idempotency_key="k")
    assert (asked.fresh, asked.request.id) == (False, first.request.id)
    assert (await ledger.ask(asked.ask_id)).state == "open"
    await ledger.finish(first.request.id, receipt(first.request), {})
    assert (await ledger.ask(asked.ask_id)).reply == "namespace docs-staging up"
    late = await accept(ledger, ask="and again", idempotency_key="k")
    assert late.ask_id == asked.ask_id


@pytest.mark.promise("report.ack")
async def test_an_ask_with_the_key_of_a_call_that_has_ended_is_acked_at_once(ledger, accept, receipt):
    first = await accept(ledger, idempotency_key="k")
    await ledger.finish(first.request.id, receipt(first.request), {})
    asked = await accept(ledger, ask="by words", idempotency_key="k")
    assert (await ledger.ask(asked.ask_id)).reply == "namespace docs-staging up"
    assert (await ledger.verify([])).consistent
