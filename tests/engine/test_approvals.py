"""Who may decide about a parked request, what a yes and a no do, and what an approval still carries later."""

import pytest
from engine.ledger_fixture import DOCS, EFFECT, NEED, PAT

from infra_mcp.engine.approvals import Decisions, check_covered, covers, scope, wait_for, waiting_for
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Approval, Need
from infra_mcp.model.effect import Change, Effect, FieldChange, FileChange, Part, Takeover
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.peer import Caller
from infra_mcp.model.record import Record
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("18")]

OTHER = "sha256:" + "0" * 64
KIM = Caller(name="kim", circle=None, strength="same-user", operator=True)
INFRA = Caller(name="infra", circle=None, strength="same-user", attendant=True, session="s1")


@pytest.mark.promise("approval.digest")
async def test_an_approval_of_the_effect_resumes_the_request(ledger_fixture):
    request, goes_on = await ledger_fixture.decide(await ledger_fixture.awaits())

    assert goes_on
    assert request.state is State.QUEUED
    (given,) = await ledger_fixture.ledger.approvals.of(request.id)
    assert (given.approver, given.way, given.strength, given.effect_digest) == ("pat", "cli", "token", EFFECT)


@pytest.mark.promise("approval.digest")
async def test_an_approval_of_another_effect_is_refused_and_names_the_present_one(ledger_fixture):
    request = await ledger_fixture.awaits()

    error = await ledger_fixture.refuses(request, effect=OTHER)

    assert error.code == "approval-mismatch"
    assert EFFECT in error.what
    assert (await ledger_fixture.now(request)).state is State.AWAITING_APPROVAL


@pytest.mark.promise("approval.digest")
async def test_a_request_that_is_not_parked_cannot_be_approved(ledger_fixture):
    request = await ledger_fixture.deploy()

    assert (await ledger_fixture.refuses(request)).code == "approval-mismatch"


@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize(
    "by",
    [
        DOCS,
        Caller(name="shop", circle="shop", strength="token"),
        Caller(name="reader", circle=None, strength="same-user", reader=True),
        INFRA,
    ],
    ids=["asker", "peer", "reader", "attendant"],
)
async def test_only_an_operator_may_approve_on_the_command_line(ledger_fixture, by):
    error = await ledger_fixture.refuses(await ledger_fixture.awaits(), by)

    assert error.code == "policy-denied"


@pytest.mark.promise("approval.not-self")
async def test_the_asker_may_not_approve_even_as_an_operator(ledger_fixture):
    both = Caller(name="docs", circle="docs", strength="token", operator=True)

    error = await ledger_fixture.refuses(await ledger_fixture.awaits(), both)

    assert (error.code, error.rule) == ("policy-denied", "approval.not-self")


@pytest.mark.promise("approval.not-self")
async def test_the_person_of_an_attending_session_counts_as_the_user_of_the_machine(ledger_fixture):
    need = Need(rule="rules.two", strength="token")

    _, goes_on = await ledger_fixture.decide(request := await ledger_fixture.awaits(need), INFRA, way="elicitation")

    assert not goes_on
    (given,) = await ledger_fixture.ledger.approvals.of(request.id)
    assert (given.approver, given.way, given.strength) == ("operator", "elicitation", "same-user")


async def test_two_required_approvals_must_come_from_two_people(ledger_fixture):
    request = await ledger_fixture.awaits(NEED.model_copy(update={"approvals": 2}))

    assert not (await ledger_fixture.decide(request))[1]
    assert not (await ledger_fixture.decide(request))[1]
    assert (await ledger_fixture.decide(request, KIM))[1]


@pytest.mark.promise("approval.no-fallback")
async def test_a_denial_ends_the_request(ledger_fixture):
    request, goes_on = await ledger_fixture.decide(await ledger_fixture.awaits(), approve=False)

    assert not goes_on
    assert request.state is State.REFUSED
    assert request.receipt["error"]["code"] == "not-approved"
    assert "pat" in request.receipt["message"]


@pytest.mark.promise("approval.no-fallback")
async def test_without_an_answer_in_time_the_request_expires(ledger_fixture):
    request, decisions = await ledger_fixture.awaits(), Decisions(ledger_fixture.ledger)

    ledger_fixture.clock.forward(seconds=599)
    assert not await decisions.look(request, ledger_fixture.clock())
    assert (await ledger_fixture.now(request)).state is State.AWAITING_APPROVAL
    ledger_fixture.clock.forward(seconds=1)
    assert not await decisions.look(request, ledger_fixture.clock())

    ended = await ledger_fixture.now(request)
    assert ended.state is State.EXPIRED
    assert ended.receipt["error"]["code"] == "not-approved"


@pytest.mark.promise("approval.no-fallback")
async def test_an_approval_that_comes_too_late_is_refused(ledger_fixture):
    request = await ledger_fixture.awaits()
    ledger_fixture.clock.forward(seconds=600)

    assert (await ledger_fixture.refuses(request)).code == "approval-mismatch"


