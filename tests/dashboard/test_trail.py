"""*Trail* and the pages beside it: found by words and facets, a permalink, a table, and what the ledger proves."""

from __future__ import annotations

import csv
import io

import pytest
from approval_server import approval_server, waiting
from dashboard_visits import text_of, visit

from infra_mcp.dashboard.pages.apps import last_changes, side_by_side
from infra_mcp.dashboard.pages.trail import asked_for
from infra_mcp.model.approval import Decided
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio
HOSTILE = "=cmd|' /C calc'!A0 <script>alert(1)</script>"


@pytest.fixture
async def at(tmp_path, monkeypatch):
    async with approval_server(tmp_path, monkeypatch, "both") as server:
        yield server


@pytest.mark.promise("web.trail")
async def test_a_request_is_found_by_words_peer_circle_object_sponsor_rule_and_time(at):
    # Another token of the asker, with a sponsor.
    at.tokens["docs"] = await at.engine.ledger.issue_token("docs", "docs", sponsor="ann@example.com")
    request = await waiting(at, reason="zebra crossing")
    async with visit(at) as mine:

        async def found(query):
            data = (await mine.get(f"trail.json?{query}")).json()
            assert data["total"] >= len(data["events"])
            return {one["request"] for one in data["events"]}

        for query in (
            "q=zebra",
            "q=zebra&peer=docs&circle=docs",
            "object=docs-live/deployment/docs",
            "object=docs",
            "namespace=docs-live",
            "rule=docs-needs-one",
            "sponsor=ann@example.com",
            "q=zebra&since=2026-01-01&until=2999-01-01",
        ):
            assert request.id in await found(query), query
        for query in (
            "q=giraffe",
            "q=zebra&peer=shop",
            "q=zebra&circle=shop",
            "object=shop",
            "rule=none",
            "sponsor=bob@example.com",
            "until=2000-01-01",
        ):
            assert await found(query) == set(), query

        refused = await mine.get("trail.json?since=yesterday")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid-argument")
        assert (await mine.get("trail?before=x")).status_code == 400

        text, _ = text_of((await mine.get("trail?q=zebra")).text)
        assert request.id in text
        assert "infra-mcp dashboard 'trail?q=zebra'" in text


@pytest.mark.promise("web.trail")
async def test_a_search_has_a_permalink_that_the_command_opens(at):
    await waiting(at, reason="zebra")
    async with visit(at, "trail?q=zebra&peer=docs") as mine:
        (to,) = {part for part in mine.entered.text.split('"') if "trail?" in part and not part.startswith("0;")}
        assert to.endswith("trail?q=zebra&amp;peer=docs")
        answer = await mine.web.get(mine.origin + to.replace("&amp;", "&"))
        assert 'value="zebra"' in answer.text
        assert 'value="docs"' in answer.text


@pytest.mark.promise("web.trail")
async def test_older_events_are_a_link_away_and_none_is_shown_twice(at):
    for number in range(60):
        await at.engine.ledger.note("remark", "docs", {"message": f"remark {number}"}, circle="docs")
    async with visit(at) as mine:
        first = (await mine.get("trail.json?q=remark")).json()
        older = (await mine.get(first["older"].replace("trail?", "trail.json?"))).json()
        assert [len(first["events"]), len(older["events"]), older["older"]] == [50, 10, ""]
        numbers = [one["seq"] for one in first["events"] + older["events"]]
        assert len(set(numbers)) == 60
        assert numbers == sorted(numbers, reverse=True)


@pytest.mark.promise("web.trail")
async def test_the_table_has_the_same_events_and_no_cell_that_a_spreadsheet_would_run(at):
    await at.engine.ledger.note("remark", "docs", {"message": HOSTILE}, circle="docs")
    async with visit(at) as mine:
        answer = await mine.get("trail.csv?q=calc")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        head, row = csv.reader(io.StringIO(answer.text))
        assert dict(zip(head, row, strict=True))["text"] == f"'{HOSTILE}"
        html = (await mine.get("trail?q=calc")).text
        assert html.count("<script") == 1
        assert (await mine.get("needs-you.csv")).status_code == 404


@pytest.mark.promise("web.trail")
async def test_the_chain_is_checked_against_the_heads_that_acks_gave_away(at):
    request = await waiting(at)
    await at.engine.approve(OPERATOR, request.id, request.effect_digest, Decided(approve=True, way="cli"))
    async with visit(at) as mine:
        data = await mine.data("chain")
        ended = await at.engine.ledger.request(request.id)
        assert data["consistent"] is True
        assert data["last_given"] == ended.receipt["audit_head"]
        assert data["proved_to"] == data["newest"]["number"]


async def test_every_listed_page_opens_and_has_a_twin(at):
    await waiting(at)
    async with visit(at) as mine:
        page = (await mine.get("needs-you")).text
        for name in ("needs-you", "apps", "trail", "peers", "waiting", "policy"):
            assert f'/{name}"' in page
            assert (await mine.get(name)).status_code == 200
            assert await mine.data(name)
        peers = await mine.data("peers")
        assert {one["name"] for one in peers["peers"]} == {"docs", "shop", "reader", "olga"}
        assert peers["circles"]["docs"]["namespaces"] == ["docs-*"]
        policy = await mine.data("policy")
        assert policy["accepted"]["by"] == "operator"
        assert "docs-needs-one" in policy["text"]
        for token in at.tokens.values():
            assert token not in (await mine.get("peers")).text


async def test_what_the_file_says_otherwise_is_shown_before_it_is_accepted(at):
    file = at.engine.settings.policy_file
    file.write_text(file.read_text(encoding="utf-8") + "# another line\n", encoding="utf-8")
    async with visit(at) as mine:
        data = await mine.data("policy")
        assert data["pending"] != data["in_force"]
        assert "+# another line" in data["diff"]


async def test_instances_of_an_app_stand_side_by_side_with_their_last_change(at):
    request = await waiting(at)
    lines = [
        {"app": "docs", "environment": "production", "version": "1", "owner": None},
        {"app": "docs", "environment": "staging", "version": "2", "owner": "docs"},
        {"app": "api", "environment": None, "version": "1", "owner": None},
    ]
    api, docs = side_by_side(lines, last_changes([request]))
    assert (api["app"], api["differ"], api["instances"][0]["last"]) == ("api", False, None)
    assert (docs["owner"], docs["differ"]) == ("docs", True)
    assert {one["last"]["request"] for one in docs["instances"]} == {request.id}


async def test_each_instance_has_its_live_health_in_both_forms_or_is_said_to_be_unknown(at):
    async with visit(at) as mine:
        assert "not known" in text_of((await mine.get("apps")).text)[0]
        assert (await mine.data("apps"))["apps"][0]["instances"][0]["live"] is None

        at.engine.health_of["docs"] = {"health": "Failed", "reason": "a <pod> crashes", "version": "1.3.9"}
        text, _ = text_of((await mine.get("apps")).text)
        assert "Failed runs 1.3.9" in text
        assert "a <pod> crashes" in text
        (app,) = (await mine.data("apps"))["apps"]
        assert app["instances"][0]["live"]["health"] == "Failed"


def test_empty_fields_of_the_search_ask_for_nothing():
    assert asked_for({"q": " ", "peer": "docs", "object": "", "strange": "x"}) == {"peer": "docs"}
