"""Changes that people must approve: parked, bound to one effect, once, in time, and never by who asked."""

import re
import signal
from contextlib import suppress
from functools import partial

import anyio
import anyio.to_thread
import httpx2
import pytest
from dashboard_visits import form_of, link_of
from e2e.fault_injection import Point, observe
from e2e.scenario import Scenario

from infra_mcp.cli.client import connect
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

RULE = """
[[rules]]
id = "docs-need-one"
match = {{ apps = ["docs"] }}
require = {{ approvals = {approvals}, by = "operator", strength = "{strength}", expires = "{expires}" }}
reason = "the site is looked at by many"
"""
OLD, NEW = "registry.example/docs/site:0.13.3", "registry.example/docs/site:0.13.4"


def _rule(approvals=1, strength="same-user", expires="1h"):
    return RULE.format(approvals=approvals, strength=strength, expires=expires)


def _guarded(cluster_setup, home, **rule):
    scenario = Scenario(cluster_setup, home)
    scenario.policy = scenario.apps() + _rule(**rule)
    return scenario


async def _parked(scenario, version="0.13.4", **more):
    """A deploy that waits for an approval: its id and the digest that was shown."""
    reply = await scenario.tool("deploy", app="docs", version=version, **more)
    assert reply.data["state"] == "awaiting_approval", reply.text
    assert reply.data["exit"] == 4
    return reply.data["request"], reply.data["effect_digest"]


async def _refused(scenario, request, digest, code="approval-mismatch", **more):
    with pytest.raises(InfraError) as refused:
        await scenario.approve(request, digest, **more)
    assert refused.value.code == code, refused.value
    return refused.value


async def _ended(scenario, request, state):
    with anyio.fail_after(60):
        while (row := _row(scenario, request))["state"] != state:
            assert row["open"], row
            await anyio.sleep(0.02)
    return row


def _row(scenario, request):
    (row,) = scenario.rows("SELECT * FROM requests WHERE id = ?", request)
    return row


