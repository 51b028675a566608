"""Writes that share a transaction: one wait for the disk, nobody answered before it, and nobody's failure another's."""

import threading
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import event

from infra_mcp.errors import InfraError
from infra_mcp.ledger import write_queue
from infra_mcp.ledger.events import Entry, append

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


class Sharing:
    """Steps that wait behind a busy writer, what came of each, and the scope each can be cancelled by."""

    def __init__(self, steps, group):
        self.outcomes = [None] * len(steps)
        self.scopes = [anyio.CancelScope() for _ in steps]
        self.ended = set()
        self.go = threading.Event()  # lets the writer go on
        self.group = group

    async def run(self, number, step):
        with self.scopes[number]:
            try:
                self.outcomes[number] = await step()
            except (InfraError, ValueError) as error:
                self.outcomes[number] = error
            finally:
                self.ended.add(number)


@pytest.fixture
def busy(ledger):
    """Keeps the writer busy until the block ends, or `go` is set, with all the steps given waiting behind it."""
    database = ledger._database

    @asynccontextmanager
    async def keep(*steps):
        began = anyio.Event()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                sharing = Sharing(steps, group)

                def block(_tx):
                    anyio.from_thread.run_sync(began.set)
                    assert sharing.go.wait(10)

                group.start_soon(database.write, block)
                await began.wait()
                for number, step in enumerate(steps):
                    group.start_soon(sharing.run, number, step)
                while len(database._queue._waiting) < len(steps):
                    await anyio.lowlevel.checkpoint()
                try:
                    yield sharing
                finally:
                    sharing.go.set()

    return keep


def adding(ledger, kind, *, fails=None):
    """A write of one event; it may fail after it."""

    def step(tx):
        head = append(tx, Entry("t", kind, None, None))
        if fails is not None:
            raise fails
        return head

    return lambda: ledger._database.write(step)


def transactions(ledger):
    begun = []
    event.listen(ledger._database._engine, "begin", begun.append)
    return begun


async def kinds(ledger):
    return [one.kind for one in (await ledger.search("", circle=None)).events][::-1]


async def test_writes_that_wait_share_the_next_transaction_in_the_order_they_came(ledger, busy):
    begun = transactions(ledger)
    async with busy(*(adding(ledger, f"k{number}") for number in range(20))) as at:
        assert len(begun) == 1
    assert len(begun) == 2
    assert await kinds(ledger) == [f"k{number}" for number in range(20)]
    assert [seq for seq, _ in at.outcomes] == list(range(1, 21))
    report = await ledger.verify([head for _, head in at.outcomes])
    assert (report.consistent, report.proved_to, report.missing_heads) == (True, 20, ())


async def test_a_step_that_fails_takes_nothing_of_the_others_with_it(ledger, busy):
    steps = [
        adding(ledger, "first"),
        adding(ledger, "bad", fails=ValueError("mine")),
        adding(ledger, "second"),
        adding(ledger, "worse", fails=InfraError("not-found", "Not there.")),
        adding(ledger, "third"),
    ]
    async with busy(*steps) as at:
        pass
    assert str(at.outcomes[1]) == "mine"
    assert at.outcomes[3].what == "Not there."
    assert await kinds(ledger) == ["first", "second", "third"]
    assert [at.outcomes[number][0] for number in (0, 2, 4)] == [1, 2, 3], "no number is missing"
    assert (await ledger.verify([at.outcomes[4][1]])).proved_to == 3


async def test_a_step_that_breaks_a_rule_of_the_database_is_told_alone(ledger, busy):
    def twice(tx):
        tx.connection.exec_driver_sql("INSERT INTO meta VALUES ('ledger', 'x')")

    async with busy(adding(ledger, "first"), lambda: ledger._database.write(twice), adding(ledger, "second")) as at:
        pass
    assert at.outcomes[1].code == "ledger-unavailable"
    assert "UNIQUE" in at.outcomes[1].what
    assert await kinds(ledger) == ["first", "second"]


async def test_nobody_is_answered_before_the_commit(ledger, busy):
    committing, go = anyio.Event(), threading.Event()
    async with busy(adding(ledger, "first"), adding(ledger, "second")) as at:

        def hold(_connection):
            if at.go.is_set() and not go.is_set():
                anyio.from_thread.run_sync(committing.set)
                assert go.wait(30)

        event.listen(
            ledger._database._engine, "begin", lambda _c: event.listen(ledger._database._engine, "commit", hold)
        )
        at.go.set()
        with anyio.fail_after(30):
            await committing.wait()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        assert at.outcomes == [None, None]
        go.set()
    assert [seq for seq, _ in at.outcomes] == [1, 2]


async def test_a_commit_that_fails_is_told_to_all_and_nothing_was_written(ledger, busy):
    failing = threading.Event()

    def fail(_connection):
        if failing.is_set():
            raise OSError(5, "Input/output error")

    event.listen(ledger._database._engine, "commit", fail)
    await adding(ledger, "before")()
    head = await ledger.head()
    async with busy(
        adding(ledger, "first"), adding(ledger, "bad", fails=ValueError("mine")), adding(ledger, "second")
    ) as at:
        event.listen(ledger._database._engine, "begin", lambda _connection: failing.set())
    assert [getattr(one, "code", str(one)) for one in at.outcomes] == [
        "ledger-unavailable",
        "mine",
        "ledger-unavailable",
    ]
    assert at.outcomes[0] is not at.outcomes[2], "each raises an error of its own"
    event.remove(ledger._database._engine, "commit", fail)
    assert await ledger.head() == head
    await adding(ledger, "after")()
    assert await kinds(ledger) == ["before", "after"]
    assert (await ledger.verify([head])).consistent


