"""Changes that people merge at a forge: proposed, parked, merged, closed, superseded, expired, taken back."""

import json

import anyio
import pytest
from engine.forge_ground import BEFORE, GiteaGround, ended, proposed, pushed_to
from engine.two_kinds import NEW, THINGS, until

from infra_mcp.engine.propose import unpublish
from infra_mcp.engine.signals import PROPOSALS
from infra_mcp.errors import InfraError
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]


async def test_a_change_is_proposed_and_nothing_is_committed_or_live_until_people_merge_it(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        assert (ground.live(), ground.subjects()) == (BEFORE, [])
        assert ground.pulls()[number]["branch"] == f"infra-mcp/{request.id}"
        assert request.id in ground.pulls()[number]["body"]
        assert not engine._worker._runs
        merged = ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert done.commit == merged
    assert ground.branches() == []


@pytest.mark.promise("git.carries")
@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
async def test_what_is_merged_in_any_way_is_known_by_its_values(ground, how):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.people("commit", "-q", "--allow-empty", "-m", "theirs")
        ground.people("push", "-q", "origin", "main")
        ground.merge(number, how)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == dict.fromkeys(THINGS, NEW)


@pytest.mark.promise("git.carries")
async def test_edits_of_people_elsewhere_in_the_pull_request_are_welcome_and_the_ack_names_them(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        theirs = pushed_to(ground, ground.pulls()[number]["branch"], "README", "also this")
        ground.merge(number, "squash")
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == dict.fromkeys(THINGS, NEW)
    assert f"with commits of others: {theirs[:7]} by u" in done.receipt["message"]


@pytest.mark.promise("git.carries")
async def test_a_change_that_is_merged_with_another_value_ends_superseded_and_nothing_of_it_is_applied(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        other = json.dumps({"data": {"value": "3.0.0"}})
        pushed_to(ground, ground.pulls()[number]["branch"], THINGS["first"], other)
        ground.delivers = anyio.Event()
        merged = ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.SUPERSEDED, done.receipt
    assert "own/first.json" in done.receipt["message"]
    assert "ann" in done.receipt["message"]
    assert ground.live() == BEFORE
    assert ground.git("rev-parse", "main") == merged  # nothing is taken back either: people wanted it so


@pytest.mark.promise("git.carries")
async def test_a_change_that_others_take_back_after_the_merge_ends_superseded_naming_commit_and_author(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
    ground.merge(number)
    ground.people("pull", "-q", "origin", "main")
    ground.people("commit", "-q", "--allow-empty", "-m", "between")
    ground.people("revert", "--no-edit", "-m", "1", "HEAD~1")
    ground.people("push", "-q", "origin", "main")
    taken = ground.people("rev-parse", "HEAD")
    async with ground.engine(deliverer=False) as engine:
        done = await ended(engine, request)

    assert done.state is State.SUPERSEDED, done.receipt
    assert f"commit {taken[:12]}" in done.receipt["message"]
    assert "u <u@localhost>" in done.receipt["message"]
    assert ground.live() == BEFORE


async def test_a_pull_request_that_people_close_ends_the_request_saying_by_whom(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.close(number)
        done = await ended(engine, request)

    assert done.state is State.REFUSED
    assert done.receipt["error"]["code"] == "proposal-closed"
    assert "closed by ann" in done.receipt["message"]
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


async def test_a_branch_that_somebody_deletes_ends_the_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.delete_branch(ground.pulls()[number]["branch"])
        done = await ended(engine, request)

    assert done.receipt["error"]["code"] == "proposal-closed"


async def test_a_conflict_is_planned_again_on_the_branch_as_it_is(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        first = ground.pulls()[number]["head"]
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: ground.pulls()[number]["head"] != first)
        await until(lambda: not ground.pulls()[number]["conflicts"])
        assert len(ground.pulls()) == 1
        ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert "conflicts" in ground.kinds(request.id)


async def test_a_conflict_where_people_have_worked_is_left_to_them(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        theirs = pushed_to(ground, ground.pulls()[number]["branch"], "README", "theirs")
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: "waits for people to resolve" in (engine.progress(request.id) or ""))

    assert ground.pulls()[number]["head"] == theirs


async def test_a_newer_release_closes_the_older_pull_request_and_opens_its_own(ground):
    async with ground.engine() as engine:
        older, number = await proposed(ground, engine)
        newer, second = await proposed(ground, engine, "2.1.0")
        done = await ended(engine, older)
        ground.merge(second)
        landed = await ended(engine, newer)

    assert done.state is State.SUPERSEDED
    assert ground.pulls()[second]["url"] in done.receipt["message"]
    assert ground.pulls()[number]["state"] == "closed"
    assert ground.pulls()[second]["url"] in ground.comments(number)[0]
    assert landed.state is State.LANDED, landed.receipt


async def test_a_pull_request_that_is_not_merged_in_time_is_closed_and_the_request_expires(ground):
    text = ground.settings.policy_file.read_text(encoding="utf-8")
    ground.settings.policy_file.write_text(text.replace('poll = "1s"', 'poll = "1s"\nexpires = "1s"'), "utf-8")
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        done = await ended(engine, request)

    assert done.state is State.EXPIRED
    assert ground.pulls()[number]["state"] == "closed"
    assert ground.branches() == []


async def test_a_cancelled_request_closes_its_pull_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        done = await engine.cancel(request.caller, request.id)

    assert done.state is State.CANCELLED
    assert ground.pulls()[number]["state"] == "closed"


async def test_a_look_at_the_forge_while_a_request_is_cancelled_does_not_end_it_as_closed_by_people(
    ground, monkeypatch
):
    async with ground.engine() as engine:
        request, _ = await proposed(ground, engine)

        async def looked_at(deps, branch, ours):
            engine.signals.wake(PROPOSALS)
            await until(lambda: engine.progress(request.id) == "is being cancelled")
            await unpublish(deps, branch, ours)

        monkeypatch.setattr("infra_mcp.engine.propose.unpublish", looked_at)
        done = await engine.cancel(request.caller, request.id)

    assert done.state is State.CANCELLED, done.receipt
    assert ground.branches() == []


async def test_a_forge_that_is_away_is_waited_for_and_loses_nothing(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        with ground.away():
            await until(lambda: "waits for the forge" in (engine.progress(request.id) or ""))
        ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


async def test_a_forge_that_refuses_the_pull_request_ends_the_request_and_leaves_no_branch(ground):
    if isinstance(ground, GiteaGround):
        ground.repository.call("PATCH", "", {"has_pull_requests": False})
    ground.forge.refuses = True
    async with ground.engine() as engine:
        done = await ground.ask(engine)

    assert done.state is State.REFUSED, done.receipt
    assert done.receipt["error"]["code"] == "forge-refused"
    assert ground.branches() == []
    assert ground.live() == BEFORE


async def test_a_change_that_does_not_land_is_undone_and_taken_back_by_another_pull_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine, "2.0.0-fourth-broken")
        ground.merge(number, "squash")
        await until(lambda: len(ground.pulls()) == 2)
        waiting = await engine.wait(request.id, 60.0)
        assert waiting.state is State.REVERTING, waiting.receipt
        assert "Urgent" in json.dumps(ground.rows("SELECT text FROM events WHERE kind = 'revert-proposed'"))
        reverted = ground.merge(2, "squash")
        done = await ended(engine, request)

    assert done.state is State.ROLLED_BACK, done.receipt
    assert ground.live() == ground.in_git() == BEFORE
    assert done.revert == reverted


async def test_a_revert_that_people_close_is_a_matter_for_an_operator(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine, "2.0.0-fourth-broken")
        ground.merge(number)
        await until(lambda: len(ground.pulls()) == 2)
        ground.close(2)
        done = await ended(engine, request)

    assert done.state is State.NEEDS_OPERATOR, done.receipt
    assert "closed by ann" in done.receipt["message"]


async def test_a_restarted_server_goes_on_with_what_was_merged_meanwhile_and_holds_nothing_before(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
    ground.merge(number, "rebase")
    async with ground.engine() as engine:
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.doubled() == []


async def test_a_cancel_that_comes_after_the_merge_is_too_late(ground):
    text = ground.settings.policy_file.read_text("utf-8")
    ground.settings.policy_file.write_text(text.replace('poll = "1s"', 'poll = "1h"'), "utf-8")
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        await until(lambda: "waits for people" in engine.progress(request.id))
        ground.merge(number)
        with pytest.raises(InfraError, match="was merged"):
            await engine.cancel(request.caller, request.id)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == dict.fromkeys(THINGS, NEW)
