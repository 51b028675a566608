"""Whom a name means, over circles."""

from __future__ import annotations

import pytest
from running_server import POLICY, running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import find
from infra_mcp.model.peer import Address, Caller

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
NAMESAKE = Caller(name="docs", circle="shop", strength="token")
ATTENDANT = Caller(name="infra", circle=None, strength="same-user", attendant=True, session="s")


async def code(at, caller, name, circle=None) -> str:
    with pytest.raises(InfraError) as caught:
        await find(at.engine, caller, name, circle)
    return caught.value.code


@pytest.mark.promise("mesh.tools")
async def test_a_name_that_one_peer_has_is_found_in_whatever_circle_it_is(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        assert await find(at.engine, DOCS, "shop") == Address(name="shop", circle="shop")
        assert await find(at.engine, DOCS, "shop", "*") == Address(name="shop", circle="shop")
        assert await find(at.engine, DOCS, "shop", "shop") == Address(name="shop", circle="shop")
        assert await find(at.engine, ATTENDANT, "docs") == Address(name="docs", circle="docs")


@pytest.mark.promise("mesh.tools")
async def test_a_name_of_several_circles_is_refused_with_the_candidates_also_with_one_in_the_own_circle(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.add("site", "docs")
        await at.add("site", "shop")
        with pytest.raises(InfraError) as caught:
            await find(at.engine, DOCS, "site")

        assert caught.value.code == "ambiguous-peer"
        assert "site (docs), site (shop)" in caught.value.what
        assert await find(at.engine, DOCS, "site", "shop") == Address(name="site", circle="shop")
        assert await code(at, DOCS, "site", "readers") == "not-found"


async def test_a_namesake_in_another_circle_is_not_oneself(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.add("docs", "shop")
        assert await find(at.engine, DOCS, "docs", "shop") == Address(name="docs", circle="shop")
        assert await find(at.engine, NAMESAKE, "docs", "docs") == Address(name="docs", circle="docs")
        assert await code(at, DOCS, "docs") == "ambiguous-peer"
        assert await code(at, DOCS, "docs", "docs") == "invalid-argument"
        assert await code(at, ATTENDANT, "infra") == "invalid-argument"


async def test_infra_is_found_by_the_name_policy_gives_it(tmp_path):
    async with running_server(tmp_path, "unix", policy=f'{POLICY}\n[peer]\nname = "platform"\n') as at:
        for circle in (None, "*", "platform", "docs"):
            assert await find(at.engine, DOCS, "platform", circle) == Address(name="platform", circle=None)
        assert await code(at, DOCS, "infra") == "not-found"
        assert await code(at, DOCS, "platform", "shop") == "not-found"


@pytest.mark.parametrize("name", ["alice", "nobody", "", "Docs", "docs ", "$(id)", "do\u0441s"])
async def test_operators_and_names_nobody_has_are_not_found(tmp_path, name):
    async with running_server(tmp_path, "unix") as at:
        await at.engine.ledger.add_peer("alice", "", operator=True)
        assert await code(at, DOCS, name) == "not-found"
