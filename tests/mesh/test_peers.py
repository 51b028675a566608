"""Who is seen by whom, and what a description can and cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from house import house

from infra_mcp.errors import InfraError
from infra_mcp.mesh.peers import HEADER, LONGEST, Presence, describe, me, table
from infra_mcp.model.peer import Caller
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def names(text: str) -> list[str]:
    head, *rows = text.split("\n")
    assert head == HEADER
    assert all(len(row.split("\t")) == len(HEADER.split("\t")) for row in rows)
    return [row.split("\t")[1] for row in rows]


@pytest.mark.promise("read.scoped")
async def test_a_peer_sees_its_circle_and_infra_and_the_operator_sees_all(tmp_path):
    async with house(tmp_path, "unix") as at:
        await at.engine.ledger.add_peer("site", "docs")
        presence = Presence()

        assert names(await table(at.engine, presence, DOCS, show_offline=True)) == ["infra", "site"]
        assert names(await table(at.engine, presence, DOCS, show_offline=True, circle="*")) == ["infra", "site"]
        assert names(await table(at.engine, presence, DOCS, show_offline=True, circle="shop")) == []
        everyone = names(await table(at.engine, presence, OPERATOR, show_offline=True))
        assert everyone == ["infra", "docs", "reader", "shop", "site"]


async def test_online_is_who_was_heard_from_lately(tmp_path):
    async with house(tmp_path, "unix") as at:
        clock = Clock()
        presence = Presence(timedelta(minutes=5), clock)
        presence.seen("docs")

        assert names(await table(at.engine, presence, DOCS, include_self=True)) == ["infra", "docs"]
        assert names(await table(at.engine, presence, DOCS)) == ["infra"]
        clock.now += timedelta(minutes=5)
        assert names(await table(at.engine, presence, DOCS, include_self=True)) == ["infra"]
        assert "\toffline\t" in await table(at.engine, presence, DOCS, include_self=True, show_offline=True)


async def test_whoami_says_name_circle_and_description(tmp_path):
    async with house(tmp_path, "unix") as at:
        presence = Presence()
        await describe(at.engine, DOCS, "site and search")
        row = (await me(at.engine, presence, DOCS)).split("\n")[1].split("\t")

        assert (row[1], row[3], row[8]) == ("docs", "docs", "site and search")
        assert names(await me(at.engine, presence, OPERATOR)) == ["operator"]


@pytest.mark.promise("secrets.nowhere")
async def test_a_description_is_one_line_without_secrets(tmp_path):
    async with house(tmp_path, "unix") as at:
        secret = "ghp_" + "Zb9" * 12
        said = await describe(at.engine, DOCS, f"a\tb\nname\tinfra \u202e {secret}")

        assert secret not in said
        assert not set("\t\n\u202e") & set(said)
        assert names(await table(at.engine, Presence(), DOCS, include_self=True, show_offline=True)) == [
            "infra",
            "docs",
        ]


@pytest.mark.parametrize("caller", [DOCS, OPERATOR])
async def test_a_description_too_long_or_of_nobody_is_refused(tmp_path, caller):
    async with house(tmp_path, "unix") as at:
        with pytest.raises(InfraError) as caught:
            await describe(at.engine, caller, "x" * (LONGEST + 1))
        assert caught.value.code == "invalid-argument"


async def test_without_a_policy_infra_is_still_there_and_says_so(tmp_path):
    async with house(tmp_path, "unix", policy=None) as at:
        assert "no policy in force" in await table(at.engine, Presence(), SHOP)
