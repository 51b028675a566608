"""*Approval*: a person's own decision about the effect before them, and the ways in which it cannot be forged."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx2
import pytest
from approval_server import approval_server, waiting
from dashboard_visits import form_of, text_of, visit

from infra_mcp.dashboard.pages import approval
from infra_mcp.dashboard.sessions import FORM_SECONDS
from infra_mcp.engine.approvals import waiting_for
from infra_mcp.model.record import Record
from infra_mcp.model.request import State
from infra_mcp.server.operator import OPERATOR

pytestmark = [pytest.mark.anyio, pytest.mark.promise("web.approve")]


@pytest.fixture
async def at(tmp_path, monkeypatch):
    async with approval_server(tmp_path, monkeypatch, "both") as server:
        yield server


@asynccontextmanager
async def _shown(at, token=None):
    """A request that waits, a session, and its form, as the page shows it."""
    request = await waiting(at)
    async with visit(at, token=token) as mine:
        page = f"requests/{request.id}/approval"
        yield request, mine, page, form_of((await mine.get(page)).text)


async def _state(at, request):
    return (await at.engine.ledger.request(request.id)).state


async def _undecided(at, request):
    found = await at.engine.ledger.approvals.of(request.id)
    return (await _state(at, request), found) == (State.AWAITING_APPROVAL, [])


async def test_the_page_has_all_that_one_decides_by(at):
    request = await waiting(at, reason="please")
    async with visit(at) as mine:
        data = await mine.data(f"requests/{request.id}/approval")
        assert (data["by"], data["circle"], data["strength"], data["words"]) == ("docs", "docs", "token", "please")
        assert (data["digest"], data["effect"], data["removed"]) == (
            request.effect_digest,
            "1 changed in docs-live",
            [],
        )
        assert data["needs"] == [{"rule": "rules.docs-needs-one", "wants": "1 approval by an operator"}]
        assert data["missing"] == "rules.docs-needs-one has 0 of 1 approval by an operator"
        assert "form" not in data, "the twin decides nothing"
        text, _ = text_of((await mine.get(f"requests/{request.id}/approval")).text)
        assert "operator, known by this machine's user" in text
        for part in (request.effect_digest, "by a rollback of this request", ".spec.image:"):
            assert part in text


async def test_an_approval_on_the_page_is_the_sessions_operators_own_with_the_time_it_took(at):
    olga = at.tokens["olga"]
    at.dashboard.sessions.clock = lambda: 1000.0
    async with _shown(at, olga) as (request, mine, page, form):
        at.dashboard.sessions.clock = lambda: 1042.5
        sent = await mine.post(page, form)
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            f"{mine.home}requests/{request.id}".removeprefix(mine.origin),
        )
        assert await _state(at, request) is State.LANDED
        assert at.engine.decided == [(request.effect_digest, True, "page")]
        (given,) = await at.engine.ledger.approvals.of(request.id)
        assert (given.approver, given.strength, given.way) == ("olga", "token", "page")
        (event,) = [one for one in await at.engine.ledger.trail(request.id) if one.kind == "approved"]
        assert event.data["looked_ms"] == 42_500
        assert (await at.engine.ledger.verify([])).consistent

        told, _ = text_of((await mine.get(f"requests/{request.id}")).text)
        assert "by olga (page)" in told
        assert "42 s after it was shown" in told


async def test_a_denial_on_the_page_ends_the_request(at):
    async with _shown(at) as (request, mine, page, _):
        form = form_of((await mine.get(page)).text, "deny")
        assert (await mine.post(page, form)).status_code == 303
        assert await _state(at, request) is State.REFUSED


async def test_a_decision_about_an_effect_that_moved_since_it_was_shown_is_refused(at):
    async with _shown(at) as (request, mine, page, form):
        assert await at.engine.park(request, "moved")
        refused = await mine.post(page, form)
        assert refused.status_code == 409
        assert await _undecided(at, request)
        new = form_of((await mine.get(page)).text)
        assert new["digest"] != form["digest"]
        assert (await mine.post(page, form | {"digest": new["digest"]})).status_code == 403
        assert (await mine.post(page, new)).status_code == 303


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({}, {"origin": "http://127.0.0.1:1"}),  # another server of this machine
        ({}, {"origin": "http://attacker.example"}),
        ({}, {"origin": "null"}),
        ({}, {"origin": ""}),  # as no browser sends it
        ({}, {"sec_fetch_site": "same-site"}),
        ({}, {"sec_fetch_site": "cross-site"}),
        ({}, {"sec_fetch_dest": "iframe"}),  # framed
        ({}, {"host": "localhost:1"}),
        ({"form": ""}, {}),  # no token
        ({"form": "1.000-" + "0" * 64}, {}),
        ({"digest": "sha256:" + "0" * 64}, {}),  # another effect
        ({"decision": "maybe"}, {}),
    ],
)
async def test_a_forged_decision_is_refused_and_leaves_the_request_waiting(at, change, headers):
    async with _shown(at) as (request, mine, page, form):
        assert (await mine.post(page, form | change, **headers)).status_code in {400, 403}
        assert await _undecided(at, request)


async def test_neither_a_peers_token_nor_another_sessions_form_or_cookie_decides(at):
    async with _shown(at) as (request, mine, page, form), visit(at, token=at.tokens["olga"]) as hers:
        assert (await hers.post(page, form)).status_code == 403
        origin = {"origin": mine.origin}
        async with httpx2.AsyncClient() as web:
            for token in (at.tokens["docs"], at.tokens["olga"]):
                headers = origin | {"Authorization": f"Bearer {token}"}
                assert (await web.post(mine.home + page, data=form, headers=headers)).status_code == 403
            cookie = hers.entered.headers["set-cookie"].split(";")[0]
            forged = await web.post(mine.home + page, data=form, headers=origin | {"Cookie": cookie})
            assert forged.status_code == 403
        assert await _undecided(at, request)


async def test_a_form_of_one_request_decides_no_other(at):
    async with _shown(at) as (request, mine, _, form):
        other = await waiting(at)
        assert other.effect_digest == request.effect_digest
        assert (await mine.post(f"requests/{other.id}/approval", form)).status_code == 403
        assert await _undecided(at, other)


async def test_a_decision_sent_again_decides_nothing_more(at):
    async with _shown(at) as (request, mine, page, form):
        assert (await mine.post(page, form)).status_code == 303
        assert (await mine.post(page, form)).status_code == 409
        assert len(await at.engine.ledger.approvals.of(request.id)) == 1


async def test_after_revocation_and_after_an_hour_a_form_decides_nothing(at):
    async with _shown(at, at.tokens["olga"]) as (request, hers, page, form):
        async with visit(at) as mine:
            old = form_of((await mine.get(page)).text)
            later = at.dashboard.sessions.clock() + FORM_SECONDS + 1
            at.dashboard.sessions.clock = lambda: later
            assert (await mine.post(page, old)).status_code == 403
            await at.engine.ledger.revoke_tokens("olga")
            assert (await hers.post(page, form)).status_code == 403
        assert await _undecided(at, request)


@pytest.mark.promise("approval.not-self")
async def test_an_operator_with_the_askers_name_decides_nothing_on_the_page(at):
    await at.engine.ledger.add_peer("docs", "", operator=True)
    own = await at.engine.ledger.issue_token("docs", "")
    async with _shown(at, own) as (request, mine, page, form):
        assert (await mine.post(page, form)).status_code == 403
        assert await _undecided(at, request)


async def test_a_token_that_ends_while_the_form_comes_decides_nothing(at):
    async with _shown(at, at.tokens["olga"]) as (request, hers, page, form):
        revoked = anyio.Event()
        body = "&".join(f"{name}={value.replace(':', '%3A')}" for name, value in form.items()).encode()

        async def slowly():
            yield body[:10]
            await at.engine.ledger.revoke_tokens("olga")
            revoked.set()
            yield body[10:]

        headers = {
            "origin": hers.origin,
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(body)),
        }
        answer = await hers.web.post(hers.home + page, content=slowly(), headers=headers)
        assert revoked.is_set()
        assert answer.status_code == 403
        assert await _undecided(at, request)


async def test_what_is_no_form_or_too_large_is_refused(at):
    async with _shown(at) as (request, mine, page, form):
        for sent in (
            {"json": form},
            {"data": form | {"typed": "x" * 20_000}},
        ):
            answer = await mine.web.post(mine.home + page, headers={"origin": mine.origin}, **sent)
            assert answer.status_code == 400
        assert (await mine.post("needs-you", form)).status_code == 404
        assert await _undecided(at, request)


async def test_who_asked_cannot_decide_on_the_page_either(at):
    async with _shown(at) as (request, _, _, _):
        given = OPERATOR.model_copy(update={"name": "docs", "circle": "docs"})

        async def still():
            return given

        token = at.dashboard.sessions.link(given, still, "needs-you")
        async with httpx2.AsyncClient() as web:
            entered = await web.get(f"{at.url.removesuffix('/mcp')}/dashboard/open/{token}")
            (home,) = set(re.findall(r'href="(/dashboard/[0-9a-f]{32}/)', entered.text))
            origin = at.url.removesuffix("/mcp")
            page = f"{origin}{home}requests/{request.id}/approval"
            answer = await web.post(page, data=form_of((await web.get(page)).text), headers={"origin": origin})
        assert (answer.status_code, "own request" in answer.text) == (403, True)
        assert await _undecided(at, request)


async def test_what_cannot_be_undone_is_approved_by_typing_its_name_only(at, monkeypatch):
    plan = {
        "objects": [{"object": "docs-live/persistentvolumeclaim/docs-data", "operation": "delete"}],
        "blast_radius": {"delete": 1},
    }
    monkeypatch.setattr(approval, "planned", lambda *_: plan)
    async with _shown(at) as (request, mine, page, form):
        text, _ = text_of((await mine.get(page)).text)
        assert "Type docs-data to approve what is deleted or replaced" in text
        for typed in ({}, {"typed": ""}, {"typed": "docs"}):
            assert (await mine.post(page, form | typed)).status_code == 400
        assert await _undecided(at, request)
        assert (await mine.post(page, form | {"typed": " docs-data "})).status_code == 303
        assert await _state(at, request) is State.LANDED


async def test_an_expired_wait_cannot_be_decided(at, monkeypatch):
    async with _shown(at) as (request, mine, page, form):
        import approval_server as module  # noqa: PLC0415 - its clock is moved

        class Later(module.datetime):
            @classmethod
            def now(cls, tz=None):
                return super().now(tz) + timedelta(hours=2)

        monkeypatch.setattr(module, "datetime", Later)
        assert (await mine.post(page, form)).status_code == 409
        assert await _undecided(at, request)


async def test_where_a_rule_wants_a_signature_the_page_names_the_command_and_has_no_button_for_a_yes(at):
    request = await waiting(at)
    found = waiting_for(request)
    needs = tuple(one.model_copy(update={"strength": "signed"}) for one in found.verdict.needs)
    signed = found.model_copy(update={"verdict": found.verdict.model_copy(update={"needs": needs})})
    record = Record(awaiting=signed).kept()
    await at.engine.ledger.record(request.id, State.AWAITING_APPROVAL, "approval-needed", {}, record=record)
    async with visit(at) as mine:
        html = (await mine.get(f"requests/{request.id}/approval")).text
        text, _ = text_of(html)
        assert f"infra-mcp approve {request.id} {request.effect_digest} --sign KEY" in text
        assert ">Approve</button>" not in html
        assert ">Deny</button>" in html
