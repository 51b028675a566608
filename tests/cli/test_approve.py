"""Approving from the shell: one effect of one request, by an operator, and what the server says of it."""

from __future__ import annotations

import json

import httpx2
import pytest
from shell import shell
from ssh_keys import Key

from infra_mcp import statements
from infra_mcp.clients.ssh_signature import verify
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Verdict, Waiting
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.record import Record
from infra_mcp.model.request import State

pytestmark = pytest.mark.process

DIGEST = "sha256:" + "d" * 64
UNTIL = "2030-01-01T00:00:00+00:00"


def people(at):
    """An engine that takes decisions down, and knows one effect."""
    told = []

    async def approve(by, request_id, digest, decided):
        found = await at.engine.ledger.request(request_id)
        if found is None:
            raise InfraError("not-found", "There is no such request.")
        if digest != found.effect_digest:
            raise InfraError("approval-mismatch", f"It would do {found.effect_digest} now.")
        more = filter(None, (decided.signature, decided.bypass))
        told.append((by.name, by.strength, decided.approve, decided.way, *more))
        return found

    at.engine.approve = approve
    return told


async def parked(at, run):
    made = await run("deploy", "docs", "1", "--no-wait", "--json", token=at.tokens["docs"])
    request = made.json["request"]
    verdict = Verdict(decision="needs-approval", rule="rules.one", reason="One must agree.", needs=())
    record = Record(awaiting=Waiting(digest=DIGEST, since=UNTIL, until=UNTIL, verdict=verdict)).kept()
    wait = State.AWAITING_APPROVAL, "awaiting-approval", {}
    await at.engine.ledger.record(request, *wait, record=record, effect_digest=DIGEST)
    return request


