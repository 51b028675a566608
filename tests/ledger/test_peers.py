"""Peers and tokens."""

import anyio
import pytest
from sqlalchemy import event

from infra_mcp.errors import InfraError
from infra_mcp.ledger import identities
from infra_mcp.model.peer import Caller

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


async def refusal(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


async def test_a_peer_is_known_by_its_token_and_by_nothing_else(ledger):
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    assert token.startswith("imcp_")
    assert await ledger.caller_for_token(token) == Caller(name="docs", circle="docs", strength="token")
    for other in ("", token[:-1], token + "x", token.upper(), "imcp_", "docs", "\0", "\ud800", "x" * 100_000):
        assert await ledger.caller_for_token(other) is None


@pytest.mark.promise("secrets.nowhere")
async def test_a_token_is_not_kept(ledger, place):
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    await ledger.note("kind", "docs", {"message": f"my token is {token}"})
    await ledger.aclose()
    for file in place.iterdir():
        assert token.encode() not in file.read_bytes()
        assert token.removeprefix("imcp_").encode() not in file.read_bytes()


async def test_revoked_tokens_end_at_once(ledger):
    await ledger.add_peer("docs", "docs")
    tokens = [await ledger.issue_token("docs") for _ in range(2)]
    assert len(set(tokens)) == 2
    assert (await ledger.peers())[0].tokens == 2
    assert await ledger.revoke_tokens("docs") == 2
    assert [await ledger.caller_for_token(token) for token in tokens] == [None, None]
    assert await ledger.revoke_tokens("docs") == 0


async def test_a_removed_peer_is_gone_with_its_tokens_and_comes_back_without_them(ledger):
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    await ledger.remove_peer("docs")
    assert await ledger.peers() == []
    await ledger.add_peer("docs", "shop")
    assert await ledger.caller_for_token(token) is None


async def test_peers_are_listed_by_name(ledger):
    for name in ("shop", "docs"):
        await ledger.add_peer(name, name)
    await ledger.set_description("docs", "writes pages")
    assert [(one.name, one.circle, one.description, one.tokens) for one in await ledger.peers()] == [
        ("docs", "docs", "writes pages", 0),
        ("shop", "shop", "", 0),
    ]


async def test_adding_a_peer_again_changes_nothing(ledger):
    await ledger.add_peer("docs", "docs")
    head = await ledger.head()
    await ledger.add_peer("docs", "docs")
    assert await ledger.head() == head


@pytest.mark.parametrize("name", ["", "-docs", "a;id", "$(id)", "a b", "a\n", "../x", "x" * 65, "döcs", ".docs", "a\0"])
async def test_a_name_that_cannot_be_one_is_refused_and_not_echoed(ledger, name):
    for given in ((name, "docs"), ("docs", name)):
        error = await refusal(ledger.add_peer(*given))
        assert error.code == "invalid-argument"
        assert len(name) < 4 or name not in str(error)
    assert await ledger.peers() == []


async def test_what_is_said_of_an_unknown_peer_is_not_found(ledger):
    calls = [ledger.remove_peer("docs"), ledger.issue_token("docs"), ledger.revoke_tokens("docs")]
    calls.append(ledger.set_description("docs", "x"))
    for call in calls:
        assert (await refusal(call)).code == "not-found"


async def test_a_description_is_bounded(ledger):
    await ledger.add_peer("docs", "docs")
    assert (await refusal(ledger.set_description("docs", "x" * 501))).code == "invalid-argument"


async def test_a_description_that_stays_the_same_is_no_news(ledger):
    await ledger.add_peer("docs", "docs")
    await ledger.set_description("docs", "writes pages")
    head = await ledger.head()
    await ledger.set_description("docs", "writes pages")
    assert await ledger.head() == head


# -- the same name in several circles


async def test_a_peer_is_its_name_in_its_circle(ledger):
    for circle in ("docs", "shop"):
        await ledger.add_peer("ci", circle)
    first, second = await ledger.issue_token("ci", "docs"), await ledger.issue_token("ci", "shop")
    assert await ledger.caller_for_token(first) == Caller(name="ci", circle="docs", strength="token")
    assert await ledger.caller_for_token(second) == Caller(name="ci", circle="shop", strength="token")
    await ledger.set_description("ci", "builds shop", "shop")
    await ledger.issue_token("ci", "shop")
    found = [(one.name, one.circle, one.description, one.tokens) for one in await ledger.find_peers("ci")]
    assert found == [("ci", "docs", "", 1), ("ci", "shop", "builds shop", 2)]
    assert await ledger.find_peers("docs") == []
    assert await ledger.revoke_tokens("ci", "docs") == 1
    assert await ledger.caller_for_token(first) is None
    await ledger.remove_peer("ci", "docs")
    assert [one.circle for one in await ledger.peers()] == ["shop"]
    assert await ledger.caller_for_token(second) is not None
    await ledger.remove_peer("ci")
    assert await ledger.peers() == []


async def test_a_name_that_several_circles_have_is_refused_with_the_candidates(ledger):
    for circle in ("docs", "shop"):
        await ledger.add_peer("ci", circle)
    head = await ledger.head()
    for call in (
        ledger.remove_peer("ci"),
        ledger.issue_token("ci"),
        ledger.revoke_tokens("ci"),
        ledger.set_description("ci", "x"),
    ):
        error = await refusal(call)
        assert error.code == "ambiguous-peer"
        assert "docs, shop" in error.what
    assert (await refusal(ledger.issue_token("ci", "site"))).code == "not-found"
    assert await ledger.head() == head


async def test_an_operator_with_a_token_belongs_to_no_circle(ledger):
    await ledger.add_peer("alice", "", operator=True)
    token = await ledger.issue_token("alice")
    assert await ledger.caller_for_token(token) == Caller(name="alice", circle=None, strength="token", operator=True)
    (found,) = await ledger.peers()
    assert (found.name, found.circle, found.role, found.tokens) == ("alice", "", "operator", 1)
    assert (await refusal(ledger.add_peer("bob", "docs", operator=True))).code == "invalid-argument"
    assert (await refusal(ledger.add_peer("bob", ""))).code == "invalid-argument"
    await ledger.remove_peer("alice", "")
    assert await ledger.caller_for_token(token) is None


async def test_an_event_about_a_name_of_several_circles_is_no_circles(ledger):
    await ledger.add_peer("ci", "docs")
    await ledger.note("seen", "ci", {})
    await ledger.add_peer("ci", "shop")
    await ledger.note("seen", "ci", {})
    found = [one.circle for one in (await ledger.search("seen", circle=None)).events]
    assert found == [None, "docs"]


async def test_a_caller_is_looked_up_once_and_again_after_any_peer_lost_a_token(ledger):
    reads = []
    event.listen(ledger._database._engine, "begin", reads.append)
    await ledger.add_peer("docs", "docs")
    await ledger.add_peer("shop", "shop")
    token = await ledger.issue_token("docs")

    async def asked():
        before = len(reads)
        assert (await ledger.caller_for_token(token)).name == "docs"
        return len(reads) - before

    assert [await asked() for _ in range(3)] == [1, 0, 0]
    await ledger.revoke_tokens("shop")
    assert [await asked() for _ in range(2)] == [1, 0]
    await ledger.remove_peer("shop")
    assert [await asked() for _ in range(2)] == [1, 0]


async def test_a_name_is_looked_up_once_and_again_after_a_namesake_came_or_went_or_anything_about_it_changed(ledger):
    reads = []
    event.listen(ledger._database._engine, "begin", reads.append)
    await ledger.add_peer("ci", "docs")

    async def asked():
        before = len(reads)
        found = await ledger.find_peers("ci")
        return [(one.circle, one.description, one.tokens) for one in found], len(reads) - before

    assert [await asked() for _ in range(2)] == [([("docs", "", 0)], 1), ([("docs", "", 0)], 0)]
    await ledger.add_peer("ci", "shop")
    assert [await asked() for _ in range(2)] == [([("docs", "", 0), ("shop", "", 0)], looks) for looks in (1, 0)]
    await ledger.issue_token("ci", "shop")
    assert await asked() == ([("docs", "", 0), ("shop", "", 1)], 1)
    await ledger.remove_peer("ci", "docs")
    assert await asked() == ([("shop", "", 1)], 1)
    await ledger.set_description("ci", "builds")
    assert await asked() == ([("shop", "builds", 1)], 1)
    await ledger.revoke_tokens("ci")
    assert await asked() == ([("shop", "builds", 0)], 1)
    await ledger.remove_peer("ci")
    assert [await asked() for _ in range(2)] == [([], 1), ([], 1)], "that there is none is not remembered"


async def test_a_name_read_while_a_namesake_came_is_not_remembered(ledger, monkeypatch):
    await ledger.add_peer("ci", "docs")
    read = ledger._database.read

    async def slowly(step):
        found = await read(step)
        monkeypatch.undo()
        await ledger.add_peer("ci", "shop")
        return found

    monkeypatch.setattr(ledger._database, "read", slowly)
    assert len(await ledger.find_peers("ci")) == 1, "it was asked before the other came"
    assert len(await ledger.find_peers("ci")) == 2


async def test_a_caller_read_while_a_token_was_revoked_is_not_remembered(ledger, monkeypatch):
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    read = ledger._database.read

    async def slowly(step):
        found = await read(step)
        monkeypatch.undo()
        await ledger.revoke_tokens("docs")
        return found

    monkeypatch.setattr(ledger._database, "read", slowly)
    assert await ledger.caller_for_token(token) is not None, "it was asked before the end"
    assert await ledger.caller_for_token(token) is None


async def test_a_revocation_whose_caller_went_away_ends_the_tokens_too(ledger):
    await ledger.add_peer("docs", "docs")
    token = await ledger.issue_token("docs")
    assert await ledger.caller_for_token(token) is not None
    write, scope = ledger._database._write, anyio.CancelScope()

    def given_up(batch):
        anyio.from_thread.run_sync(scope.cancel)
        write(batch)

    ledger._database._write = given_up
    with scope:
        await ledger.revoke_tokens("docs")
    ledger._database._write = write
    assert await ledger.caller_for_token(token) is None


async def test_what_is_remembered_of_tokens_is_bounded_and_holds_no_token(ledger, monkeypatch):
    monkeypatch.setattr(identities, "_MAX_KNOWN", 2)
    await ledger.add_peer("docs", "docs")
    tokens = [await ledger.issue_token("docs") for _ in range(4)]
    for token in (*tokens, "imcp_x", *tokens):
        await ledger.caller_for_token(token)
    for name in ("shop", "site", "docs"):
        await ledger.add_peer(name, "docs")
    for name in ("shop", "nobody", "site", "docs"):
        await ledger.find_peers(name)
    assert list(ledger.identities._named) == ["site", "docs"]
    for token in tokens:
        await ledger.caller_for_token(token)
    kept = ledger.identities._callers
    assert len(kept) == 2
    assert not any(token.encode() in repr(kept).encode() for token in tokens)


LOOKALIKES = [("operator", "Operator"), ("alice", "a1ice"), ("olga", "0lga"), ("ali", "aIi"), ("ali", "ALI")]
LOOKALIKES += [("modern", "modem"), ("ann", "ANN"), ("wim", "vvim"), ("Ian", "lan"), ("il", "Il"), ("O1", "ol")]


@pytest.mark.fault("w09")
@pytest.mark.parametrize(("circle", "other"), [("docs", "docs"), ("", ""), ("docs", ""), ("", "docs")])
async def test_a_name_that_looks_like_another_of_its_circle_or_of_an_operator_is_refused(ledger, circle, other):
    for first, second in [*LOOKALIKES, *((b, a) for a, b in LOOKALIKES)]:
        await ledger.add_peer(first, circle, operator=not circle)
        error = await refusal(ledger.add_peer(second, other, operator=not other))
        assert (error.code, [one.name for one in await ledger.peers()]) == ("invalid-argument", [first])
        assert first in error.what
        await ledger.remove_peer(first, circle)


@pytest.mark.fault("w09")
async def test_a_circle_that_looks_like_another_is_refused(ledger):
    await ledger.add_peer("ci", "docs")
    for circle in ("d0cs", "docs1", "docsl"):
        if circle == "docs1":
            await ledger.add_peer("ci", circle)
            continue
        assert (await refusal(ledger.add_peer("other", circle))).code == "invalid-argument"
    await ledger.add_peer("ci", "shop")  # the same name in another circle is another peer, as ever


@pytest.mark.fault("w09")
async def test_names_that_only_resemble_one_another_are_two(ledger):
    for name in ("docs", "docs-ci", "docs2", "dogs", "doc", "docs.ci", "docs_ci"):
        await ledger.add_peer(name, "docs")
    assert len(await ledger.peers()) == 7


@pytest.mark.fault("w07")
@pytest.mark.parametrize("operator", [False, True], ids=["peer", "operator"])
async def test_a_newcomer_with_a_removed_peers_name_reads_none_of_its_mail(ledger, shop, at, operator):
    name, circle = ("olga", "") if operator else ("docs", "docs")
    old = Caller(name=name, circle=circle or None, strength="token", operator=operator)
    await ledger.add_peer(name, circle, operator=operator)
    await ledger.add_peer("shop", "shop")
    to_it = await ledger.mail.open_ask(shop, at(old), "for the old one", now=NOW)
    told = await ledger.mail.post(shop, [at(old)], "for the old one", now=NOW)
    acked = await ledger.mail.open_ask(old, at(shop), "of the old one", now=NOW)
    await ledger.mail.ack(shop, acked.id, "for the old one", now=NOW)
    still_open = await ledger.mail.open_ask(old, at(shop), "of the old one, too", now=NOW)
    await ledger.remove_peer(name, circle)
    gone = await ledger.mail.inbox(at(shop))
    await ledger.add_peer(name, circle, operator=operator)

    found = await ledger.mail.inbox(at(old))

    assert (found.asks, found.messages, found.acks) == ((), (), ())
    assert await ledger.mail.message(at(old), told) is None
    # Who asked it learns that no answer will come; what it asked is not asked any more.
    assert [(ask.id, "removed" in ask.reply) for ask in gone.acks] == [(to_it.id, True)]
    assert gone.asks == ()
    assert (await ledger.ask(still_open.id)).state == "acked"
    assert (await ledger.verify([])).consistent


@pytest.mark.fault("w07")
async def test_mail_that_an_earlier_version_left_behind_is_no_newcomers(ledger, raw, docs, shop, at):
    await ledger.add_peer("docs", "docs")
    await ledger.mail.open_ask(shop, at(docs), "for the old one", now=NOW)
    await ledger.mail.post(shop, [at(docs)], "for the old one", now=NOW)
    raw().execute("delete from peers where name = 'docs'")
    await ledger.add_peer("docs", "docs")

    found = await ledger.mail.inbox(at(docs))

    assert (found.asks, found.messages, found.acks) == ((), (), ())
