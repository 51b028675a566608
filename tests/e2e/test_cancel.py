"""Cancelling: until the first write, and what is said afterwards."""

import anyio
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@pytest.mark.promise("intake.cancel")
async def test_a_request_that_waits_is_cancelled_and_one_that_writes_is_not(world):
    head = world.git("rev-parse", "HEAD").strip()
    first = await world.tool("deploy", app="docs", version="0.14.0-slow", wait_seconds=0)
    await world.reached("verifying")
    second = await world.tool("deploy", app="docs", version="0.14.1", wait_seconds=0)

    late = await world.tool("cancel", request_id=first.data["request"])
    done = await world.tool("cancel", request_id=second.data["request"])

    assert late.data["code"] == "too-late"
    assert "goes on to its end" in late.text
    assert done.data["state"] == "cancelled", done.text
    rows = {row["id"]: row["state"] for row in await world.settled()}
    assert rows == {first.data["request"]: "landed", second.data["request"]: "cancelled"}
    assert world.git("rev-list", "--count", f"{head}..HEAD").strip() == "1"
    assert world.image() == "registry.example/docs/site:0.14.0-slow"


@pytest.mark.promise("intake.cancel")
async def test_only_the_asker_cancels_and_an_ended_request_stays_as_it_is(world):
    made = await world.tool("provision_namespace", namespace=world.fresh())

    stranger = await world.tool("cancel", by="shop", request_id=made.data["request"])
    again = await world.tool("cancel", request_id=made.data["request"])

    assert stranger.data["code"] == "not-found"
    assert again.data["code"] == "too-late"
    assert world.requests()[0]["state"] == "landed"


@pytest.mark.promise("intake.saved-first")
async def test_a_client_that_goes_away_changes_nothing(world):
    name = world.fresh()
    async with world.peer() as client:
        with anyio.move_on_after(0.05):
            await client.call_tool("provision_namespace", {"namespace": name})

    rows = await world.settled()

    assert [row["state"] for row in rows] in (["landed"], []), rows
    assert (world.live_object("namespace", name) is not None) == bool(rows)
