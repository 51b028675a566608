"""Names and arguments nobody should send: refused with a code, a row and no echo, and the next call is served."""

from __future__ import annotations

import json

import pytest
from running_server import running_server

pytestmark = pytest.mark.anyio

NAMES = [
    "--server=https://evil.example",
    "-s=evil",
    "a;id",
    "$(id)",
    "`id`",
    "a|id",
    "a\nb",
    "a\rb",
    "a\x00b",
    "@/etc/passwd",
    "${HOME}",
    "../x",
    "..%2f",
    "/etc/passwd",
    "a" * 254,
    "UPPER",
    "d\u043ecs",  # a Cyrillic o
    "docs\u202e",
    "docs ",
    "",
    None,
    True,
    12,
    "../../.git/hooks/pre-commit",
    ".git/config",
    "image: x\n---\nkind: ClusterRoleBinding",
    "{{ .Release }}",
]
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
