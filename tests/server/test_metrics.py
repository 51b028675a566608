"""What `/metrics` says and to whom: read by the parser of Prometheus' own client."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from approval_server import approval_server, waiting
from prometheus_client.parser import text_string_to_metric_families
from running_server import running_server

from infra_mcp import __version__, telemetry
from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Decided
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.server.metrics import FAMILIES, check_readers
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio
CANARY = "canary-Xq9-of-the-metrics"


@pytest.fixture
async def at(tmp_path, monkeypatch):
    monkeypatch.delenv("INFRA_MCP_METRICS", raising=False)
    async with approval_server(tmp_path, monkeypatch, "both") as server:
        yield server


async def scrape(at, token=None, **more):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(timeout=30) as web:
        return await web.get(at.url.removesuffix("/mcp") + "/metrics", headers=headers | more)


async def figures(at):
    """Every sample, by its name and labels."""
    answer = await scrape(at, at.tokens["olga"])
    assert answer.status_code == 200, answer.text
    found = list(text_string_to_metric_families(answer.text))
    assert all(one.documentation for one in found)
    return {
        (one.name, *sorted(one.labels.values())): one.value for family in found for one in family.samples
    }, answer.text


async def test_operators_read_them_and_peers_and_strangers_do_not(at):
    assert (await scrape(at)).status_code == 401
    assert "WWW-Authenticate" in (await scrape(at, "imcp_none")).headers
    assert (await scrape(at, at.tokens["docs"])).status_code == 403
    answer = await scrape(at, at.tokens["olga"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert (await scrape(at, at.tokens["olga"], Host="elsewhere.example")).status_code == 421


async def test_a_setting_names_a_token_that_reads_them_and_nothing_else_or_opens_them(at, tmp_path, monkeypatch):
    file = tmp_path / "scrape"
    file.write_text("only-for-metrics-5f1b\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("INFRA_MCP_METRICS", str(file))
    assert (await scrape(at, "only-for-metrics-5f1b")).status_code == 200
    assert (await scrape(at, at.tokens["olga"])).status_code == 200
    assert (await scrape(at)).status_code == 401
    assert (await scrape(at, "only-for-metrics-5f1")).status_code == 401
    async with httpx2.AsyncClient(timeout=30) as web:
        place, known = at.url.removesuffix("/mcp"), {"Authorization": "Bearer only-for-metrics-5f1b"}
        assert (await web.post(f"{place}/operator/approve", json={}, headers=known)).status_code == 401
    check_readers()
    file.chmod(0o644)
    refused = await scrape(at, "only-for-metrics-5f1b")
    assert (refused.status_code, str(file) in refused.text + str(refused.headers)) == (401, False)
    assert (await scrape(at, at.tokens["olga"])).status_code == 200
    with pytest.raises(InfraError) as failed:
        check_readers()
    assert failed.value.code == "setup-failed"
    monkeypatch.setenv("INFRA_MCP_METRICS", "open")
    assert (await scrape(at)).status_code == 200


async def test_each_metric_is_shown_documented_and_counts_what_happened(at):
    before, text = await figures(at)
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == set(FAMILIES)
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(infra_mcp_\w+)", page, re.MULTILINE)) == set(FAMILIES)
    assert before["infra_mcp_build_info", __version__] == 1

    first, second = await waiting(at, reason=CANARY), await waiting(at, version="3")
    await at.engine.approve(OPERATOR, first.id, first.effect_digest, Decided(approve=True, way="cli"))
    third = await waiting(at, version="4")
    error = {"code": "not-landed", "what": CANARY, "next": CANARY}
    receipt = Receipt(request=third.id, state=State.NEEDS_OPERATOR, message=CANARY, action="deploy", error=error)
    await at.engine.ledger.finish(third.id, receipt, error)
    async with at.http("docs") as docs:
        for app in (CANARY, "docs"):
            await docs.call_tool("deploy", {"app": app, "version": "2", CANARY: CANARY})
        await docs.call_tool(CANARY, {})
    await scrape(at, CANARY)
    with telemetry.Phase("plan", rule=CANARY):
        pass

    after, text = await figures(at)
    assert CANARY not in text
    for name in ("docs-needs-one", first.id, "olga", "docs"):
        assert f'"{name}"' not in text, "labels are bounded"
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert grown["infra_mcp_requests_total", "deploy", "landed"] == 1
    assert grown["infra_mcp_requests_total", "deploy", "needs_operator"] == 1
    assert grown["infra_mcp_refused_total", "not-landed"] == 1
    assert grown["infra_mcp_refused_total", "unknown-argument"] == 2
    assert grown["infra_mcp_refused_total", "not-found"] == 1
    assert grown["infra_mcp_decisions_total", "approved"] == 1
    assert grown["infra_mcp_requests_open", "awaiting_approval"] == after["infra_mcp_approvals_waiting",] == 1
    assert after["infra_mcp_approvals_oldest_seconds",] > 0
    assert second.id
    assert after["infra_mcp_people_needed",] == 1
    assert grown["infra_mcp_http_unauthenticated_total",] == 1
    assert after["infra_mcp_connections", "http"] >= 1
    assert after["infra_mcp_connections", "socket"] >= 0
    assert after["infra_mcp_requests_at_work",] >= 0
    assert after["infra_mcp_cluster_reachable",] == 1
    assert after["infra_mcp_ledger_events",] == (await at.engine.ledger.newest())[0]
    assert after["infra_mcp_ledger_bytes",] > 10_000
    assert grown["infra_mcp_phase_seconds_count", "plan"] == 1
    buckets = [value for key, value in after.items() if key[0] == "infra_mcp_phase_seconds_bucket" and "plan" in key]
    assert len(buckets) == len(telemetry.BOUNDS) + 1
    assert max(buckets) == after["infra_mcp_phase_seconds_count", "plan"]
    again, _ = await figures(at)
    assert (
        again["infra_mcp_requests_total", "deploy", "landed"] == after["infra_mcp_requests_total", "deploy", "landed"]
    )


async def test_counters_begin_with_the_server_and_a_value_of_another_version_has_a_label_of_its_own(tmp_path):
    async with running_server(tmp_path, "both") as at:
        await at.engine.ledger.add_peer("olga", "", operator=True)
        at.tokens["olga"] = await at.engine.ledger.issue_token("olga")
        await at.engine.ledger.note("call-refused", "docs", {"code": CANARY, "refused_before": 4})
        await at.engine.ledger.note("call-refused", "docs", {"code": "too-many"})
        found, text = await figures(at)
    assert found["infra_mcp_refused_total", "other"] == 5
    assert found["infra_mcp_refused_total", "too-many"] == 1
    assert CANARY not in text
    assert "too-many" in CODES