async def test_a_full_disk_is_told_to_all_who_shared_it_and_it_works_again(ledger, busy, docs, shop, at):
    def pages(most):
        return ledger._database._read(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={most}").scalar())

    def post(words):
        return lambda: ledger.mail.post(docs, [at(shop)], words, now=NOW)

    most = await anyio.to_thread.run_sync(pages, 1)
    head = await ledger.head()
    async with busy(post("x"), post("w" * 400_000), post("y")) as sharing:
        pass
    assert {one.code for one in sharing.outcomes if not isinstance(one, str)} == {"ledger-unavailable"}
    assert "full" in sharing.outcomes[1].what
    kept = [one for one in sharing.outcomes if isinstance(one, str)]
    await anyio.to_thread.run_sync(pages, most + 1_000)
    assert {one.id for one in (await ledger.mail.inbox(at(shop))).messages} == set(kept), "kept is what was said to be"
    await post("z")()
    assert (await ledger.verify([head] if kept == [] else [])).consistent


async def test_a_reader_sees_all_of_a_transaction_or_nothing(ledger, busy):
    seen = []

    async def look():
        seen.append((await ledger.search("", circle=None)).total)

    async with busy(*(adding(ledger, f"k{number}") for number in range(5))) as at:
        at.group.start_soon(look)
    assert seen in ([0], [5])


# -- cancelling


async def test_one_that_waits_and_is_cancelled_is_not_made(ledger, busy):
    async with busy(*(adding(ledger, f"k{number}") for number in range(4))) as at:
        at.scopes[0].cancel()  # it would have led
        at.scopes[2].cancel()
        await anyio.lowlevel.checkpoint()
    assert await kinds(ledger) == ["k1", "k3"]
    assert at.outcomes[0] is at.outcomes[2] is None


@pytest.mark.parametrize("first", ["turn", "cancel"])
async def test_one_that_is_cancelled_as_its_turn_to_lead_comes_hands_on(ledger, busy, first):
    hand_on, cancelled = ledger._database._queue._hand_on, []

    async with busy(*(adding(ledger, f"k{number}") for number in range(3))) as at:

        def handing():
            if first == "turn":
                hand_on()
            if not cancelled:
                cancelled.append(True)
                at.scopes[0].cancel()
            if first == "cancel":
                hand_on()

        ledger._database._queue._hand_on = handing
    assert await kinds(ledger) == ["k1", "k2"]
    await adding(ledger, "after")()
    assert (await ledger.verify([])).consistent


@pytest.mark.parametrize("which", [0, 1], ids=["who leads", "who follows"])
async def test_one_that_has_begun_is_finished_whoever_is_cancelled(ledger, busy, which):
    inside, go = anyio.Event(), threading.Event()

    def slow(tx):
        anyio.from_thread.run_sync(inside.set)
        assert go.wait(30)
        return append(tx, Entry("t", "slow", None, None))

    async with busy(lambda: ledger._database.write(slow), adding(ledger, "k1"), adding(ledger, "k2")) as at:
        at.go.set()
        with anyio.fail_after(30):
            await inside.wait()
        at.scopes[which].cancel()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert at.ended == set(), "cancelling waits for its end"
        go.set()
    assert await kinds(ledger) == ["slow", "k1", "k2"]
    assert at.outcomes[2][0] == 3
    assert not isinstance(at.outcomes[which], Exception)


async def test_what_its_leader_has_taken_is_made_though_the_leader_is_cancelled_that_very_moment(ledger, busy):
    queue = ledger._database._queue
    take = queue.take
    async with busy(*(adding(ledger, f"k{number}") for number in range(3))) as at:

        def taking():
            batch = take()
            at.scopes[0].cancel()
            return batch

        queue.take = taking
    assert await kinds(ledger) == ["k0", "k1", "k2"]
    assert [seq for seq, _ in at.outcomes[1:]] == [2, 3]


async def test_all_cancelled_and_the_next_write_goes_on(ledger, busy):
    async with busy(*(adding(ledger, f"k{number}") for number in range(3))) as at:
        for scope in at.scopes:
            scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert await kinds(ledger) == []
    await adding(ledger, "after")()
    assert await kinds(ledger) == ["after"]


async def test_more_than_share_one_transaction_take_several(ledger, busy, monkeypatch):
    monkeypatch.setattr(write_queue, "MAX_BATCH", 8)
    begun = transactions(ledger)
    async with busy(*(adding(ledger, f"k{number}") for number in range(20))):
        pass
    assert len(begun) == 4
    assert await kinds(ledger) == [f"k{number}" for number in range(20)]


async def test_where_no_thread_can_be_started_no_caller_is_told_that_its_write_was_made(ledger, busy, monkeypatch):
    run = anyio.to_thread.run_sync

    async def no_thread(function, *args, **options):
        if function == ledger._database._write:
            raise RuntimeError("can't start new thread")
        return await run(function, *args, **options)

    async def leader():
        with pytest.raises(RuntimeError):
            await adding(ledger, "k0")()

    async with busy(leader, *(adding(ledger, f"k{number}") for number in (1, 2))) as at:
        monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
    monkeypatch.undo()
    assert [at.outcomes[1].code, at.outcomes[2].code] == ["ledger-unavailable"] * 2
    assert await kinds(ledger) == []
    await adding(ledger, "after")()
    assert await kinds(ledger) == ["after"]
