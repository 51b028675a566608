"""`infra-mcp freeze`: in force at once, also for what waits, until an operator lifts it. No peer orders one."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from anyio import to_thread
from e2e.releases import READY, releasing, waiting

from infra_mcp.cli.main import main
from infra_mcp.errors import InfraError

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("policy.windows")]

RULE = '\n[[rules]]\nid = "ask"\nmatch = { actions = ["scale"] }\nrequire = { approvals = 1 }\n'
SCALE = {"action": "scale", "arguments": {"app": "docs", "replicas": 3}}


async def _command(scenario, *words):
    """Run a command as the operator of this machine, beside the running server."""
    run = partial(main, [*words, "--repo", str(scenario.repo), "--json"])
    return await to_thread.run_sync(run)


async def test_one_command_stops_what_waits_and_what_is_asked_and_another_lets_the_release_go(
    cluster_setup, tmp_path, monkeypatch, capsys
):
    async with releasing(cluster_setup, tmp_path, more=RULE) as scenario:
        monkeypatch.setenv("INFRA_MCP_STATE", str(scenario.settings.state_dir))
        parked = await scenario.tool("change", **SCALE)
        assert parked.data["state"] == "awaiting_approval", parked.text

        assert await _command(scenario, "freeze", "--until", "4h", "--reason", "the network is down") == 0
        assert '"id": "ordered-1"' in capsys.readouterr().out
        ended = await _refused(scenario, parked.data["request"])
        direct = await scenario.tool("deploy", app="docs", version="0.13.5")
        await scenario.notify(READY.format("0.13.4"))
        (held,) = await waiting(scenario)

        assert "freeze.ordered-1" in ended["receipt"]
        assert direct.data["error"]["rule"] == "freeze.ordered-1", direct.text
        assert "the network is down" in direct.text
        assert "or once an operator lifts the freeze" in direct.text
        assert held["held_by"] == "freeze.ordered-1"
        (shown,) = (await scenario.tool("status")).data["freezes"]
        assert (shown["id"], shown["reason"]) == ("ordered-1", "the network is down")
        with pytest.raises(InfraError, match="approval-mismatch"):
            await scenario.approve(parked.data["request"], parked.data["effect_digest"])

        await scenario.restart()
        assert (await scenario.tool("deploy", app="docs", version="0.13.5")).data["error"]["rule"] == "freeze.ordered-1"
        assert scenario.image() == "registry.example/docs/site:0.13.3"

        assert await _command(scenario, "unfreeze", "ordered-1") == 0
        release = (await scenario.settled())[-2:]
        assert "landed" in {one["state"] for one in release}
        assert scenario.image() == "registry.example/docs/site:0.13.4"
        kinds = [row["kind"] for row in scenario.rows("SELECT kind FROM events WHERE kind = 'freezes-changed'")]
        assert len(kinds) == 2


async def _refused(scenario, request):
    with anyio.fail_after(60):
        while (row := scenario.rows("SELECT * FROM requests WHERE id = ?", request)[0])["state"] != "refused":
            assert row["open"], row
            await anyio.sleep(0.02)
    return row
