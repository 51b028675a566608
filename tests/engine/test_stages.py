"""Requests over two deliveries and two stages: landed, failed at each point, undone in reverse; one at a time."""

import anyio
import pytest
from engine.two_kinds import APPROVAL, NEW, OLD, PAT, STAGES, THINGS, Ground, register, target, until

from infra_mcp.engine.run import Run
from infra_mcp.model.approval import Decided
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("seam.parts")]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}
FIRST, SECOND = f"{NEW}, stage 1", f"{NEW}, stage 2"


@pytest.fixture(params=[False, True], ids=["local", "push"])
def ground(request, tmp_path, monkeypatch):
    """The branch is in the checkout beside the server, or at its remote."""
    register(monkeypatch)
    made = Ground(tmp_path, pushes=request.param)
    made.make()
    return made


async def test_a_request_over_two_stages_lands_with_a_commit_a_stage_in_order(ground):
    async with ground.engine() as engine:
        done = await ground.ask(engine)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert ground.subjects() == [FIRST, SECOND]
    for back in (0, 1):
        words = ground.git("log", "-1", "--format=%b", f"HEAD~{back}")
        assert f"Infra-Request: {done.id}" in words
        assert f"Effect-Digest: {done.receipt['effect_digest']}" in words
    assert ground.doubled() == []


@pytest.mark.promise("git.first")
@pytest.mark.parametrize("without", ["external", "kubernetes"])
async def test_what_a_delivery_without_a_driver_would_make_live_is_shown_by_a_plan_and_never_committed(ground, without):
    async with ground.engine(without=without) as engine:
        shown = await ground.ask(engine, dry_run=True)
        refused = await ground.ask(engine)

    assert shown.state is State.PREVIEWED
    assert any(note.startswith(f"{without} delivers it") for note in shown.receipt["plan"]["notes"])
    assert refused.receipt["error"]["code"] == "delivery-unsupported", refused.receipt
    assert f"by delivery {without}," in refused.receipt["message"]
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


@pytest.mark.promise("approval.stable")
async def test_both_stages_have_one_effect_that_is_the_same_however_often_it_is_planned(ground):
    async with ground.engine() as engine:
        plans = [await ground.ask(engine, dry_run=True) for _ in range(2)]

    assert [one.state for one in plans] == [State.PREVIEWED] * 2
    assert plans[0].receipt["effect_digest"] == plans[1].receipt["effect_digest"]
    assert plans[0].receipt["plan"] == plans[1].receipt["plan"]
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


async def test_one_approval_is_for_all_stages(tmp_path, monkeypatch):
    register(monkeypatch)
    ground = Ground(tmp_path)
    ground.make(APPROVAL)
    async with ground.engine() as engine:
        waiting = await ground.ask(engine)
        before = ground.live(), ground.subjects()
        await engine.approve(PAT, waiting.id, waiting.effect_digest, Decided(approve=True, way="cli"))
        done = await engine.wait(waiting.id, 60.0, to_end=True)

    assert (waiting.state, before) == (State.AWAITING_APPROVAL, (BEFORE, []))
    assert done.state is State.LANDED, done.receipt
    assert done.receipt["effect_digest"] == waiting.effect_digest
    assert len(ground.rows("SELECT * FROM approvals")) == 1
    assert ground.subjects() == [FIRST, SECOND]


async def test_a_part_begins_only_when_the_target_it_needs_is_there(ground, monkeypatch):
    ground.delivers, said, say = anyio.Event(), [], Run.say
    # All that is said, not what is said last: the part that others deliver is confirmed meanwhile, and says so, too.
    monkeypatch.setattr(Run, "say", lambda run, text: (said.append(text), say(run, text)))
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        await until(lambda: ground.world.data("third") or f"waiting for {target('second')}" in said)
        early = ground.world.data("third")
        ground.delivers.set()
        done = await ground.end(engine, request)

    assert early is None
    assert done.state is State.LANDED, done.receipt


async def test_a_part_does_not_wait_until_all_before_it_is_confirmed(ground):
    async with ground.engine() as engine:
        request = await ground.submit(engine, f"{NEW}-second-slow")
        await until(lambda: ground.world.data("third"))
        confirmed = ground.world.things()["second"]["ready"]
        ground.world.ready("second")
        done = await ground.end(engine, request)

    assert confirmed is False
    assert done.state is State.LANDED, done.receipt


