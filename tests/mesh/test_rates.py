"""Budgets of requests: counted in the ledger, refused with the time to come back, without filling it."""

from __future__ import annotations

import json

import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.ledger.ids import request_id
from infra_mcp.mesh.asks import ask
from infra_mcp.mesh.limits import VOID, Limits
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.budget import Budget
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Submission

pytestmark = [pytest.mark.anyio, pytest.mark.promise("policy.rate")]

DOCS = Caller(name="docs", circle="docs", strength="token")
MATE = Caller(name="mate", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
POLICY = """
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
peer_rate = "3/h"
rate = "5/h"
[circles.shop]
namespaces = ["shop-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[clusters.sandbox]
context = "kwok-infra"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
deploy_on = "release/{version} merged"
order = "arrival"
"""
PEER = Budget("circles.docs.peer_rate", 3, 3600.0, shared=False)
CIRCLE = Budget("circles.docs.rate", 5, 3600.0, shared=True)


async def by_tool(at, number):
    async with at.unix("docs") as client:
        found = await client.call_tool("deploy", {"app": "docs", "version": f"{number}", "wait_seconds": 0})
    return found.structured_content if found.is_error else None


async def by_http(at, number):
    async with at.http("docs") as client:
        found = await client.call_tool("deploy", {"app": "docs", "version": f"{number}", "wait_seconds": 0})
    return found.structured_content if found.is_error else None


async def by_ask(at, number):
    block = json.dumps({"action": "deploy", "app": "docs", "version": f"{number}"})
    try:
        await ask(at.engine, DOCS, "infra", f"```infra\n{block}\n```", limits=at.service.limits)
    except InfraError as error:
        return error.as_dict()
    return None


@pytest.mark.parametrize("channel", [by_tool, by_http, by_ask], ids=lambda one: one.__name__)
async def test_through_every_channel_a_peer_gets_its_budget_and_then_the_time_to_come_back(tmp_path, channel):
    async with running_server(tmp_path, policy=POLICY) as at:
        answers = [await channel(at, number) for number in range(5)]
        async with at.unix("shop") as client:
            other = await client.call_tool("deploy", {"app": "docs", "version": "1", "wait_seconds": 0})

    assert [one and one["code"] for one in answers] == [None, None, None, "too-many", "too-many"]
    for one in answers[3:]:
        assert one["rule"] == "circles.docs.peer_rate"
        assert 3000 < one["retry_after"] <= 3600
        assert f"Send it again in {one['retry_after']} s." in one["next"]
    assert other.structured_content.get("code") != "too-many"


async def test_a_release_notice_over_the_budget_is_refused_and_its_sender_learns_it(tmp_path):
    async with running_server(tmp_path, policy=POLICY) as at:
        for number in range(4):
            await at.service.releases.take(DOCS, f"release/{number} merged", "w", Limits(at.engine))
        mail = await at.engine.ledger.mail.inbox(DOCS)
        requests = await at.engine.ledger.recent("docs", 10)

    assert len(requests) == 3
    assert any("too-many" in one.text for one in mail.messages)


async def test_dry_runs_and_repeats_do_not_count_and_are_not_refused(tmp_path):
    async with running_server(tmp_path, "unix", policy=POLICY) as at, at.unix("docs") as client:
        given = {"app": "docs", "version": "1", "idempotency_key": "a", "wait_seconds": 0}
        first = [await client.call_tool("deploy", given) for _ in range(6)]
        for number in range(6):
            shown = await client.call_tool("deploy", {"app": "docs", "version": f"{number}", "dry_run": True})
            assert shown.structured_content.get("code") != "too-many"
        more = [await by_tool(at, number) for number in range(3)]
        again = await client.call_tool("deploy", given)

    assert len({one.structured_content["request"] for one in [*first, again]}) == 1
    assert [one and one["code"] for one in more] == [None, None, "too-many"]


async def test_a_flood_leaves_one_row_a_minute_that_counts_the_others(tmp_path):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    async with running_server(tmp_path, "unix", policy=POLICY) as at:
        clock = Clock()
        at.service.limits = Limits(at.engine, clock)
        for number in range(3):
            await by_tool(at, number)
        before = (await at.engine.ledger.newest())[0]
        for number in range(60):
            await (by_tool if number % 2 else by_ask)(at, number)
        flooded = (await at.engine.ledger.newest())[0]
        clock.now += 60.0
        await by_tool(at, 1)
        (event,) = (await at.engine.ledger.search("call-refused", circle="docs", limit=1)).events

    assert flooded - before == 1
    assert (event.data["rule"], event.data["refused_before"]) == ("circles.docs.peer_rate", 59)


@pytest.mark.parametrize("given", [{"idempotency_key": "a"}, {"reason": "x"}], ids=["another key's", "a secret"])
async def test_requests_that_are_not_taken_do_not_fill_the_ledger(tmp_path, given):
    secret = "glpat-" + "abcde01234" * 2  # it looks like a token of a forge
    async with running_server(tmp_path, "unix", policy=POLICY) as at, at.unix("docs") as client:
        at.service.limits = Limits(at.engine, lambda: 1000.0)

        async def send(number):
            version = f"{number}" if "idempotency_key" in given else f"{number}-{secret}"
            sent = {"app": "docs", "version": version, "wait_seconds": 0} | given
            return (await client.call_tool("deploy", sent)).structured_content.get("code")

        first = await send(0)
        before = (await at.engine.ledger.newest())[0]
        codes = [await send(number) for number in range(1, VOID + 40)]
        rows = (await at.engine.ledger.newest())[0] - before
        other = await by_ask(at, 0)

    assert first in {None, "invalid-argument"}
    assert set(codes) == {"too-many", "idempotency-conflict" if first is None else "invalid-argument"}
    assert rows <= 2 * VOID + 2, "one row of each, one of the tool, and one for all others"
    assert other is None or other["code"] == "too-many"


@pytest.fixture
async def send(tmp_path):
    """Sends a request at a time; gives the error. The ledger is opened anew each time, as after a restart."""

    async def run(at, caller=DOCS, budgets=(PEER, CIRCLE)):
        ledger = await Ledger.open_in(tmp_path / "state")
        try:
            asked = Submission(caller=caller, action=Deploy(app="docs", version="1"), channel="tool")
            new = {"request_id": request_id(), "ask": None, "now": f"2026-11-22T{at}Z", "budgets": budgets}
            await ledger.accept(asked, **new)
        except InfraError as error:
            return error
        finally:
            await ledger.aclose()
        return None

    return run


async def test_the_ledger_counts_across_restarts_in_any_hour_and_room_comes_back_as_requests_grow_old(send):
    assert [await send(at) for at in ("10:00:00", "10:20:00", "10:40:00")] == [None] * 3
    early, late = await send("10:50:00"), await send("10:59:59.5")
    assert (early.retry_after, late.retry_after) == (600, 1)
    assert await send("11:00:00") is None
    assert (await send("11:00:00")).retry_after == 1200


async def test_the_peers_of_a_circle_share_its_budget_and_those_of_another_have_their_own(send):
    assert [await send("10:00:00", caller) for caller in (DOCS, DOCS, DOCS, MATE, MATE)] == [None] * 5
    refused = await send("10:30:00", MATE)
    assert (refused.rule, refused.retry_after) == ("circles.docs.rate", 1800)
    assert await send("10:30:00", SHOP) is None


async def test_a_clock_that_was_set_back_locks_a_peer_out_for_no_longer_than_its_budget_says(send):
    for _ in range(3):
        await send("23:00:00")
    assert (await send("10:00:00")).retry_after == 3600
