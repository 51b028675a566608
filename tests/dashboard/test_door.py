"""The way into the dashboard: a link that works once, a session that is its operator's, and no other way."""

from __future__ import annotations

import httpx2
import pytest
from dashboard_visits import link, visit
from running_server import running_server

from infra_mcp.dashboard.sessions import FORM_SECONDS, LINK_SECONDS, SESSION_SECONDS
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def at(tmp_path):
    async with running_server(tmp_path) as server:
        await server.engine.ledger.add_peer("olga", "", operator=True)
        server.tokens["olga"] = await server.engine.ledger.issue_token("olga")
        yield server


async def _closed(answer):
    return (answer.status_code, "infra-mcp dashboard" in answer.text)


@pytest.mark.promise("web.approve")
async def test_a_link_opens_one_session_once_and_only_within_two_minutes(at):
    first, late = await link(at), await link(at)
    async with httpx2.AsyncClient() as web:
        assert (await web.get(first)).status_code == 200
        assert await _closed(await web.get(first)) == (403, True)

        passed = at.dashboard.sessions.clock() + LINK_SECONDS + 1
        at.dashboard.sessions.clock = lambda: passed
        assert await _closed(await web.get(late)) == (403, True)
        assert await _closed(await web.get(late.rsplit("/", 1)[0] + "/guessed")) == (403, True)


@pytest.mark.promise("web.approve")
async def test_a_browser_that_fetches_a_link_in_advance_does_not_use_it_up(at):
    one = await link(at)
    async with httpx2.AsyncClient() as web:
        assert (await web.get(one, headers={"sec-purpose": "prefetch"})).status_code == 403
        assert (await web.get(one)).status_code == 200


@pytest.mark.promise("web.approve")
@pytest.mark.parametrize("peer", ["docs", "reader"])
async def test_a_peer_gets_no_link(at, peer):
    with pytest.raises(InfraError) as refused:
        await link(at, token=at.tokens[peer])
    assert refused.value.code == "policy-denied"


@pytest.mark.promise("web.approve")
async def test_neither_a_token_nor_another_sessions_cookie_opens_a_page(at):
    async with visit(at) as mine, visit(at, token=at.tokens["olga"]) as hers:
        assert (await mine.get("needs-you")).status_code == 200
        async with httpx2.AsyncClient() as web:
            page = mine.home + "needs-you"
            assert await _closed(await web.get(page)) == (403, True)
            for token in at.tokens.values():
                answer = await web.get(page, headers={"Authorization": f"Bearer {token}"})
                assert await _closed(answer) == (403, True)
            other = hers.entered.headers["set-cookie"].split(";")[0]
            assert await _closed(await web.get(page, headers={"Cookie": other})) == (403, True)


@pytest.mark.promise("web.approve")
async def test_a_session_ends_with_its_time_its_token_and_by_a_click(at):
    async with visit(at, token=at.tokens["olga"]) as hers, visit(at) as mine, visit(at) as other:
        await at.engine.ledger.revoke_tokens("olga")
        assert await _closed(await hers.get("needs-you")) == (403, True)

        assert (await other.post("leave", {}, origin="http://127.0.0.1:1")).status_code == 403
        assert (await other.get("needs-you")).status_code == 200
        await other.post("leave", {})
        assert await _closed(await other.get("needs-you")) == (403, True)

        passed = at.dashboard.sessions.clock() + SESSION_SECONDS + 1
        at.dashboard.sessions.clock = lambda: passed
        assert await _closed(await mine.get("needs-you")) == (403, True)


@pytest.mark.promise("web.closed")
async def test_the_cookie_is_for_this_sessions_pages_only_and_no_script_reads_it(at):
    async with visit(at) as mine:
        cookie = mine.entered.headers["set-cookie"]
        path = mine.home.removeprefix(mine.origin).rstrip("/")
        assert {"HttpOnly", "SameSite=strict", f"Path={path}"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.promise("web.closed")
async def test_every_answer_forbids_foreign_content_frames_and_copies(at):
    async with visit(at) as mine:
        pages = [mine.entered, *[await mine.get(one) for one in ("needs-you", "needs-you.json", "nowhere", "")]]
        pages += [await mine.web.get(f"{mine.origin}/dashboard/{one}") for one in ("static/dashboard.css", "none")]
        for answer in pages:
            rules = answer.headers["content-security-policy"]
            assert "default-src 'none'" in rules
            assert "frame-ancestors 'none'" in rules
            assert "unsafe" not in rules
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
        framed = await mine.get("needs-you", headers={"sec-fetch-dest": "iframe"})
        assert framed.status_code == 403


@pytest.mark.promise("web.closed")
async def test_another_host_or_a_page_from_elsewhere_gets_nothing(at):
    async with visit(at) as mine:
        assert (await mine.get("needs-you", headers={"host": "dashboard.example"})).status_code == 421
        assert (await mine.get("needs-you", headers={"origin": "http://dashboard.example"})).status_code == 403


@pytest.mark.promise("web.approve")
async def test_a_forms_token_is_for_one_session_one_request_one_effect_and_an_hour(at):
    async with visit(at), visit(at):
        one, other = at.dashboard.sessions._open.values()
    token = one.token("req-1", "sha256:a", 100.0)
    assert one.shown(token, "req-1", "sha256:a", 107.5) == 7.5
    later = "999.000-" + token.partition("-")[2]
    for session, sent, request, digest, now in (
        (other, token, "req-1", "sha256:a", 101.0),
        (one, token, "req-2", "sha256:a", 101.0),
        (one, token, "req-1", "sha256:b", 101.0),
        (one, token, "req-1", "sha256:a", 101.0 + FORM_SECONDS),
        (one, later, "req-1", "sha256:a", 1000.0),
        (one, "", "req-1", "sha256:a", 101.0),
        (one, "é-é", "req-1", "sha256:a", 101.0),
    ):
        with pytest.raises(InfraError) as refused:
            session.shown(sent, request, digest, now)
        assert refused.value.code == "policy-denied"


async def test_a_server_without_the_dashboard_says_how_to_get_it(at):
    object.__setattr__(at.operator, "dashboard", None)
    with pytest.raises(InfraError) as refused:
        await link(at)
    assert (refused.value.code, "INFRA_MCP_DASHBOARD" in refused.value.next_step) == ("setup-failed", True)
