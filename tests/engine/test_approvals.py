"""Who may decide about a parked request, what a yes and a no do, and what an approval still carries later."""

import contextlib

import pytest
from engine.shelf import DOCS, EFFECT, NEED, PAT

from infra_mcp.engine.approvals import Decisions, Waiting, carried, scope, still_carried, waiting_for
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Approval, Need
from infra_mcp.model.peer import Caller
from infra_mcp.model.plan import Adoption, Basis, Effect, FieldChange, FileChange, ObjectChange, ObjectRef, Plan
from infra_mcp.model.request import State
from infra_mcp.server.operator import Operator

pytestmark = pytest.mark.anyio

OTHER = "sha256:" + "0" * 64
KIM = Caller(name="kim", circle=None, strength="same-user", operator=True)
INFRA = Caller(name="infra", circle=None, strength="same-user", attendant=True, session="s1")


async def _decide(shelf, request, by=PAT, effect=EFFECT, *, approve=True, way="cli"):
    decisions = Decisions(shelf.ledger)
    return await decisions.decide(by, request.id, effect, approve=approve, way=way, now=shelf.clock())


async def _refused(shelf, request, *args, **given):
    with pytest.raises(InfraError) as refused:
        await _decide(shelf, request, *args, **given)
    assert await shelf.ledger.approvals.of(request.id) == []
    return refused.value


@pytest.mark.promise("approval.digest")
async def test_a_yes_to_the_very_effect_lets_the_request_go_on(shelf):
    request, goes_on = await _decide(shelf, await shelf.awaits())

    assert goes_on
    assert request.state is State.QUEUED
    (given,) = await shelf.ledger.approvals.of(request.id)
    assert (given.approver, given.way, given.strength, given.effect_digest) == ("pat", "cli", "token", EFFECT)


@pytest.mark.promise("approval.digest")
async def test_a_yes_to_another_effect_is_refused_and_names_the_one_there_is(shelf):
    request = await shelf.awaits()

    error = await _refused(shelf, request, effect=OTHER)

    assert error.code == "approval-mismatch"
    assert EFFECT in error.what
    assert (await shelf.now(request)).state is State.AWAITING_APPROVAL


@pytest.mark.promise("approval.digest")
async def test_a_request_that_waits_for_nobody_cannot_be_approved(shelf):
    request = await shelf.deploy()

    assert (await _refused(shelf, request)).code == "approval-mismatch"


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
async def test_nobody_but_an_operator_approves_on_the_command_line(shelf, by):
    error = await _refused(shelf, await shelf.awaits(), by)

    assert error.code == "policy-denied"


@pytest.mark.promise("approval.not-self")
async def test_the_asker_does_not_approve_even_as_an_operator(shelf):
    both = Caller(name="docs", circle="docs", strength="token", operator=True)

    error = await _refused(shelf, await shelf.awaits(), both)

    assert (error.code, error.rule) == ("policy-denied", "approval.not-self")


@pytest.mark.promise("approval.not-self")
async def test_the_person_of_an_attending_session_is_known_as_the_machine_s_user_and_no_better(shelf):
    need = Need(rule="rules.two", strength="token")

    _, goes_on = await _decide(shelf, request := await shelf.awaits(need), INFRA, way="elicitation")

    assert not goes_on
    (given,) = await shelf.ledger.approvals.of(request.id)
    assert (given.approver, given.way, given.strength) == ("operator", "elicitation", "same-user")


async def test_two_that_are_required_are_two_people(shelf):
    request = await shelf.awaits(NEED.model_copy(update={"approvals": 2}))

    assert not (await _decide(shelf, request))[1]
    assert not (await _decide(shelf, request))[1]
    assert (await _decide(shelf, request, KIM))[1]


@pytest.mark.promise("approval.no-fallback")
async def test_a_no_ends_the_request(shelf):
    request, goes_on = await _decide(shelf, await shelf.awaits(), approve=False)

    assert not goes_on
    assert request.state is State.REFUSED
    assert request.receipt["error"]["code"] == "not-approved"
    assert "pat" in request.receipt["message"]


