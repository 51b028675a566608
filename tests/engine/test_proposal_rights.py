"""Which changes are proposed and which are pushed, by policy, by protection and by the token's rights."""

import pytest
from engine.forge_ground import BEFORE, WorldGround, ended, forge_of, proposed
from engine.two_kinds import register, until

from infra_mcp.clients.forge import Rights
from infra_mcp.engine import repositories
from infra_mcp.engine.forge_rights import forge_rights
from infra_mcp.engine.repositories import Repositories
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]


@pytest.mark.parametrize("ground", ["a forge in memory"], indirect=True)
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
        ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


async def test_a_token_without_the_right_to_push_ends_the_request_and_nothing_is_there(at_gitea):
    at_gitea.may("read:repository", "read:user")
    async with at_gitea.engine() as engine:
        done = await at_gitea.ask(engine)

    assert done.state in {State.REFUSED, State.FAILED}, done.receipt
    assert at_gitea.branches() == []
    assert at_gitea.live() == BEFORE


async def test_a_protected_branch_at_a_real_forge_takes_the_proposal_and_not_the_push(at_gitea):
    at_gitea.repository.protect("main")
    text = at_gitea.settings.policy_file.read_text("utf-8")
    text = text.replace('write = "pull-request"', 'write = "push"\nfallback = "pull-request"')
    at_gitea.settings.policy_file.write_text(text, "utf-8")
    async with at_gitea.engine() as engine:
        request, number = await proposed(at_gitea, engine)
        at_gitea.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


async def test_at_the_start_the_rights_of_the_token_are_held_against_those_that_proposals_need(at_gitea, gitea):
    at_gitea.may("read:repository", "read:user", "write:issue")

    async with at_gitea.engine() as engine:
        await until(lambda: "write:repository" in (engine.health()["rights"] or ""))
        said = engine.health()["rights"]

    assert said.startswith(f"{gitea.host}/{at_gitea.repository.full_name}: The token may not open pull requests")
    assert "The account may push to main, which is not protected" in said


async def test_a_server_that_proposes_nothing_does_not_ask_for_rights_at_the_forge(tmp_path, monkeypatch):
    register(monkeypatch)
    ground = WorldGround(tmp_path)
    asked = []

    async def forge(*_):
        asked.append(ground.forge)
        return ground.forge

    monkeypatch.setattr(Repositories, "forge", forge)
    ground.make()
    text = ground.settings.policy_file.read_text("utf-8").replace('write = "pull-request"', 'write = "push"')
    ground.settings.policy_file.write_text(text, "utf-8")
    async with ground.engine() as engine:
        assert await forge_rights(engine._deps) is None

    assert asked == []


async def test_a_forge_that_is_away_is_asked_for_rights_until_it_is_back(tmp_path, monkeypatch):
    register(monkeypatch)
    monkeypatch.setattr(repositories, "_FIRST", 0.01)
    ground = WorldGround(tmp_path)
    ground.make()
    asked = []

    async def forge(*_):
        return ground.forge

    async def rights(branch, *, merges):
        asked.append((branch, merges))
        ground.forge._answer()
        return Rights(missing=("It lacks something.",), excess=("It has too much.",))

    monkeypatch.setattr(Repositories, "forge", forge)
    monkeypatch.setattr(ground.forge, "rights", rights)
    ground.forge.away = True
    async with ground.engine() as engine:
        await until(lambda: len(asked) > 1)
        early = engine._forge_rights
        ground.forge.away = False
        await until(lambda: engine._forge_rights)

    assert early is None
    assert engine._forge_rights.endswith("It lacks something. It has too much.")
    assert set(asked) == {("main", False)}


@pytest.mark.parametrize(
    ("own", "others", "proposes"),
    [("push", "push", False), ("push", None, True), ("push", "pull-request", True), (None, "push", True)],
)
async def test_a_change_is_proposed_where_any_of_its_roots_wants_that(tmp_path, monkeypatch, own, others, proposes):
    register(monkeypatch)
    ground = WorldGround(tmp_path)
    ground.make()
    monkeypatch.setattr(Repositories, "forge", forge_of(ground))
    text = ground.settings.policy_file.read_text("utf-8")
    for path, way in (("own", own), ("others", others)):
        text = text.replace(f'path = "{path}"', f'path = "{path}"\nwrite = "{way}"') if way else text
    ground.settings.policy_file.write_text(text, "utf-8")
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        found = await engine.wait(request.id, 60.0)

    assert found.state is (State.PROPOSED if proposes else State.LANDED), found.receipt
