"""Tokens end, are renewed with an overlap, show their last use, and name the person who answers for them."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from infra_mcp.errors import InfraError
from infra_mcp.ledger import clock
from infra_mcp.model.peer import Caller, Identity, is_sponsor

pytestmark = pytest.mark.anyio
HOUR, DAY = 3600.0, 86_400.0
ANN = Caller(name="docs", circle="docs", strength="token", sponsor="ann")


@pytest.fixture
def pass_time(monkeypatch):
    """Lets so many seconds pass on the ledger's clock."""
    passed = [0.0]
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: clock.after(passed[0], real()))

    def add(seconds):
        passed[0] += seconds

    return add


@pytest.fixture
async def peers(ledger):
    await ledger.add_peer("docs", "docs")
    await ledger.add_peer("olga", "", operator=True)
    return ledger


async def expiry_of(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


@pytest.mark.promise("auth.tokens")
@pytest.mark.parametrize(("name", "step"), [("docs", "peer token docs --circle docs"), ("olga", "olga --operator")])
async def test_a_token_ends_at_its_time_also_while_it_is_remembered_and_the_refusal_says_what_to_do(
    peers, pass_time, name, step
):
    token = await peers.issue_token(name, seconds=DAY)
    endless = await peers.issue_token(name)
    assert (await peers.caller_for_token(token)).name == name
    pass_time(DAY - 1)
    assert (await peers.caller_for_token(token)).name == name
    pass_time(1)

    error = await expiry_of(peers.caller_for_token(token))

    assert (error.code, int(error.exit)) == ("token-expired", 3)
    assert step in error.next_step
    assert token not in str(error)
    assert (await peers.caller_for_token(endless)).name == name
    (of_it,) = [one for one in await peers.peers() if one.name == name]
    assert of_it.tokens == 1, "one that has ended is not counted as valid"


@pytest.mark.promise("auth.tokens")
async def test_a_renewed_token_ends_the_earlier_ones_at_once_or_after_the_overlap_and_never_later_than_before(
    peers, pass_time
):
    long, short, endless = [await peers.issue_token("docs", seconds=one) for one in (90 * DAY, HOUR, None)]
    new, replaced = await peers.renew_token("docs", seconds=90 * DAY, overlap=DAY)
    assert replaced == 3
    assert len({long, short, endless, new}) == 4
    assert [(await peers.caller_for_token(one)).name for one in (long, short, endless, new)] == ["docs"] * 4
    pass_time(HOUR)
    assert (await expiry_of(peers.caller_for_token(short))).code == "token-expired"
    assert (await peers.caller_for_token(long)).name == "docs"
    pass_time(DAY)
    for ended in (long, endless):
        assert (await expiry_of(peers.caller_for_token(ended))).code == "token-expired"
    assert (await peers.caller_for_token(new)).name == "docs"

    newest, replaced = await peers.renew_token("docs")

    assert replaced == 4, "those that have ended are gone with it"
    assert await peers.caller_for_token(new) is None
    assert (await peers.caller_for_token(newest)).name == "docs"
    kinds = [one.kind for one in (await peers.search("", circle=None)).events]
    assert kinds[:4] == ["token-issued", "tokens-revoked", "token-issued", "tokens-ending"]


@pytest.mark.promise("auth.tokens")
async def test_the_last_use_is_shown_and_no_call_costs_a_write(peers, pass_time):
    token = await peers.issue_token("docs", seconds=DAY)
    await peers.issue_token("docs")
    writes = []
    event.listen(peers._database._writer, "before_cursor_execute", lambda *given: writes.append(given[2]))

    async def used():
        await peers.note_uses()
        return [one.used for one in await peers.tokens()]

    assert await used() == [None, None]
    for _ in range(3):
        await peers.caller_for_token(token)
    assert [one for one in writes if "UPDATE" in one] == []
    first = (await used())[0]
    assert first is not None
    pass_time(HOUR / 2)
    await peers.caller_for_token(token)
    assert await used() == [first, None], "once an hour is enough"
    pass_time(HOUR)
    await peers.caller_for_token(token)
    assert (await used())[0] > first
    assert (await peers.verify([])).consistent


@pytest.mark.promise("auth.tokens", "token.sponsor")
async def test_tokens_are_listed_with_what_is_known_of_them_and_without_themselves(peers, pass_time):
    first = await peers.issue_token("docs", sponsor="ann@example.com", seconds=DAY)
    pass_time(1)
    second = await peers.issue_token("docs", sponsor="Jörg Müller")
    pass_time(DAY)

    one, other = await peers.tokens()

    assert (one.sponsor, one.expired, one.replaced) == ("ann@example.com", True, True)
    assert (other.sponsor, other.expired, other.expires, other.replaced) == ("Jörg Müller", False, None, False)
    assert not any(token in repr((one, other)) for token in (first, second))
    assert [one.id for one in await peers.tokens(2 * DAY)] == [one.id], "those without an end never come up"
    pass_time(3 * DAY)
    assert await peers.tokens(2 * DAY) == [], "one that ended long ago is no news"


@pytest.mark.promise("token.sponsor")
async def test_who_answers_for_a_token_is_in_the_trail_of_what_came_by_it(peers, accept, receipt):
    token = await peers.issue_token("docs", sponsor="ann@example.com")
    caller = await peers.caller_for_token(token)
    assert caller.sponsor == "ann@example.com"

    taken = await accept(peers, caller=caller, ask="namespace docs-staging")
    ended = await peers.finish(taken.request.id, receipt(taken.request), {})

    assert taken.request.caller == caller
    assert (await peers.request(taken.request.id)).caller == caller
    assert ended.sponsor == (await peers.request(taken.request.id)).receipt["sponsor"] == "ann@example.com"
    received = (await peers.trail(taken.request.id))[0]
    assert received.data["sponsor"] == "ann@example.com"
    assert (await peers.ask(taken.ask_id)).sponsor == "ann@example.com"
    found = await peers.search("ann@example.com", circle=None)
    assert taken.request.id in {one.request for one in found.events}
    assert (await peers.verify([])).differing == ()


@pytest.mark.promise("token.sponsor")
@pytest.mark.parametrize("table", ["requests", "asks"])
@pytest.mark.parametrize(("column", "value"), [("sponsor", "'eve'"), ("sponsor", "NULL"), ("identity", "'{}'")])
async def test_a_sponsor_that_was_changed_in_a_row_is_found_by_the_audit(peers, accept, raw, table, column, value):
    await accept(peers, caller=ANN, ask="namespace docs-staging")
    raw().execute(f"UPDATE {table} SET {column} = {value}")

    assert len((await peers.verify([])).differing) == 1


@pytest.mark.promise("token.sponsor")
async def test_the_identity_of_a_pipeline_is_kept_with_its_request(peers, accept):
    identity = Identity(issuer="https://ci.example", subject="repo:acme/docs", run="17")
    caller = Caller(name="docs", circle="docs", strength="oidc", sponsor="octocat", identity=identity)

    taken = await accept(peers, caller=caller)

    assert (await peers.request(taken.request.id)).caller == caller
    assert (await peers.trail(taken.request.id))[0].data["identity"] == identity.model_dump()
    assert (await peers.verify([])).differing == ()


@pytest.mark.parametrize("name", ["ann", "ann@example.com", "dependabot[bot]", "Jörg Müller", "acme/ann", "1"])
def test_names_of_people_can_be_sponsors(name):
    assert is_sponsor(name)


@pytest.mark.parametrize("name", ["", " ", "-x", "a\n", "a b ", "<b>", "a;id", "x" * 101, "a\u202eb", "$(id)", "`id`"])
def test_no_other_text_can_be_a_sponsor(name):
    assert not is_sponsor(name)