@pytest.mark.promise("approval.no-fallback")
async def test_nobody_s_answer_in_time_is_a_no(shelf):
    request, decisions = await shelf.awaits(), Decisions(shelf.ledger)

    shelf.clock.forward(seconds=599)
    assert not await decisions.look(request, shelf.clock())
    assert (await shelf.now(request)).state is State.AWAITING_APPROVAL
    shelf.clock.forward(seconds=1)
    assert not await decisions.look(request, shelf.clock())

    ended = await shelf.now(request)
    assert ended.state is State.EXPIRED
    assert ended.receipt["error"]["code"] == "not-approved"


@pytest.mark.promise("approval.no-fallback")
async def test_a_yes_that_comes_too_late_counts_no_more(shelf):
    request = await shelf.awaits()
    shelf.clock.forward(seconds=600)

    assert (await _refused(shelf, request)).code == "approval-mismatch"


async def test_a_decision_that_a_server_recorded_before_it_died_is_carried_out_by_the_next(shelf):
    approved, denied = await shelf.awaits(), await shelf.awaits()
    for request, yes in ((approved, True), (denied, False)):
        given = {"approver": "pat", "way": "cli", "strength": "token", "at": shelf.clock.stamp}
        expires = "2026-11-23T11:00:00+00:00"
        await shelf.ledger.approvals.give(
            Approval(request=request.id, effect_digest=EFFECT, approve=yes, expires=expires, **given)
        )

    decisions = Decisions(shelf.ledger)
    assert await decisions.look(approved, shelf.clock())
    assert not await decisions.look(denied, shelf.clock())

    assert (await shelf.now(approved)).state is State.QUEUED
    assert (await shelf.now(denied)).state is State.REFUSED


async def test_asked_again_about_the_same_effect_the_time_goes_on_running(shelf):
    first = waiting_for((await shelf.awaits()).record)
    shelf.clock.forward(seconds=300)

    same = Waiting.now(first.verdict, EFFECT, first, shelf.clock())
    other = Waiting.now(first.verdict, OTHER, first, shelf.clock())

    assert same.over == first.over
    assert other.over > first.over


# -- what an approval carries
REF = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")
IMAGE = FieldChange(path=("spec", "image"), before="0.13.3", after="0.13.4")
FILE = FileChange(path="k8s/docs.yaml", operation="edit", before="a" * 40, diff="-0.13.3\n+0.13.4\n")


def _plan(fields=(IMAGE,), files=(FILE,), **more):
    change = ObjectChange(ref=more.pop("ref", REF), operation="update", fields=fields, intent="sha256:1", **more)
    return Plan(effect=Effect(action={}, objects=(change,), files=files), basis=Basis(commit="c" * 40, objects=()))


async def _begun(shelf, plan):
    """A request that was approved with this plan's effect and began; with what it remembers."""
    digest = plan.effect.digest
    request = await shelf.awaits(effect=digest)
    await _decide(shelf, request, effect=digest)
    verdict = waiting_for(request.record).verdict
    assert await carried(shelf.ledger, request, verdict, digest, shelf.clock())
    await shelf.ledger.approvals.use(request.id, digest, shelf.clock.stamp)
    return request, verdict, {"digest": digest, "approved": scope(plan)}


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize(
    "left",
    [
        _plan(fields=(IMAGE.model_copy(update={"before": "0.13.9"}),), files=()),
        _plan(adoptions=(Adoption(field=".spec.image", manager="argo", operation="Apply"),), files=()),
        _plan(ref=REF.model_copy(update={"name": "other"}), files=()),
        _plan(files=(FILE.model_copy(update={"diff": "-0.13.9\n+0.13.4\n"}),)),
    ],
    ids=["field", "adoption", "object", "file"],
)
async def test_what_a_request_began_on_carries_the_rest_of_that_effect_and_nothing_else(shelf, left):
    plan = _plan()
    request, verdict, memory = await _begun(shelf, plan)

    await still_carried(shelf.ledger, request, verdict, memory, _plan(files=()))
    with pytest.raises(InfraError) as moved:
        await still_carried(shelf.ledger, request, verdict, memory, left)

    assert moved.value.code == "object-moved"


@pytest.mark.promise("approval.digest")
async def test_what_began_without_an_approval_has_none_when_policy_wants_one_meanwhile(shelf):
    request = await shelf.awaits()
    verdict = waiting_for(request.record).verdict

    with pytest.raises(InfraError) as wanted:
        await still_carried(shelf.ledger, request, verdict, {"digest": EFFECT}, _plan())

    assert wanted.value.code == "needs-approval"