@pytest.mark.anyio
@pytest.mark.promise("approval.ways")
@pytest.mark.promise("approval.digest")
async def test_a_decision_is_about_one_effect_and_says_who_decided_and_how_well_known(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        token = (await run("peer", "add", "alice", "--operator")).out.strip()
        yes = await run("approve", request, DIGEST, "--json")
        no = await run("deny", request, DIGEST)
        named = await run("approve", request, DIGEST, token=token)
        moved = await run("approve", request, "sha256:" + "0" * 64, "--json")

        assert (yes.code, no.code, named.code) == (0, 0, 0), (yes, no, named)
        assert yes.json["request"] == request
        assert f"Denied. {request} is awaiting_approval." in no.out
        assert told == [
            ("operator", "same-user", True, "cli"),
            ("operator", "same-user", False, "cli"),
            ("alice", "token", True, "cli"),
        ]
        assert (moved.code, moved.json["code"]) == (2, "approval-mismatch")


@pytest.mark.anyio
@pytest.mark.promise("approval.ways")
async def test_an_operator_decides_over_http_by_their_token_and_nobody_else_does(tmp_path):
    async with shell(tmp_path, "both", held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        token = (await run("peer", "add", "alice", "--operator")).out.strip()
        yes = await run("approve", request, DIGEST, "--json", "--url", at.url, token=token)
        no = await run("deny", request, DIGEST, "--url", at.url, token=token)
        moved = await run("approve", request, "sha256:" + "0" * 64, "--json", "--url", at.url, token=token)
        peers = await run("approve", request, DIGEST, "--json", "--url", at.url, token=at.tokens["docs"])
        unknown = await run("approve", request, DIGEST, "--json", "--url", at.url, token="imcp_" + "0" * 43)
        late = await at.engine.ledger.issue_token("alice", "", seconds=0.0)
        expired = await run("approve", request, DIGEST, "--json", "--url", at.url, token=late)
        await run("peer", "remove", "alice", "--operator")
        gone = await run("approve", request, DIGEST, "--json", "--url", at.url, token=token)

        assert (yes.code, no.code) == (0, 0), (yes, no)
        assert yes.json["request"] == request
        assert told == [("alice", "token", True, "cli"), ("alice", "token", False, "cli")]
        assert (moved.code, moved.json["code"]) == (2, "approval-mismatch")
        assert (peers.code, peers.json["code"]) == (3, "policy-denied")
        assert (unknown.code, unknown.json["code"]) == (3, "unauthenticated")
        assert (expired.code, expired.json["code"]) == (3, "token-expired")
        assert (gone.code, gone.json["code"]) == (3, "unauthenticated")


@pytest.mark.anyio
@pytest.mark.promise("approval.ways")
async def test_a_decision_over_http_that_is_not_well_formed_is_refused_with_a_code(tmp_path):
    async with shell(tmp_path, "both", held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        token = (await run("peer", "add", "alice", "--operator")).out.strip()
        good = {"request_id": request, "digest": DIGEST, "approve": True}
        bad = [
            ({"content": b"{"}, 400),
            ({"content": b"[]"}, 400),
            ({"content": b"[" * 60_000}, 400),
            ({"content": json.dumps(good | {"reason": "x" * 70_000}).encode()}, 400),
            ({"json": good | {"approve": "perhaps"}}, 400),
            ({"json": good | {"as": "bob"}}, 400),
            ({"json": good, "headers": {"Content-Type": "text/plain"}}, 400),
            ({"json": good, "headers": {"Authorization": ""}}, 401),
            ({"json": good, "headers": {"Authorization": f"Basic {token}"}}, 401),
            ({"json": good, "headers": {"Origin": "https://elsewhere.example"}}, 403),
            ({"json": good, "headers": {"Host": "elsewhere.example"}}, 421),
        ]
        known = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        place = at.url.removesuffix("/mcp") + "/operator/approve"
        async with httpx2.AsyncClient() as client:
            for given, status in bad:
                sent = given | {"headers": known | given.get("headers", {})}
                answer = await client.post(place, **sent)
                assert answer.status_code == status, (given, answer.text)
                assert token not in answer.text
            assert (await client.get(place, headers=known)).status_code == 405
            assert told == []
            assert (await client.post(place, json=good, headers=known)).status_code == 200
        assert told == [("alice", "token", True, "cli")]


@pytest.mark.anyio
async def test_a_bypass_says_why(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        done = await run("approve", request, DIGEST, "--bypass", "the shop is down")
        silent = await run("approve", request, DIGEST, "--bypass", "", "--json")

        assert (done.code, silent.code, silent.json["code"]) == (0, 2, "invalid-argument"), (done, silent)
        assert told == [("operator", "same-user", True, "cli", "the shop is down")]


@pytest.mark.anyio
@pytest.mark.promise("approval.signed")
async def test_an_approval_is_signed_on_the_persons_machine_for_the_effect_that_they_named(tmp_path):
    key = Key(tmp_path, "ann")
    async with shell(tmp_path, held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        done = await run("approve", request, DIGEST, "--sign", str(key.private), "--signer", "ann")
        without = await run("approve", request, DIGEST, "--sign", str(tmp_path / "none"), "--json")

        assert (done.code, without.code, without.json["code"]) == (0, 6, "setup-failed"), (done, without)
        ((*_, signature),) = told
        keys = [key.public.removesuffix(" of a test")]
        signed = statements.approval(request, DIGEST, UNTIL)
        assert await verify(signed, signature.text, signature.signer, keys, statements.APPROVAL) == key.fingerprint


@pytest.mark.anyio
@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_a_peer_decides_nothing_also_not_about_others(tmp_path, verb):
    async with shell(tmp_path, held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        done = [await run(verb, request, DIGEST, "--json", token=at.tokens[name]) for name in ("docs", "shop")]

        assert [(one.code, one.json["code"]) for one in done] == [(3, "policy-denied")] * 2
        assert told == []


@pytest.mark.anyio
@pytest.mark.parametrize("digest", ["d" * 64, "sha256:", "sha256:" + "D" * 64, DIGEST + "0", "yes"])
async def test_what_is_no_digest_approves_nothing(tmp_path, digest):
    async with shell(tmp_path, held=True) as (at, run):
        told = people(at)
        request = await parked(at, run)
        done = await run("approve", request, digest, "--json")

        assert (done.code, done.json["code"]) == (2, "invalid-argument")
        assert told == []


@pytest.mark.anyio
@pytest.mark.promise("web.needs-you")
async def test_an_operator_finds_what_waits_and_resolves_it_here_and_over_http_and_a_peer_does_not(tmp_path):
    async with shell(tmp_path, "both", held=True) as (at, run):
        left = []
        for _ in range(3):
            request = await parked(at, run)
            receipt = Receipt(request=request, state=State.NEEDS_OPERATOR, message="A pod stays.", action="deploy")
            await at.engine.ledger.finish(request, receipt, {})
            left.append(request)
        token = (await run("peer", "add", "alice", "--operator")).out.strip()
        far = "--url", at.url
        for place in ((), far):
            refused = await run("request", "resolve", left[0], "not mine", *place, "--json", token=at.tokens["docs"])
            assert (refused.code, refused.json["code"]) == (3, "policy-denied")
        found = await run("inbox")
        assert all(f"infra-mcp request resolve {one} REASON" in found.out for one in left), found.out

        here = await run("request", "resolve", left[0], "deleted the pod")
        there = await run("request", "resolve", left[1], "deleted the pod", *far, token=token)
        short = await run("request", "resolve", left[2], " ", "--json")

        assert (here.code, there.code) == (0, 0), (here, there)
        assert (short.code, short.json["code"]) == (2, "invalid-argument")
        notices = (await run("inbox", *far, "--json", token=token)).json["notices"]
        assert [one["request"] for one in notices] == [left[2]]
        events = (await at.engine.ledger.search("deleted", circle=None)).events
        assert [(one.request, one.peer) for one in events] == [(left[1], "alice"), (left[0], "operator")]
