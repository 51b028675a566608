"""Real server processes, killed without a chance to say goodbye: what was accepted is there again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from running_server import POLICY, unix_transport
from server_process import start_server

from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.server.operator import OPERATOR
from infra_mcp.server.ownership import prepared
from infra_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.process]

every_way = pytest.mark.parametrize(
    ("channel", "mode"), [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
)


class Town:
    """A state directory with two peers and an accepted policy; servers come and go."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens: dict[str, str] = {}

    async def settle(self) -> None:
        prepared(self.settings.state_dir)
        ledger = await Ledger.open_in(self.settings.state_dir)
        policy = PolicyInForce(self.settings.policy_file, ledger)
        await policy.accept(digest_of(POLICY), OPERATOR)
        for name in ("docs", "shop"):
            await ledger.add_peer(name, name)
            self.tokens[name] = await ledger.issue_token(name, name)
        await ledger.aclose()

    @asynccontextmanager
    async def client(self, server, channel: str, mode: str, peer: str | None) -> AsyncIterator[Client]:
        if peer is None or channel == "unix":
            hello = {"token": self.tokens[peer]} if peer else {"attend": "infra"}
            async with Client(unix_transport(server.socket, hello), mode=mode, cache=None) as client:
                yield client
            return
        headers = {"Authorization": f"Bearer {self.tokens[peer]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as web,
            Client(streamable_http_client(server.url, http_client=web), mode=mode, cache=None) as client,
        ):
            yield client


@pytest.fixture
async def town(tmp_path) -> Town:
    await anyio.run_process(["git", "init", "-q", "-b", "main", str(tmp_path / "repo")])
    (tmp_path / "repo" / "infra.toml").write_text(POLICY, encoding="utf-8")
    made = Town(Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=tmp_path / "none"))
    await made.settle()
    return made


async def call(client: Client, tool: str, **given):
    result = await client.call_tool(tool, given)
    assert not result.is_error, result.content[0].text
    return result.structured_content


@pytest.mark.promise("mesh.durable")
@every_way
async def test_what_was_accepted_before_a_kill_is_there_after_it_until_its_receiver_marks_it(town, channel, mode):
    with start_server(town.settings) as server:
        async with town.client(server, channel, mode, "docs") as docs:
            asked = (await call(docs, "ask", peer_name="shop", query="are you there?"))["result"]
            told = (await call(docs, "notify_peer", peer_name="shop", message="for later"))["result"]
        server.kill()
    with start_server(town.settings) as server:
        async with town.client(server, channel, mode, "shop") as shop:
            looks = [await call(shop, "inbox") for _ in range(2)]
            await call(shop, "ack", correlation_id=asked, message="I am")
        server.kill()
    with start_server(town.settings) as server:
        async with (
            town.client(server, channel, mode, "docs") as docs,
            town.client(server, channel, mode, "shop") as shop,
        ):
            back = await call(docs, "inbox")
            resolved = await call(docs, "wait_on_ack", correlation_id=asked, timeout_seconds=0)
            still = await call(shop, "inbox", mark_read=[told])
            again = await call(shop, "ack", correlation_id=asked, message="I am")
        server.kill()
    with start_server(town.settings) as server:
        async with (
            town.client(server, channel, mode, "docs") as docs,
            town.client(server, channel, mode, "shop") as shop,
        ):
            quiet = [await call(one, "inbox") for one in (docs, shop)]

    assert [[one["id"] for one in look["asks"]] for look in looks] == [[asked], [asked]]
    assert [[one["id"] for one in look["messages"]] for look in looks] == [[told], [told]]
    assert [(one["id"], one["text"]) for one in back["acks"]] == [(asked, "I am")]
    assert (resolved["status"], resolved["reply"], resolved["responder"]) == ("resolved", "I am", "shop")
    assert still["marked"] == 1
    assert again["result"] == f"acked #{asked} with reply"
    assert all(look[kind] == [] for look in quiet for kind in ("asks", "messages", "acks"))


@pytest.mark.promise("attend.claim")
@pytest.mark.promise("mesh.durable")
async def test_a_claim_does_not_outlive_a_killed_server_and_the_ask_waits_for_the_next_attendant(town):
    with start_server(town.settings) as server:
        async with (
            town.client(server, "unix", "auto", None) as infra,
            town.client(server, "http", "auto", "docs") as docs,
        ):
            asked = (await call(docs, "ask", peer_name="infra", query="something odd, please"))["result"]
            await call(infra, "inbox", claim=asked)
            server.kill()
    with start_server(town.settings) as server:
        async with (
            town.client(server, "unix", "auto", None) as infra,
            town.client(server, "http", "auto", "docs") as docs,
        ):
            pending = await call(docs, "wait_on_ack", correlation_id=asked, timeout_seconds=0)
            waiting = await call(infra, "inbox")
            await call(infra, "inbox", claim=asked)
            await call(infra, "ack", correlation_id=asked, message="what exactly?")
            resolved = await call(docs, "wait_on_ack", correlation_id=asked, timeout_seconds=20)

    assert pending["status"] == "pending"
    assert [one["id"] for one in waiting["asks"]] == [asked]
    assert resolved["reply"] == "what exactly?"
