"""Everything that happens becomes an event."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import AskIn, Ledger
from infra_mcp.ledger.chain import GENESIS
from infra_mcp.ledger.events import MAX_SUBJECTS, subjects
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


@pytest.mark.promise("audit.every-change")
async def test_every_write_of_the_ledger_is_an_event_from_the_first_word_to_the_end(ledger, accept, receipt, docs):
    await ledger.add_peer("docs", "docs")
    await ledger.set_description("docs", "writes pages")
    await ledger.issue_token("docs")
    taken = await accept(ledger, ask="I need a namespace docs-staging", idempotency_key="k")
    with pytest.raises(InfraError):
        await accept(ledger, "docs-other", ask="other", idempotency_key="k")
    await ledger.record(taken.request.id, State.PLANNED, "planned", {})
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    await ledger.answer(docs, AskIn(text="sing"), "no", "not-understood", NOW)
    await ledger.note("call-refused", "docs", {"code": "policy-denied"})
    await ledger.accept_policy("sha256:a", "t", "operator")
    await ledger.revoke_tokens("docs")
    await ledger.remove_peer("docs")
    kinds = [event.kind for event in (await ledger.search("", circle=None, limit=200)).events][::-1]
    assert kinds == [
        "peer-added",
        "peer-described",
        "token-issued",
        "received",
        "refused",
        "planned",
        "finished",
        "not-understood",
        "call-refused",
        "policy-accepted",
        "tokens-revoked",
        "peer-removed",
    ]


@pytest.mark.promise("audit.every-change")
async def test_the_events_of_a_request_tell_who_asked_for_what_in_which_words_and_how_it_ended(ledger, accept, receipt):
    taken = await accept(ledger, ask="I need a namespace docs-staging", reason="for the demo")
    await ledger.finish(
        taken.request.id, receipt(taken.request, State.REFUSED, "no rule allows it"), {"rule": "default"}
    )
    first, last = await ledger.trail(taken.request.id)
    assert (first.at, first.peer, first.circle, first.ask) == (
        "2026-11-22T10:00:00.000000Z",
        "docs",
        "docs",
        taken.ask_id,
    )
    assert first.text == "I need a namespace docs-staging"
    assert (first.data["action"]["namespace"], first.data["reason"], first.data["strength"]) == (
        "docs-staging",
        "for the demo",
        "token",
    )
    assert first.namespaces == ("docs-staging",)
    assert (last.state, last.text, last.data["rule"]) == ("refused", "no rule allows it", "default")


async def test_the_head_is_that_of_the_newest_event_and_survives_a_restart(ledger, place):
    assert await ledger.head() == GENESIS
    head = await ledger.note("kind", None, {})
    await ledger.aclose()
    again = await Ledger.open_in(place)
    assert await again.head() == head
    later = await again.note("kind", None, {})
    assert (await again.verify([head, later])).proved_to == 2
    await again.aclose()


async def test_a_note_belongs_to_its_peers_circle_unless_told_otherwise(ledger):
    await ledger.add_peer("docs", "docs")
    await ledger.note("a", "docs", {"message": "hello"})
    await ledger.note("b", "docs", {}, circle="shop")
    await ledger.note("c", "nobody", {})
    await ledger.note("d", None, {"message": ["no text"]})
    found = (await ledger.search("", circle=None, limit=4)).events[::-1]
    assert [(event.kind, event.peer, event.circle, event.text) for event in found] == [
        ("a", "docs", "docs", "hello"),
        ("b", "docs", "shop", ""),
        ("c", "nobody", None, ""),
        ("d", None, None, ""),
    ]


async def test_data_that_is_no_json_is_not_written(ledger):
    for data in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises((ValueError, TypeError)):
            await ledger.note("kind", None, data)
    assert await ledger.head() == GENESIS


async def test_lone_surrogates_do_not_stop_an_event(ledger):
    await ledger.note("kind", "a\ud800", {"message": "x\udfff", "\ud800": ["\ud800"]})
    event = (await ledger.search("", circle=None)).events[0]
    assert (event.peer, event.text, event.data) == ("a?", "x?", {"message": "x?", "?": ["?"]})
    for call in (ledger.request("\ud800"), ledger.ask("\ud800"), ledger.search("", circle=None, namespace="\ud800")):
        with pytest.raises(InfraError, match="invalid-argument"):
            await call


# -- the namespaces and objects that an event is about

REF = ObjectRef(cluster="s", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")


@pytest.mark.parametrize(
    ("data", "namespaces", "objects"),
    [
        ({}, (), ()),
        (None, (), ()),
        ({"action": {"namespace": "docs-staging"}}, ("docs-staging",), ()),
        ({"namespaces": ["b", "a"]}, ("a", "b"), ()),
        ({"objects": [str(REF)]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"objects": ["namespace/docs-staging"]}, ("docs-staging",), ("namespace/docs-staging",)),
        ({"objects": ["clusterrole/x"]}, (), ("clusterrole/x",)),
        ({"objects": [{"object": str(REF), "operation": "update"}]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"plan": [{"ref": REF.model_dump(mode="json")}]}, ("docs-live",), ("docs-live/deployment/docs",)),
        ({"namespace": 7, "objects": "docs", "kind": "x", "namespaces": [None, ""]}, (), ()),
    ],
)
def test_namespaces_and_objects_are_found_wherever_they_stand(data, namespaces, objects):
    assert subjects(data) == (namespaces, objects)


def test_several_pieces_of_data_are_taken_together():
    assert subjects({"namespace": "a"}, {"namespace": "b"}) == (("a", "b"), ())


def test_an_event_names_a_bounded_number():
    assert len(subjects({"namespaces": [f"n{i}" for i in range(2 * MAX_SUBJECTS)]})[0]) == MAX_SUBJECTS
