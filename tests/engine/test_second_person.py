"""Who counts as a second person, where a rule requires approvals of several."""

import contextlib

import pytest
from engine.ledger_fixture import EFFECT, NEED, PAT

from infra_mcp.engine.approvals import Decisions, covers, waiting_for
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Need
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.server.operator import Operator

pytestmark = pytest.mark.anyio

TWO = NEED.model_copy(update={"approvals": 2, "strength": "token"})
HOST = Caller(name="operator", circle=None, strength="same-user", operator=True)


def _person(name):
    return Caller(name=name, circle=None, strength="token", operator=True)


async def _manage(ledger_fixture, by, what, name, **more):
    await Operator(ledger_fixture.ledger, ledger_fixture.policy).call(
        by, f"operator/peer.{what}", {"name": name, **more}
    )


async def _added_on_the_host(ledger_fixture, *names):
    for name in names:
        await _manage(ledger_fixture, HOST, "add", name, operator=True)


async def _lands(ledger_fixture, *names):
    """Whether the approvals of these, by token, let a request go on where policy wants two."""
    request = await ledger_fixture.awaits(TWO)
    return [(await ledger_fixture.decide(request, _person(name)))[1] for name in names][-1]


@pytest.mark.fault("f28")
async def test_the_first_two_operators_added_on_the_host_are_two_people(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob")

    assert await _lands(ledger_fixture, "ann", "bob")


@pytest.mark.fault("f28")
@pytest.mark.parametrize("founders", [("ann",), ("ann", "bob")])
async def test_an_operator_and_one_that_they_added_count_as_one(ledger_fixture, founders):
    await _added_on_the_host(ledger_fixture, *founders)
    await _manage(ledger_fixture, _person("ann"), "add", "mal", operator=True)

    assert not await _lands(ledger_fixture, "ann", "mal")
    assert not await _lands(ledger_fixture, "mal", "ann")


@pytest.mark.fault("f28")
async def test_two_operators_that_one_operator_added_count_as_one(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob")
    for name in ("mal", "max"):
        await _manage(ledger_fixture, _person("ann"), "add", name, operator=True)
    await _manage(ledger_fixture, _person("mal"), "add", "moe", operator=True)

    assert not await _lands(ledger_fixture, "mal", "max")
    assert not await _lands(ledger_fixture, "ann", "moe")


@pytest.mark.fault("f28")
async def test_a_third_operator_added_on_the_host_may_have_been_added_by_either_of_the_first(
    ledger_fixture,
):
    await _added_on_the_host(ledger_fixture, "ann", "bob", "mal")

    assert not await _lands(ledger_fixture, "ann", "mal")


@pytest.mark.fault("f28")
async def test_an_operator_who_gave_another_a_new_token_counts_as_one_with_them(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob", "cat")
    await _manage(ledger_fixture, _person("ann"), "token", "bob", operator=True)

    assert not await _lands(ledger_fixture, "ann", "bob")


@pytest.mark.fault("f28")
async def test_an_operator_removed_after_approving_does_not_count(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob")
    await _manage(ledger_fixture, _person("ann"), "add", "mal", operator=True)
    request = await ledger_fixture.awaits(TWO)
    await ledger_fixture.decide(request, _person("mal"))
    await _manage(ledger_fixture, _person("ann"), "remove", "mal", operator=True)

    assert not (await ledger_fixture.decide(request, _person("ann")))[1]


@pytest.mark.fault("f28")
async def test_where_one_approval_is_enough_any_operator_may_give_it(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob")
    await _manage(ledger_fixture, _person("ann"), "add", "mal", operator=True)

    assert (await ledger_fixture.decide(await ledger_fixture.awaits(NEED), _person("mal")))[1]


async def _operators(ledger_fixture, *callers):
    for caller in callers:
        await ledger_fixture.ledger.add_peer(caller.name, "", operator=True)


@pytest.mark.fault("f27")
@pytest.mark.parametrize("back", [False, True], ids=["gone", "a-newcomer-of-that-name"])
async def test_an_approval_of_an_operator_who_was_removed_since_does_not_count(ledger_fixture, back):
    ann = Caller(name="ann", circle=None, strength="token", operator=True)
    await _operators(ledger_fixture, PAT, ann)
    two = Need(rule="rules.two", approvals=2, seconds=600.0)
    request = await ledger_fixture.awaits(two)
    await ledger_fixture.decide(request, PAT)
    await ledger_fixture.ledger.remove_peer("pat", "")
    if back:
        await _operators(ledger_fixture, PAT)

    request, goes_on = await ledger_fixture.decide(request, ann)

    assert not goes_on
    assert request.state is State.AWAITING_APPROVAL
    verdict = waiting_for(request).verdict
    assert not await covers(ledger_fixture.ledger, request, verdict, EFFECT, ledger_fixture.clock())
    lacks = await Decisions(ledger_fixture.ledger).lacking(request, waiting_for(request), ledger_fixture.clock())
    assert "pat's does not count" in lacks


@pytest.mark.fault("f27")
async def test_a_decision_of_an_operator_who_was_removed_while_it_came_is_refused(ledger_fixture):
    await _operators(ledger_fixture, PAT)
    request = await ledger_fixture.awaits()
    await ledger_fixture.ledger.remove_peer("pat", "")

    error = await ledger_fixture.refuses(request, PAT)

    assert error.code == "policy-denied"
    assert (await ledger_fixture.now(request)).state is State.AWAITING_APPROVAL


@pytest.mark.fault("f28")
async def test_an_operator_confirmed_by_another_counts(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob")
    await _manage(ledger_fixture, _person("ann"), "add", "cat", operator=True)
    await _manage(ledger_fixture, _person("bob"), "confirm", "cat")

    assert await _lands(ledger_fixture, "ann", "cat")


@pytest.mark.fault("f28")
@pytest.mark.parametrize("by", [HOST, _person("ann"), _person("mal"), _person("max")], ids=lambda by: by.name)
async def test_a_confirmation_by_the_adder_an_unconfirmed_operator_or_the_host_does_not_count(ledger_fixture, by):
    await _added_on_the_host(ledger_fixture, "ann", "bob")
    for name in ("mal", "max"):
        await _manage(ledger_fixture, _person("ann"), "add", name, operator=True)
    with contextlib.suppress(InfraError):
        await _manage(ledger_fixture, by, "confirm", "mal")

    assert not await _lands(ledger_fixture, "ann", "mal")


@pytest.mark.fault("f28")
async def test_a_new_token_from_another_needs_a_new_confirmation_and_ones_own_does_not(ledger_fixture):
    await _added_on_the_host(ledger_fixture, "ann", "bob", "cat")
    for name in ("ann", "bob"):
        await _manage(ledger_fixture, _person(name), "confirm", "cat")
    await _manage(ledger_fixture, _person("cat"), "token", "cat", operator=True)
    assert await _lands(ledger_fixture, "ann", "cat")
    await _manage(ledger_fixture, _person("ann"), "token", "cat", operator=True)
    assert not await _lands(ledger_fixture, "ann", "cat")
    await _manage(ledger_fixture, _person("bob"), "confirm", "cat")
    assert await _lands(ledger_fixture, "ann", "cat")


@pytest.mark.fault("f28")
async def test_operators_added_before_the_adder_was_recorded_count(ledger_fixture):
    for name in ("ann", "bob", "cat"):
        await ledger_fixture.ledger.add_peer(name, "", operator=True)
        await ledger_fixture.ledger.issue_token(name, "")

    assert await _lands(ledger_fixture, "bob", "cat")
