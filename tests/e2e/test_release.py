"""A release notice becomes a deploy: on its schedule, in its order, and with its outcome told."""

import anyio
import pytest
from e2e.releases import READY, catalogue, closed, freeze, releasing, waiting

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@pytest.mark.core
@pytest.mark.promise("notify.catalogue")
async def test_a_notify_deploys_and_its_sender_finds_the_outcome_in_its_inbox(ground, tmp_path):
    async with releasing(ground, tmp_path) as world:
        sent = await world.notify(READY.format("0.13.4"))

        told = await world.outcome(sent.text)

        assert "0.13.4" in told
        assert "replicas ready" in told
        assert world.image() == "registry.example/docs/site:0.13.4"
        (row,) = world.requests()
        assert (row["state"], row["door"], row["notify"], row["caller"]) == ("landed", "notify", sent.text, "docs")
        # Looking marked nothing; the receiver's own word does.
        assert await world.outcome(sent.text) == told
        (message,) = (await world.tool("inbox")).data["messages"]
        await world.tool("inbox", mark_read=[message["id"]])
        assert (await world.tool("inbox")).data["messages"] == []


@pytest.mark.promise("notify.catalogue")
async def test_a_notify_that_is_no_release_word_for_word_or_not_of_the_owner_deploys_nothing(ground, tmp_path):
    async with releasing(ground, tmp_path) as world:
        for text in ("release/0.13.4 merged, do NOT deploy yet", f"{READY.format('0.13.4')} after lunch"):
            await world.notify(text)
        await world.notify(READY.format("0.13.4"), by="shop")

        assert world.requests() == []
        assert world.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("notify.catalogue")
async def test_a_release_waits_for_its_window_and_status_says_until_when(ground, tmp_path):
    async with releasing(ground, tmp_path, closed()) as world:
        await world.notify(READY.format("0.13.4"))

        (line,) = await waiting(world)
        (row,) = world.requests()

        assert row["state"] == "scheduled"
        assert (line["request"], line["app"], line["version"]) == (row["id"], "docs", "0.13.4")
        assert line["held_by"] == "schedule"
        assert line["due"].endswith("T10:00:00+00:00")
        assert await waiting(world, by="shop") == []
        assert world.image() == "registry.example/docs/site:0.13.3"

        await world.accept_policy(catalogue(world))  # an operator opens it
        await world.settled()
        assert world.image() == "registry.example/docs/site:0.13.4"
        assert await waiting(world) == []


@pytest.mark.promise("notify.catalogue")
async def test_a_freeze_holds_a_release_until_it_ends_and_refuses_what_is_sent_directly(ground, tmp_path):
    async with releasing(ground, tmp_path, more=freeze(hours=1)) as world:
        await world.notify(READY.format("0.13.4"))
        (line,) = await waiting(world)
        direct = await world.tool("deploy", app="docs", version="0.13.5")

        assert line["held_by"] == "freeze.launch"
        assert direct.data["error"]["rule"] == "freeze.launch", direct.text

        await world.accept_policy(catalogue(world, more=freeze(seconds=2)))
        (release, refused) = await world.settled()
        assert (release["state"], refused["state"]) == ("landed", "refused")
        due = next(event for event in world.events(release["id"]) if event["kind"] == "due")
        assert due["at"] > line["since"]


@pytest.mark.promise("notify.order")
async def test_a_newer_release_takes_the_place_of_one_that_waits_and_both_senders_hear_of_it(ground, tmp_path):
    async with releasing(ground, tmp_path, closed()) as world:
        older = await world.notify(READY.format("0.13.4"))
        newer = await world.notify(READY.format("0.13.10"))

        assert [row["state"] for row in world.requests()] == ["superseded", "scheduled"]
        assert "0.13.10" in await world.outcome(older.text)

        await world.accept_policy(catalogue(world))
        assert "0.13.10" in await world.outcome(newer.text)
        assert world.image() == "registry.example/docs/site:0.13.10"
        assert world.git("log", "--format=%s").splitlines()[:-1] == ["Deploy docs 0.13.10"]


