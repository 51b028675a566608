"""A release notice becomes a deploy: on its schedule, in its order, and with its outcome told."""

import anyio
import pytest
from e2e.releases import READY, catalogue, closed, freeze, releasing, waiting

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@pytest.mark.core
@pytest.mark.promise("notify.catalogue")
async def test_a_notify_deploys_and_its_sender_finds_the_outcome_in_its_inbox(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path) as scenario:
        sent = await scenario.notify(READY.format("0.13.4"))

        told = await scenario.outcome(sent.text)

        assert "0.13.4" in told
        assert "replicas ready" in told
        assert scenario.image() == "registry.example/docs/site:0.13.4"
        (row,) = scenario.requests()
        assert (row["state"], row["door"], row["notify"], row["caller"]) == ("landed", "notify", sent.text, "docs")
        # Looking marked nothing; the receiver's own word does.
        assert await scenario.outcome(sent.text) == told
        (message,) = (await scenario.tool("inbox")).data["messages"]
        await scenario.tool("inbox", mark_read=[message["id"]])
        assert (await scenario.tool("inbox")).data["messages"] == []


@pytest.mark.promise("notify.catalogue")
async def test_a_notify_that_is_no_release_word_for_word_or_not_of_the_owner_deploys_nothing(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path) as scenario:
        for text in ("release/0.13.4 merged, do NOT deploy yet", f"{READY.format('0.13.4')} after lunch"):
            await scenario.notify(text)
        await scenario.notify(READY.format("0.13.4"), by="shop")

        assert scenario.requests() == []
        assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("notify.catalogue")
