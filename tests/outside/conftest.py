"""What the clients of others are given: a scenario with a release to tell of, and a scratch home with nothing in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e.cluster_setup import suffix
from e2e.conftest import cluster_setup
from e2e.scenario import Scenario
from outside.environments import Missing

__all__ = ["cluster_setup"]

_CATALOGUE = """\
deploy_on = "release/{version} merged, ready to deploy"
schedule = "now"
"""
# Whatever any of them would send to somebody, check for or ask about.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "FASTMCP_CHECK_FOR_UPDATES": "off",
    "FASTMCP_SHOW_SERVER_BANNER": "false",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "NO_UPDATE_NOTIFIER": "1",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
}
CONNECT = [str(Path(sys.executable).parent / "infra-mcp"), "connect"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Any:
    """A client that is not set up is a reason to skip, and where every test must run, to fail."""
    try:
        return (yield)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def scratch(tmp_path: Path) -> dict[str, str]:
    """The whole environment of a client: a home of its own, the system's programs, and no telemetry."""
    home = tmp_path / "home"
    home.mkdir()
    path = os.environ.get("PATH", os.defpath)
    return {"HOME": str(home), "TMPDIR": str(home), "PATH": path, "LANG": "C.UTF-8", **_QUIET}


@pytest.fixture
async def release_scenario(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario whose peer docs deploys by saying that it has released."""
    name = suffix()
    scenario = Scenario(cluster_setup, tmp_path / "scenario", name=name)
    scenario.policy = scenario.apps() + _CATALOGUE
    async with scenario:
        yield scenario


def job(scenario: Scenario, way: str, word: str, version: str) -> dict[str, Any]:
    """What one run of the story is given.

    Args:
        world: where the server is.
        way: stdio, by `infra-mcp connect`, or http.
        word: of the namespace it asks for.
        version: it tells of.
    """
    assert scenario.server is not None
    token = scenario.tokens["docs"]
    own = {
        "INFRA_MCP_TOKEN": token,
        "INFRA_MCP_REPO": str(scenario.repo),
        "INFRA_MCP_STATE": str(scenario.settings.state_dir),
    }
    return {
        "way": way,
        "url": scenario.server.url,
        "token": token,
        "command": CONNECT,
        "env": own,
        "namespace": scenario.fresh(word),
        "version": version,
    }


def came_out(scenario: Scenario, given: dict[str, Any], found: dict[str, Any]) -> None:
    """What must be so when a client has told the story: by its own answers, and by the cluster."""
    assert found["ack"]["status"] == "resolved", found
    assert found["ack"]["outcome"] == "landed", found
    assert "0.13." in found["outcome"], found
    assert not found["refused"]["ok"], found
    for part in ("unknown-argument", "dryRun", "the message lists the arguments there are"):
        assert part in found["refused"]["text"], found
    assert scenario.live_object("namespace", given["namespace"]) is not None
    account = scenario.live_object("serviceaccount", "default", given["namespace"])
    assert account is not None
    assert account["imagePullSecrets"] == [{"name": "registry-x"}]
    assert scenario.image() == f"registry.example/docs/site:{given['version']}"
