"""One operator goes on without the others whom a rule wants: where it allows that, with a reason, for a while."""

from datetime import datetime, timedelta

import pytest
from engine.ledger_fixture import DOCS, EFFECT, NEED, PAT
from engine.two_kinds import until

from infra_mcp.engine.approvals import covers, waiting_for
from infra_mcp.engine.notices import Notices, bypasses
from infra_mcp.engine.signals import Signals
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State
from infra_mcp.policy.matching import Subject, denials
from infra_mcp.policy.policy import load

pytestmark = pytest.mark.anyio

TWO = NEED.model_copy(update={"approvals": 2, "strength": "token", "bypass": 120.0})
HOST = Caller(name="operator", circle=None, strength="same-user", operator=True)
WHY = "the shop is down and bob does not answer"


async def test_one_approval_with_a_reason_is_enough_and_the_trail_has_the_reason(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)
    now, resumed = await ledger_fixture.decide(request, PAT, bypass=WHY)

    assert (now.state, resumed) == (State.QUEUED, True)
    (event,) = [one for one in await ledger_fixture.ledger.trail(request.id) if one.kind == "bypassed"]
    assert (event.peer, event.text, event.data["bypass"]) == ("pat", WHY, WHY)
    (found,) = (await ledger_fixture.ledger.search("bob answer", circle=None)).events
    assert found.request == request.id
    report = await ledger_fixture.ledger.verify(())
    assert (report.consistent, report.differing) == (True, ())


async def test_a_plain_approval_is_still_one_of_two(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)

    assert not (await ledger_fixture.decide(request, PAT))[1]
    assert (await ledger_fixture.decide(request, PAT, bypass=WHY))[1]  # the same operator thinks again


async def test_where_no_rule_allows_it_nothing_is_bypassed(ledger_fixture):
    request = await ledger_fixture.awaits(TWO.model_copy(update={"bypass": 0.0}))
    refused = await ledger_fixture.refuses(request, PAT, bypass=WHY)

    assert (refused.code, refused.rule) == ("policy-denied", "approve.bypass")


async def test_a_denial_bypasses_nothing_and_a_reason_holds_no_secret(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)
    ledger_fixture.ledger.masker.learn("canary-of-the-reason")
    denied = await ledger_fixture.refuses(request, PAT, bypass=WHY, approve=False)
    secret = await ledger_fixture.refuses(request, PAT, bypass="canary-of-the-reason")

    assert (denied.code, secret.code) == ("invalid-argument",) * 2
    assert "canary" not in str(secret)


async def test_it_bypasses_the_rules_that_allow_it_and_no_other(ledger_fixture):
    other = NEED.model_copy(update={"approvals": 2, "strength": "token", "rule": "rules.other"})
    request = await ledger_fixture.awaits(TWO, other)
    now, resumed = await ledger_fixture.decide(request, PAT, bypass=WHY)

    assert (now.state, resumed) == (State.AWAITING_APPROVAL, False)


async def test_it_counts_for_as_long_as_the_rule_says_and_no_longer(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)
    await ledger_fixture.decide(request, PAT, bypass=WHY)
    verdict, now = waiting_for(request).verdict, ledger_fixture.clock()
    held = [
        await covers(ledger_fixture.ledger, request, verdict, EFFECT, now + timedelta(seconds=s)) for s in (119, 121)
    ]

    assert held == [True, False]


async def test_who_is_not_known_well_enough_bypasses_nothing(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)

    assert not (await ledger_fixture.decide(request, HOST, bypass=WHY))[1]


async def test_who_asked_bypasses_nothing(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)
    asker = Caller(name=request.caller.name, circle=None, strength="token", operator=True)

    assert (await ledger_fixture.refuses(request, asker, bypass=WHY)).rule == "approval.not-self"


async def test_operators_are_told_of_it_with_the_reason(ledger_fixture, tmp_path):
    file, program = tmp_path / "told", tmp_path / "tell"
    program.write_text(f'#!/bin/sh\ncat >> "{file}"\n', encoding="utf-8")
    program.chmod(0o700)
    notices = Notices(ledger_fixture.ledger, Signals(), str(program), tmp_path, _since=ledger_fixture.clock.stamp)
    await ledger_fixture.decide(await ledger_fixture.awaits(TWO), PAT, bypass=WHY)
    await notices.look()
    await notices.look()

    await until(file.exists)
    (told,) = file.read_text("utf-8").splitlines()
    assert '"about": "bypass"' in told
    assert WHY in told


@pytest.mark.parametrize(
    ("require", "allowed"),
    [
        ('approvals = 2, bypass = "30m"', True),
        ('bypass = "30m"', False),
        ('approvals = 1, by = "merge", bypass = "30m"', False),
        ('approvals = 2, by = "review", bypass = "30m"', False),
    ],
)
def test_a_rule_can_allow_it_where_several_operators_must_approve(require, allowed):
    rule = f'[[rules]]\nid = "two"\nrequire = {{ {require} }}\n'
    forge = '[forge]\nkind = "gitea"\noperators = { ann = "ann", bob = "bob" }\n'
    policy = load('[tree]\nwrite = "pull-request"\n' + forge + rule)
    subject = Subject("deploy", "docs", "docs", frozenset({"docs-live"}))

    assert ["bypass" in one.reason for one in denials(policy.rules, subject)] == ([] if allowed else [True])


async def test_no_peer_buries_a_bypass_under_words_of_its_own(ledger_fixture):
    request = await ledger_fixture.awaits(TWO)
    await ledger_fixture.decide(request, PAT, bypass=WHY)
    (event,) = [one for one in await ledger_fixture.ledger.trail(request.id) if one.kind == "bypassed"]
    for number in range(60):
        await ledger_fixture.ledger.mail.notified(DOCS, Address(name="infra"), f"bypassed {number}", [], now=event.at)

    (found,) = await bypasses(ledger_fixture.ledger, datetime.fromisoformat(event.at))
    assert (found.request, found.text) == (request.id, WHY)