@pytest.mark.promise("policy.windows")
async def test_a_release_waits_for_its_window_and_status_says_until_when(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        await scenario.notify(READY.format("0.13.4"))

        (line,) = await waiting(scenario)
        (row,) = scenario.requests()

        assert row["state"] == "scheduled"
        assert (line["request"], line["app"], line["version"]) == (row["id"], "docs", "0.13.4")
        assert line["held_by"] == "schedule"
        assert line["due"].endswith("T10:00:00+00:00")
        assert await waiting(scenario, by="shop") == []
        assert scenario.image() == "registry.example/docs/site:0.13.3"

        await scenario.accept_policy(catalogue(scenario))  # an operator opens it
        await scenario.settled()
        assert scenario.image() == "registry.example/docs/site:0.13.4"
        assert await waiting(scenario) == []


@pytest.mark.promise("notify.catalogue")
@pytest.mark.promise("policy.windows")
async def test_a_freeze_holds_a_release_until_it_ends_and_refuses_what_is_sent_directly(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, more=freeze(hours=1)) as scenario:
        await scenario.notify(READY.format("0.13.4"))
        (line,) = await waiting(scenario)
        direct = await scenario.tool("deploy", app="docs", version="0.13.5")

        assert line["held_by"] == "freeze.launch"
        assert direct.data["error"]["rule"] == "freeze.launch", direct.text

        await scenario.accept_policy(catalogue(scenario, more=freeze(seconds=2)))
        (release, refused) = await scenario.settled()
        assert (release["state"], refused["state"]) == ("landed", "refused")
        due = next(event for event in scenario.events(release["id"]) if event["kind"] == "due")
        assert due["at"] > line["since"]


@pytest.mark.promise("notify.order")
async def test_a_newer_release_takes_the_place_of_one_that_waits_and_both_senders_hear_of_it(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        older = await scenario.notify(READY.format("0.13.4"))
        newer = await scenario.notify(READY.format("0.13.10"))

        assert [row["state"] for row in scenario.requests()] == ["superseded", "scheduled"]
        assert "0.13.10" in await scenario.outcome(older.text)

        await scenario.accept_policy(catalogue(scenario))
        assert "0.13.10" in await scenario.outcome(newer.text)
        assert scenario.image() == "registry.example/docs/site:0.13.10"
        assert scenario.git("log", "--format=%s").splitlines()[:-1] == ["Deploy docs 0.13.10"]


@pytest.mark.promise("notify.order")
async def test_a_release_older_than_what_landed_is_refused_and_the_ledger_says_so(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path) as scenario:
        landed = await scenario.tool("deploy", app="docs", version="0.13.10")
        assert landed.ok, landed.text

        sent = await scenario.notify(READY.format("0.13.9"))

        told = await scenario.outcome(sent.text)
        assert told.startswith("older-version:")
        assert "0.13.10" in told
        assert len(scenario.requests()) == 1
        found = await scenario.tool("search_audit", query="older-version")
        assert len(found.data["events"]) == 1, "a reader of every circle sees the text"
        async with scenario.attend() as session:
            found = await scenario.call(session, "search_audit", query="older-version")
        assert "0.13.9" in found.text
        assert scenario.image() == "registry.example/docs/site:0.13.10"


@pytest.mark.promise("notify.order")
async def test_a_release_that_waits_is_ended_when_something_newer_lands_by_another_door(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        sent = await scenario.notify(READY.format("0.13.4"))

        landed = await scenario.tool("deploy", app="docs", version="0.13.5")
        assert landed.ok, landed.text

        told = await scenario.outcome(sent.text)
        assert "0.13.5" in told
        assert scenario.requests()[0]["state"] == "superseded"
        await scenario.accept_policy(catalogue(scenario))
        assert scenario.image() == "registry.example/docs/site:0.13.5"


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(
    ("version", "state", "runs"),
    [("0.14.0-slow", "superseded", "0.14.0-slow"), ("0.14.0-unpullable", "landed", "0.13.4")],
    ids=["landed", "taken-back"],
)
async def test_a_release_that_is_due_while_a_newer_version_rolls_out_is_judged_by_what_comes_of_that(
    cluster_setup, tmp_path, version, state, runs
):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        sent = await scenario.notify(READY.format("0.13.4"))
        direct = await scenario.tool("deploy", app="docs", version=version, wait_seconds=0)
        await scenario.reached("verifying")

        await scenario.accept_policy(catalogue(scenario))  # the window opens, with the objects in the other's hands

        await scenario.outcome(sent.text, seconds=90)
        states = {row["id"]: row["state"] for row in scenario.requests()}
        assert states.pop(direct.data["request"]) in {"landed", "rolled_back"}
        assert list(states.values()) == [state]
        assert scenario.image() == f"registry.example/docs/site:{runs}"


@pytest.mark.promise("notify.catalogue")
@pytest.mark.promise("mesh.durable")
async def test_a_release_that_waits_outlives_a_kill_untouched_and_lands_once(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        sent = await scenario.notify(READY.format("0.13.4"))
        (before,) = scenario.requests()
        events = scenario.events(before["id"])

        await scenario.restart()
        assert (await scenario.tool("status")).ok
        assert scenario.events(before["id"]) == events
        assert scenario.requests() == [before]

        await scenario.accept_policy(catalogue(scenario))
        await scenario.outcome(sent.text)
        assert scenario.git("log", "--format=%s").splitlines()[:-1] == ["Deploy docs 0.13.4"]


@pytest.mark.promise("intake.cancel")
async def test_a_release_that_waits_is_cancelled_by_its_sender_alone(cluster_setup, tmp_path):
    async with releasing(cluster_setup, tmp_path, closed()) as scenario:
        sent = await scenario.notify(READY.format("0.13.4"))
        (row,) = scenario.requests()

        stranger = await scenario.tool("cancel", by="shop", request_id=row["id"])
        done = await scenario.tool("cancel", request_id=row["id"])

        assert stranger.data["code"] == "not-found"
        assert done.data["state"] == "cancelled"
        assert "Cancelled" in await scenario.outcome(sent.text)
        await scenario.accept_policy(catalogue(scenario))
        assert await waiting(scenario) == []
        assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("report.progress")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_while_a_deploy_goes_on_whoever_waits_for_its_ack_is_told_how_many_replicas_are_up(scenario, mode):
    told = []

    async def heard(_progress, _total, message):
        told.append(message)

    block = '```infra\n{"action": "deploy", "app": "docs", "version": "0.14.0-slow"}\n```'
    asked = await scenario.tool("ask", peer_name="infra", query=block)
    async with scenario.peer(mode=mode) as client:
        with anyio.fail_after(90):
            await client.call_tool("wait_on_ack", {"correlation_id": asked.text}, progress_callback=heard)

    (row,) = scenario.requests()
    assert row["state"] == "landed"
    assert any(f"{row['id']}: {scenario.namespace}/deployment/docs:" in one and "replicas" in one for one in told), told
