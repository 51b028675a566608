"""The MCP Inspector's command line, which has an SDK of its own, in all its eras over both transports."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from outside.clients.story import story
from outside.conftest import came_out, job
from outside.environments import node_path, npm_tool

pytestmark = [pytest.mark.cluster, pytest.mark.outside, pytest.mark.anyio]

ERAS = ("legacy", "auto", "modern")
_TOOL_ERROR = 5  # the Inspector's exit code for a result that is an error


@dataclass
class Inspector:
    """The command, for one way and era.

    Args:
        scratch: its environment.
        given: the job.
        era: as the Inspector calls it.
    """

    scratch: dict[str, str]
    given: dict[str, Any]
    era: str

    def __post_init__(self) -> None:
        # In a file: what stands in arguments can be read by everyone on the machine.
        headers = {"Authorization": f"Bearer {self.given['token']}"}
        command = self.given["command"]
        servers = {
            "http": {"type": "streamable-http", "url": self.given["url"], "headers": headers},
            "stdio": {"type": "stdio", "command": command[0], "args": command[1:], "env": self.given["env"]},
        }
        self.config = Path(self.scratch["HOME"]) / "servers.json"
        self.config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")

    def __call__(self, method: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run it once; each run is a connection of its own."""
        tool = npm_tool("@modelcontextprotocol", "inspector", "package.json").parent
        entry = tool / json.loads((tool / "package.json").read_text(encoding="utf-8"))["bin"]["mcp-inspector"]
        server = ["--config", str(self.config), "--server", self.given["way"], "--protocol-era", self.era]
        return subprocess.run(
            [node_path() / "node", entry, "--cli", *server, "--format", "json", "-q", "--method", method, *more],
            env=self.scratch,
            cwd=self.scratch["HOME"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def result(self, method: str, *more: str) -> dict[str, Any]:
        """What it printed as the result."""
        done = self(method, *more)
        assert done.returncode == 0, (method, more, done.returncode, done.stderr[-2000:])
        result: dict[str, Any] = json.loads(done.stdout)["result"]
        return result

    def tell(self) -> dict[str, Any]:
        """The story, a run for each call."""
        steps = story(self.given["namespace"], self.given["version"])
        name, arguments = next(steps)
        while True:
            call = ("--tool-name", name, "--tool-args-json", json.dumps(arguments))
            done = self("tools/call", *call)
            assert done.returncode in {0, _TOOL_ERROR}, (name, done.returncode, done.stderr[-2000:])
            text = json.loads(done.stdout)["result"]["content"][0]["text"]
            try:
                name, arguments = steps.send((done.returncode == 0, text))
            except StopIteration as end:
                found: dict[str, Any] = end.value
                return found


@pytest.mark.parametrize("way", ["stdio", "http"])
@pytest.mark.promise("mcp.both-eras")
@pytest.mark.promise("notify.catalogue")
async def test_the_inspector_finishes_both_examples_in_all_its_eras(release_scenario, scratch, way):
    for number, era in enumerate(ERAS):
        given = job(release_scenario, way, f"{way}-{era}", f"0.13.{4 + number}")
        found = await anyio.to_thread.run_sync(Inspector(scratch, given, era).tell)
        came_out(release_scenario, given, found)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.promise("mcp.both-eras")
@pytest.mark.promise("mcp.small")
async def test_the_inspector_finds_the_lists_portable_small_and_the_same_each_time(release_scenario, scratch, era):
    def look() -> None:
        seen = {}
        for way in ("stdio", "http"):
            run = Inspector(scratch, job(release_scenario, way, "list", "0.13.3"), era)
            strict = run("tools/list", "--strict")
            assert strict.returncode == 0, strict.stderr
            assert strict.stderr == ""
            seen[way] = json.loads(strict.stdout)["result"]["tools"]
            templates = run.result("resources/templates/list")["resourceTemplates"]
            assert {one["uriTemplate"] for one in templates} == {
                "infra://requests/{id}",
                "infra://namespaces/{ns}",
            }
            prompts = run.result("prompts/list")["prompts"]
            assert [one["name"] for one in prompts] == ["ask_infra"]
        assert seen["stdio"] == seen["http"]
        assert len(json.dumps(seen["http"])) < 20_000
        read = run.result("resources/read", "--uri", f"infra://namespaces/{release_scenario.namespace}")["contents"][0]
        assert json.loads(read["text"])["namespace"] == release_scenario.namespace
        words = run.result("prompts/get", "--prompt-name", "ask_infra")["messages"][0]["content"]["text"]
        assert "I need a namespace" in words

    await anyio.to_thread.run_sync(partial(look))
