"""Names and arguments nobody should send: refused with a code, a row and no echo, and the next call is served."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import anyio
import bad_inputs
import pytest
from mcp import Client
from running_server import RunningServer, running_server

from infra_mcp.cli.main import main
from infra_mcp.mesh.limits import Limits
from infra_mcp.model.actions import ACTIONS

pytestmark = pytest.mark.anyio

NAMES = [*bad_inputs.NAMES, "UPPER", None, True, 12, "../../.git/hooks/pre-commit", ".git/config"]
SECRET = "ghp_" + "Zb9" * 12


def shown(name) -> str:
    return name if isinstance(name, str) and len(name) > 3 else "\0none"


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize("channel", ["http", "unix"])
async def test_a_bad_name_is_refused_wherever_a_name_is_taken(tmp_path, channel):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs") as client:
        rows = 0
        for name in NAMES:
            calls = [
                ("provision_namespace", {"namespace": name}),
                ("deploy", {"app": name, "version": "1"}),
                ("deploy", {"app": "docs", "version": name}),
                ("provision_namespace", {"namespace": "docs-a", "pull_secrets": [name]}),
                ("provision_namespace", {"namespace": "docs-a", "labels": {str(name): "x"}}),
                ("provision_namespace", {"namespace": "docs-a", "idempotency_key": name}),
                ("status", {"namespace": name}),
            ]
            for tool, arguments in calls:
                optional = name is None and ("idempotency_key" in arguments or tool == "status")
                version = tool == "deploy" and arguments["app"] == "docs"
                # These are names there: a tag, a label's key or a pull secret may have capitals, digits and dots.
                fine = name == "UPPER" and (version or "labels" in arguments or "pull_secrets" in arguments)
                fine = fine or (name == "UPPER" and "idempotency_key" in arguments)
                fine = fine or ("labels" in arguments and name in {None, True, 12}) or optional
                if fine:
                    continue
                result = await client.call_tool(tool, json.loads(json.dumps(arguments)))

                assert result.is_error, (tool, arguments)
                assert result.structured_content["code"] == "invalid-argument", (tool, arguments)
                assert shown(name) not in result.content[0].text
                rows += tool != "status"
        found = await at.engine.ledger.search("call-refused", circle=None, limit=1)

        assert at.engine.submitted == []
        assert found.total == rows
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.promise("intake.typed")
async def test_a_bad_name_inside_an_ask_is_refused_in_its_ack(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.unix("docs") as client:
        for name in NAMES:
            block = json.dumps({"action": "provision_namespace", "namespace": name})
            for text in (f"```infra\n{block}\n```", f"I need a namespace '{name}' with image-pull secret X"):
                if any(ord(c) < 32 and c not in "\n\r\t" for c in text):
                    continue  # not text at all: refused before it is an ask
                if name in {True, 12} and "```" not in text:
                    continue
                sent = await client.call_tool("ask", {"peer_name": "infra", "query": text})
                ack = await client.call_tool("wait_on_ack", {"correlation_id": sent.content[0].text})

                assert ack.structured_content["status"] == "resolved"
                assert ack.structured_content["exit"] in {2, 5}, (text, ack.structured_content)
                assert shown(name) not in ack.structured_content["reply"]
        assert at.engine.submitted == []


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize("name", NAMES)
async def test_a_bad_name_of_a_peer_or_circle_is_refused(tmp_path, name):
    async with running_server(tmp_path, "unix") as at:
        from infra_mcp.errors import InfraError  # noqa: PLC0415 - only here
        from infra_mcp.server.operator import OPERATOR  # noqa: PLC0415 - only here

        for params in ({"name": name, "circle": "docs"}, {"name": "a", "circle": name}):
            if name == "UPPER" and params["name"] == name:
                continue  # Repowire's names may have capitals
            with pytest.raises(InfraError) as caught:
                await at.operator.call(OPERATOR, "operator/peer.add", params)
            assert caught.value.code == "invalid-argument"
            assert shown(name) not in str(caught.value)
        assert len(await at.engine.ledger.peers()) == 3


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize("channel", ["http", "unix"])
async def test_arguments_of_every_wrong_shape_are_refused(tmp_path, channel):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs") as client:
        for arguments in (
            {"namespace": "docs-a", "dryRun": True},
            {"namespace": "docs-a", "context": "prod"},
            {"namespace": "docs-a", "action": "deploy"},
            {"namespace": "docs-a", "wait_seconds": "3"},
            {"namespace": "docs-a", "wait_seconds": 1e9},
            {"namespace": "docs-a", "wait_seconds": -1},
            {"namespace": "docs-a", "quota": {"pods": 2**63}},
            {"namespace": "docs-a", "quota": {"pods": 1e9}},
            {"namespace": "docs-a", "quota": {"cpu": "1e30"}},
            {"namespace": "docs-a", "quota": {"memory": "-1Gi"}},
            {"namespace": "docs-a", "quota": {"nested": {"deep": {}}}},
            {"namespace": {"a": 1}},
            {"namespace": ["docs-a"]},
            {f"k{n}": n for n in range(10_000)},
            {"namespace": "docs-a", "reason": "x" * 3_000_000},
        ):
            result = await client.call_tool("provision_namespace", arguments)

            assert result.structured_content["code"] in {"invalid-argument", "unknown-argument"}, str(arguments)[:80]
            assert len(result.content[0].text) < 2_000
        assert at.engine.submitted == []
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize("channel", ["http", "unix"])
@pytest.mark.bad_input("12")
async def test_a_secret_in_any_argument_of_any_tool_comes_back_from_none(tmp_path, channel, caplog, capfd):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs") as client:
        tools = (await client.list_tools()).tools
        for tool in tools:
            for name in tool.input_schema["properties"]:
                for value in (SECRET, [SECRET], {SECRET: SECRET}, {"a": SECRET}):
                    result = await client.call_tool(tool.name, {name: value, "namespace": SECRET})

                    assert SECRET not in str(result), (tool.name, name)
            assert SECRET not in str(await client.call_tool(tool.name, {SECRET: 1}))
        assert SECRET not in str(await client.call_tool(SECRET, {}))
        await at.engine.ledger.aclose()
        for file in (tmp_path / "state").iterdir():
            if file.is_file():
                assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


# All that the table's inputs are about, so that each is refused for what is wrong with it.
POLICY = """
[[tree.roots]]
path = "k8s"
[[tree.roots]]
path = "dns"
delivery = "dns"
[[tree.roots]]
path = "tf"
delivery = "terraform"
[[tree.roots]]
path = "helm"
delivery = "helm"
[clusters.sandbox]
context = "kwok-infra"
[circles.docs]
namespaces = ["docs-*"]
actions = [
  "provision_namespace", "deploy", "configure", "restart", "scale", "terraform_apply", "rollback", "dns_record",
  "helm_release", "change_set",
]
images = ["registry.example/docs/*"]
pull_secrets = ["X"]
labels = ["team"]
limits = { replicas = 10, cpu = "20", memory = "40Gi" }
helm = ["docs-*"]
zones = ["docs.example"]
records = ["*"]
workspaces = ["net"]
[pull_secrets.X]
from = "infra-secrets/x"
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[zones."docs.example"]
backend = "rfc2136"
server = "192.0.2.53"
key_file = "/run/key"
[workspaces.net]
path = "tf/net"
"""


async def by_tool(_: RunningServer, client: Client, action: str, arguments: dict[str, Any]) -> str:
    model = ACTIONS.get(action)
    if model is not None and model.listed:
        found = await client.call_tool(action, {**arguments, "wait_seconds": 30})
    else:
        found = await client.call_tool("change", {"action": action, "arguments": arguments, "wait_seconds": 30})
    data = found.structured_content
    return str(data.get("code") or (data.get("error") or {}).get("code"))


async def by_ask(at: RunningServer, client: Client, action: str, arguments: dict[str, Any]) -> str:
    block = json.dumps({"action": action, **arguments})
    sent = await client.call_tool("ask", {"peer_name": "infra", "query": f"please\n```infra\n{block}\n```"})
    if sent.is_error:
        return str(sent.structured_content["code"])
    ack = await client.call_tool("wait_on_ack", {"correlation_id": sent.content[0].text})
    request = ack.structured_content.get("request")
    if request is None:
        return str(ack.structured_content["reply"]).partition(":")[0]
    receipt = (await at.engine.ledger.request(request)).receipt
    return str((receipt.get("error") or {}).get("code"))


async def by_command(at: RunningServer, _: Client, action: str, arguments: dict[str, Any]) -> str:
    """The command line in this process: its own code, over the server's socket."""
    file = at.engine.settings.repo / "input.json"
    file.write_text(json.dumps({"action": action, **arguments}), encoding="utf-8")
    out = io.StringIO()

    def run() -> int:
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            return main(["run", "--json-file", str(file), "--json"])

    assert await anyio.to_thread.run_sync(run) not in {0, 1}, (action, arguments, out.getvalue())
    data = json.loads(out.getvalue())
    return str(data.get("code") or (data.get("error") or {}).get("code"))