@pytest.mark.promise("approval.digest")
async def test_what_began_with_one_approval_stops_when_policy_wants_two_meanwhile(shelf):
    request, verdict, memory = await _begun(shelf, _plan())
    more = verdict.model_copy(update={"needs": (NEED.model_copy(update={"approvals": 2}),)})

    with pytest.raises(InfraError) as wanted:
        await still_carried(shelf.ledger, request, more, memory, _plan(files=()))

    assert wanted.value.code == "needs-approval"


@pytest.mark.promise("approval.digest")
async def test_an_approval_carries_no_other_effect_and_expires(shelf):
    request, verdict, _ = await _begun(shelf, plan := _plan())

    assert not await carried(shelf.ledger, request, verdict, OTHER, shelf.clock())
    shelf.clock.forward(hours=2)
    assert not await carried(shelf.ledger, request, verdict, plan.effect.digest, shelf.clock())


TWO = NEED.model_copy(update={"approvals": 2, "strength": "token"})
HOST = Caller(name="operator", circle=None, strength="same-user", operator=True)


def _person(name):
    return Caller(name=name, circle=None, strength="token", operator=True)


async def _manage(shelf, by, what, name, **more):
    await Operator(shelf.ledger, shelf.policy).call(by, f"operator/peer.{what}", {"name": name, **more})


async def _named_on_the_host(shelf, *names):
    for name in names:
        await _manage(shelf, HOST, "add", name, operator=True)


async def _land(shelf, *names):
    """Whether the approvals of these, by token, let a request go on where policy wants two."""
    request = await shelf.awaits(TWO)
    return [(await _decide(shelf, request, _person(name)))[1] for name in names][-1]


@pytest.mark.fault("f28")
async def test_the_first_two_operators_named_on_the_host_approve_together(shelf):
    await _named_on_the_host(shelf, "ann", "bob")

    assert await _land(shelf, "ann", "bob")


@pytest.mark.fault("f28")
@pytest.mark.parametrize("founders", [("ann",), ("ann", "bob")])
async def test_an_operator_and_one_whom_they_added_are_one(shelf, founders):
    await _named_on_the_host(shelf, *founders)
    await _manage(shelf, _person("ann"), "add", "mal", operator=True)

    assert not await _land(shelf, "ann", "mal")
    assert not await _land(shelf, "mal", "ann")


@pytest.mark.fault("f28")
async def test_those_whom_one_operator_added_are_not_two(shelf):
    await _named_on_the_host(shelf, "ann", "bob")
    for name in ("mal", "max"):
        await _manage(shelf, _person("ann"), "add", name, operator=True)
    await _manage(shelf, _person("mal"), "add", "moe", operator=True)

    assert not await _land(shelf, "mal", "max")
    assert not await _land(shelf, "ann", "moe")


@pytest.mark.fault("f28")
async def test_the_third_operator_named_on_the_host_may_have_been_named_by_either_of_the_first(shelf):
    await _named_on_the_host(shelf, "ann", "bob", "mal")

    assert not await _land(shelf, "ann", "mal")


@pytest.mark.fault("f28")
async def test_whoever_gave_another_operator_a_new_token_may_hold_it(shelf):
    await _named_on_the_host(shelf, "ann", "bob", "cat")
    await _manage(shelf, _person("ann"), "token", "bob", operator=True)

    assert not await _land(shelf, "ann", "bob")


@pytest.mark.fault("f28")
async def test_an_operator_removed_after_approving_is_no_second_one(shelf):
    await _named_on_the_host(shelf, "ann", "bob")
    await _manage(shelf, _person("ann"), "add", "mal", operator=True)
    request = await shelf.awaits(TWO)
    await _decide(shelf, request, _person("mal"))
    await _manage(shelf, _person("ann"), "remove", "mal", operator=True)

    assert not (await _decide(shelf, request, _person("ann")))[1]


@pytest.mark.fault("f28")
async def test_one_approval_is_any_operators(shelf):
    await _named_on_the_host(shelf, "ann", "bob")
    await _manage(shelf, _person("ann"), "add", "mal", operator=True)

    assert (await _decide(shelf, await shelf.awaits(NEED), _person("mal")))[1]


