"""Acting for others: a session that attends uses the change tools in the asker's name, once, for an ask it claimed."""

from __future__ import annotations

import anyio
import pytest
from running_server import running_server

from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio

every_era = pytest.mark.parametrize("mode", ["auto", "legacy"])
ODD = "we need docs-preview, same as the others"


def data(result):
    return result.structured_content


def text(result) -> str:
    return result.content[0].text


async def ask(client, query=ODD) -> str:
    return text(await client.call_tool("ask", {"peer_name": "infra", "query": query}))


@pytest.mark.promise("attend.claim")
@pytest.mark.promise("mcp.both-eras")
@every_era
async def test_a_session_claims_an_ask_acts_in_the_askers_name_and_the_end_is_the_askers_ack(tmp_path, mode):
    async with running_server(tmp_path) as at, at.attending(mode) as infra, at.http("docs", mode) as docs:
        ask_id = await ask(docs)
        inbox = await infra.call_tool("inbox", {"wait_seconds": 5})
        claimed = await infra.call_tool("inbox", {"claim": ask_id})
        given = {"namespace": "docs-preview", "on_behalf_of": ask_id}
        tried = await infra.call_tool("provision_namespace", {**given, "dry_run": True})
        still = data(await docs.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 0}))
        done = await infra.call_tool("provision_namespace", given)
        acked = data(await docs.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 20}))
        request = await at.engine.ledger.request(data(done)["request"])

        assert [one["id"] for one in data(inbox)["asks"]] == [ask_id]
        assert f'inbox(claim="{ask_id}")' in text(inbox)
        assert data(claimed)["shown"]["text"] == ODD
        assert (data(tried)["state"], still["status"]) == ("previewed", "pending")
        assert (data(done)["state"], acked["status"], acked["state"]) == ("landed", "resolved", "landed")
        assert acked["request"] == request.id
        assert (request.caller.name, request.caller.circle, request.attendant) == ("docs", "docs", "infra")
        assert data(await infra.call_tool("inbox", {}))["asks"] == []


@pytest.mark.promise("attend.claim")
@every_era
async def test_one_ask_is_good_for_one_request(tmp_path, mode):
    async with running_server(tmp_path, held=True) as at, at.attending(mode) as infra, at.http("docs", mode) as docs:
        ask_id = await ask(docs)
        await infra.call_tool("inbox", {"claim": ask_id})
        first = {"namespace": "docs-a", "on_behalf_of": ask_id, "wait_seconds": 0}
        await infra.call_tool("provision_namespace", first)
        second = await infra.call_tool("provision_namespace", {**first, "namespace": "docs-b"})
        acked = await infra.call_tool("ack", {"correlation_id": ask_id, "message": "all done"})
        at.engine.gate.set()
        found = data(await docs.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 20}))
        late = await infra.call_tool("provision_namespace", {**first, "namespace": "docs-c"})

        assert (data(second)["code"], data(acked)["code"], data(late)["code"]) == ("claim-taken",) * 3
        assert found["reply"] == "provision_namespace is done."
        assert len([one for one in at.engine.submitted if not one.dry_run]) == 2  # the second was refused on the way in
        assert len(await at.engine.ledger.recent(None, 10)) == 1


@pytest.mark.promise("attend.claim")
@every_era
async def test_without_the_claim_nothing_is_done_in_anybodys_name(tmp_path, mode):
    async with (
        running_server(tmp_path) as at,
        at.attending(mode) as infra,
        at.attending(mode) as other,
        at.http("docs") as docs,
    ):
        ask_id = await ask(docs)
        await other.call_tool("inbox", {"claim": ask_id})
        answers = {
            "unclaimed": await infra.call_tool("deploy", {"app": "docs", "version": "1", "on_behalf_of": ask_id}),
            "none": await infra.call_tool("deploy", {"app": "docs", "version": "1", "on_behalf_of": "ask-none"}),
            "own": await infra.call_tool("deploy", {"app": "docs", "version": "1"}),
            "peer": await docs.call_tool("deploy", {"app": "docs", "version": "1", "on_behalf_of": ask_id}),
            "taken": await infra.call_tool("inbox", {"claim": ask_id}),
        }
        codes = {name: data(answer)["code"] for name, answer in answers.items()}

        assert codes == {
            "unclaimed": "claim-taken",
            "none": "claim-taken",
            "own": "policy-denied",
            "peer": "invalid-argument",
            "taken": "claim-taken",
        }
        assert at.engine.submitted == []


@pytest.mark.promise("attend.claim")
@every_era
async def test_when_a_session_dies_its_ask_is_free_for_the_next(tmp_path, mode):
    async with running_server(tmp_path) as at, at.http("docs") as docs, at.attending(mode) as other:
        async with at.attending(mode) as infra:
            ask_id = await ask(docs)
            await infra.call_tool("inbox", {"claim": ask_id})
            taken = await other.call_tool("inbox", {"claim": ask_id})
        with anyio.move_on_after(10):
            while (await other.call_tool("inbox", {"claim": ask_id})).is_error:
                await anyio.lowlevel.checkpoint()
        answered = await other.call_tool("ack", {"correlation_id": ask_id, "message": "not for us"})

        assert data(taken)["code"] == "claim-taken"
        assert text(answered) == f"acked #{ask_id} with reply"


@pytest.mark.promise("attend.claim")
async def test_the_askers_rights_are_not_widened_by_who_acts(tmp_path):
    async with running_server(tmp_path) as at, at.attending() as infra, at.http("shop") as shop:
        ask_id = await ask(shop)
        await infra.call_tool("inbox", {"claim": ask_id})
        done = await infra.call_tool("provision_namespace", {"namespace": "docs-x", "on_behalf_of": ask_id})
        acked = data(await shop.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 20}))

        assert data(done)["code"] == "policy-denied"
        assert acked["outcome"] == State.REFUSED.value


@pytest.mark.promise("audit.every-change")
async def test_claim_act_and_answer_are_in_the_ledger(tmp_path):
    async with running_server(tmp_path) as at, at.attending() as infra, at.http("docs") as docs:
        ask_id = await ask(docs)
        await infra.call_tool("inbox", {"claim": ask_id})
        await infra.call_tool("ack", {"correlation_id": ask_id, "message": "which ones do you mean?"})
        reply = data(await docs.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 20}))
        kinds = [one.kind for one in (await at.engine.ledger.search("", circle="docs")).events if one.ask == ask_id]

        assert (reply["reply"], reply["responder"], reply["exit"]) == ("which ones do you mean?", "infra", 5)
        assert kinds == ["acked", "claimed", "asked"]
