"""Workspaces through a whole server: a peer asks over HTTP, OpenTofu plans and applies, a person approves.

There is no cluster: a policy of workspaces alone needs none.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
from anyio import to_thread
from drivers.terraform.estate import MAIN, Estate, until
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from server_process import ServerProcess, start_server

from infra_mcp.cli.client import connect
from infra_mcp.policy.policy import digest_of
from infra_mcp.server import offline

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("terraform.saved-plan")]

SITE = MAIN + (
    'variable "tag" {{\n  type = string\n}}\n\n'
    'resource "terraform_data" "site" {{\n  input            = var.tag\n  triggers_replace = var.instances\n}}\n'
)
APP = """\
[apps.site]
owner = "net"
settings.version = { at = "terraform/network/terraform.tfvars#tag", type = "version" }
settings.instances = { at = "terraform/network/terraform.tfvars#instances", type = "integer", max = 9 }
"""
VALUES = 'instances = 2 # two are enough\ntag       = "1.0.0"\n'


class Served:
    """An estate with a server on it, and the peer net."""

    def __init__(self, estate: Estate, token: str) -> None:
        self.estate, self.token = estate, token
        self.server: ServerProcess | None = None

    async def start(self) -> None:
        self.server = await to_thread.run_sync(partial(start_server, self.estate.settings))

    async def tool(self, name: str, **arguments: object) -> tuple[bool, str, dict]:
        """Call a tool as the peer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as web,
            Client(streamable_http_client(self.server.url, http_client=web), mode="auto", cache=None) as client,
        ):
            result = await client.call_tool(name, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        return not result.is_error, text, dict(result.structured_content or {})

    async def operate(self, method: str, **params: object) -> dict:
        """Call a method of the socket as the local operator."""

        def call() -> dict:
            with connect(self.estate.settings, None) as client:
                return client.method(method, params)

        return await to_thread.run_sync(call)


@asynccontextmanager
async def served(estate: Estate) -> AsyncIterator[Served]:
    """Accept the policy, add the peer, and start a server."""
    text = estate.settings.policy_file.read_text(encoding="utf-8")
    await offline.call(estate.settings, "operator/policy.accept", {"digest": digest_of(text)})
    added = await offline.call(estate.settings, "operator/peer.add", {"name": "net", "circle": "team-net"})
    made = Served(estate, added["token"])
    await made.start()
    try:
        yield made
    finally:
        await to_thread.run_sync(made.server.stop)


async def test_a_peer_deploys_and_configures_an_app_of_a_workspace_and_a_person_approves_what_is_replaced(tmp_path):
    estate = Estate(tmp_path, main=SITE, more=APP, **{"terraform.tfvars": VALUES})
    async with served(estate) as peer:
        applied = await peer.tool(
            "change", action="terraform_apply", arguments={"workspace": "network"}, wait_seconds=60
        )
        deployed = await peer.tool("deploy", app="site", version="1.1.0", wait_seconds=60)
        shown = await peer.tool("configure", app="site", settings={"instances": 3}, dry_run=True, wait_seconds=60)
        three = {"app": "site", "settings": {"instances": 3}, "idempotency_key": "three", "wait_seconds": 60}
        waiting = await peer.tool("configure", **three)
        before = estate.resources()["terraform_data.site"]
        request, digest = waiting[2]["request"], waiting[2]["effect_digest"]
        await peer.operate("operator/approve", request_id=request, digest=digest, approve=True)
        done = await peer.tool("configure", **three)

    assert applied[0], applied[1]
    assert deployed[0], deployed[1]
    assert "updated terraform_data.site" in deployed[1]
    assert estate.git("log", "--format=%s").splitlines() == ["Configure site: instances", "Deploy site 1.1.0", "Begin"]
    assert estate.in_git() == 'instances = 3 # two are enough\ntag       = "1.1.0"'
    assert "replace" in shown[1]
    assert (waiting[2]["state"], before["input"]["value"]) == ("awaiting_approval", "1.1.0")
    assert done[2]["state"] == "landed", done[1]
    assert estate.resources()["terraform_data.site"]["id"] != before["id"]


async def test_an_ask_for_a_workspace_is_acked_once_although_the_server_is_killed_during_the_apply(tmp_path):
    more = 'allow = ["provisioner:local-exec"]\n' + APP
    slow = SITE + (
        'resource "terraform_data" "slow" {{\n  provisioner "local-exec" {{\n    command = "sleep 3"\n  }}\n}}\n'
    )
    estate = Estate(tmp_path, main=slow, more=more, **{"terraform.tfvars": VALUES})
    block = {"action": "terraform_apply", "workspace": "network", "variables": {"instances": 4}}
    async with served(estate) as peer:
        words = f"More instances, please.\n```infra\n{json.dumps(block)}\n```"
        asked = await peer.tool("ask", peer_name="infra", query=words)
        runs = estate.settings.state_dir / "terraform" / "network"
        await until(lambda: any(b"apply_start" in path.read_bytes() for path in runs.glob("run-*/out-*")))
        await to_thread.run_sync(peer.server.kill)
        await peer.start()
        acked = await peer.tool("wait_on_ack", correlation_id=asked[1].strip(), timeout_seconds=60)
        again = await peer.tool("wait_on_ack", correlation_id=asked[1].strip(), timeout_seconds=1)

    assert asked[0], asked[1]
    assert (acked[2]["status"], acked[2]["exit"]) == ("resolved", 0), acked[1]
    assert acked[2]["reply"] == again[2]["reply"]
    assert "workspace network" in acked[2]["reply"]
    assert (estate.web(), estate.in_git().splitlines()[0]) == (4, "instances = 4 # two are enough")
    assert estate.git("log", "--format=%s").splitlines() == ["Apply workspace network: instances", "Begin"]
    assert json.loads(estate.state.read_text(encoding="utf-8"))["resources"][0]["instances"]