@pytest.mark.promise("approval.digest")
async def test_a_change_waits_for_the_approval_of_its_very_effect_lands_with_it_and_uses_it_up(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        head = scenario.git("rev-parse", "HEAD")
        request, digest = await _parked(scenario)
        assert (scenario.image(), scenario.git("rev-parse", "HEAD")) == (OLD, head)

        other = "sha256:" + "0" * 64
        assert digest in (await _refused(scenario, request, other)).what
        assert scenario.image() == OLD

        await scenario.approve(request, digest)
        await _ended(scenario, request, "landed")
        assert scenario.image() == NEW
        assert f"Effect-Digest: {digest}" in scenario.git("log", "-1", "--format=%b")

        (given,) = scenario.rows("SELECT * FROM approvals")
        assert (given["approver"], given["way"], given["strength"]) == ("operator", "cli", "same-user")
        kinds = [event["kind"] for event in scenario.events(request)]
        assert given["used"]
        assert kinds.index("approvals-used") < kinds.index("committing")
        await _refused(scenario, request, digest)


@pytest.mark.promise("web.approve")
async def test_an_approval_on_the_page_is_planned_again_and_a_moved_effect_asks_anew_there(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario, httpx2.AsyncClient(timeout=30) as web:
        request, digest = await _parked(scenario)
        entered = await web.get(await link_of(scenario.settings, f"requests/{request}/approval"))
        (to,) = set(re.findall(r'href="(/dashboard/[0-9a-f]{32}/[^"]*)', entered.text))
        origin = scenario.server.url.removesuffix("/mcp")

        async def decided():
            html = (await web.get(origin + to)).text
            assert "Planned on" in html
            assert "automatic where it does not land" in html
            assert "<b>yes</b>: " in html
            form = form_of(html)
            answer = await web.post(origin + to, data=form, headers={"origin": origin})
            assert answer.status_code == 303, answer.text
            return form["digest"]

        hot = "registry.example/docs/site:0.13.3-hot"
        scenario.kubectl("-n", scenario.namespace, "set", "image", "deployment/docs", f"site={hot}")
        assert await decided() == digest
        with anyio.fail_after(30):
            while (moved := _row(scenario, request)["effect_digest"]) == digest:  # noqa: ASYNC110 - another process's news
                await anyio.sleep(0.02)
        await _ended(scenario, request, "awaiting_approval")
        assert scenario.image() == hot

        assert await decided() == moved
        await _ended(scenario, request, "landed")
        assert scenario.image() == NEW
        ways = {(one["way"], one["approver"]) for one in scenario.rows("SELECT * FROM approvals")}
        assert ways == {("page", "operator")}


@pytest.mark.promise("approval.digest")
async def test_an_approval_is_for_one_request_and_the_same_change_again_asks_again(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        first, digest = await _parked(scenario)
        second, same = await _parked(scenario)
        assert same == digest

        await scenario.approve(first, digest)
        await _ended(scenario, first, "landed")

        assert _row(scenario, second)["state"] == "awaiting_approval"
        assert len(scenario.git("log", "--format=%s").splitlines()) == 2


@pytest.mark.promise("approval.digest")
async def test_a_change_whose_effect_moved_asks_anew_and_says_so(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request, digest = await _parked(scenario)
        hot = "registry.example/docs/site:0.13.3-hot"
        scenario.kubectl("-n", scenario.namespace, "set", "image", "deployment/docs", f"site={hot}")

        await scenario.approve(request, digest)
        with anyio.fail_after(30):
            while (moved := _row(scenario, request)["effect_digest"]) == digest:  # noqa: ASYNC110 - another process's news
                await anyio.sleep(0.02)
        await _ended(scenario, request, "awaiting_approval")

        assert scenario.image() == hot
        asked = [event for event in scenario.events(request) if event["kind"] == "approval-needed"]
        assert digest in asked[-1]["text"]
        assert "no longer" in asked[-1]["text"]
        await _refused(scenario, request, digest)
        await scenario.approve(request, moved)
        await _ended(scenario, request, "landed")
        assert scenario.image() == NEW


@pytest.mark.promise("approval.no-fallback")
async def test_a_change_that_nobody_approves_in_time_expires_and_its_asker_is_told(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path, expires="2s") as scenario:
        block = '```infra\n{"action": "deploy", "app": "docs", "version": "0.13.4"}\n```'
        acked = await scenario.ask(block)

        assert not acked.ok
        assert acked.data["state"] == "expired"
        assert "not approved in time" in acked.text
        assert scenario.image() == OLD


@pytest.mark.promise("approval.no-fallback")
async def test_a_no_ends_the_request_and_its_asker_is_told(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        block = '```infra\n{"action": "deploy", "app": "docs", "version": "0.13.4"}\n```'
        asked = await scenario.tool("ask", peer_name="infra", query=block)
        request = await scenario.reached("awaiting_approval")
        digest = _row(scenario, request)["effect_digest"]

        await scenario.approve(request, digest, approve=False)

        acked = await scenario.ack(asked.text)
        assert (acked.data["state"], acked.data["error"]["code"]) == ("refused", "not-approved")
        assert "denied" in acked.text
        await _refused(scenario, request, digest)
        assert scenario.image() == OLD


@pytest.mark.promise("approval.not-self")
async def test_neither_the_asker_nor_any_other_peer_approves(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request, digest = await _parked(scenario)

        for peer in ("docs", "shop"):
            refused = await scenario.tool("approve", by=peer, request_id=request)
            assert refused.data["code"] in {"policy-denied", "not-found"}, refused.text
            assert await _by_token(scenario, peer, request, digest) == "policy-denied"

        assert _row(scenario, request)["state"] == "awaiting_approval"
        assert scenario.rows("SELECT * FROM approvals") == []
        assert scenario.image() == OLD


@pytest.mark.promise("approval.not-self")
async def test_a_rule_can_demand_two_different_people_known_by_token(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path, approvals=2, strength="token") as scenario:
        for name in ("pat", "kim"):
            added = await scenario.operate("operator/peer.add", name=name, operator=True)
            scenario.tokens[name] = added["token"]
        request, digest = await _parked(scenario)

        await scenario.approve(request, digest)  # by the same user of this machine: too weak
        for _ in range(2):
            assert await _by_token(scenario, "pat", request, digest) == ""  # the same person twice is one
        assert _row(scenario, request)["state"] == "awaiting_approval"

        assert await _by_token(scenario, "kim", request, digest) == ""
        await _ended(scenario, request, "landed")
        given = {(row["approver"], row["strength"]) for row in scenario.rows("SELECT * FROM approvals")}
        assert given == {("operator", "same-user"), ("pat", "token"), ("kim", "token")}


async def _by_token(scenario, name, request, digest):
    """Approve over the socket with somebody's token; the code it is refused with, or nothing."""
    return await anyio.to_thread.run_sync(_approve_as, scenario, name, request, digest)


def _approve_as(scenario, name, request, digest):
    params = {"request_id": request, "digest": digest, "approve": True}
    try:
        with connect(scenario.settings, scenario.tokens[name]) as client:
            client.method("operator/approve", params)
    except InfraError as error:
        return error.code
    return ""


@pytest.mark.promise("recover.reobserve")
@pytest.mark.promise("approval.digest")
async def test_what_waits_outlives_a_kill_untouched_and_lands_once_when_it_is_approved(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request, digest = await _parked(scenario)
        events = scenario.events(request)

        await scenario.restart()
        assert (await scenario.tool("status")).data["waiting"][0]["effect_digest"] == digest
        assert scenario.events(request) == events

        await scenario.approve(request, digest)
        await _ended(scenario, request, "landed")
        assert len(scenario.git("log", "--format=%s").splitlines()) == 2
        assert scenario.image() == NEW


@pytest.mark.promise("recover.reobserve")
@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize(
    "at",
    [
        Point("ledger.approval.give", "after"),
        Point("ledger.approval.use", "before"),
        Point("ledger.approval.use", "after"),
        Point("git.move", "after"),
        Point("kube.apply", "after"),
    ],
    ids=str,
)
async def test_killed_anywhere_after_the_approval_it_lands_once_and_asks_nobody_again(cluster_setup, tmp_path, at):
    scenario = _guarded(cluster_setup, tmp_path)
    scenario.serve = False
    async with scenario:
        await scenario.start(partial(observe, str(tmp_path / "points"), at))
        request, digest = await _parked(scenario)
        with suppress(InfraError):  # the answer may die with the server
            await scenario.approve(request, digest)
        assert await scenario.gone(30) == -signal.SIGKILL

        await scenario.start()
        await _ended(scenario, request, "landed")

        assert len(scenario.git("log", "--format=%s").splitlines()) == 2
        assert scenario.image() == NEW
        assert sum(event["kind"] == "approval-needed" for event in scenario.events(request)) == 1


@pytest.mark.promise("intake.cancel")
@pytest.mark.promise("apply.locks")
async def test_what_waits_holds_no_object_and_can_be_cancelled(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        first, digest = await _parked(scenario)
        second, _ = await _parked(scenario, "0.13.5")

        cancelled = await scenario.tool("cancel", request_id=first)

        assert cancelled.data["state"] == "cancelled"
        await _refused(scenario, first, digest)
        assert _row(scenario, second)["state"] == "awaiting_approval"


async def test_a_preview_says_that_the_change_would_wait(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        shown = await scenario.tool("deploy", app="docs", version="0.13.4", dry_run=True)

        assert shown.ok, shown.text
        assert shown.data["plan"]["effect_digest"]
        assert "docs-need-one" in shown.text


@pytest.mark.promise("policy.accepted")
async def test_under_a_policy_that_wants_no_approval_any_more_what_waits_goes_on(cluster_setup, tmp_path):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request, _ = await _parked(scenario)

        await scenario.accept_policy(scenario.apps())

        await _ended(scenario, request, "landed")


FREEZE = """
[[freeze]]
id = "now"
from = "2020-01-01T00:00:00Z"
until = "2099-01-01T00:00:00Z"
"""
DENIAL = """
[[rules]]
id = "never"
match = { apps = ["docs"] }
deny = true
"""


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize(("more", "rule"), [(FREEZE, "freeze.now"), (DENIAL, "rules.never")])
async def test_what_waits_ends_when_the_policy_begins_to_refuse_it_and_no_approval_helps(
    cluster_setup, tmp_path, more, rule
):
    async with _guarded(cluster_setup, tmp_path) as scenario:
        request, digest = await _parked(scenario)
        await scenario.accept_policy(scenario.apps() + _rule() + more)

        ended = await _ended(scenario, request, "refused")
        assert rule in ended["receipt"]
        await _refused(scenario, request, digest)
        assert scenario.image() == OLD
