"""Approvals of changes that are proposed: given again after a conflict, or by the merge itself."""

import json

import pytest
from engine.forge_ground import BEFORE, WorldGround, ended, forge_of, proposed, pushed_to
from engine.two_kinds import APPROVAL, NEW, PAT, THINGS, register, until

from infra_mcp.engine.repositories import Repositories
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Decided
from infra_mcp.model.request import State
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]


@pytest.mark.parametrize("ground", ["a forge in memory"], indirect=True)
async def test_what_needs_another_approval_after_a_conflict_is_no_longer_open_for_a_merge(ground):
    text = ground.settings.policy_file.read_text("utf-8")
    ground.settings.policy_file.write_text(text + APPROVAL, "utf-8")
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        asked = await ground.end(engine, request)
        await engine.approve(PAT, request.id, asked.effect_digest, Decided(approve=True, way="cli"))
        await until(ground.pulls)
        (number,) = ground.pulls()
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: ground.pulls()[number]["state"] == "closed")
        again = await ground.end(engine, request)
        assert again.state is State.AWAITING_APPROVAL, again.receipt
        assert again.effect_digest != asked.effect_digest
        await engine.approve(PAT, request.id, again.effect_digest, Decided(approve=True, way="cli"))
        await until(lambda: len(ground.pulls()) == 2)
        await engine.wait(request.id, 60.0)
        ground.merge(2)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


BY_MERGE = """
[[rules]]
id = "merge-is-the-yes"
match = { namespaces = ["docs-*"] }
require = { by = "merge" }
[forge.operators]
ann = "olga"
infra-bot = "robo"
asker = "docs"
"""


@pytest.fixture
def by_merge(tmp_path, monkeypatch):
    """A forge in memory, where a merge by an operator is the approval."""
    register(monkeypatch)
    made = WorldGround(tmp_path)
    made.make()
    monkeypatch.setattr(Repositories, "forge", forge_of(made))
    text = made.settings.policy_file.read_text("utf-8")
    made.settings.policy_file.write_text(text + BY_MERGE, "utf-8")
    return made


@pytest.mark.promise("approval.not-self")
async def test_where_policy_says_so_the_merge_by_an_operator_is_the_approval(by_merge):
    async with by_merge.engine() as engine:
        request, number = await proposed(by_merge, engine)
        by_merge.merge(number, "squash", by="ann")
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert by_merge.live() == dict.fromkeys(THINGS, NEW)


@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("mallory", "maps mallory to no operator"),
        ("asker", "docs asked for it"),
        ("infra-bot", "infra-bot opened it"),
        ("auto", "by a bot or the forge itself"),
    ],
)
async def test_a_merge_by_anyone_else_approves_nothing_and_nothing_of_it_is_applied(by_merge, by, why):
    async with by_merge.engine(deliverer=False) as engine:
        request, number = await proposed(by_merge, engine)
        if by == "auto":
            await by_merge.forge.merge_when_ready(by_merge.forge.made[number])
        by_merge.merge(number, by="ann" if by == "auto" else by)
        await until(lambda: len(by_merge.pulls()) == 2)
        waiting = await engine.wait(request.id, 60.0)
        by_merge.close(2)
        done = await ended(engine, request)

    assert waiting.state is State.REVERTING
    assert done.state is State.NEEDS_OPERATOR, done.receipt
    assert why in done.receipt["message"]
    assert by_merge.live() == BEFORE


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (BY_MERGE.replace("[forge.operators]", "[attend]").partition("[attend]")[0], "forge.operators maps no account"),
        (BY_MERGE + "[forge]\nmerge = 'auto'\n", "forge.merge lets the forge merge by itself"),
    ],
)
def test_a_policy_that_wants_a_merge_by_people_and_lets_nobody_or_the_forge_merge_is_invalid(text, wrong):
    first = '[tree]\nwrite = "pull-request"\n' + ("" if "[forge]" in text else '[forge]\nkind = "gitea"\n')
    text = text.replace("[forge]\nmerge", '[forge]\nkind = "gitea"\nmerge')
    with pytest.raises(InfraError, match=wrong):
        load(first + text)
