"""Claude Code's own check of a server, in a network namespace with nothing but loopback: no account is asked for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import anyio
import pytest
from outside.conftest import CONNECT, job
from outside.environments import Missing, npm_tool

pytestmark = [pytest.mark.cluster, pytest.mark.outside, pytest.mark.anyio]

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def binary() -> Path:
    """The program itself, without the scripts round it."""
    kind = f"{platform.system().lower()}-{_MACHINES.get(platform.machine().lower(), 'none')}"
    return npm_tool("@anthropic-ai", f"claude-code-{kind}", "claude")


def loopback_only() -> list[str]:
    """What to put before a shell so that it has a network of its own, without a way out.

    Raises:
        Missing: this machine does not let us.
    """
    found = shutil.which("unshare")
    if found is None or shutil.which("ip") is None:
        raise Missing("no unshare and ip here, which a network without a way out takes")
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = [found, *own, "--net"]
    tried = subprocess.run(
        [*argv, "ip", "link", "set", "lo", "up"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if tried.returncode:
        raise Missing(f"no network namespace here: {tried.stderr.decode(errors='replace').strip()}")
    return argv


def run(scratch: dict[str, str], script: str, env: dict[str, str]) -> str:
    """Run a script in a network of its own; what it printed."""
    done = subprocess.run(
        [*loopback_only(), "bash", "-euo", "pipefail", "-c", f"ip link set lo up\n{script}"],
        env=scratch | env,
        cwd=scratch["HOME"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.promise("mcp.both-eras")
async def test_claude_code_connects_by_stdio(release_scenario, scratch):
    given = job(release_scenario, "stdio", "none", "0.13.3")
    script = """
options=()
for name in INFRA_MCP_TOKEN INFRA_MCP_REPO INFRA_MCP_STATE; do options+=(--env "$name=${!name}"); done
"$CLAUDE" mcp add --scope user infra "${options[@]}" -- "$INFRA" connect
"$CLAUDE" mcp list
"""
    env = {"CLAUDE": str(binary()), "INFRA": CONNECT[0], **given["env"]}
    told = await anyio.to_thread.run_sync(run, scratch, script, env)

    assert "✔ Connected" in told, told


@pytest.mark.promise("mcp.both-eras")
async def test_claude_code_connects_by_http(tmp_path, scratch):
    """To a server in the same namespace: there is no cluster to reach there, and the check asks for none."""
    script = """
git init -q -b main "$INFRA_MCP_REPO"
"$INFRA" serve --port 8420 > "$HOME/server.log" 2>&1 &
for _ in $(seq 300); do grep -q serving "$HOME/server.log" && break; sleep 0.1; done
TOKEN=$("$INFRA" peer add docs --circle docs --json | sed -n 's/.*"token": "\\(.*\\)".*/\\1/p')
"$CLAUDE" mcp add --scope user --transport http infra http://127.0.0.1:8420/mcp --header "Authorization: Bearer $TOKEN"
"$CLAUDE" mcp list
kill %1
wait
"""
    own = {"INFRA_MCP_REPO": str(tmp_path / "infra"), "INFRA_MCP_STATE": str(tmp_path / "state")}
    env = {"CLAUDE": str(binary()), "INFRA": CONNECT[0], **own}
    told = await anyio.to_thread.run_sync(run, scratch, script, env)

    assert "✔ Connected" in told, told
