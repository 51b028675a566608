"""Cancelling: until the first write, and what is said afterwards."""

import anyio
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@pytest.mark.promise("intake.cancel")
async def test_a_request_that_waits_is_cancelled_and_one_that_writes_is_not(scenario):
    head = scenario.git("rev-parse", "HEAD").strip()
    first = await scenario.tool("deploy", app="docs", version="0.14.0-slow", wait_seconds=0)
    await scenario.reached("verifying")
    second = await scenario.tool("deploy", app="docs", version="0.14.1", wait_seconds=0)

    late = await scenario.tool("cancel", request_id=first.data["request"])
    done = await scenario.tool("cancel", request_id=second.data["request"])

    assert late.data["code"] == "too-late"
    assert "goes on to its end" in late.text
    assert done.data["state"] == "cancelled", done.text
    rows = {row["id"]: row["state"] for row in await scenario.settled()}
    assert rows == {first.data["request"]: "landed", second.data["request"]: "cancelled"}
    assert scenario.git("rev-list", "--count", f"{head}..HEAD").strip() == "1"
    assert scenario.image() == "registry.example/docs/site:0.14.0-slow"


@pytest.mark.promise("intake.cancel")
async def test_only_the_asker_cancels_and_an_ended_request_stays_as_it_is(scenario):
    made = await scenario.tool("provision_namespace", namespace=scenario.fresh())

    stranger = await scenario.tool("cancel", by="shop", request_id=made.data["request"])
    again = await scenario.tool("cancel", request_id=made.data["request"])

    assert stranger.data["code"] == "not-found"
    assert again.data["code"] == "too-late"
    assert scenario.requests()[0]["state"] == "landed"


@pytest.mark.promise("intake.saved-first")
async def test_a_client_that_goes_away_changes_nothing(scenario):
    name = scenario.fresh()
    async with scenario.peer() as client:
        with anyio.move_on_after(0.05):
            await client.call_tool("provision_namespace", {"namespace": name})

    rows = await scenario.settled()
    if rows:  # it may have been taken in just then
        rows = await scenario.settled()

    assert [row["state"] for row in rows] in (["landed"], []), rows
    assert (scenario.live_object("namespace", name) is not None) == bool(rows)
