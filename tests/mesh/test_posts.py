"""Notifies and broadcasts: to whom, and waking them."""

from __future__ import annotations

import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.inbox import look
from infra_mcp.mesh.notify import broadcast, send
from infra_mcp.model.peer import Address, Caller

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SITE = Address(name="site", circle="docs")
ATTENDANT = Caller(name="infra", circle=None, strength="same-user", attendant=True, session="s")
OPERATOR = Caller(name="operator", circle=None, strength="same-user", operator=True)


async def texts(at, of: Address) -> list[str]:
    return [one.text for one in (await look(at.engine, of)).messages]


async def test_a_notify_wakes_its_receiver(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.add("site", "docs")
        with at.engine.signals.waiter(SITE.signal) as woken:
            await send(at.engine, DOCS, SITE, "hello", at.service.limits)
            assert woken.is_set()
        assert await texts(at, SITE) == ["hello"]


@pytest.mark.promise("mesh.tools")
async def test_a_broadcast_reaches_the_own_circle_but_neither_the_sender_nor_namesakes_nor_people(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.add("site", "docs")
        await at.add("docs", "shop")
        await at.engine.ledger.add_peer("alice", "", operator=True)
        with at.engine.signals.waiter(SITE.signal) as woken:
            done = await broadcast(at.engine, DOCS, "hello", at.service.limits)
            assert woken.is_set()

        assert (done.reached, done.failed) == (("site",), ())
        assert await texts(at, SITE) == ["hello"]
        for other in (Address(name="docs", circle="docs"), Address(name="docs", circle="shop"), Address(name="infra")):
            assert await texts(at, other) == []


async def test_in_a_circle_of_one_nobody_is_reached(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        assert (await broadcast(at.engine, DOCS, "hello", at.service.limits)).reached == ()


@pytest.mark.parametrize("caller", [ATTENDANT, OPERATOR])
async def test_who_has_no_circle_broadcasts_to_none(tmp_path, caller):
    async with running_server(tmp_path, "unix") as at:
        with pytest.raises(InfraError, match="policy-denied"):
            await broadcast(at.engine, caller, "hello", at.service.limits)
