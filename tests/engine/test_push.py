"""Changes whose branch is at a remote: it takes them first, waits are told, and no race loses a commit."""

import subprocess
from contextlib import suppress

import anyio
import pytest
from drivers.json_world import body
from engine.killer import KilledError, Killer, observed
from engine.two_kinds import NEW, OLD, THINGS, Ground, register, until
from git_server import GitServer
from ssh_server import new_key

from infra_mcp.engine import repositories
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("git.remote-race")]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}
AWAY = "does not answer"


@pytest.fixture
def ground(tmp_path, monkeypatch):
    register(monkeypatch)
    made = Ground(tmp_path, pushes=True)
    made.make()
    made.git("config", "http.receivepack", "true")
    return made


@pytest.fixture
def server(ground):
    """A git server that the checkout's remote names; it is not up yet."""
    made = GitServer(ground.home)
    with made.up() as url:
        ground.people("remote", "set-url", "origin", f"{url}/origin.git")
    return made


async def test_a_request_waits_for_a_remote_that_is_away_says_so_and_lands_when_it_is_back(ground, server, monkeypatch):
    monkeypatch.setattr(repositories, "_LONGEST", 0.05)
    monkeypatch.setattr(repositories, "_FIRST", 0.05)
    async with ground.engine() as engine:
        request = await ground.submit(engine)
        await until(lambda: AWAY in (engine.progress(request.id) or ""))
        early = ground.live(), ground.subjects()
        with server.up():
            done = await ground.end(engine, request)

    assert early == (BEFORE, [])
    assert done.state is State.LANDED, done.receipt
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)


async def test_a_dry_run_does_not_wait_for_a_remote_that_is_away(ground, server):
    assert server.port
    async with ground.engine() as engine:
        done = await ground.ask(engine, dry_run=True)

    assert done.state is State.FAILED
    assert done.receipt["error"]["code"] == "remote-unreachable"


async def test_a_push_whose_answer_never_came_is_asked_for_and_not_repeated(ground, server):
    """The remote takes the commit, and the connection ends before it says so."""
    server.lose = 1
    with server.up():
        async with ground.engine() as engine:
            done = await ground.ask(engine)

    assert server.lose == 0
    assert done.state is State.LANDED, done.receipt
    assert len(ground.subjects()) == 2
    assert ground.doubled() == []


async def test_a_remote_that_refuses_the_push_ends_the_request_with_its_words_and_nothing_live(ground):
    hook = ground.branch / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected: open a pull request' >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o700)
    async with ground.engine() as engine:
        done = await ground.ask(engine)

    assert done.state is State.REFUSED
    assert done.receipt["error"]["code"] == "push-refused"
    assert "main is protected: open a pull request" in done.receipt["message"]
    assert "Nothing was changed" in done.receipt["message"]
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


async def test_commits_that_others_push_meanwhile_stay_and_ours_are_on_top_of_them(ground):
    """Somebody pushes just before each of our first pushes."""
    pushed = []

    def push_first(name, phase):
        if (name, phase) == ("git.push", "before") and len(pushed) < 3:
            pushed.append(f"theirs {len(pushed)}")
            ground.people("pull", "-q", "--rebase", "origin", "main")
            ground.people("commit", "-q", "--allow-empty", "-m", pushed[-1])
            ground.people("push", "-q", "origin", "main")

    with observed(push_first):
        async with ground.engine() as engine:
            done = await ground.ask(engine)

    assert done.state is State.LANDED, done.receipt
    assert set(pushed) < set(ground.subjects())
    assert len(ground.subjects()) == len(pushed) + 2
    assert ground.git("rev-list", "--merges", "HEAD") == ""
    assert ground.doubled() == []


@pytest.mark.parametrize("at", [("git.push", "before", 1), ("git.push", "after", 1), ("git.push", "after", 2)], ids=str)
async def test_an_engine_killed_around_a_push_is_followed_by_one_that_comes_to_the_same_end(ground, at):
    with observed(Killer(at)) as killer:
        try:
            async with ground.engine() as engine:
                await ground.ask(engine, idempotency_key="once")
        except* KilledError:
            pass
    assert killer.dead
    async with ground.engine() as engine:
        done = await ground.ask(engine, idempotency_key="once")

    assert done.state is State.LANDED, done.receipt
    assert len(ground.subjects()) == 2
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)
    assert ground.doubled() == []


async def test_changes_and_their_reverts_are_signed_where_policy_names_a_key(ground):
    key = ground.home / "signing-key"
    public = new_key(key)
    allowed = ground.home / "allowed"
    allowed.write_text(f"infra@example.org {public}\n", encoding="utf-8")
    with ground.settings.policy_file.open("a", encoding="utf-8") as policy:
        policy.write(f'committer = "infra <infra@example.org>"\nsigning_key_file = "{key}"\n')
    async with ground.engine() as engine:
        landed = await ground.ask(engine)
        failed = await ground.ask(engine, f"{NEW}-fourth-broken")

    assert (landed.state, failed.state) == (State.LANDED, State.ROLLED_BACK), failed.receipt
    made = ground.git("log", "--format=%H", "HEAD").splitlines()[:-1]
    assert len([one for one in ground.subjects() if one.startswith("Roll back")]) >= 1
    ground.git("-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", *made)


