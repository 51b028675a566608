"""Python clients of others, each in its own environment, finish both examples over both transports, with no model.

fastmcp and pydantic-ai speak the era of 2026-07-28, langchain-mcp-adapters the one of 2025: its MCP library is 1.x.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import anyio
import pytest
from outside.conftest import came_out, job
from outside.environments import PYTHON, python_of

pytestmark = [pytest.mark.cluster, pytest.mark.outside, pytest.mark.anyio]

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("client", PYTHON)
@pytest.mark.promise("mcp.both-eras")
@pytest.mark.promise("notify.catalogue")
@pytest.mark.promise("mcp.errors")
async def test_a_python_client_of_others_finishes_both_examples(release_scenario, scratch, client):
    python = python_of(client)
    for number, way in enumerate(("stdio", "http")):
        given = job(release_scenario, way, way, f"0.13.{4 + number}")
        env = scratch | {"OUTSIDE_JOB": json.dumps(given)}
        script = HERE / "clients" / f"{client}_client.py"

        def run(script=script, env=env) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [python, script],
                env=env,
                cwd=env["HOME"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )

        done = await anyio.to_thread.run_sync(run)
        assert done.returncode == 0, done.stderr[-4000:]
        came_out(release_scenario, given, json.loads(done.stdout.splitlines()[-1]))
