"""Requests that wait: for their time, or for people."""

import pytest

from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio


async def test_what_waits_is_found_in_the_order_it_came(ledger, accept):
    approval = (await accept(ledger)).request.id
    await accept(ledger)
    scheduled = (await accept(ledger, scheduled=True)).request.id
    await ledger.record(approval, State.AWAITING_APPROVAL, "parked", {})
    assert [(one.id, one.state) for one in await ledger.parked()] == [
        (approval, State.AWAITING_APPROVAL),
        (scheduled, State.SCHEDULED),
    ]
    assert len(await ledger.open_requests()) == 3


@pytest.mark.parametrize("parked", [State.SCHEDULED, State.AWAITING_APPROVAL])
@pytest.mark.parametrize("before", [State.QUEUED, State.PLANNED, State.SCHEDULED, State.AWAITING_APPROVAL])
async def test_a_request_can_wait_again_and_go_on_from_where_its_step_says(ledger, accept, before, parked):
    request = (await accept(ledger)).request.id
    await ledger.record(request, before, "step", {})
    await ledger.record(request, parked, "parked", {})
    assert (await ledger.request(request)).state is parked
    await ledger.record(request, State.QUEUED, "resumed", {})
    assert (await ledger.request(request)).state is State.QUEUED, "nobody takes it for one that waits"
    assert await ledger.parked() == []
    assert (await ledger.verify([])).consistent


@pytest.mark.parametrize("parked", [State.SCHEDULED, State.AWAITING_APPROVAL])
@pytest.mark.parametrize("begun", [State.APPLYING, State.VERIFYING, State.ROLLING_BACK])
async def test_a_request_that_has_begun_cannot_wait(ledger, accept, begun, parked):
    request = (await accept(ledger)).request.id
    await ledger.record(request, begun, "begun", {})
    with pytest.raises(ValueError, match="cannot"):
        await ledger.record(request, parked, "parked", {})
    assert (await ledger.request(request)).state is begun


async def test_what_waits_can_end(ledger, accept, receipt):
    for state in (State.EXPIRED, State.CANCELLED, State.SUPERSEDED):
        taken = await accept(ledger, scheduled=True)
        await ledger.finish(taken.request.id, receipt(taken.request, state, "no"), {})
    assert await ledger.parked() == []