async def _operators(shelf, *callers):
    for caller in callers:
        await shelf.ledger.add_peer(caller.name, "", operator=True)


@pytest.mark.fault("f27")
@pytest.mark.parametrize("back", [False, True], ids=["gone", "a-newcomer-of-that-name"])
async def test_an_approval_of_an_operator_who_was_removed_since_does_not_count(shelf, back):
    ann = Caller(name="ann", circle=None, strength="token", operator=True)
    await _operators(shelf, PAT, ann)
    two = Need(rule="rules.two", approvals=2, seconds=600.0)
    request = await shelf.awaits(two)
    await _decide(shelf, request, PAT)
    await shelf.ledger.remove_peer("pat", "")
    if back:
        await _operators(shelf, PAT)

    request, goes_on = await _decide(shelf, request, ann)

    assert not goes_on
    assert request.state is State.AWAITING_APPROVAL
    verdict = waiting_for(request.record).verdict
    assert not await carried(shelf.ledger, request, verdict, EFFECT, shelf.clock())
    lacks = await Decisions(shelf.ledger).lacking(request, waiting_for(request.record), shelf.clock())
    assert "pat's does not count" in lacks


@pytest.mark.fault("f27")
async def test_a_decision_of_an_operator_who_was_removed_while_it_came_is_refused(shelf):
    await _operators(shelf, PAT)
    request = await shelf.awaits()
    await shelf.ledger.remove_peer("pat", "")

    error = await _refused(shelf, request, PAT)

    assert error.code == "policy-denied"
    assert (await shelf.now(request)).state is State.AWAITING_APPROVAL


@pytest.mark.fault("w10")
@pytest.mark.parametrize("approve", [True, False], ids=["yes", "no"])
async def test_a_decision_that_meets_the_end_of_its_request_says_so_by_its_own_code(shelf, monkeypatch, approve):
    await _operators(shelf, PAT)
    request = await shelf.awaits()
    give = shelf.ledger.approvals.give

    async def ends_meanwhile(approval):
        given = await give(approval)
        await shelf.ends(request, State.CANCELLED)
        return given

    monkeypatch.setattr(shelf.ledger.approvals, "give", ends_meanwhile)

    with pytest.raises(InfraError) as refused:
        await _decide(shelf, request, PAT, approve=approve)

    assert refused.value.code == "approval-mismatch"
    assert "cancelled" in refused.value.what


@pytest.mark.fault("f28")
async def test_whom_another_confirmed_counts(shelf):
    await _named_on_the_host(shelf, "ann", "bob")
    await _manage(shelf, _person("ann"), "add", "cat", operator=True)
    await _manage(shelf, _person("bob"), "confirm", "cat")

    assert await _land(shelf, "ann", "cat")


@pytest.mark.fault("f28")
@pytest.mark.parametrize("by", [HOST, _person("ann"), _person("mal"), _person("max")], ids=lambda by: by.name)
async def test_a_confirmation_by_who_added_them_oneself_one_who_does_not_count_or_the_host_is_none(shelf, by):
    await _named_on_the_host(shelf, "ann", "bob")
    for name in ("mal", "max"):
        await _manage(shelf, _person("ann"), "add", name, operator=True)
    with contextlib.suppress(InfraError):
        await _manage(shelf, by, "confirm", "mal")

    assert not await _land(shelf, "ann", "mal")


@pytest.mark.fault("f28")
async def test_a_new_token_from_another_is_confirmed_again_and_ones_own_is_not(shelf):
    await _named_on_the_host(shelf, "ann", "bob", "cat")
    for name in ("ann", "bob"):
        await _manage(shelf, _person(name), "confirm", "cat")
    await _manage(shelf, _person("cat"), "token", "cat", operator=True)
    assert await _land(shelf, "ann", "cat")
    await _manage(shelf, _person("ann"), "token", "cat", operator=True)
    assert not await _land(shelf, "ann", "cat")
    await _manage(shelf, _person("bob"), "confirm", "cat")
    assert await _land(shelf, "ann", "cat")


@pytest.mark.fault("f28")
async def test_operators_of_before_it_was_recorded_count(shelf):
    for name in ("ann", "bob", "cat"):
        await shelf.ledger.add_peer(name, "", operator=True)
        await shelf.ledger.issue_token(name, "")

    assert await _land(shelf, "bob", "cat")
