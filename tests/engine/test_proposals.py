"""Changes that people merge at a forge: proposed, parked, merged, closed, superseded, expired, taken back."""

import json

import anyio
import pytest
from engine.forge_ground import GiteaGround, WorldGround
from engine.killer import KilledError, Killer, observed
from engine.two_kinds import APPROVAL, NEW, OLD, PAT, THINGS, register, until

from infra_mcp.clients.forge import Rights
from infra_mcp.engine import repositories
from infra_mcp.engine.forge_rights import forge_rights
from infra_mcp.engine.repositories import Repositories
from infra_mcp.errors import InfraError
from infra_mcp.model.request import State
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.pull-request")]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}


@pytest.fixture(params=["a forge in memory", pytest.param("a Gitea", marks=pytest.mark.process)])
def ground(request, tmp_path, monkeypatch):
    register(monkeypatch)
    real = request.param == "a Gitea"
    made = GiteaGround(tmp_path, request.getfixturevalue("gitea")) if real else WorldGround(tmp_path)
    if not real:
        monkeypatch.setattr(Repositories, "forge", forge_of(made))
    made.make()
    return made


@pytest.fixture
def at_gitea(tmp_path, monkeypatch, gitea):
    """The ground for what there is at a real forge only."""
    register(monkeypatch)
    made = GiteaGround(tmp_path, gitea)
    made.make()
    return made


def forge_of(ground):
    """What connects an engine to the forge of a ground."""

    async def forge(*_):
        return ground.forge

    return forge


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


@pytest.mark.parametrize("ground", ["a forge in memory"], indirect=True)
async def test_what_needs_another_approval_after_a_conflict_is_no_longer_open_for_a_merge(ground):
    text = ground.settings.policy_file.read_text("utf-8")
    ground.settings.policy_file.write_text(text + APPROVAL, "utf-8")
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        asked = await ground.end(engine, request)
        await engine.approve(PAT, request.id, asked.effect_digest, approve=True, way="cli")
        await until(ground.pulls)
        (number,) = ground.pulls()
        pushed_to(ground, "main", THINGS["first"], json.dumps({"data": {"value": "1.5.0"}}))
        await until(lambda: ground.pulls()[number]["state"] == "closed")
        again = await ground.end(engine, request)
        assert again.state is State.AWAITING_APPROVAL, again.receipt
        assert again.effect_digest != asked.effect_digest
        await engine.approve(PAT, request.id, again.effect_digest, approve=True, way="cli")
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
        (BY_MERGE.replace("[forge.operators]", "[attend]").partition("[attend]")[0], "forge.operators names nobody"),
        (BY_MERGE + "[forge]\nmerge = 'auto'\n", "forge.merge lets the forge merge by itself"),
    ],
)
def test_a_policy_that_wants_a_merge_by_people_and_lets_nobody_or_the_forge_merge_is_invalid(text, wrong):
    first = '[tree]\nwrite = "pull-request"\n' + ("" if "[forge]" in text else '[forge]\nkind = "gitea"\n')
    text = text.replace("[forge]\nmerge", '[forge]\nkind = "gitea"\nmerge')
    with pytest.raises(InfraError, match=wrong):
        load(first + text)


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
