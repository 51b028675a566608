"""A stop with everything under way: a rollout, waits in both eras, a client that stays, hosts behind a splice."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import httpx2
import pytest
from e2e.scenario import Scenario
from hosts import environment, host
from mcp import MCPError

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]


@asynccontextmanager
async def leaving(connection):
    """A client whose farewell may meet a server that is gone already."""
    try:
        async with connection as client:
            yield client
    except* (httpx2.ConnectError, MCPError):
        pass


HELD = {"app": "docs", "version": "0.14.0-notready", "idempotency_key": "held"}


@pytest.fixture
async def scenario(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario whose app may take its time."""
    made = Scenario(cluster_setup, tmp_path)
    made.policy = made.apps(grace="10m").replace('timeout = "30s"', 'timeout = "10m"')
    async with made:
        yield made


async def landed(scenario):
    """The request, once it has ended: the new version's pods are let be ready, by a label that the sandbox goes by."""
    label = ("-n", scenario.namespace, "label", "pods", "-l", "app=docs", "--overwrite", "infra-mcp.dev/sandbox=slow")

    async def become_ready():
        while True:  # whenever they come
            await anyio.to_thread.run_sync(scenario.kubectl, *label)
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as group:
        group.start_soon(become_ready)
        (row,) = await scenario.settled()
        group.cancel_scope.cancel()
    return row


@pytest.mark.promise("process.one-owner")
@pytest.mark.promise("recover.reobserve")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_every_wait_and_the_next_server_takes_the_work_up(scenario, number):
    begun = await scenario.tool("deploy", **HELD, wait_seconds=0)
    await scenario.reached("verifying")
    answers, staying, stopped = {}, anyio.Event(), anyio.Event()
    under_way = {mode: anyio.Event() for mode in ("legacy", "auto")}

    async def waiting(mode):
        """A client of one era that waits for the rollout over HTTP."""

        async def told(*_):
            under_way[mode].set()

        async with leaving(scenario.peer(mode=mode)) as client:
            await client.list_tools()  # it would ask for them after the answer, when nobody is there any more
            done = await client.call_tool("deploy", {**HELD, "wait_seconds": 600}, progress_callback=told)
            answers[mode] = done.structured_content

    async def idle():
        """A client of the 2025 era that listens to what the server might say."""
        async with leaving(scenario.peer(mode="legacy")) as client:
            await client.list_tools()
            staying.set()
            await stopped.wait()

    env = environment(scenario.settings.state_dir)
    async with (
        host(scenario.repo, env | {"INFRA_MCP_TOKEN": scenario.tokens["docs"]}) as spliced,
        host(scenario.repo, env, "--attend", "infra") as attending,
        anyio.create_task_group() as group,
    ):
        await spliced.open_session()
        assert "result" in await attending.call("whoami")
        wait = {"name": "deploy", "arguments": {**HELD, "wait_seconds": 600}}
        await spliced.send({"jsonrpc": "2.0", "id": "wait", "method": "tools/call", "params": wait})
        await spliced.ask("ping", {}, "after it")
        for mode in under_way:
            group.start_soon(waiting, mode)
        group.start_soon(idle)
        with anyio.fail_after(60):
            await staying.wait()
            for called in under_way.values():
                await called.wait()
        os.kill(scenario.server.pid, number)

        assert await scenario.gone(5) == 0, scenario.log
        stopped.set()
        spliced_answer = await spliced.receive()
        assert spliced_answer["id"] == "wait"
        answers["splice"] = spliced_answer["result"]["structuredContent"]
        assert "Traceback" not in scenario.log, scenario.log
        (row,) = scenario.requests()
        assert row["state"] == "verifying"

        await scenario.start()
        row = await landed(scenario)
        again = await spliced.ask("tools/call", {"name": "get_request", "arguments": {"request_id": row["id"]}}, 2)
        seated = await attending.call("inbox", 2)

    assert set(answers) == {"legacy", "auto", "splice"}
    for answer in answers.values():
        assert (answer["request"], answer["exit"]) == (begun.data["request"], 6)
    assert (row["id"], row["state"]) == (begun.data["request"], "landed")
    assert again["result"]["structuredContent"]["state"] == "landed"
    assert not seated["result"].get("isError")