async def test_a_signing_key_that_cannot_be_used_fails_the_request_before_anything_is_written(ground):
    with ground.settings.policy_file.open("a", encoding="utf-8") as policy:
        policy.write(f'signing_key_file = "{ground.home / "none"}"\n')
    async with ground.engine() as engine:
        done = await ground.ask(engine)

    assert done.state is State.FAILED
    assert done.receipt["error"]["code"] == "setup-failed"
    assert (ground.live(), ground.subjects()) == (BEFORE, [])


def contents(folder):
    """Every file of a checkout, those of git among them."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leave_unfinished(ground):
    """What people leave in a checkout: a branch, a stash, a staged, a changed and a new file."""
    file = ground.repo / "notes.md"
    ground.people("checkout", "-q", "-b", "mine")
    file.write_text("first", encoding="utf-8")
    ground.people("add", "notes.md")
    ground.people("commit", "-qm", "notes")
    file.write_text("stashed", encoding="utf-8")
    ground.people("stash", "-q")
    file.write_text("staged", encoding="utf-8")
    ground.people("add", "notes.md")
    file.write_text("changed", encoding="utf-8")
    (ground.repo / "new.md").write_text("new", encoding="utf-8")
    ground.people("status")


async def test_peoples_checkout_is_byte_for_byte_what_it_was(ground):
    """Work tree, index, stash, refs, reflogs and settings, after changes, a lost race, a rollback and a dry run."""
    leave_unfinished(ground)
    before = contents(ground.repo)
    other = ground.home / "other"
    ground._git(ground.home, "clone", "-q", str(ground.branch), str(other))
    pushed = []

    def push_first(name, phase):
        if (name, phase) == ("git.push", "before") and not pushed:
            pushed.append(name)
            ground._git(other, "commit", "-q", "--allow-empty", "-m", "theirs")
            ground._git(other, "push", "-q")

    with observed(push_first):
        async with ground.engine() as engine:
            ends = [await ground.ask(engine), await ground.ask(engine, f"{NEW}-fourth-broken")]
            ends.append(await ground.ask(engine, "3.0.0", dry_run=True))

    assert pushed
    assert [one.state for one in ends[:2]] == [State.LANDED, State.ROLLED_BACK]
    assert "logs/refs/stash" in " ".join(before)
    assert contents(ground.repo) == before


def beside(ground, home):
    """Another server of the same remote: its own folder there, its own checkout, ledger and world."""
    other = Ground(home, pushes=True, under="west/")
    other.branch = ground.branch
    home.mkdir()
    ground._git(home, "clone", "-q", str(ground.branch), str(other.repo))
    for name, path in other.things.items():
        if name in ("first", "fourth"):
            (other.repo / path).parent.mkdir(parents=True, exist_ok=True)
            (other.repo / path).write_bytes(body(name, value=OLD))
            other.world.put(name, {"value": OLD}, by="people")
    other.people("add", "-A")
    other.people("commit", "-qm", "West")
    other.people("push", "-q")
    other.settings.policy_file.write_text(other.policy + '[tree]\nwrite = "push"\n', encoding="utf-8")
    return other


@pytest.mark.parametrize(
    ("changes", "each"), [(2, 5), pytest.param(12, 26, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_of_many_commits_by_four_writers_none_is_lost_and_nothing_is_live_that_the_remote_lacks(
    ground, tmp_path, changes, each
):
    """Two servers, and two people who push as fast as they can; each change of a server is two commits."""
    west = beside(ground, tmp_path / "west")
    servers, ends, early = {ground: 10, west: 50}, [], []

    def push(name):
        home = ground.home / name
        ground._git(ground.home, "clone", "-q", str(ground.branch), str(home))
        for number in range(each):
            ground._git(home, "commit", "-q", "--allow-empty", "-m", f"{name} {number}")
            while True:
                with suppress(subprocess.CalledProcessError):  # another one was quicker
                    ground._git(home, "pull", "-q", "--rebase")
                    ground._git(home, "push", "-q")
                    break

    def look(name, phase):
        """At each write: what the servers themselves made live is on the branch by then."""
        if (name, phase) == ("json.write", "after"):
            there = ground.subjects()
            live = {f"{server.live()[one]}, stage {n}" for server in servers for n, one in ((1, "first"), (2, "third"))}
            early.extend(live - {f"{OLD}, stage 1", "None, stage 2", *there})

    async def serve(server):
        async with server.engine() as engine:
            ends.extend([await server.ask(engine, f"{servers[server] + n}.0.0") for n in range(changes)])

    with observed(look):
        async with anyio.create_task_group() as group:
            for name in ("ann", "ben"):
                group.start_soon(anyio.to_thread.run_sync, push, name)
            for server in servers:
                group.start_soon(serve, server)

    assert [one.state for one in ends] == [State.LANDED] * 2 * changes, [one.receipt["message"] for one in ends]
    assert early == []
    theirs = [f"{name} {number}" for name in ("ann", "ben") for number in range(each)]
    ours = [f"{first + n}.0.0, stage {s}" for first in servers.values() for n in range(changes) for s in (1, 2)]
    assert sorted(ground.subjects()) == sorted(["West", *theirs, *ours])
    assert ground.git("rev-list", "--merges", "HEAD") == ""
    for server, first in servers.items():
        assert server.live() == server.in_git() == dict.fromkeys(THINGS, f"{first + changes - 1}.0.0")
        assert server.doubled() == []
