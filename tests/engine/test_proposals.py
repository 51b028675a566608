"""Changes that people merge at a forge: proposed, parked, merged, closed, superseded, expired, taken back."""

import json

import anyio
import pytest
from engine.killer import KilledError, Killer, observed
from engine.two_kinds import NEW, OLD, THINGS, Ground, register, until

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}


@pytest.fixture
def ground(tmp_path, monkeypatch):
    register(monkeypatch)
    made = Ground(tmp_path, proposes=True)
    made.make()
    return made


async def proposed(ground, engine, version=NEW, **more):
    """A request that waits at the forge, and the number of its pull request."""
    request = await ground.submit(engine, version, **more)
    found = await engine.wait(request.id, 60.0)
    assert found.state is State.PROPOSED, found.receipt
    return found, found.record["proposal"]["number"]


async def ended(engine, request):
    """A request at its end."""
    return await engine.wait(request.id, 60.0, to_end=True)


async def test_a_change_is_proposed_and_nothing_is_committed_or_live_until_people_merge_it(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        assert (ground.live(), ground.subjects()) == (BEFORE, [])
        assert ground.forge.made[number].branch == f"infra-mcp/{request.id}"
        assert request.id in ground.forge.texts[number][1]
        assert not engine._worker._runs
        ground.forge.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert done.commit == ground.forge.made[number].merged
    assert ground.git("for-each-ref", "refs/heads/infra-mcp") == ""


@pytest.mark.promise("git.carries")
@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
async def test_what_is_merged_in_any_way_is_known_by_its_values(ground, how):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.people("commit", "-q", "--allow-empty", "-m", "theirs")
        ground.people("push", "-q", "origin", "main")
        ground.forge.merge(number, how)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == dict.fromkeys(THINGS, NEW)


@pytest.mark.promise("git.carries")
async def test_edits_of_people_elsewhere_in_the_pull_request_are_welcome_and_the_ack_names_them(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        theirs = pushed_to(ground, ground.forge.made[number].branch, "README", "also this")
        ground.forge.merge(number, "squash")
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == dict.fromkeys(THINGS, NEW)
    assert f"with commits of others: {theirs[:7]} by u" in done.receipt["message"]


@pytest.mark.promise("git.carries")
async def test_a_change_that_is_merged_with_another_value_ends_superseded_and_nothing_of_it_is_applied(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        other = json.dumps({"data": {"value": "3.0.0"}})
        pushed_to(ground, ground.forge.made[number].branch, THINGS["first"], other)
        ground.delivers = anyio.Event()
        merged = ground.forge.merge(number)
        done = await ended(engine, request)

    assert done.state is State.SUPERSEDED, done.receipt
    assert "own/first.json" in done.receipt["message"]
    assert "ann" in done.receipt["message"]
    assert ground.live() == BEFORE
    assert ground.git("rev-parse", "main") == merged  # nothing is taken back either: people wanted it so


@pytest.mark.promise("git.carries")
async def test_a_change_that_others_take_back_after_the_merge_ends_superseded_naming_commit_and_author(ground):
    ground.forge.away = True
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        await until(lambda: "does not answer" in (engine.progress(request.id) or ""))
        ground.forge.away = False
        request = await engine.wait(request.id, 60.0)
    number = request.record["proposal"]["number"]
    ground.forge.merge(number)
    ground.people("pull", "-q", "origin", "main")
    ground.people("commit", "-q", "--allow-empty", "-m", "between")
    ground.people("revert", "--no-edit", "-m", "1", "HEAD~1")
    ground.people("push", "-q", "origin", "main")
    taken = ground.people("rev-parse", "HEAD")
    async with ground.engine(deliverer=False) as engine:
        done = await ended(engine, request)

    assert done.state is State.SUPERSEDED, done.receipt
    assert taken[:12] in done.receipt["message"]
    assert "u <u@localhost>" in done.receipt["message"]
    assert ground.live() == BEFORE


async def test_a_pull_request_that_people_close_ends_the_request_saying_by_whom(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.forge.end(number, "ann")
        done = await ended(engine, request)

    assert done.state is State.REFUSED
    assert done.receipt["error"]["code"] == "proposal-closed"
    assert "closed by ann" in done.receipt["message"]
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


async def test_a_branch_that_somebody_deletes_ends_the_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.git("update-ref", "-d", f"refs/heads/{ground.forge.made[number].branch}")
        done = await ended(engine, request)

    assert done.receipt["error"]["code"] == "proposal-closed"


async def test_a_conflict_is_planned_again_on_the_branch_as_it_is(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        first = ground.forge.made[number].head
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: ground.forge._now(number).head != first)
        await until(lambda: not ground.forge._now(number).conflicts)
        assert len(ground.forge.made) == 1
        ground.forge.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert "conflicts" in ground.kinds(request.id)


async def test_a_conflict_where_people_have_worked_is_left_to_them(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        theirs = pushed_to(ground, ground.forge.made[number].branch, "README", "theirs")
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: "waits for people to resolve" in (engine.progress(request.id) or ""))

    assert ground.forge._now(number).head == theirs


async def test_a_newer_release_closes_the_older_pull_request_and_opens_its_own(ground):
    async with ground.engine() as engine:
        older, number = await proposed(ground, engine)
        newer, second = await proposed(ground, engine, "2.1.0")
        done = await ended(engine, older)
        ground.forge.merge(second)
        landed = await ended(engine, newer)

    assert done.state is State.SUPERSEDED
    assert ground.forge.made[second].url in done.receipt["message"]
    assert ground.forge.made[number].state == "closed"
    assert ground.forge.made[second].url in ground.forge.comments[0][1]
    assert landed.state is State.LANDED, landed.receipt


async def test_a_pull_request_that_is_not_merged_in_time_is_closed_and_the_request_expires(ground):
    text = ground.settings.policy_file.read_text(encoding="utf-8")
    ground.settings.policy_file.write_text(text.replace('poll = "1s"', 'poll = "1s"\nexpires = "1s"'), "utf-8")
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        done = await ended(engine, request)

    assert done.state is State.EXPIRED
    assert ground.forge.made[number].state == "closed"
    assert ground.git("for-each-ref", "refs/heads/infra-mcp") == ""


async def test_a_cancelled_request_closes_its_pull_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        done = await engine.cancel(request.caller, request.id)

    assert done.state is State.CANCELLED
    assert ground.forge.made[number].state == "closed"


async def test_a_forge_that_is_away_is_waited_for_and_loses_nothing(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.forge.away = True
        await until(lambda: "does not answer" in (engine.progress(request.id) or ""))
        ground.forge.merge(number)
        ground.forge.away = False
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


async def test_a_forge_that_refuses_the_pull_request_ends_the_request_and_leaves_no_branch(ground):
    ground.forge.refuses = True
    async with ground.engine() as engine:
        done = await ground.ask(engine)

    assert done.state is State.REFUSED
    assert done.receipt["error"]["code"] == "forge-refused"
    assert ground.git("for-each-ref", "refs/heads/infra-mcp") == ""
    assert ground.live() == BEFORE


async def test_a_change_that_does_not_land_is_undone_and_taken_back_by_another_pull_request(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine, "2.0.0-fourth-broken")
        ground.forge.merge(number, "squash")
        await until(lambda: len(ground.forge.made) == 2)
        waiting = await engine.wait(request.id, 60.0)
        assert waiting.state is State.REVERTING, waiting.receipt
        assert "Urgent" in json.dumps(ground.rows("SELECT text FROM events WHERE kind = 'revert-proposed'"))
        ground.forge.merge(2, "squash")
        done = await ended(engine, request)

    assert done.state is State.ROLLED_BACK, done.receipt
    assert ground.live() == ground.in_git() == BEFORE
    assert done.revert == ground.forge.made[2].merged


async def test_a_revert_that_people_close_is_a_matter_for_an_operator(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine, "2.0.0-fourth-broken")
        ground.forge.merge(number)
        await until(lambda: len(ground.forge.made) == 2)
        ground.forge.end(2, "ann")
        done = await ended(engine, request)

    assert done.state is State.NEEDS_OPERATOR, done.receipt
    assert "closed by ann" in done.receipt["message"]


async def test_a_restarted_server_goes_on_with_what_was_merged_meanwhile_and_holds_nothing_before(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
    ground.forge.merge(number, "rebase")
    async with ground.engine() as engine:
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.doubled() == []


def pushed_to(ground, branch, path, text):
    """A commit of a person's on a branch of the remote; its id."""
    ground.people("fetch", "-q", "origin")
    ground.people("checkout", "-q", "--detach", f"origin/{branch}")
    file = ground.repo / path
    known = json.loads(file.read_text("utf-8")) if text.startswith("{") else None
    file.write_text(json.dumps(known | json.loads(text)) if known else text, "utf-8")
    ground.people("add", "-A")
    ground.people("commit", "-qm", "theirs")
    ground.people("push", "-q", "origin", f"HEAD:{branch}")
    made = ground.people("rev-parse", "HEAD")
    ground.people("checkout", "-q", "main")
    return made


POINTS = [
    ("git.publish", "before", 1),
    ("git.publish", "after", 1),
    ("forge.propose", "after", 1),
    ("git.unpublish", "before", 1),
    ("git.unpublish", "after", 1),
    *[("ledger.record", when, number) for number in range(1, 6) for when in ("before", "after")],
    ("ledger.finish", "before", 1),
]


@pytest.mark.parametrize("at", POINTS, ids=str)
async def test_a_server_killed_at_any_step_is_followed_by_one_that_goes_on_with_the_same_pull_request(ground, at):
    with observed(Killer(at)) as killer:
        try:
            async with ground.engine() as engine:
                await asked_and_merged(ground, engine)
        except* KilledError:
            pass
    assert killer.dead
    async with ground.engine() as engine:
        done = await asked_and_merged(ground, engine)

    assert done.state is State.LANDED, done.receipt
    assert len(ground.forge.made) == 1
    assert len(ground.subjects()) == 3  # two stages and the merge
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert ground.doubled() == []


async def asked_and_merged(ground, engine):
    """The end of a change that a person merges as soon as it is proposed."""
    request = await ground.submit(engine, idempotency_key="once")
    found = await engine.wait(request.id, 60.0)
    if found.state is State.PROPOSED and ground.forge.made[1].state == "open":
        ground.forge.merge(1)
    return await ended(engine, request)


@pytest.mark.parametrize(
    "at",
    [
        ("git.publish", "before", 2),
        ("git.publish", "after", 2),
        ("forge.propose", "after", 2),
        ("git.unpublish", "after", 2),
        ("ledger.finish", "before", 1),
    ],
    ids=str,
)
async def test_a_server_killed_while_it_takes_a_change_back_is_followed_by_one_that_goes_on_with_that(ground, at):
    async def broken(engine):
        request = await ground.submit(engine, "2.0.0-fourth-broken", idempotency_key="once")
        found = await engine.wait(request.id, 60.0)
        if found.state is State.PROPOSED and ground.forge.made[1].state == "open":
            ground.forge.merge(1)
        await until(lambda: len(ground.forge.made) == 2)
        if ground.forge.made[2].state == "open":
            await until(lambda: ground.rows("SELECT 1 FROM requests WHERE state = 'reverting'"))
            ground.forge.merge(2)
        return await ended(engine, request)

    with observed(Killer(at)) as killer:
        try:
            async with ground.engine() as engine:
                await broken(engine)
        except* KilledError:
            pass
    assert killer.dead
    async with ground.engine() as engine:
        done = await broken(engine)

    assert done.state is State.ROLLED_BACK, done.receipt
    assert len(ground.forge.made) == 2
    assert ground.live() == ground.in_git() == BEFORE


async def test_a_push_that_a_protected_branch_refuses_is_proposed_where_policy_says_so(ground):
    text = ground.settings.policy_file.read_text("utf-8")
    text = text.replace('write = "pull-request"', 'write = "push"\nfallback = "pull-request"')
    ground.settings.policy_file.write_text(text, "utf-8")
    hook = ground.branch / "hooks" / "update"
    refuse = "echo 'Not allowed to push to protected branch main' >&2; exit 1"
    hook.write_text(f'#!/bin/sh\nif [ "$1" = refs/heads/main ]; then {refuse}; fi\n', "utf-8")
    hook.chmod(0o700)
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        assert ground.live() == BEFORE
        ground.forge.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
