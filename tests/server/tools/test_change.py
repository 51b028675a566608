"""Acting for others: a session that attends uses the change tools in the asker's name, once, for an ask it claimed."""

from __future__ import annotations

import anyio
import pytest
from running_server import POLICY, running_server

from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.request import State
from infra_mcp.model.schema import outline

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
        with anyio.move_on_after(60):
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


@pytest.mark.promise("intake.dedupe")
@every_era
async def test_an_action_is_the_same_request_by_its_own_tool_and_by_change(tmp_path, mode):
    async with running_server(tmp_path, "unix") as at, at.unix("docs", mode) as client:
        own, key = {"app": "docs", "version": "1"}, {"idempotency_key": "k", "reason": "why"}
        first = data(await client.call_tool("deploy", {**own, **key}))
        again = data(await client.call_tool("change", {"action": "deploy", "arguments": own, **key}))
        sent = data(await client.call_tool("change", {"action": "deploy", "arguments": str(own).replace("'", '"')}))
        tried = data(await client.call_tool("change", {"action": "deploy", "arguments": own, "dry_run": True}))
        words = [(await at.engine.ledger.request(one["request"])).words for one in (first, sent)]

    assert first["request"] == again["request"] != sent["request"]
    assert (first["state"], sent["state"], tried["state"]) == ("landed", "landed", "previewed")
    assert words[1] == 'deploy {"app": "docs", "version": "1"}'
    assert words[0] == 'deploy {"app": "docs", "idempotency_key": "k", "reason": "why", "version": "1"}'


@pytest.mark.promise("attend.claim")
@every_era
async def test_a_session_acts_for_the_asker_by_change_as_by_any_other_tool(tmp_path, mode):
    async with running_server(tmp_path) as at, at.attending(mode) as infra, at.http("docs", mode) as docs:
        ask_id = await ask(docs)
        given = {"action": "provision_namespace", "arguments": {"namespace": "docs-preview"}}
        alone = data(await infra.call_tool("change", given))
        unclaimed = data(await infra.call_tool("change", {**given, "on_behalf_of": ask_id}))
        await infra.call_tool("inbox", {"claim": ask_id})
        done = data(await infra.call_tool("change", {**given, "on_behalf_of": ask_id}))
        acked = data(await docs.call_tool("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": 20}))

    assert (alone["code"], unclaimed["code"]) == ("policy-denied", "claim-taken")
    assert (done["state"], acked["request"]) == ("landed", done["request"])


STEP = {"name": "one", "action": "restart", "arguments": {"app": "docs"}}
WRONG = [
    ({"action": "hunter2"}, "invalid-argument", "provision_namespace, deploy"),
    ({"action": "Deploy"}, "invalid-argument", "provision_namespace, deploy"),
    ({"action": "deploy"}, "invalid-argument", "app"),
    ({"action": "deploy", "arguments": {"app": "docs", "version": 1}}, "invalid-argument", "version"),
    ({"action": "deploy", "arguments": {"app": "docs", "version": "1", "force": True}}, "unknown-argument", "force"),
    (
        {"action": "deploy", "arguments": {"app": "docs", "version": "1", "dry_run": True}},
        "unknown-argument",
        "dry_run",
    ),
    ({"action": "deploy", "arguments": {"action": "deploy", "app": "docs"}}, "unknown-argument", "action"),
    ({"action": "deploy", "arguments": ["docs", "1"]}, "invalid-argument", "arguments"),
    ({"action": "deploy", "app": "docs", "version": "1"}, "unknown-argument", "app, version"),
    ({"arguments": {}}, "invalid-argument", "action"),
    # What only several fields together can be.
    (
        {"action": "dns_record", "arguments": {"zone": "docs.example", "name": "www", "type": "A"}},
        "invalid-argument",
        "either values or remove",
    ),
    ({"action": "change_set", "arguments": {"steps": [STEP, STEP]}}, "invalid-argument", "different names"),
]


@pytest.mark.promise("intake.typed")
@pytest.mark.promise("mcp.errors")
async def test_a_wrong_action_or_argument_is_refused_by_name_and_leaves_a_row_and_nothing_else(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.unix("docs") as client:
        for given, code, named in WRONG:
            before = (await at.engine.ledger.search("call-refused", circle=None, limit=1)).total
            result = await client.call_tool("change", given)
            after = await at.engine.ledger.search("call-refused", circle=None, limit=1)

            assert result.is_error, given
            assert data(result)["code"] == code, given
            assert named in data(result)["what"], (given, data(result))
            assert data(result)["next"]
            assert "hunter2" not in text(result)
            assert after.total == before + 1
            assert after.events[0].data == {"tool": "change", "code": code, "what": data(result)["what"]}

    assert at.engine.submitted == []


async def test_what_policy_does_not_grant_is_refused_by_change_as_well(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.unix("shop") as client:
        result = await client.call_tool("change", {"action": "deploy", "arguments": {"app": "docs", "version": "1"}})

    assert data(result)["state"] == "refused"


async def test_describe_gives_each_action_as_its_tool_has_it_and_lists_the_callers_own(tmp_path):
    async with running_server(tmp_path, "unix", policy=POLICY + '\n[attend]\nactions = ["deploy"]\n') as at:
        told = {}
        for who in ("docs", "shop", "reader", None):
            async with at.unix(who) as client:
                told[who] = data(await client.call_tool("describe", {}))["actions"].keys()
        async with at.attending() as client:
            told["attending"] = data(await client.call_tool("describe", {}))["actions"].keys()
        async with at.unix("docs") as client:
            tools = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
            found = {name: data(await client.call_tool("describe", {"action": name})) for name in ACTIONS}
            unknown = data(await client.call_tool("describe", {"action": "hunter2"}))

    assert {who: set(names) for who, names in told.items()} == {
        "docs": {"provision_namespace", "deploy"},
        "shop": {"provision_namespace"},
        "reader": set(),
        None: set(),
        "attending": {"deploy"},
    }
    for name, one in found.items():
        shape = one["arguments"]
        own = tools.get(name, outline(ACTIONS[name]))  # a list of tools leaves out patterns and lengths
        short = outline(ACTIONS[name])["properties"]
        assert {key: short[key] for key in shape["properties"]} == {
            key: own["properties"][key] for key in shape["properties"]
        }
        assert shape.get("required") == own.get("required")
        assert one["example"] == ACTIONS[name].example
        assert not shape["additionalProperties"]
    assert unknown["code"] == "invalid-argument"
    assert all(name in unknown["what"] for name in ACTIONS)
