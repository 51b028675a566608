"""What the worker does with a request that must wait, and with one that comes back."""

import asyncio
import json
from dataclasses import dataclass, field

import anyio
import pytest
from engine.ledger_fixture import DOCS, NEED

from infra_mcp.engine.run import Dependencies, Run
from infra_mcp.engine.signals import PARKED_CHANGED, Signals
from infra_mcp.engine.worker import Worker
from infra_mcp.errors import InfraError
from infra_mcp.ledger import AskIn
from infra_mcp.ledger.ids import request_id
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.peer import Address
from infra_mcp.model.record import Record
from infra_mcp.model.request import State, Submission

pytestmark = pytest.mark.anyio

INBOX = Address(name="docs", circle="docs").signal


@dataclass
class Bench:
    """A worker whose pipeline does as the test says."""

    ledger_fixture: object
    worker: Worker
    signals: Signals
    came: list[str] = field(default_factory=list)
    does: object = None
    held: dict = field(default_factory=dict)

    async def carry(self, run, held):
        self.came.append(run.request.id)
        self.held[run.request.id] = held
        return await self.does(run)

    async def parks(self, run):
        await self.ledger_fixture.awaits(request=run.request)

    async def lands(self, run):
        await self.ledger_fixture.ends(run.request)

    async def until(self, true):
        with anyio.fail_after(30):
            while not true():  # noqa: ASYNC110 - whatever the test looks at
                await anyio.sleep(0.001)


@pytest.fixture
async def bench(ledger_fixture):
    signals = Signals()
    deps = Dependencies(ledger_fixture.ledger, None, None, ledger_fixture.policy.current, ledger_fixture.clock)
    made = Bench(ledger_fixture, Worker(deps, signals), signals)
    made.worker._pipeline = made
    return made


async def _asked(ledger_fixture):
    action = Deploy(app="docs", version="0.13.4")
    submission = Submission(caller=DOCS, action=action, channel="ask", words="go")
    taken = await ledger_fixture.ledger.accept(
        submission, request_id=request_id(), ask=AskIn(text="go"), now=ledger_fixture.clock.stamp
    )
    return taken.request


@pytest.mark.promise("apply.locks")
async def test_a_parked_request_releases_its_objects_and_wakes_its_waiters(ledger_fixture, bench):
    first, second = await _asked(ledger_fixture), await ledger_fixture.deploy()
    bench.does = bench.parks
    names = (first.id, first.ask, INBOX, PARKED_CHANGED)
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.worker.working_on == 0 and set(bench.came) == {first.id, second.id})
        bench.came.clear()
        waiters = [bench.signals.waiter(name) for name in names]
        events = [waiter.__enter__() for waiter in waiters]
        bench.worker.enqueue(await ledger_fixture.now(first))
        await bench.until(lambda: all(event.is_set() for event in events))
        group.cancel_scope.cancel()

    assert not bench.worker.busy(first.id)
    assert bench.worker._locks._locks == {}


@pytest.mark.promise("recover.reobserve")
async def test_after_a_start_parked_requests_stay_parked_and_the_others_continue(ledger_fixture, bench):
    await ledger_fixture.awaits()
    await ledger_fixture.release()
    open_one = await ledger_fixture.deploy()
    bench.does = bench.lands

    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.worker.working_on == 0 and bench.came)
        group.cancel_scope.cancel()

    assert bench.came == [open_one.id]


async def test_a_request_approved_before_it_was_released_comes_back_once(ledger_fixture, bench):
    request = await ledger_fixture.deploy()

    async def approved_at_once(run):
        if len(bench.came) > 1:
            await bench.lands(run)
            return
        await bench.parks(run)
        await ledger_fixture.ledger.record(request.id, State.QUEUED, "resumed", {})
        bench.worker.enqueue(await ledger_fixture.now(request))

    bench.does = approved_at_once
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.came == [request.id] * 2 and not bench.worker.busy(request.id))
        group.cancel_scope.cancel()

    assert (await ledger_fixture.now(request)).state is State.LANDED
    assert bench.worker._recalled == set()


