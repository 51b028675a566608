"""Approvals: each for one effect of one request, while it waits, and used once."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger
from infra_mcp.model.approval import Approval
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"
LATER = "2026-11-22T11:00:00.000000Z"
EFFECT = "sha256:" + "e" * 64


async def refusal(awaitable):
    with pytest.raises(InfraError) as caught:
        await awaitable
    return caught.value


@pytest.fixture
async def waiting(ledger, accept):
    """A request that waits for approval of EFFECT."""
    taken = await accept(ledger)
    await ledger.record(taken.request.id, State.PLANNED, "planned", {}, effect_digest=EFFECT)
    await ledger.record(taken.request.id, State.AWAITING_APPROVAL, "parked", {})
    return taken.request.id


@pytest.fixture
def give(ledger, waiting):
    async def run(**given):
        said = {"request": waiting, "effect_digest": EFFECT, "approve": True, "approver": "alice", "way": "cli"}
        said |= {"strength": "same-user", "at": NOW, "expires": LATER} | given
        return await ledger.approvals.give(Approval(**said))

    return run


@pytest.mark.promise("approval.digest", "approval.not-self")
async def test_a_decision_is_kept_with_who_gave_it_how_and_until_when(ledger, give, waiting, place):
    given = await give(way="elicitation", strength="token")
    assert (given.approver, given.way, given.strength, given.expires, given.used) == (
        "alice",
        "elicitation",
        "token",
        LATER,
        None,
    )
    newest = (await ledger.trail(waiting))[-1]
    assert (newest.kind, newest.peer, newest.circle) == ("approved", "alice", "docs")
    assert {name: newest.data[name] for name in ("effect_digest", "way", "strength")} == {
        "effect_digest": EFFECT,
        "way": "elicitation",
        "strength": "token",
    }
    await ledger.aclose()
    again = await Ledger.open_in(place)
    assert await again.approvals.of(waiting) == [given]
    assert (await again.verify([])).consistent
    await again.aclose()


@pytest.mark.promise("approval.digest")
async def test_an_approval_of_another_effect_is_refused_and_not_kept(ledger, give, waiting):
    assert (await refusal(give(effect_digest="sha256:" + "f" * 64))).code == "approval-mismatch"
    await ledger.record(waiting, State.PLANNED, "planned", {}, effect_digest="sha256:" + "f" * 64)
    await ledger.record(waiting, State.AWAITING_APPROVAL, "parked", {})
    assert (await refusal(give())).code == "approval-mismatch", "it was planned again, to another effect"
    assert await ledger.approvals.of(waiting) == []


@pytest.mark.promise("approval.digest")
@pytest.mark.parametrize("state", [State.PLANNED, State.APPLYING, None])
async def test_what_does_not_wait_cannot_be_approved(ledger, give, waiting, receipt, state):
    if state is None:
        await ledger.finish(waiting, receipt(await ledger.request(waiting), State.EXPIRED, "too late"), {})
    else:
        await ledger.record(waiting, state, "on", {})
    assert (await refusal(give())).code == "approval-mismatch"
    assert (await refusal(give(request="req-none"))).code == "not-found"


async def test_the_same_decision_again_is_the_first_and_another_is_added(ledger, give, waiting):
    first = await give()
    head = await ledger.head()
    assert await give(at="2026-11-22T10:10:00Z", expires="2026-11-22T11:10:00Z") == first
    assert await ledger.head() == head
    await give(approve=False)
    await give(approver="bob")
    await give(strength="token")
    found = [(one.approver, one.approve, one.strength) for one in await ledger.approvals.of(waiting)]
    assert found == [
        ("alice", True, "same-user"),
        ("alice", False, "same-user"),
        ("bob", True, "same-user"),
        ("alice", True, "token"),
    ]
    assert [one.kind for one in await ledger.trail(waiting)][-4:] == ["approved", "denied", "approved", "approved"]


@pytest.mark.promise("approval.digest")
async def test_a_decision_that_has_expired_is_given_anew(ledger, give, waiting):
    await give()
    again = await give(at=LATER, expires="2026-11-22T12:00:00Z")
    assert again.expires == "2026-11-22T12:00:00.000000Z"
    assert len(await ledger.approvals.of(waiting)) == 2


async def test_a_yes_after_the_same_persons_no_is_a_new_decision(give, ledger, waiting):
    await give()
    await give(approve=False)
    await give()
    assert [one.approve for one in await ledger.approvals.of(waiting)] == [True, False, True]


@pytest.mark.promise("approval.digest")
async def test_what_allowed_a_write_is_used_up_and_a_no_and_other_effects_are_not(ledger, give, waiting):
    other = "sha256:" + "f" * 64
    await give()
    await give(approver="bob")
    await give(approver="carol", approve=False)
    await ledger.record(waiting, State.PLANNED, "planned", {}, effect_digest=other)
    await ledger.record(waiting, State.AWAITING_APPROVAL, "parked", {})
    await give(approver="dora", effect_digest=other)
    await ledger.approvals.use(waiting, EFFECT, "2026-11-22T10:30:00Z")
    head = await ledger.head()
    await ledger.approvals.use(waiting, EFFECT, "2026-11-22T10:40:00Z")
    assert await ledger.head() == head, "used once"
    used = "2026-11-22T10:30:00.000000Z"
    assert [(one.approver, one.used) for one in await ledger.approvals.of(waiting)] == [
        ("alice", used),
        ("bob", used),
        ("carol", None),
        ("dora", None),
    ]
    newest = (await ledger.trail(waiting))[-1]
    assert (newest.kind, newest.data) == ("approvals-used", {"effect_digest": EFFECT, "approvers": ["alice", "bob"]})
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("approval.digest")
async def test_a_used_approval_does_not_stand_for_a_new_one(give, ledger, waiting):
    await give()
    await ledger.approvals.use(waiting, EFFECT, NOW)
    again = await give(at="2026-11-22T10:05:00Z")
    assert again.used is None
    assert len(await ledger.approvals.of(waiting)) == 2
    assert (await ledger.verify([])).consistent


async def test_using_what_nobody_gave_changes_nothing(ledger, waiting):
    head = await ledger.head()
    await ledger.approvals.use(waiting, EFFECT, NOW)
    assert await ledger.head() == head
