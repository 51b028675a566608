"""Resources show what the tools show this caller, as JSON, bounded, and nothing beside it."""

from __future__ import annotations

import json

import pytest
from mcp.shared.exceptions import MCPError
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.server.answers import MAXIMUM

pytestmark = pytest.mark.anyio

WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("channel", "mode"), WAYS, ids=["-".join(way) for way in WAYS])


async def read(client, uri):
    found = (await client.read_resource(uri)).contents[0]
    assert found.mime_type == "application/json"
    return json.loads(found.text)


@every_way
@pytest.mark.promise("mcp.both-eras")
async def test_a_request_and_a_namespace_are_read_as_the_tools_show_them(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        templates = (await client.list_resource_templates()).resource_templates
        done = await client.call_tool("deploy", {"app": "docs", "version": "1"})
        request = done.structured_content["request"]
        shown = (await client.call_tool("get_request", {"request_id": request})).structured_content

        assert {one.uri_template for one in templates} == {"infra://requests/{id}", "infra://namespaces/{ns}"}
        assert (await client.list_resources()).resources == []
        assert await read(client, f"infra://requests/{request}") == shown
        assert shown["trail"]
        assert (await read(client, "infra://namespaces/docs-live"))["namespace"] == "docs-live"


@every_way
@pytest.mark.promise("read.scoped")
@pytest.mark.promise("mcp.errors")
async def test_a_resource_out_of_scope_looks_missing(tmp_path, channel, mode):
    async def scoped(*_, **__):
        raise InfraError("not-found", "There is no such namespace, or it is not yours.")

    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        request = (await docs.call_tool("deploy", {"app": "docs", "version": "1"})).structured_content["request"]
        at.engine.status = scoped
        told = set()
        for uri in (f"infra://requests/{request}", "infra://requests/req-000000000000"):
            with pytest.raises(MCPError) as caught:
                await shop.read_resource(uri)
            told.add((caught.value.error.code, caught.value.error.message, str(caught.value.error.data)))
        with pytest.raises(MCPError, match="no such namespace"):
            await shop.read_resource("infra://namespaces/docs-live")

        assert len(told) == 1
        code, message, details = told.pop()
        assert code == -32602
        assert message.startswith("not-found: ")
        assert all(part in details for part in ("'code'", "'what'", "'next'"))


@every_way
@pytest.mark.promise("secrets.nowhere")
async def test_an_unknown_uri_is_refused_and_not_repeated(tmp_path, channel, mode, caplog):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        for uri in (
            "infra://requests/hunter2/../../etc",
            "infra://namespaces/HUNTER2",
            "infra://namespaces/hunter2%2f..",
            "infra://secrets/hunter2",
            "infra://requests/" + "hunter2" * 20,
            "file:///etc/hunter2",
            "infra://namespaces/hunter2?x=1",
        ):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(uri)
            assert caught.value.error.code == -32602
            assert "hunter2" not in (caught.value.error.message + str(caught.value.error.data)).lower()
        assert "hunter2" not in caplog.text.lower()
        assert not (await client.call_tool("whoami", {})).is_error


async def test_a_large_resource_is_cut_with_a_note(tmp_path):
    async def much(*_, **__):
        return {"namespace": "docs-live", "objects": [{"name": "x" * 300} for _ in range(500)]}

    async with running_server(tmp_path, "unix") as at, at.unix("docs") as client:
        at.engine.status = much
        found = (await client.read_resource("infra://namespaces/docs-live")).contents[0].text

    assert len(found) <= MAXIMUM + 200
    assert "more cut" in json.dumps(json.loads(found))


async def test_a_fault_of_ours_shows_its_code_only(tmp_path, caplog):
    async def broken(*_, namespace, **__):
        raise RuntimeError(namespace)

    async with running_server(tmp_path, "unix") as at, at.unix("docs") as client:
        at.engine.status = broken
        with pytest.raises(MCPError, match=r"^internal: ") as caught:
            await client.read_resource("infra://namespaces/hunter2")

    assert caught.value.error.code == -32603
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_revoked_token_reads_nothing_more(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at, at.unix("docs", mode) as client:
        await client.read_resource("infra://namespaces/docs-live")
        await at.engine.ledger.revoke_tokens("docs")
        with pytest.raises(MCPError, match="unauthenticated"):
            await client.read_resource("infra://namespaces/docs-live")
        with pytest.raises(MCPError, match="unauthenticated"):
            await client.list_prompts()
