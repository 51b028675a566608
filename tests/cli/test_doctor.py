"""`infra-mcp doctor` from the shell: with a server it judges what that was started with, and exits by how bad it is."""

from __future__ import annotations

import pytest
from shell import shell

from infra_mcp.doctor import CHECKS

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("doctor.checks")]


async def test_a_running_server_is_asked_what_it_was_started_with(tmp_path, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_NOTICE", "/nowhere/tell")  # of the server, which runs in this process
    monkeypatch.setenv("MY_API_KEY", "a secret")
    async with shell(tmp_path) as (_, run):
        found = await run("doctor", "exposure", "identities", "ledger", "--json")
        by_check = {row["check"]: row for row in found.json["checks"]}
        assert (found.code, found.json["exit"]) == (1, 1)
        assert set(by_check) == {one for one in CHECKS if one.split(".")[0] in {"exposure", "identities", "ledger"}}
        assert by_check["exposure.notice"] | {"level": "", "check": ""} == {
            "check": "",
            "level": "",
            "what": "INFRA_MCP_NOTICE names /nowhere/tell, which is no file.",
            "fix": "unset INFRA_MCP_NOTICE",
        }
        assert by_check["exposure.secrets"]["fix"] == "unset MY_API_KEY"
        assert "a secret" not in found.out
        assert by_check["ledger.chain"]["level"] == "pass"

        only_risk = await run("doctor", "ledger.backup", token="imcp_of_a_peer")
        assert (only_risk.code, only_risk.out.splitlines()[-1]) == (7, "1 risk")
        fine = await run("doctor", "ledger.chain", "--all")
        assert (fine.code, fine.out.split()[:2]) == (0, ["pass", "ledger.chain:"])
        unknown = await run("doctor", "nothing")
        assert (unknown.code, "The areas are checkout," in unknown.err) == (2, True)
