"""Approving from the shell: one effect of one request, by an operator, and what the server says of it."""

from __future__ import annotations

import pytest
from shell import shell
from ssh_keys import Key

from infra_mcp.clients.ssh_signature import verify
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import APPROVAL_NAMESPACE, Verdict, Waiting, to_sign
from infra_mcp.model.record import Record
from infra_mcp.model.request import State

pytestmark = pytest.mark.process

DIGEST = "sha256:" + "d" * 64
UNTIL = "2030-01-01T00:00:00+00:00"


def people(at):
    """An engine that takes decisions down, and knows one effect."""
    told = []

    async def approve(by, request_id, digest, *, approve, way, signature=None):
        found = await at.engine.ledger.request(request_id)
        if found is None:
            raise InfraError("not-found", "There is no such request.")
        if digest != found.effect_digest:
            raise InfraError("approval-mismatch", f"It would do {found.effect_digest} now.")
        told.append((by.name, by.strength, approve, way, *([signature] if signature else ())))
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
        signed = to_sign(request, DIGEST, UNTIL)
        assert await verify(signed, signature.text, signature.signer, keys, APPROVAL_NAMESPACE) == key.fingerprint


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
