"""A server that is killed while it proposes a change, or takes it back, is followed by one that goes on."""

import pytest
from engine.forge_ground import BEFORE, ended
from engine.killer import KilledError, Killer, observed
from engine.two_kinds import NEW, THINGS, until

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("git.pull-request")]


AT_THE_FORGE = [
    ("git.publish", "before", 1),
    ("git.publish", "after", 1),
    ("forge.propose", "after", 1),
    ("git.unpublish", "before", 1),
    ("git.unpublish", "after", 1),
    ("ledger.finish", "before", 1),
]
BETWEEN = [("ledger.record", when, number) for number in range(1, 6) for when in ("before", "after")]
MEMORY, GITEA = "a forge in memory", "a Gitea"
CASES = [
    *[(MEMORY, at) for at in AT_THE_FORGE + BETWEEN],
    *[(GITEA, at) for at in AT_THE_FORGE],
    *[pytest.param(GITEA, at, marks=pytest.mark.slow) for at in BETWEEN],  # a forge sees nothing of these
]


@pytest.mark.parametrize(("ground", "at"), CASES, indirect=["ground"], ids=str)
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
    assert len(ground.pulls()) == 1
    assert len(ground.subjects()) == 3  # two stages and the merge
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert ground.doubled() == []


async def asked_and_merged(ground, engine):
    """The end of a change that a person merges as soon as it is proposed."""
    request = await ground.submit(engine, idempotency_key="once")
    found = await engine.wait(request.id, 60.0)
    if found.state is State.PROPOSED and ground.pulls()[1]["state"] == "open":
        ground.merge(1)
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
        if found.state is State.PROPOSED and ground.pulls()[1]["state"] == "open":
            ground.merge(1)
        await until(lambda: len(ground.pulls()) == 2)
        if ground.pulls()[2]["state"] == "open":
            await until(lambda: ground.rows("SELECT 1 FROM requests WHERE state = 'reverting'"))
            ground.merge(2)
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
    assert len(ground.pulls()) == 2
    assert ground.live() == ground.in_git() == BEFORE
