"""Tools as a client meets them, over both transports and in both eras."""

from __future__ import annotations

import json

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.server.app import listed
from infra_mcp.server.prompts import INSTRUCTIONS
from infra_mcp.server.tools import TOOLS, change

pytestmark = pytest.mark.anyio

SEED = "I need a namespace 'docs-staging' with image-pull secret X"
WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("channel", "mode"), WAYS, ids=["-".join(way) for way in WAYS])


def data(result):
    return result.structured_content


@every_way
async def test_a_peer_asks_in_words_and_gets_one_ack_with_the_receipt(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        asked = await client.call_tool("ask", {"peer_name": "infra", "query": SEED})
        acked = await client.call_tool("wait_on_ack", {"correlation_id": asked.content[0].text, "timeout_seconds": 5})

        assert asked.content[0].text.startswith("ask-")
        reply = json.loads(acked.content[0].text)
        assert reply == data(acked)
        assert (reply["status"], reply["outcome"], reply["responder"]) == ("resolved", "landed", "infra")
        assert reply["correlation_id"] == asked.content[0].text
        assert reply["request"].startswith("req-")
        assert reply["commit"] == "c" * 40
        assert reply["audit_head"]
        assert reply["exit"] == 0
        assert [one.action.namespace for one in at.engine.submitted] == ["docs-staging"]


@every_way
async def test_a_typed_change_is_submitted_as_exactly_that_action(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        given = {"namespace": "docs-a", "labels": {"team": "docs"}, "quota": {"pods": 3}, "reason": "trial"}
        result = await client.call_tool("provision_namespace", given)

        assert not result.is_error
        assert data(result)["state"] == "landed"
        submission = at.engine.submitted[0]
        assert submission.action.model_dump(exclude_none=True, exclude_defaults=True) == {
            "namespace": "docs-a",
            "labels": {"team": "docs"},
            "quota": {"pods": 3},
        }
        assert submission.reason == "trial"
        assert submission.caller.name == "docs"


@pytest.mark.promise("intake.typed")
@every_way
async def test_a_misspelt_argument_is_refused_by_name_and_nothing_is_submitted(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        result = await client.call_tool("deploy", {"app": "docs", "version": "1.0", "dryRun": True})

        assert result.is_error
        assert data(result)["code"] == "unknown-argument"
        assert "dryRun" in result.content[0].text
        assert at.engine.submitted == []
        row = (await at.engine.ledger.search("call-refused", circle=None)).events
        assert [event.kind for event in row] == ["call-refused"]
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.promise("auth.transport")
async def test_two_peers_at_once_are_never_confused(tmp_path):
    async with running_server(tmp_path) as at:
        seen: list[tuple[str, str]] = []

        async def call(peer: str, channel: str, mode: str) -> None:
            async with getattr(at, channel)(peer, mode) as client:
                for _ in range(8):
                    result = await client.call_tool("whoami", {})
                    seen.append((peer, data(result)["result"].splitlines()[1].split("\t")[1]))

        async with anyio.create_task_group() as group:
            for channel, mode in WAYS:
                for peer in ("docs", "shop"):
                    group.start_soon(call, peer, channel, mode)

        assert len(seen) == 64
        assert all(peer == known for peer, known in seen)


@pytest.mark.promise("auth.transport")
@every_way
async def test_no_argument_identifies_the_caller(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("shop", mode) as client:
        for extra in ({"caller": "docs"}, {"circle": "docs"}, {"from_peer": "docs"}):
            assert (await client.call_tool("provision_namespace", {"namespace": "shop-a", **extra})).is_error
        behalf = await client.call_tool("provision_namespace", {"namespace": "docs-a", "on_behalf_of": "ask-1"})
        asked = await client.call_tool("ask", {"peer_name": "infra", "query": SEED, "circle": "docs"})

        assert data(behalf)["code"] == "invalid-argument"
        assert data(asked)["code"] == "not-found"
        assert at.engine.submitted == []


async def test_http_without_a_valid_token_ends_with_401(tmp_path):
    async with running_server(tmp_path) as at:
        import httpx2  # noqa: PLC0415 - the client below the client

        async with httpx2.AsyncClient() as web:
            for header in ({}, {"Authorization": "Bearer imcp_nobody"}, {"Authorization": at.tokens["docs"]}):
                answer = await web.post(
                    at.url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=header
                )

                assert answer.status_code == 401
                assert "resource_metadata" in answer.headers["www-authenticate"]
            metadata = await web.get(at.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))
            assert metadata.json()["resource"] == at.url
            assert (await web.get(at.url.replace("/mcp", "/healthz"))).json() == {"ok": True}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_revoked_token_ends_at_once_also_on_an_open_connection(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at, at.unix("docs", mode) as client:
        assert not (await client.call_tool("whoami", {})).is_error
        await at.engine.ledger.revoke_tokens("docs")

        assert data(await client.call_tool("whoami", {}))["code"] == "unauthenticated"
        with pytest.raises(MCPError, match="unauthenticated"):
            await client.list_tools()


@every_way
async def test_a_caller_sees_the_tools_its_circle_may_use(tmp_path, channel, mode):
    async with running_server(tmp_path) as at:
        shown = {}
        for peer in ("docs", "shop", "reader"):
            async with getattr(at, channel)(peer, mode) as client:
                shown[peer] = {tool.name for tool in (await client.list_tools()).tools}

        others = {"change", "configure", "describe", "rollback"}  # for actions that neither circle is granted
        assert shown["docs"] == set(TOOLS) - {"approve"} - others
        assert shown["shop"] == set(TOOLS) - {"approve", "deploy"} - others
        assert shown["reader"] == set(TOOLS) - {"approve", "deploy", "provision_namespace"} - others


async def test_the_operator_sees_no_tool_that_changes_the_world_and_is_refused_one(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.unix(None) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("provision_namespace", {"namespace": "docs-a"})

        assert names == set(TOOLS) - {tool.name for tool in change.TOOLS}
        assert data(result)["code"] == "policy-denied"


@every_way
async def test_a_tool_that_is_hidden_is_refused_by_policy_when_called_anyway(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("shop", mode) as client:
        result = await client.call_tool("deploy", {"app": "docs", "version": "1"})
        unknown = await client.call_tool("Deploy", {"app": "docs", "version": "1"})

        assert data(result)["code"] == "policy-denied"
        assert data(result)["rule"] if "rule" in data(result) else data(result)["error"]["rule"]
        assert data(unknown)["code"] == "not-found"


@every_way
async def test_an_end_that_failed_is_an_error_result_with_code_cause_and_receipt(tmp_path, channel, mode):
    def script(request):
        error = InfraError("not-landed", "Image not found.").as_dict()
        return Receipt(
            request=request.id,
            state=State.ROLLED_BACK,
            message="Rolled back.",
            action="deploy",
            error=error,
            commit="c",
        )

    async with running_server(tmp_path, channel, script=script) as at, getattr(at, channel)("docs", mode) as client:
        result = await client.call_tool("deploy", {"app": "docs", "version": "9"})

        assert result.is_error
        assert data(result)["code"] == "not-landed"
        assert data(result)["exit"] == 1
        assert data(result)["audit_head"]
        assert result.content[0].text.startswith("not-landed: Rolled back. Next: ")


@every_way
async def test_a_wait_that_runs_out_gives_a_handle_and_the_request_goes_on(tmp_path, channel, mode):
    async with running_server(tmp_path, channel, held=True) as at, getattr(at, channel)("docs", mode) as client:
        result = await client.call_tool("deploy", {"app": "docs", "version": "9", "wait_seconds": 0})
        request = data(result)["request"]
        at.engine.gate.set()
        await at.engine.wait(request, 5)
        later = await client.call_tool("get_request", {"request_id": request})

        assert not result.is_error
        assert data(result)["exit"] == 6
        assert request in result.content[0].text
        assert data(later)["state"] == "landed"


@every_way
async def test_a_long_wait_reports_progress(tmp_path, channel, mode):
    async with running_server(tmp_path, channel, held=True) as at, getattr(at, channel)("docs", mode) as client:
        told: list[str | None] = []

        async def progress(_passed: float, _total: float | None, message: str | None) -> None:
            told.append(message)
            if len(told) == 2:
                at.engine.gate.set()

        result = await client.call_tool("deploy", {"app": "docs", "version": "9"}, progress_callback=progress)

        assert data(result)["state"] == "landed"
        assert len(told) >= 2
        assert all("req-" in (message or "") for message in told)


@every_way
async def test_a_client_that_gives_up_waiting_does_not_stop_the_request(tmp_path, channel, mode):
    async with running_server(tmp_path, held=True) as at:
        with pytest.raises(BaseException):  # noqa: B017, PT011 - however this client's era tells a timeout
            async with getattr(at, channel)("docs", mode) as client:
                await client.call_tool("deploy", {"app": "docs", "version": "9"}, read_timeout_seconds=0.3)
        open_request = (await at.engine.ledger.open_requests())[0]
        at.engine.gate.set()

        assert (await at.engine.wait(open_request.id, 5)).state is State.LANDED


@every_way
async def test_the_same_key_again_gives_the_first_result(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        given = {"app": "docs", "version": "9", "idempotency_key": "k1"}
        first, second = [await client.call_tool("deploy", given) for _ in range(2)]
        other = await client.call_tool("deploy", {**given, "version": "10"})

        assert data(first)["request"] == data(second)["request"]
        assert data(other)["code"] == "idempotency-conflict"


@every_way
async def test_requests_of_another_circle_look_missing(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        asked = (await docs.call_tool("ask", {"peer_name": "infra", "query": SEED})).content[0].text
        reply = data(await docs.call_tool("wait_on_ack", {"correlation_id": asked}))
        theirs = await shop.call_tool("get_request", {"request_id": reply["request"]})
        none = await shop.call_tool("get_request", {"request_id": "req-000000000000"})
        ack = await shop.call_tool("wait_on_ack", {"correlation_id": asked})
        no_ack = await shop.call_tool("wait_on_ack", {"correlation_id": "ask-000000000000"})
        found = await shop.call_tool("search_audit", {"query": "docs-staging"})

        assert theirs.content[0].text == none.content[0].text
        assert ack.content[0].text == no_ack.content[0].text
        assert data(found)["total"] == 0
        assert data(await docs.call_tool("search_audit", {"query": "docs-staging"}))["total"] > 0
        assert (await shop.call_tool("cancel", {"request_id": reply["request"]})).is_error


@every_way
async def test_cancel_ends_a_request_that_has_not_written(tmp_path, channel, mode):
    async with running_server(tmp_path, channel, held=True) as at, getattr(at, channel)("docs", mode) as client:
        started = await client.call_tool("deploy", {"app": "docs", "version": "9", "wait_seconds": 0})
        cancelled = await client.call_tool("cancel", {"request_id": data(started)["request"]})
        again = await client.call_tool("cancel", {"request_id": data(started)["request"]})

        assert not cancelled.is_error
        assert data(cancelled)["state"] == "cancelled"
        assert data(again)["code"] == "too-late"


@every_way
async def test_without_an_accepted_policy_nothing_is_allowed_and_asks_say_so(tmp_path, channel, mode):
    async with running_server(tmp_path, channel, policy=None) as at, getattr(at, channel)("docs", mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        asked = (await client.call_tool("ask", {"peer_name": "infra", "query": "do something"})).content[0].text
        reply = data(await client.call_tool("wait_on_ack", {"correlation_id": asked}))

        assert "deploy" not in names
        assert "policy-not-accepted" in reply["reply"]


@pytest.mark.promise("secrets.nowhere")
@every_way
async def test_a_crash_shows_its_code_only_and_logs_no_argument(tmp_path, channel, mode, caplog):
    async def broken(_, *, app, **__):
        raise RuntimeError(app)

    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        at.engine.status = broken
        result = await client.call_tool("status", {"app": "hunter2"})

        assert data(result)["code"] == "internal"
        assert "hunter2" not in str(result)
        assert "hunter2" not in caplog.text
        assert "RuntimeError" in caplog.text
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.promise("secrets.nowhere")
@every_way
async def test_a_secret_in_words_or_arguments_comes_back_from_nowhere(tmp_path, channel, mode):
    secret = "ghp_" + "Zb9" * 12
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as client:
        asked = (await client.call_tool("ask", {"peer_name": "infra", "query": f"use {secret} please"})).content[0].text
        answers = [
            await client.call_tool("wait_on_ack", {"correlation_id": asked}),
            await client.call_tool("provision_namespace", {"namespace": "docs-a", "labels": {"t": secret}}),
            await client.call_tool("provision_namespace", {"namespace": "docs-b", "reason": secret}),
            await client.call_tool("set_description", {"description": secret}),
            await client.call_tool("search_audit", {"query": secret}),
            await client.call_tool("search_audit", {}),
            await client.call_tool("list_peers", {"include_self": True}),
        ]

        assert data(answers[1])["code"] == "invalid-argument"
        assert all(secret not in str(answer) for answer in answers)
        await at.engine.ledger.aclose()
        for file in (tmp_path / "state").iterdir():
            if file.is_file():
                assert secret.encode() not in file.read_bytes()


@pytest.mark.promise("intake.typed")
async def test_the_list_of_tools_is_small_and_every_tool_is_annotated(capsys):
    shown = [listed(tool).model_dump(mode="json", by_alias=True, exclude_none=True) for tool in TOOLS.values()]
    size = len(json.dumps(shown))
    with capsys.disabled():
        print(f"tools/list: {size} bytes for {len(shown)} tools")  # noqa: T201 - the size is worth seeing

    assert size < 20_000
    assert all(len(text.encode()) < 2_000 for text in INSTRUCTIONS.values())
    for tool in shown:
        hints = tool["annotations"]
        assert {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} <= set(hints)
        assert tool["description"].startswith("Use this")
        assert len(tool["description"]) < 1_000


async def test_an_ask_to_an_unknown_peer_is_refused_and_not_stored(tmp_path):
    async with running_server(tmp_path) as at, at.http("docs") as client:
        result = await client.call_tool("ask", {"peer_name": "nobody", "query": "hello"})

        assert data(result)["code"] == "not-found"
        assert data(await client.call_tool("search_audit", {"query": "hello"}))["total"] == 0


async def test_an_ask_that_is_not_understood_gets_one_ack_that_lists_the_forms(tmp_path):
    async with running_server(tmp_path) as at, at.http("docs") as client:
        asked = (await client.call_tool("ask", {"peer_name": "infra", "query": "make it so"})).content[0].text
        reply = data(await client.call_tool("wait_on_ack", {"correlation_id": asked, "timeout_seconds": 0}))

        assert reply["status"] == "resolved"
        assert reply["exit"] == 5
        assert "I need a namespace 'docs-staging' with image-pull secret X" in reply["reply"]
        assert '"action": "deploy"' in reply["reply"]
        assert at.engine.submitted == []
