"""Search by words, peer, namespace, object and time; and that a circle finds only its own."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.errors import InfraError
from infra_mcp.ledger.search import match
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio


@pytest.fixture
async def told(ledger, accept, receipt, shop, deploy):
    """A day in the life: docs made a namespace and deploys, shop made one of its own, an operator accepted a policy."""
    ids = {}
    made = await accept(
        ledger, ask="I need a namespace 'docs-staging' with image-pull secret X", now="2026-11-20T09:00:00Z"
    )
    ids["made"] = made.request.id
    await ledger.finish(made.request.id, receipt(made.request, objects=("namespace/docs-staging",)), {})
    ran = await accept(ledger, deploy, ask="ship docs", now="2026-11-21T09:00:00Z")
    ids["ran"] = ran.request.id
    data = {"objects": [{"object": "docs-live/deployment/docs", "operation": "update"}]}
    await ledger.record(ran.request.id, State.PLANNED, "planned", data)
    await ledger.finish(ran.request.id, receipt(ran.request, State.ROLLED_BACK, "image cannot be pulled"), {})
    other = await accept(
        ledger, "shop-docs-staging-2", words="my docs-staging too", caller=shop, now="2026-11-22T09:00:00Z"
    )
    ids["other"] = other.request.id
    await ledger.accept_policy("sha256:a", "docs-staging is fine", "operator")
    return ids


async def found(ledger, query="", *, circle="docs", **filters):
    page = await ledger.search(query, circle=circle, **filters)
    assert page.total == len(page.events)
    return {event.request for event in page.events}


@pytest.mark.promise("audit.search")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("docs-staging", {"made"}),
        ("docs-stag", {"made"}),
        ("DOCS-STAGING", {"made"}),
        ('"docs-staging"', {"made"}),
        ('"docs-stag"', set()),
        ("staging", {"made"}),
        ("taging", set()),
        ("image-pull secret", {"made"}),
        ("secret image-pull", {"made"}),
        ('"secret image-pull"', set()),
        ("0.13.4", {"ran"}),
        ("rolled_back", {"ran"}),
        ("pulled", {"ran"}),
        ("docs-live/deployment/docs", {"ran"}),
        ("received", {"made", "ran"}),
        ("shop", set()),
        ("staging ship", set()),
        ("", {"made", "ran"}),
        ("   ", {"made", "ran"}),
        ("***", set()),
    ],
)
async def test_words_are_found_as_wholes_and_beginnings(ledger, told, query, names):
    assert await found(ledger, query) == {told[name] for name in names}


@pytest.mark.promise("audit.search")
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"peer": "docs"}, ("made", "ran")),
        ({"peer": "doc"}, ()),
        ({"namespace": "docs-staging"}, ("made",)),
        ({"namespace": "docs-live"}, ("ran",)),
        ({"namespace": "docs"}, ()),
        ({"namespace": "%"}, ()),
        ({"object": "docs-live/deployment/docs"}, ("ran",)),
        ({"object": "deployment/docs"}, ("ran",)),
        ({"object": "docs"}, ("ran",)),
        ({"object": "ocs"}, ()),
        ({"object": "%"}, ()),
        ({"object": "deployment_docs"}, ()),
        ({"since": "2026-11-20T09:00:00Z", "until": "2026-11-20T09:00:00Z"}, ("made",)),
        ({"since": "2026-11-20", "until": "2026-11-20"}, ("made",)),
        ({"until": "2026-11-21T11:00:00+02:00"}, ("made", "ran")),
        ({"until": "2026-11-21T10:59:59+02:00"}, ("made",)),
        ({"since": "2999-01-01"}, ()),
    ],
    ids=str,
)
async def test_filters_are_exact(ledger, told, filters, names):
    assert await found(ledger, **filters) == {told[name] for name in names}


@pytest.mark.promise("audit.search")
async def test_filters_and_words_must_all_hold(ledger, told):
    assert await found(ledger, "pulled", namespace="docs-live", peer="docs", object="docs") == {told["ran"]}
    assert await found(ledger, "pulled", namespace="docs-staging") == set()


@pytest.mark.promise("audit.search")
async def test_all_events_of_a_request_are_found_by_what_one_of_them_names(ledger, told):
    page = await ledger.search("", circle="docs", object="docs-live/deployment/docs")
    assert [event.kind for event in page.events] == ["finished", "planned", "received"]
    assert told["ran"] == page.events[0].request


@pytest.mark.promise("audit.search", "read.scoped")
async def test_a_circle_finds_only_its_own_and_the_operator_all(ledger, told):
    assert await found(ledger, "docs-staging", circle="shop") == {told["other"]}
    assert await found(ledger, circle="other") == set()
    assert await found(ledger, "docs-staging", circle=None) == {told["made"], told["other"], None}
    assert await found(ledger, circle="shop", namespace="docs-staging") == set()
    assert await found(ledger, circle="docs", peer="shop") == set()


async def test_the_newest_come_first_and_the_number_of_all_is_told(ledger, accept):
    for number in range(5):
        await accept(ledger, f"docs-{number}")
    page = await ledger.search("", circle="docs", limit=2)
    assert ([event.seq for event in page.events], page.total) == ([5, 4], 5)


async def test_what_is_too_large_to_show_is_cut_and_says_so(ledger, accept):
    taken = await accept(ledger, words="w" * 5_000)
    await ledger.record(
        taken.request.id, State.PLANNED, "planned", {"list": list(range(60)), "map": {str(i): i for i in range(60)}}
    )
    planned, received = (await ledger.search("", circle="docs")).events
    assert received.text == "w" * 2_000 + "… (3000 more characters)"
    assert planned.data["list"][50:] == ["… (10 more)"]
    assert planned.data["map"]["…"] == "10 more"
    assert (await ledger.trail(taken.request.id))[0].text == "w" * 5_000


@pytest.mark.parametrize(
    "given",
    [
        {"query": "x" * 1_001},
        {"limit": 0},
        {"limit": 201},
        {"limit": -1},
        {"since": "yesterday"},
        {"until": "0000-00-00"},
        {"until": "9999-12-31"},
        {"since": "0001-01-01T00:00:00+23:59"},
    ],
    ids=str,
)
async def test_what_cannot_be_searched_is_refused(ledger, given):
    if given == {"until": "9999-12-31"}:
        assert (await ledger.search("", circle=None, **given)).total == 0
        return
    with pytest.raises(InfraError) as caught:
        await ledger.search(**({"query": "", "circle": None} | given))
    assert caught.value.code == "invalid-argument"


@pytest.mark.promise("secrets.nowhere")
async def test_a_secret_is_found_by_whoever_knows_it_and_shown_to_nobody(ledger, accept):
    await accept(ledger, words="password=hunter2-IS-SECRET")
    page = await ledger.search("password=hunter2-IS-SECRET", circle="docs")
    assert page.total == 1
    assert "hunter2" not in page.events[0].model_dump_json()
    assert (await ledger.search("hunter2-IS-SECRET", circle="docs")).total == 0


NASTY = [
    '"',
    "a OR b",
    "NEAR(a b)",
    "text : a",
    "^a",
    "a*",
    "-a",
    "(a",
    "{a}",
    "a AND",
    "NOT a",
    "a\0b",
    "²",
    "\u0300",
    "a + b",
    '""""',
    "'",
]