@pytest.mark.promise("notify.order")
async def test_a_release_older_than_what_landed_is_refused_and_the_ledger_says_so(ground, tmp_path):
    async with releasing(ground, tmp_path) as world:
        landed = await world.tool("deploy", app="docs", version="0.13.10")
        assert landed.ok, landed.text

        sent = await world.notify(READY.format("0.13.9"))

        told = await world.outcome(sent.text)
        assert told.startswith("older-version:")
        assert "0.13.10" in told
        assert len(world.requests()) == 1
        found = await world.tool("search_audit", query="older-version")
        assert "0.13.9" in found.text
        assert world.image() == "registry.example/docs/site:0.13.10"


@pytest.mark.promise("notify.order")
async def test_a_release_that_waits_is_ended_when_something_newer_lands_by_another_door(ground, tmp_path):
    async with releasing(ground, tmp_path, closed()) as world:
        sent = await world.notify(READY.format("0.13.4"))

        landed = await world.tool("deploy", app="docs", version="0.13.5")
        assert landed.ok, landed.text

        told = await world.outcome(sent.text)
        assert "0.13.5" in told
        assert world.requests()[0]["state"] == "superseded"
        await world.accept_policy(catalogue(world))
        assert world.image() == "registry.example/docs/site:0.13.5"


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(
    ("version", "state", "runs"),
    [("0.14.0-slow", "superseded", "0.14.0-slow"), ("0.14.0-unpullable", "landed", "0.13.4")],
    ids=["landed", "taken-back"],
)
async def test_a_release_that_is_due_while_a_newer_version_rolls_out_is_judged_by_what_comes_of_that(
    ground, tmp_path, version, state, runs
):
    async with releasing(ground, tmp_path, closed()) as world:
        sent = await world.notify(READY.format("0.13.4"))
        direct = await world.tool("deploy", app="docs", version=version, wait_seconds=0)
        await world.reached("verifying")

        await world.accept_policy(catalogue(world))  # the window opens, with the objects in the other's hands

        await world.outcome(sent.text, seconds=90)
        states = {row["id"]: row["state"] for row in world.requests()}
        assert states.pop(direct.data["request"]) in {"landed", "rolled_back"}
        assert list(states.values()) == [state]
        assert world.image() == f"registry.example/docs/site:{runs}"


@pytest.mark.promise("notify.catalogue")
@pytest.mark.promise("mesh.durable")
async def test_a_release_that_waits_outlives_a_kill_untouched_and_lands_once(ground, tmp_path):
    async with releasing(ground, tmp_path, closed()) as world:
        sent = await world.notify(READY.format("0.13.4"))
        (before,) = world.requests()
        events = world.events(before["id"])

        await world.restart()
        assert (await world.tool("status")).ok
        assert world.events(before["id"]) == events
        assert world.requests() == [before]

        await world.accept_policy(catalogue(world))
        await world.outcome(sent.text)
        assert world.git("log", "--format=%s").splitlines()[:-1] == ["Deploy docs 0.13.4"]


@pytest.mark.promise("intake.cancel")
async def test_a_release_that_waits_is_cancelled_by_its_sender_alone(ground, tmp_path):
    async with releasing(ground, tmp_path, closed()) as world:
        sent = await world.notify(READY.format("0.13.4"))
        (row,) = world.requests()

        stranger = await world.tool("cancel", by="shop", request_id=row["id"])
        done = await world.tool("cancel", request_id=row["id"])

        assert stranger.data["code"] == "not-found"
        assert done.data["state"] == "cancelled"
        assert "Cancelled" in await world.outcome(sent.text)
        await world.accept_policy(catalogue(world))
        assert await waiting(world) == []
        assert world.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("report.progress")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_while_a_deploy_goes_on_whoever_waits_for_its_ack_is_told_how_many_replicas_are_up(world, mode):
    told = []

    async def heard(_progress, _total, message):
        told.append(message)

    block = '```infra\n{"action": "deploy", "app": "docs", "version": "0.14.0-slow"}\n```'
    asked = await world.tool("ask", peer_name="infra", query=block)
    async with world.peer(mode=mode) as client:
        with anyio.fail_after(90):
            await client.call_tool("wait_on_ack", {"correlation_id": asked.text}, progress_callback=heard)

    (row,) = world.requests()
    assert row["state"] == "landed"
    assert any(f"{row['id']}: {world.namespace}/deployment/docs:" in one and "replicas" in one for one in told), told
