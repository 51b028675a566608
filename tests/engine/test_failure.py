"""A rollback in a repository that others are at work in."""

import subprocess

import anyio
import pytest

from infra_mcp.clients.git import Git
from infra_mcp.drivers.base import Undone
from infra_mcp.engine import failure
from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.outcome import Written
from infra_mcp.model.record import PartRecord, Record, StageRecord
from infra_mcp.model.request import State
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import PutFile, keep

pytestmark = pytest.mark.anyio

NEW = "apps/docs/web.yaml"
WROTE = Written(
    target=Target(system="kubernetes", place="sandbox", scope="docs-live", kind="apps/Deployment", name="docs"),
    operation="update",
)
CAUSE = InfraError("not-landed", "It did not come up.")


class Repo:
    """A repository whose newest commit made one file, and a request that is to take it back."""

    def __init__(self, ledger_fixture, top):
        self.ledger_fixture, self.top = ledger_fixture, top
        self.lock = top / ".git" / "index.lock"
        self.undone = []
        self("init", "-q", "-b", "main")
        self.commit("README.md")
        self.ours = self.commit(NEW)
        self.git = Git(top, top.parent / "git.lock", patience=0.01)

    def __call__(self, *words):
        named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
        done = subprocess.run(["git", "-C", str(self.top), *named, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, path):
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_text("a: 1\n", encoding="utf-8")
        self("add", "--", path)
        self("commit", "-qm", path)
        return self("rev-parse", "HEAD")

    async def undo(self, *_):
        self.undone.append(self.lock.exists())
        return Undone(("docs",), ())

    async def settled(self, *_):
        return "docs runs again"

    def of(self, _):
        """The only repository."""
        return self.git

    async def driver(self, *_):
        """The only place that it works at, and its driver: itself."""
        return self

    async def failed(self):
        """End the request as one that did not land; it had written to the cluster."""
        request = await self.ledger_fixture.deploy()
        deps = Dependencies(
            self.ledger_fixture.ledger, self, self, self.ledger_fixture.policy.current, self.ledger_fixture.clock
        )
        stage = StageRecord(edits=keep([PutFile(path=NEW)]), commit=self.ours)
        part = PartRecord(
            driver="kubernetes", place="sandbox", where="here", on_failure="rollback", timeout=5.0, written=(WROTE,)
        )
        record = Record(when=1_700_000_000, stages=(stage,), parts=(part,))
        run = Run(request, record, begun=True, on_branch=frozenset({0}), applied=frozenset({part.key}))
        return await failure.after_failure(deps, run, CAUSE)


@pytest.fixture
async def repo(ledger_fixture, tmp_path):
    (tmp_path / "repo").mkdir()
    made = Repo(ledger_fixture, tmp_path / "repo")
    yield made
    await made.git.aclose()


@pytest.mark.fault("w13")
@pytest.mark.promise("verify.rollback")
async def test_a_lock_that_others_hold_delays_a_rollback_and_the_cluster_does_not_wait_for_it(repo, monkeypatch):
    waits = []

    async def wait(seconds):
        waits.append(seconds)
        if len(waits) > 15:
            repo.lock.unlink(missing_ok=True)

    monkeypatch.setattr(failure, "sleep", wait)
    repo.lock.touch()

    made = await repo.failed()

    assert made.state is State.ROLLED_BACK
    assert repo.undone == [True]
    assert repo("show", "--stat", "--format=", "HEAD").startswith("apps/docs/web.yaml")
    assert not (repo.top / NEW).exists()
    assert made.revert == repo("rev-parse", "HEAD")


@pytest.mark.fault("w13")
async def test_a_lock_that_stays_for_ever_ends_in_an_operators_hands_and_is_named(repo, monkeypatch):
    waits = []

    async def wait(seconds):
        waits.append(seconds)

    monkeypatch.setattr(failure, "sleep", wait)
    repo.lock.touch()

    made = await repo.failed()

    assert made.state is State.NEEDS_OPERATOR
    assert "index.lock" in made.message
    assert 300 < sum(waits) < 900


@pytest.mark.fault("l04")
async def test_a_rollback_that_meets_a_moving_branch_waits_between_its_tries(repo, monkeypatch):
    moving, real, tries = anyio.Event(), failure.revert_stage, []

    async def revert(*given):
        tries.append(given)
        if not moving.is_set():
            raise Moved("branch main")
        return await real(*given)

    async def others():
        while len(tries) < 3:  # noqa: ASYNC110 - what it waits for is no event of ours
            await anyio.sleep(0.01)
        moving.set()

    monkeypatch.setattr(failure, "revert_stage", revert)
    async with anyio.create_task_group() as group:
        group.start_soon(others)
        made = await repo.failed()

    assert made.state is State.ROLLED_BACK
    assert len(tries) < 6