async def test_a_request_cancelled_while_parked_stays_cancelled(ledger_fixture, bench, caplog):
    request = await ledger_fixture.awaits(NEED)
    await ledger_fixture.ends(request, State.CANCELLED)
    bench.does = bench.parks

    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        bench.worker.enqueue(request)
        await bench.until(lambda: bench.came and not bench.worker.busy(request.id))
        group.cancel_scope.cancel()

    assert (await ledger_fixture.now(request)).state is State.CANCELLED
    assert caplog.records == []


async def test_a_request_after_the_end_of_the_worker_is_left_to_the_next(ledger_fixture, bench):
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        group.cancel_scope.cancel()
    request = await ledger_fixture.deploy()

    bench.worker.enqueue(request)

    assert not bench.worker.busy(request.id)


class Unwritable(Exception):  # noqa: N818 - what it is is its words
    """An error whose words cannot be stored as text."""

    def __str__(self):
        return "k8s/\udcff/web.yaml"


def _raiser(fault):
    async def raises(_):
        raise fault

    return raises


@pytest.mark.fault("f08")
@pytest.mark.promise("recover.reobserve")
@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (InfraError("git-failed", "k8s/\udcff/web.yaml cannot be read."), "k8s/\\udcff/web.yaml"),
        (InfraError("manifest-invalid", "bad", next_step="Rename \ud800."), "bad"),
        (Unwritable(), "Unwritable"),
        (ValueError("no"), "ValueError"),
        (ExceptionGroup("several", [KeyError("a"), RecursionError()]), "ExceptionGroup"),
        (asyncio.CancelledError("of a library"), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
async def test_after_any_failure_the_request_ends_names_it_and_the_next_is_worked_on(
    ledger_fixture, bench, fault, named
):
    bad, good = await ledger_fixture.deploy(), await ledger_fixture.deploy()
    raises = _raiser(fault)
    bench.does = lambda run: raises(run) if run.request.id == bad.id else bench.lands(run)

    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: len(bench.came) == 2 and bench.worker.working_on == 0)
        group.cancel_scope.cancel()

    ended = await ledger_fixture.now(bad)
    assert ended.state is State.FAILED
    assert named in ended.receipt["error"]["what"]
    assert (await ledger_fixture.now(good)).state is State.LANDED


@pytest.mark.fault("f30")
async def test_a_request_whose_end_cannot_be_recorded_in_full_still_ends_and_does_not_run_again(ledger_fixture, bench):
    request = await ledger_fixture.deploy()

    async def spoils(run):
        run.planned = object()  # no receipt can be made of it
        raise ValueError

    bench.does = spoils
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.came and bench.worker.working_on == 0)
        group.cancel_scope.cancel()
    bench.came.clear()
    restarted = Worker(bench.worker._deps, bench.signals)
    restarted._pipeline = bench
    async with anyio.create_task_group() as group:
        await group.start(restarted.run)
        other = await ledger_fixture.deploy()
        bench.does = bench.lands
        restarted.enqueue(other)
        await bench.until(lambda: bench.came and restarted.working_on == 0)
        group.cancel_scope.cancel()

    assert bench.came == [other.id]
    assert (await ledger_fixture.now(request)).state is State.FAILED


@pytest.mark.fault("f08")
async def test_an_interrupted_request_with_an_unreadable_record_ends_and_the_worker_starts(ledger_fixture, bench):
    spoilt = await ledger_fixture.deploy()
    await ledger_fixture.ledger.record(spoilt.id, State.APPLYING, "applying", {}, record={"writes": ["not a write"]})
    other = await ledger_fixture.deploy()
    bench.does = bench.lands

    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.came and bench.worker.working_on == 0)
        group.cancel_scope.cancel()

    assert (await ledger_fixture.now(spoilt)).state is State.NEEDS_OPERATOR
    assert (await ledger_fixture.now(other)).state is State.LANDED