async def test_the_next_server_carries_out_a_decision_recorded_before_a_crash(ledger_fixture):
    approved, denied = await ledger_fixture.awaits(), await ledger_fixture.awaits()
    for request, yes in ((approved, True), (denied, False)):
        given = {"approver": "pat", "way": "cli", "strength": "token", "at": ledger_fixture.clock.stamp}
        expires = "2026-11-23T11:00:00+00:00"
        await ledger_fixture.ledger.approvals.give(
            Approval(request=request.id, effect_digest=EFFECT, approve=yes, expires=expires, **given)
        )

    decisions = Decisions(ledger_fixture.ledger)
    assert await decisions.look(approved, ledger_fixture.clock())
    assert not await decisions.look(denied, ledger_fixture.clock())

    assert (await ledger_fixture.now(approved)).state is State.QUEUED
    assert (await ledger_fixture.now(denied)).state is State.REFUSED


async def test_asking_again_about_the_same_effect_does_not_extend_the_time(ledger_fixture):
    first = waiting_for(await ledger_fixture.awaits())
    ledger_fixture.clock.forward(seconds=300)

    same = wait_for(first.verdict, EFFECT, first, ledger_fixture.clock())
    other = wait_for(first.verdict, OTHER, first, ledger_fixture.clock())

    assert same.over == first.over
    assert other.over > first.over


# -- what an approval carries
REF = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")
IMAGE = FieldChange(path=("spec", "image"), before="0.13.3", after="0.13.4")
FILE = FileChange(path="k8s/docs.yaml", operation="edit", before="a" * 40, diff="-0.13.3\n+0.13.4\n")


def _plan(fields=(IMAGE,), files=(FILE,), **more):
    target = more.pop("ref", REF).target
    change = Change(target=target, operation="update", fields=fields, intent="sha256:1", **more)
    part = Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,))
    return Effect(action={}, parts=(part,), files=files)


async def _begun(ledger_fixture, plan):
    """A request that was approved with this plan's effect and began; with what it remembers."""
    digest = plan.digest
    request = await ledger_fixture.awaits(effect=digest)
    await ledger_fixture.decide(request, effect=digest)
    verdict = waiting_for(request).verdict
    assert await covers(ledger_fixture.ledger, request, verdict, digest, ledger_fixture.clock())
    await ledger_fixture.ledger.approvals.use(request.id, digest, ledger_fixture.clock.stamp)
    return request, verdict, Record(digest=digest, approved=scope(plan))


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize(
    "left",
    [
        _plan(fields=(IMAGE.model_copy(update={"before": "0.13.9"}),), files=()),
        _plan(takes=(Takeover(field=".spec.image", manager="argo", operation="Apply"),), files=()),
        _plan(ref=REF.model_copy(update={"name": "other"}), files=()),
        _plan(files=(FILE.model_copy(update={"diff": "-0.13.9\n+0.13.4\n"}),)),
    ],
    ids=["field", "adoption", "object", "file"],
)
async def test_the_approvals_of_a_begun_request_cover_the_rest_of_its_effect_and_nothing_else(ledger_fixture, left):
    plan = _plan()
    request, verdict, memory = await _begun(ledger_fixture, plan)

    await check_covered(ledger_fixture.ledger, request, verdict, memory, _plan(files=()))
    with pytest.raises(InfraError) as moved:
        await check_covered(ledger_fixture.ledger, request, verdict, memory, left)

    assert moved.value.code == "object-moved"


@pytest.mark.promise("approval.digest")
async def test_a_request_begun_without_approval_stops_when_policy_requires_one_meanwhile(ledger_fixture):
    request = await ledger_fixture.awaits()
    verdict = waiting_for(request).verdict

    with pytest.raises(InfraError) as wanted:
        await check_covered(ledger_fixture.ledger, request, verdict, Record(digest=EFFECT), _plan())

    assert wanted.value.code == "needs-approval"


@pytest.mark.promise("approval.digest")
async def test_a_request_begun_with_one_approval_stops_when_policy_requires_two_meanwhile(ledger_fixture):
    request, verdict, memory = await _begun(ledger_fixture, _plan())
    more = verdict.model_copy(update={"needs": (NEED.model_copy(update={"approvals": 2}),)})

    with pytest.raises(InfraError) as wanted:
        await check_covered(ledger_fixture.ledger, request, more, memory, _plan(files=()))

    assert wanted.value.code == "needs-approval"


@pytest.mark.promise("approval.digest")
async def test_an_approval_covers_no_other_effect_and_expires(ledger_fixture):
    request, verdict, _ = await _begun(ledger_fixture, plan := _plan())

    assert not await covers(ledger_fixture.ledger, request, verdict, OTHER, ledger_fixture.clock())
    ledger_fixture.clock.forward(hours=2)
    assert not await covers(ledger_fixture.ledger, request, verdict, plan.digest, ledger_fixture.clock())


@pytest.mark.fault("w10")
@pytest.mark.parametrize("approve", [True, False], ids=["yes", "no"])
async def test_a_decision_on_a_request_that_ends_meanwhile_is_an_approval_mismatch(
    ledger_fixture, monkeypatch, approve
):
    await ledger_fixture.ledger.add_peer("pat", "", operator=True)
    request = await ledger_fixture.awaits()
    give = ledger_fixture.ledger.approvals.give

    async def ends_meanwhile(approval, **more):
        given = await give(approval, **more)
        await ledger_fixture.ends(request, State.CANCELLED)
        return given

    monkeypatch.setattr(ledger_fixture.ledger.approvals, "give", ends_meanwhile)

    with pytest.raises(InfraError) as refused:
        await ledger_fixture.decide(request, PAT, approve=approve)

    assert refused.value.code == "approval-mismatch"
    assert "cancelled" in refused.value.what
