"""The pages *Needs you* and *Request*: what needs a person, the evidence, and every peer's text as text."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from approval_server import approval_server, waiting
from dashboard_visits import text_of, visit

from infra_mcp.dashboard.evidence import asked, lost, removed, restarts, sentence, to_type, undo
from infra_mcp.dashboard.pages.needs_you import in_order
from infra_mcp.model.actions import Deploy, Rollback
from infra_mcp.model.approval import Decided
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.server.operator import OPERATOR

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>&lt;b&gt; \u202eevil\x1b[2J {{ 7*7 }} '\"></blockquote>"


@pytest.fixture
async def at(tmp_path, monkeypatch):
    async with approval_server(tmp_path, monkeypatch, "both") as server:
        yield server


@pytest.mark.anyio
@pytest.mark.promise("web.needs-you")
async def test_what_waits_for_an_approval_stands_on_the_first_page_and_leads_to_the_evidence(at):
    request = await waiting(at, reason="the site is old")
    async with visit(at) as mine:
        data = await mine.data("needs-you")
        (one,) = data["approvals"]
        assert (one["request"], one["digest"], one["words"]) == (request.id, request.effect_digest, "the site is old")
        assert (one["by"], one["circle"], one["strength"]) == ("docs", "docs", "token")
        assert one["rules"] == [{"rule": "rules.docs-needs-one", "wants": "1 approval by an operator"}]
        assert one["effect"] == "1 changed in docs-live"

        page = (await mine.get("needs-you")).text
        text, _ = text_of(page)
        assert f"infra-mcp approve {request.id} {request.effect_digest}" in text
        assert "One change needs you" in text
        assert "<form" not in page.split("</main>")[0], "nothing is decided where the evidence does not stand"

        evidence = await mine.get(f"requests/{request.id}")
        told, _ = text_of(evidence.text)
        assert "docs-live/deployment/docs" in told
        assert ".spec.image: 'registry.example/docs/site:1' → 'registry.example/docs/site:2'" in told


@pytest.mark.anyio
@pytest.mark.promise("web.needs-you")
async def test_what_an_operator_must_look_at_and_acks_nobody_fetched_stand_on_the_first_page(at):
    request = await waiting(at)
    late = {"ask": "ask-1", "receiver": "docs", "circle": "docs", "created": "2026-01-01T00:00:00.000+00:00"}

    async def undelivered(before, limit):  # noqa: ARG001 - what the ledger's takes
        return [late]

    at.engine.ledger.mail.undelivered = undelivered
    at.engine.health = lambda: {
        "trouble": {"what": "No cluster answers."},
        "ledger": "It is an older copy.",
        "rights": None,
    }
    message = "Someone changed it meanwhile."
    receipt = Receipt(request=request.id, state=State.NEEDS_OPERATOR, message=message, action="deploy")
    await at.engine.ledger.finish(request.id, receipt, {})
    async with visit(at) as mine:
        text, _ = text_of((await mine.get("needs-you")).text)
    for part in ("No cluster answers.", "It is an older copy.", message, "1 not fetched by who asked: docs"):
        assert part in text


@pytest.mark.anyio
@pytest.mark.promise("web.needs-you")
async def test_who_has_seen_to_what_a_request_left_says_so_on_its_page_and_it_leaves_the_first_one(at):
    request = await waiting(at)
    receipt = Receipt(request=request.id, state=State.NEEDS_OPERATOR, message="A pod stays.", action="deploy")
    await at.engine.ledger.finish(request.id, receipt, {})
    page = f"requests/{request.id}"
    async with visit(at, token=at.tokens["olga"]) as mine, visit(at) as other:
        first = (await mine.get("needs-you")).text
        assert f"infra-mcp request resolve {request.id} REASON" in text_of(first)[0]
        form = dict(re.findall(r'name="(form)" value="([^"]+)"', (await mine.get(page)).text))
        good = form | {"reason": HOSTILE}
        for sent, headers in (
            (good | {"form": ""}, {}),
            (good, {"origin": "http://attacker.example"}),
            (form | {"reason": " "}, {}),
            (form, {}),
        ):
            assert (await mine.post(page, sent, **headers)).status_code in {400, 403}
        assert (await other.post(page, good)).status_code == 403
        assert (
            await mine.post(f"{page}/approval", good | {"digest": "resolve", "decision": "approve"})
        ).status_code > 399
        assert await at.engine.ledger.unresolved(1, request.id)

        assert (await mine.post(page, good)).status_code == 303
        (event,) = [one for one in await at.engine.ledger.trail(request.id) if one.kind == "resolved"]
        assert (event.peer, event.data["strength"]) == ("olga", "token")
        html = (await mine.get(page)).text
        assert "<script>alert" not in html
        assert "<b>olga</b>" in html
        assert 'name="reason"' not in html
        assert "request resolve" not in (await mine.get("needs-you")).text
        assert (await mine.data("needs-you"))["stuck"] == []
        assert (await mine.post(page, good)).status_code == 400


@pytest.mark.promise("web.needs-you")
def test_what_cannot_be_undone_comes_first_and_then_what_waited_longest():
    cards = [
        {"request": "young", "removed": [], "since": "2026-01-02"},
        {"request": "old", "removed": [], "since": "2026-01-01"},
        {"request": "gone", "removed": ["media/deployment/tune"], "since": "2026-01-03"},
    ]
    assert [one["request"] for one in in_order(cards)] == ["gone", "old", "young"]


@pytest.mark.promise("web.closed")
@pytest.mark.anyio
async def test_every_text_of_a_peer_is_text_on_every_page(at):
    request = await waiting(at, reason=HOSTILE)
    async with visit(at) as mine:
        for page in ("needs-you", f"requests/{request.id}"):
            html = (await mine.get(page)).text
            text, tags = text_of(html)
            assert not tags & {"img", "iframe", "svg"}
            assert html.count("<script") == 1, "our own file, and no other"
            assert (
                "<img src=x onerror=alert(1)><script>alert(2)</script>&lt;b&gt; \\u202eevil\\x1b[2J {{ 7*7 }}" in text
            )
            assert "\u202e" not in html


@pytest.mark.promise("web.closed")
@pytest.mark.anyio
async def test_a_page_loads_nothing_from_elsewhere_and_has_no_style_or_script_of_its_own(at):
    request = await waiting(at)
    async with visit(at) as mine:
        for page in ("needs-you", f"requests/{request.id}", "nowhere"):
            html = (await mine.get(page)).text
            assert "http://" not in html
            assert "https://" not in html
            assert " style=" not in html
            assert " onclick=" not in html
            assert "<style" not in html


@pytest.mark.anyio
async def test_what_is_not_there_is_said_in_both_forms(at):
    async with visit(at) as mine:
        for page in ("requests/req-none", "nowhere", "requests/../needs-you/x"):
            assert (await mine.get(page)).status_code == 404
            answer = await mine.get(f"{page}.json")
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.promise("web.trail")
@pytest.mark.anyio
async def test_a_request_has_its_steps_with_times_its_end_and_a_command_that_leads_to_it(at):
    request = await waiting(at)
    await at.engine.approve(OPERATOR, request.id, request.effect_digest, Decided(approve=True, way="cli"))
    async with visit(at, f"requests/{request.id}") as mine:
        assert mine.entered.text.count(f"requests/{request.id}") == 2
        data = await mine.data(f"requests/{request.id}")
        assert [one["what"] for one in data["steps"]] == [
            "received",
            "approval needed",
            "approved",
            "resumed",
            "landed",
        ]
        assert data["steps"][-1]["good"] is True
        assert data["request"]["commit"] == "c" * 40
        assert [(one["by"], one["way"]) for one in data["decided"]] == [("operator", "cli")]
        text, _ = text_of((await mine.get(f"requests/{request.id}")).text)
        assert f"infra-mcp dashboard requests/{request.id}" in text


def _plan(*objects, **radius):
    shown = [
        {"object": name, "operation": operation, "changes": list(changes)} for name, operation, *changes in objects
    ]
    return {"objects": shown, "blast_radius": radius}


@pytest.mark.promise("web.needs-you")
def test_a_plan_says_what_it_removes_which_pods_restart_and_how_much_in_all():
    plan = _plan(
        ("media/deployment/tune", "delete"),
        ("media/persistentvolumeclaim/tune-data", "delete"),
        ("media/service/tune", "replace"),
        ("docs-live/deployment/docs", "update", ".spec.template.spec.containers[name=\"x\"].image: 'a' → 'b'"),
        ("docs-live/deployment/wide", "update", ".spec.replicas: 1 → 2"),
        delete=2,
        replace=1,
        update=2,
        unchanged=1,
        files=1,
        namespaces=["docs-live", "media"],
    )
    assert removed(plan)[0] == "media/persistentvolumeclaim/tune-data"
    assert to_type(plan) == "tune-data"
    assert lost(plan) == ["media/persistentvolumeclaim/tune-data"]
    assert undo(plan) == "none for media/persistentvolumeclaim/tune-data: what it holds is gone"
    assert lost(_plan(("aws_db_instance.main", "replace"))) == ["aws_db_instance.main"]
    assert restarts(plan) == ["media/deployment/tune", "docs-live/deployment/docs"]
    assert sentence(plan) == (
        "2 changed, 1 replaced, 2 deleted, 1 left as it is in docs-live, media; 1 file of the repository"
    )
    assert (removed({}), to_type({}), restarts({}), sentence({})) == ([], "", [], "nothing changed")


def test_an_action_is_named_as_the_command_line_names_it():
    assert asked(Deploy(app="docs", version="2", environment="production")) == "deploy docs 2, production"
    assert asked(Rollback(request="req-0123456789ab")) == "rollback req-0123456789ab"


def test_times_are_relative_to_the_page():
    from infra_mcp.dashboard.render import duration  # noqa: PLC0415 - Jinja2 is imported here

    spans = [
        timedelta(seconds=0.25),
        timedelta(seconds=59),
        timedelta(minutes=4),
        timedelta(hours=3),
        timedelta(days=2),
    ]
    assert [duration(one.total_seconds()) for one in spans] == ["0.25 s", "59 s", "4 min", "3 h", "2 d"]


@pytest.mark.anyio
@pytest.mark.promise("web.needs-you")
async def test_each_item_of_the_first_page_is_named_and_links_to_where_it_is_decided(at):
    request = await waiting(at)
    async with visit(at) as mine:
        html = (await mine.get("needs-you")).text
    card = html.split("<article", 1)[1].split("</article>")[0]
    assert f'requests/{request.id}/approval">deploy docs 2</a>' in card
