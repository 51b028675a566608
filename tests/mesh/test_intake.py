"""How much one peer may ask for, through whatever channel."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.asks import ask
from infra_mcp.mesh.limits import BURST, Limits
from infra_mcp.model.peer import Caller
from infra_mcp.server.tools import TOOLS

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
RELEASES = """
[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy"]
images = ["registry.example/docs/*"]
[circles.shop]
namespaces = ["shop-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[clusters.sandbox]
context = "kwok-infra"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
deploy_on = "release/{version} merged"
order = "arrival"
"""
MOST = 50  # open requests of one peer
# What writes, with arguments that pass the schema; what comes of the call does not matter.
WRITES = {
    "ask": {"peer_name": "infra", "query": "what?"},
    "ack": {"correlation_id": "ask-1"},
    "notify_peer": {"peer_name": "shop", "message": "hello", "circle": "shop"},
    "broadcast": {"message": "hello"},
    "inbox": {"mark_read": ["ask-1"]},
    "set_description": {"description": "docs"},
    "provision_namespace": {"namespace": "docs-x", "dry_run": True},
    "deploy": {"app": "docs", "version": "1", "dry_run": True},
    "configure": {"app": "docs", "settings": {"replicas": 3}, "dry_run": True},
    "rollback": {"request": "req-1", "dry_run": True},
    "change": {"action": "deploy", "arguments": {"app": "docs", "version": "1"}, "dry_run": True},
    "cancel": {"request_id": "req-1"},
    "approve": {"request_id": "req-1"},
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def by_tool(at, number):
    async with at.unix("docs") as client:
        found = await client.call_tool("deploy", {"app": "docs", "version": f"{number}", "wait_seconds": 0})
    return found.structured_content.get("code")


async def by_sentence(at, number):
    return await _asked(at, f"I need a namespace 'docs-n{number}'")


async def by_block(at, number):
    block = json.dumps({"action": "deploy", "app": "docs", "version": f"{number}"})
    return await _asked(at, f"```infra\n{block}\n```")


async def _asked(at, text):
    try:
        found = await at.engine.ledger.ask(await ask(at.engine, DOCS, "infra", text, limits=at.service.limits))
    except InfraError as refused:
        return refused.code
    return (found.reply or "").partition(":")[0] or None


async def by_notify(at, number):
    done = await at.service.releases.take(DOCS, f"release/{number} merged", "w", Limits(at.engine))
    return done.refused[0]["code"] if done.refused else None


async def open_of(at, circle="docs"):
    return [one for one in await at.engine.ledger.open_requests() if one.caller.circle == circle]


@pytest.mark.fault("f35")
@pytest.mark.parametrize("channel", [by_tool, by_sentence, by_block, by_notify], ids=lambda one: one.__name__)
async def test_open_requests_of_one_peer_are_bounded_through_every_channel_and_nobody_elses(tmp_path, channel):
    async with running_server(tmp_path, "unix", policy=RELEASES, held=True) as at:
        codes = [await channel(at, number) for number in range(MOST + 3)]
        async with at.unix("shop") as client:
            other = await client.call_tool("deploy", {"app": "docs", "version": "1", "wait_seconds": 0})

        assert len(await open_of(at)) == MOST
        assert codes[:MOST] == [None] * MOST
        assert channel is by_notify or codes[MOST:] == ["too-many"] * 3
        assert other.structured_content.get("code") != "too-many"


@pytest.mark.fault("f35")
async def test_peers_of_one_circle_share_a_bound_that_leaves_the_other_circles_room(tmp_path):
    async with running_server(tmp_path, "unix", policy=RELEASES, held=True) as at:
        for number in range(6):
            caller = Caller(name=f"docs{number}", circle="docs", strength="token")
            for version in range(MOST):
                text = f"I need a namespace 'docs-n{number}-{version}'"
                with suppress(InfraError):
                    await ask(at.engine, caller, "infra", text)

        assert len(await open_of(at)) == 4 * MOST


@pytest.mark.fault("f35")
@pytest.mark.parametrize("name", [name for name, tool in TOOLS.items() if not tool.read_only])
async def test_every_tool_that_writes_is_counted(tmp_path, name):
    async with running_server(tmp_path, "unix", policy=RELEASES) as at:
        at.service.limits = Limits(at.engine, Clock())
        codes = []
        async with at.unix("docs") as client:
            for number in range(BURST + 2):
                given = dict(WRITES[name])
                if "version" in given:
                    given["version"] = str(number)
                result = await client.call_tool(name, given)
                codes.append(result.structured_content.get("code"))

        assert codes[-1] == "too-many"


@pytest.mark.fault("f35")
async def test_dry_runs_and_refused_requests_leave_a_bounded_number_of_rows(tmp_path):
    """The ledger is kept for good: what changes nothing and can be asked without end must not fill it."""
    async with running_server(tmp_path, "unix", policy=RELEASES) as at:
        clock = Clock()
        at.service.limits = Limits(at.engine, clock)
        grown = []
        async with at.unix("docs") as client, at.unix("reader") as stranger:
            for _ in range(2):
                clock.now += 60.0
                before = (await at.engine.ledger.search("", circle=None, limit=1)).total
                for number in range(150):
                    await client.call_tool("deploy", {"app": "docs", "version": f"{number}", "dry_run": True})
                    await stranger.call_tool("deploy", {"app": "docs", "version": "1"})
                grown.append((await at.engine.ledger.search("", circle=None, limit=1)).total - before)

        assert grown[1] <= 250