# How each is sent, and by what the client of it comes.
CHANNELS: dict[str, tuple[Callable[..., Awaitable[str]], str]] = {
    "tool": (by_tool, "unix"),
    "http": (by_tool, "http"),
    "ask": (by_ask, "unix"),
    "command": (by_command, "unix"),
}


class Forward:
    """A clock that never lets a bound of messages be met: what is looked at here are the inputs."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 60.0
        return self.now


@pytest.mark.promise("bad-input.refused")
@pytest.mark.parametrize("channel", CHANNELS)
async def test_every_bad_input_of_the_table_is_refused_by_its_code_and_with_a_row_through_every_channel(
    tmp_path, channel, monkeypatch
):
    wrong = []
    await anyio.run_process(["git", "init", "-q", "-b", "main", str(tmp_path / "repo")])
    send, by = CHANNELS[channel]
    async with running_server(tmp_path, policy=POLICY) as at, getattr(at, by)("docs") as client:
        at.service.limits = Limits(at.engine, Forward())
        monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
        monkeypatch.setenv("INFRA_MCP_REPO", str(tmp_path / "repo"))
        monkeypatch.setenv("INFRA_MCP_TOKEN", at.tokens["docs"])
        for one in bad_inputs.inputs():
            before = (await at.engine.ledger.newest())[0]
            code = await send(at, client, one.action, one.arguments)
            rows = (await at.engine.ledger.newest())[0] - before
            if code != one.code or not rows:
                wrong.append((one, code, rows))
        landed = [one for one in await at.engine.ledger.recent("docs", 1000) if one.state != "refused"]
        next_call = await client.call_tool("whoami", {})

    assert not wrong, "\n".join(map(str, wrong))
    assert landed == []
    assert not next_call.is_error


def test_the_report_names_the_test_of_the_table():
    name = bad_inputs.TABLE_TEST.partition("::")[2]

    assert name in globals()


def test_the_table_has_three_hundred_inputs():
    assert sum(bad_inputs.COUNTS.values()) >= 300