@pytest.mark.parametrize("query", [*NASTY, " ".join(["ab"] * 333), "a" * 1_000])
async def test_no_query_is_a_language(ledger, accept, query):
    await accept(ledger, words="nothing of it")
    assert (await ledger.search(query, circle=None)).total == 0


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_query_sqlite_understands(query):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE f USING fts5(a, b)")
    expression = match(query)
    if expression is not None:
        database.execute("SELECT count(*) FROM f WHERE f MATCH ?", [expression]).fetchone()
    database.close()


@given(
    st.lists(
        st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x24F), min_size=1), min_size=1, max_size=4
    )
)
def test_a_text_is_found_by_its_own_words_in_any_order(words):
    database = sqlite3.connect(":memory:")
    database.execute("""CREATE VIRTUAL TABLE f USING fts5(a, content='', tokenize="unicode61 remove_diacritics 2")""")
    database.execute("INSERT INTO f(rowid, a) VALUES (1, ?)", [" ".join(words)])
    expression = match(" ".join(reversed(words)))
    assert database.execute("SELECT count(*) FROM f WHERE f MATCH ?", [expression]).fetchone() == (1,)
    database.close()


@pytest.mark.promise("audit.search")
@pytest.mark.promise("token.sponsor")
async def test_a_sponsor_finds_what_they_answer_for_and_nothing_that_only_names_them(ledger, accept, docs):
    ann = docs.model_copy(update={"sponsor": "ann@example.com"})
    # Longer words than the full-text index takes of an event.
    mine = await accept(ledger, "mine-live", caller=ann, words="word " * 13_000)
    await ledger.record(mine.request.id, State.PLANNED, "planned", {"by": "no one"})
    other = docs.model_copy(update={"sponsor": "ann@example.com.au"})
    for name, caller in (("theirs-live", other), ("nobodys-live", docs)):
        await accept(ledger, name, caller=caller, words="ann@example.com asks")

    assert await found(ledger, sponsor="ann@example.com") == {mine.request.id}
    assert len((await ledger.search("", circle="docs", sponsor="ann@example.com")).events) == 2
    assert await found(ledger, "planned", sponsor="ann@example.com") == {mine.request.id}
    assert await found(ledger, sponsor="ann@example.com", circle="shop") == set()
    for strange in ("", "ann", '" OR "', "ann@example.com*", "''", "NEAR(", "\u2026"):
        assert await found(ledger, sponsor=strange) == set(), strange
