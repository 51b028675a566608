"""Bounds: generous to peers that talk, and an end to floods and loops; one row a minute, not one each."""

from __future__ import annotations

import anyio
import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.asks import ack, ask
from infra_mcp.mesh.limits import ATTACHED, BURST, DEPTH, OPEN, RATE, ROWS, UNREAD, Limits, check_attachments
from infra_mcp.mesh.notify import broadcast, send
from infra_mcp.model.peer import Address, Caller

pytestmark = [pytest.mark.anyio, pytest.mark.bad_input("20")]

DOCS = Caller(name="docs", circle="docs", strength="token")
NAMESAKE = Caller(name="docs", circle="shop", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
TO_SHOP = Address(name="shop", circle="shop")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def refused(limits: Limits, sender: Caller) -> bool:
    try:
        await limits.message(sender)
    except InfraError as error:
        return error.code == "too-many"
    return False


async def rows(at) -> int:
    return (await at.engine.ledger.search("call-refused", circle=None, limit=1)).total


async def test_a_burst_passes_and_then_so_many_a_second(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        clock = Clock()
        limits = Limits(at.engine, clock)
        first = [await refused(limits, DOCS) for _ in range(BURST + 5)]
        clock.now += 1.0
        later = [await refused(limits, DOCS) for _ in range(int(RATE) + 5)]

        assert first == [False] * BURST + [True] * 5
        assert later == [False] * int(RATE) + [True] * 5
        assert not await refused(limits, SHOP)
        assert not await refused(limits, NAMESAKE)  # the same name in another circle is somebody else


async def test_a_flood_of_ten_thousand_leaves_one_row_a_minute_and_the_next_says_how_many_there_were(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        clock = Clock()
        limits = Limits(at.engine, clock)
        stopped = sum([await refused(limits, DOCS) for _ in range(10_000)])
        seen = await rows(at)
        clock.now += 60.0
        for _ in range(BURST + 1):
            await refused(limits, DOCS)
        (event,) = (await at.engine.ledger.search("call-refused", circle=None, limit=1)).events

        assert stopped == 10_000 - BURST
        assert seen == 1
        assert await rows(at) == 2
        assert (event.peer, event.data["code"], event.data["refused_before"]) == ("docs", "too-many", stopped - 1)


async def test_one_peer_can_have_so_many_open_asks_at_another_and_no_more(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.engine.ledger.add_peer("docs", "shop")
        limits = Limits(at.engine)

        async def again(who: Caller, to: str) -> str:
            return await ask(at.engine, who, to, "are you there?", limits=limits)

        opened = [await again(DOCS, "shop") for _ in range(OPEN)]
        with pytest.raises(InfraError) as caught:
            await again(DOCS, "shop")
        with pytest.raises(InfraError, match="too-many"):
            await ask(at.engine, DOCS, "shop", "and after a restart", limits=Limits(at.engine))
        await again(DOCS, "reader")
        await again(NAMESAKE, "shop")
        await ack(at.engine, SHOP, opened[0])
        assert await again(DOCS, "shop")
        with pytest.raises(InfraError, match="too-many"):
            await again(DOCS, "shop")

        assert caught.value.code == "too-many"
        assert "wait_on_ack" in caught.value.next_step


async def test_many_at_once_do_not_pass_a_bound_together(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        limits = Limits(at.engine)
        codes: list[str] = []

        async def one(number: int) -> None:
            try:
                await ask(at.engine, DOCS, "shop", f"question {number}", limits=limits)
            except InfraError as error:
                codes.append(error.code)

        async with anyio.create_task_group() as group:
            for number in range(OPEN + 30):
                group.start_soon(one, number)
        counts = await at.engine.ledger.mail.counts(Address(name="docs", circle="docs"), TO_SHOP)

        assert counts.open_between <= OPEN
        assert set(codes) == {"too-many"}


async def test_one_peer_can_fill_another_ones_inbox_so_far_and_others_still_reach_it(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        limits = Limits(at.engine)
        told = [
            await at.engine.ledger.mail.post(DOCS, [TO_SHOP], "x", now="2026-11-22T00:00:00Z") for _ in range(UNREAD)
        ]
        with pytest.raises(InfraError) as caught:
            await send(at.engine, DOCS, TO_SHOP, "one more", limits)
        reader = Caller(name="reader", circle="readers", strength="token")
        await send(at.engine, reader, TO_SHOP, "from somebody else", limits)
        await at.engine.ledger.mail.mark_read(TO_SHOP, told[:1], now="2026-11-22T00:00:00Z")

        assert caught.value.code == "too-many"
        assert await send(at.engine, DOCS, TO_SHOP, "now there is room", limits)


async def test_a_broadcast_says_whom_it_did_not_reach_and_counts_for_more_than_one(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        for number in range(30):
            await at.engine.ledger.add_peer(f"peer-{number}", "docs")
        full = Address(name="peer-3", circle="docs")
        for _ in range(UNREAD):
            await at.engine.ledger.mail.post(DOCS, [full], "x", now="2026-11-22T00:00:00Z")
        clock = Clock()
        limits = Limits(at.engine, clock)
        done = await broadcast(at.engine, DOCS, "hello", limits)
        free = sum([not await refused(limits, DOCS) for _ in range(BURST)])

        assert done.failed == (("peer-3", "too many unread"),)
        assert len(done.reached) == 29
        assert free == BURST - 4


async def test_two_peers_that_only_ask_each_other_in_return_come_to_an_end(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        last = await ask(at.engine, DOCS, "shop", "and you?")
        for _ in range(DEPTH // 2 - 1):
            last = await ask(at.engine, SHOP, "docs", "and you?", reply_to=last)
            last = await ask(at.engine, DOCS, "shop", "and you?", reply_to=last)
        last = await ask(at.engine, SHOP, "docs", "and you?", reply_to=last)
        with pytest.raises(InfraError) as caught:
            await ask(at.engine, DOCS, "shop", "and you?", reply_to=last)

        assert caught.value.code == "too-many"
        assert last in caught.value.next_step
        await ack(at.engine, DOCS, last, "enough")


async def test_a_loop_without_replies_ends_by_the_rate(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        limits = Limits(at.engine, Clock())
        for turn in range(2 * BURST):
            who, to = ((DOCS, "shop"), (SHOP, "docs"))[turn % 2]
            opened = await ask(at.engine, who, to, "ping", limits=limits)
            await ack(at.engine, SHOP if who is DOCS else DOCS, opened, "pong")
        for who, to in ((DOCS, "shop"), (SHOP, "docs")):
            with pytest.raises(InfraError, match="too-many"):
                await ask(at.engine, who, to, "ping", limits=limits)


@pytest.mark.parametrize("value", [[{"a": "x" * ATTACHED}], [{"a": "\ud800"}], [{"a": "ü"}] * 9000])
async def test_attachments_are_bounded_json(value):
    with pytest.raises(InfraError, match="attachments") as caught:
        check_attachments(value)
    assert caught.value.code == "invalid-argument"


async def test_small_attachments_pass():
    check_attachments([{"a": "x" * 1000}] * 60)
    check_attachments([])


async def test_refused_calls_leave_a_row_each_up_to_a_bound_and_what_left_none_is_counted(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        clock = Clock()
        limits = Limits(at.engine, clock)
        burst = [limits.row(DOCS) for _ in range(ROWS + 7)]
        clock.now += 1.0

        assert burst == [0] * ROWS + [None] * 7
        assert [limits.row(SHOP), limits.row(NAMESAKE)] == [0, 0]
        assert [limits.row(DOCS), limits.row(DOCS)] == [7, None]
        clock.now += 10 * ROWS
        assert [limits.row(DOCS) for _ in range(ROWS + 1)] == [1, *[0] * (ROWS - 1), None]