@pytest.mark.fault("d03")
@pytest.mark.promise("locks.same")
@pytest.mark.parametrize("edition", [1, 2])
async def test_an_interrupted_request_holds_the_same_locks_after_a_restart_as_a_new_one_about_the_same(
    ledger_fixture, edition
):
    """A namespace was provisioned up to its service account: what it wrote last says nothing of the namespace."""
    deps = Dependencies(ledger_fixture.ledger, None, None, ledger_fixture.policy.current, ledger_fixture.clock)
    worker = Worker(deps, Signals())
    action = ProvisionNamespace(namespace="docs-staging", pull_secrets=("X",))
    new = (await ledger_fixture.deploy()).model_copy(update={"action": action})
    keys = worker._keys(Run.of(new))
    refs = [{"kind": "Namespace", "namespace": None, "name": "docs-staging"}]
    refs += [{"kind": "ServiceAccount", "namespace": "docs-staging", "name": "default"}]
    undo = {"operation": "update", "identity": "circle", "fields": [], "uid": "u"}
    writes = [json.dumps({"ref": one | {"cluster": "sandbox", "api_version": "v1"}} | undo) for one in refs]
    record = {"writes": writes} if edition == 1 else Record(keys=tuple(sorted(keys | {"more"}))).kept()
    begun = new.model_copy(update={"state": State.APPLYING, "record": record})

    assert keys
    assert keys <= worker._keys(Run.of(begun))


@pytest.mark.promise("locks.same")
async def test_an_interrupted_request_holds_the_keys_of_its_record_under_any_policy(ledger_fixture):
    deps = Dependencies(ledger_fixture.ledger, None, None, ledger_fixture.policy.current, ledger_fixture.clock)
    worker = Worker(deps, Signals())
    request = await ledger_fixture.deploy()
    begun = request.model_copy(update={"state": State.APPLYING, "record": Record(keys=("app|docs", "x")).kept()})
    before = worker._keys(Run.of(begun))
    await ledger_fixture.rule('[circles.more]\nnamespaces = ["more"]\n')

    assert before == worker._keys(Run.of(begun)) == {"app|docs", "x"}


@pytest.mark.fault("d04")
async def test_two_requests_never_work_on_one_object_also_when_the_policy_moved_it_while_one_waited(
    ledger_fixture, bench
):
    first, second = await ledger_fixture.deploy("1"), await ledger_fixture.deploy("2")
    on, together, go, both_on = set(), [], anyio.Event(), anyio.Event()

    async def carry(run):
        if run.request.id == first.id:
            await go.wait()
        else:
            on.add(run.request.id)
            together.append(len(on))
            if len(on) > 1:
                both_on.set()
            with anyio.move_on_after(0.5):  # whoever may work beside it does
                await both_on.wait()
            on.discard(run.request.id)
        await ledger_fixture.ends(run.request)

    bench.does = carry
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(
            lambda: bench.came == [first.id] and bench.worker.progress(second.id) == "waiting for its turn"
        )
        await ledger_fixture.rule(workload="docs-live/deployment/two")
        third = await ledger_fixture.deploy("3")
        bench.worker.enqueue(third)
        go.set()
        await bench.until(lambda: {second.id, third.id} <= set(bench.came) and bench.worker.working_on == 0)
        group.cancel_scope.cancel()

    assert max(together) == 1


@pytest.mark.fault("f27")
async def test_a_request_in_planning_of_a_removed_peer_writes_nothing(ledger_fixture, bench):
    await ledger_fixture.ledger.add_peer("docs", "docs")
    request = await ledger_fixture.deploy()
    wrote = []

    async def plans_and_begins(run):
        await ledger_fixture.ledger.remove_peer("docs")
        await ledger_fixture.ledger.record(run.request.id, State.APPLYING, "applying", {})  # what precedes every effect
        wrote.append(run.request.id)

    bench.does = plans_and_begins
    async with anyio.create_task_group() as group:
        await group.start(bench.worker.run)
        await bench.until(lambda: bench.came and bench.worker.working_on == 0)
        group.cancel_scope.cancel()

    assert wrote == []
    assert (await ledger_fixture.now(request)).state is State.CANCELLED