@pytest.mark.parametrize(
    "fate", ["first-denied", "first-broken", "second-broken", "third-denied", "third-broken", "fourth-broken"]
)
async def test_a_request_that_fails_anywhere_is_undone_in_reverse_with_a_revert_a_stage(ground, fate):
    async with ground.engine() as engine:
        done = await ground.ask(engine, f"{NEW}-{fate}")
        await until(lambda: ground.live() == BEFORE)  # who delivers for others may lag behind

    assert done.state is State.ROLLED_BACK, done.receipt
    assert str(target(fate.partition("-")[0])) in done.receipt["message"]
    assert ground.in_git() == BEFORE
    made = ground.git("log", "--reverse", "--format=%H").splitlines()[1:]
    stages, reverts = made[: len(made) // 2], made[len(made) // 2 :]
    assert [ground.git("log", "-1", "--format=%s", one) for one in reverts] == [f"Roll back {done.id}"] * len(stages)
    for stage, revert in zip(reversed(stages), reverts, strict=True):
        assert f"Reverts {stage}." in ground.git("log", "-1", "--format=%b", revert)
    writes = [(by, name) for by, name, _ in ground.world.writes() if by.startswith(done.id)]
    forward = [name for by, name in writes if by == done.id]
    assert [name for by, name in writes if by != done.id] == forward[::-1]
    assert ground.doubled() == []


async def test_the_undo_of_a_delivery_by_others_waits_until_the_revert_is_live(ground):
    async with ground.engine(deliverer=False) as engine:
        request = await ground.submit(engine, f"{NEW}-third-broken")
        await until(lambda: len(ground.subjects()) == len(STAGES))
        ground.delivered()
        await until(lambda: "restored" in ground.kinds(request.id))
        waiting, live = await engine.wait(request.id, 0), ground.live()
        ground.delivered()
        done = await ground.end(engine, request)

    assert waiting.state is State.ROLLING_BACK
    assert live == {"first": OLD, "second": NEW, "third": None, "fourth": NEW}
    assert done.state is State.ROLLED_BACK, done.receipt
    assert ground.live() == BEFORE


async def test_a_part_that_holds_keeps_and_names_what_it_made_and_later_parts_are_undone(ground):
    async with ground.engine() as engine:
        done = await ground.ask(engine, f"{NEW}-held-fourth-broken")
        await until(lambda: ground.live()["fourth"] == OLD)

    kept = {"first": NEW, "second": NEW, "third": None, "fourth": OLD}
    first, second, *_ = ground.git("log", "--reverse", "--format=%H").splitlines()[1:]
    message = done.receipt["message"]
    assert done.state is State.FAILED, message
    assert ground.live() == ground.in_git() == kept
    assert ground.subjects()[2:] == [f"Roll back {done.id}"]
    for name in ("first", "second"):
        assert str(target(name)) in message
    assert f"commit {first} stays" in message
    assert f"Commit {second} was reverted" in message


async def test_a_failed_undo_is_reported_also_where_a_part_is_kept(ground):
    async with ground.engine(deliverer=False) as engine:
        request = await ground.submit(engine, f"{NEW}-held-third-slow-fourth-broken")
        await until(lambda: len(ground.subjects()) == len(STAGES))
        ground.delivered("second")
        await until(lambda: ground.world.data("third"))
        ground.world.put("third", {"value": "by-hand"}, by="people")
        ground.delivered()
        done = await ground.end(engine, request)

    assert done.state is State.NEEDS_OPERATOR, done.receipt
    assert f"{target('third')} (someone else changed it since)" in done.receipt["message"]
    assert f"kept ({target('first')}, {target('second')})" in done.receipt["message"]
    assert ground.world.data("third") == {"value": "by-hand"}


@pytest.mark.promise("locks.same", "apply.locks")
async def test_every_target_and_file_is_held_and_two_requests_on_the_same_never_interleave(ground):
    async with ground.engine() as engine:
        requests = [await ground.submit(engine, version) for version in (NEW, "3.0.0", "4.0.0-third-broken")]
        done = [await ground.end(engine, one) for one in requests]

    assert [one.state.value for one in done] == ["landed", "landed", "rolled_back"]
    held = {target(name).key for name in THINGS} | {f"file|{path}" for path in THINGS.values()}
    for one in done:
        assert set(ground.record(one.id)["keys"]) == held
    changing = ("committing", "applying", "applied", "reverting", "restored")
    rows = ground.rows("SELECT request, kind FROM events ORDER BY seq")
    turns = [row["request"] for row in rows if row["kind"] in changing]
    assert len(turns) > len(done)
    assert turns == sorted(turns, key=turns.index)
    writers = [by.partition(".")[0] for by, *_ in ground.world.writes() if by.startswith("req-")]
    assert writers == sorted(writers, key=writers.index)
