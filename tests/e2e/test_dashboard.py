"""The dashboard's pages over a real request: an engine, git and a control plane behind them, and no fake."""

import json
import re
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from dashboard_visits import link_of
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

RULE = """
[[rules]]
id = "docs-need-one"
match = { apps = ["docs"] }
require = { approvals = 1, by = "operator", expires = "1h" }
"""


@asynccontextmanager
async def _session(scenario):
    """A browser's client, and the address that the session's pages begin with."""
    async with httpx2.AsyncClient(timeout=60) as web:
        entered = await web.get(await link_of(scenario.settings, "needs-you"))
        (home,) = set(re.findall(r'href="(/dashboard/[0-9a-f]{32}/)', entered.text))
        yield web, scenario.server.url.removesuffix("/mcp") + home


async def _data(web, address):
    answer = await web.get(f"{address}.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _docs(web, home):
    """The one instance of docs, once its live health is known: the first look at a place may take longer."""
    with anyio.fail_after(60):
        while True:
            (found,) = [one for one in (await _data(web, f"{home}apps"))["apps"] if one["app"] == "docs"]
            (instance,) = found["instances"]
            if instance["live"] and instance["live"]["health"] == "Current":
                return instance
            await anyio.sleep(0.1)


async def _states(web, home, after, last):
    """The states of the ledger's news from an event on, until one."""
    found = []
    with anyio.fail_after(60):
        async with web.stream("GET", f"{home}events?after={after}") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))
                    if found[-1]["state"] == last:
                        return found
    return found


@pytest.mark.promise("web.needs-you")
@pytest.mark.promise("web.trail")
async def test_a_real_request_is_seen_on_the_pages_from_waiting_to_landed_with_the_apps_health(cluster_setup, tmp_path):
    scenario = Scenario(cluster_setup, tmp_path)
    scenario.policy = scenario.apps() + RULE
    async with scenario, _session(scenario) as (web, home):
        before = await _docs(web, home)
        assert (before["version"], before["live"]["version"], before["owner"]) == ("0.13.3", "0.13.3", "docs")

        parked = await scenario.tool("deploy", app="docs", version="0.13.4")
        request, digest = parked.data["request"], parked.data["effect_digest"]
        first = await _data(web, f"{home}needs-you")
        (card,) = first["approvals"]
        assert (card["request"], card["digest"], card["by"]) == (request, digest, "docs")
        waiting = await _data(web, f"{home}requests/{request}")
        assert (waiting["open"], waiting["awaits"], waiting["steps"][-1]["done"]) == (True, True, False)
        (seq,) = {row["seq"] for row in scenario.rows("SELECT max(seq) AS seq FROM events")}

        async with anyio.create_task_group() as group:
            group.start_soon(scenario.approve, request, digest)
            news = await _states(web, home, seq, "landed")
        mine = [one for one in news if one["request"] == request]
        assert mine[0]["kind"] == "approved"
        assert {"applying", "verifying", "landed"} <= {one["state"] for one in mine}

        done = await _data(web, f"{home}requests/{request}")
        assert (done["open"], done["request"]["state"], done["decides"]) == (False, "landed", None)
        assert done["request"]["commit"] == scenario.git("rev-parse", "HEAD").strip()
        assert all(step["done"] for step in done["steps"])
        assert [one["by"] for one in done["decided"]] == ["operator"]
        after = await _data(web, f"{home}needs-you")
        assert (after["approvals"], after["latest"][0]["request"], after["stuck"]) == ([], request, [])
        now = await _docs(web, home)
        assert (now["version"], now["live"]["version"]) == ("0.13.4", "0.13.4")
        assert (now["last"]["request"], now["last"]["state"]) == (request, "landed")
