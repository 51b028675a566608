"""Every ask ends in exactly one ack, its sender's alone to see, with its words kept."""

from __future__ import annotations

import json

import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.asks import ask, own_ask, resolution
from infra_mcp.mesh.limits import MAX_TEXT
from infra_mcp.model.peer import Caller
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
READER = Caller(name="reader", circle="readers", strength="token")
SEED = "I need a namespace 'docs-staging' with image-pull secret X"


async def answered(at, caller, text):
    found = await at.engine.wait_ask(await ask(at.engine, caller, "infra", text), 5)
    assert found.state == "acked"
    return found


@pytest.mark.promise("report.ack")
@pytest.mark.promise("intake.verbatim")
async def test_the_seeds_sentence_becomes_one_request_with_its_words_kept(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        found = await answered(at, DOCS, SEED)
        request = await at.engine.ledger.request(found.request)

        assert found.reply == "provision_namespace is done."
        assert request.words == SEED
        assert (request.channel, request.caller.name) == ("ask", "docs")


@pytest.mark.promise("intent.fenced-json")
async def test_a_fenced_block_becomes_exactly_that_action(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        block = {"action": "deploy", "app": "docs", "version": "0.13.4", "idempotency_key": "k1"}
        await answered(at, DOCS, f"Please:\n```infra\n{json.dumps(block)}\n```")
        (submission,) = at.engine.submitted

        assert submission.action.model_dump(exclude_none=True) == {
            "action": "deploy",
            "app": "docs",
            "version": "0.13.4",
        }
        assert submission.idempotency_key == "k1"


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize(
    "block",
    [
        '{"action": "deploy", "app": "docs", "version": "1", "dryRun": true}',
        '{"action": "deploy", "app": "docs"}',
        '{"action": "rm -rf", "app": "hunter2"}',
        '{"action": "deploy", "app": "$(id)", "version": "1"}',
        '{"action": "provision_namespace", "namespace": "docs-a", "quota": {"cpus": "1"}}',
        "{",
        "[]",
    ],
)
async def test_a_block_that_is_no_action_is_refused_in_its_ack_and_not_repeated(tmp_path, block):
    async with running_server(tmp_path, "unix") as at:
        found = await answered(at, DOCS, f"```infra\n{block}\n```")

        assert found.request is None
        assert at.engine.submitted == []
        assert found.reply.partition(":")[0] in {"invalid-argument", "unknown-argument", "not-understood"}
        assert "hunter2" not in found.reply
        assert "$(id)" not in found.reply
        kinds = [event.kind for event in (await at.engine.ledger.search("", circle=None)).events]
        assert {"refused", "not-understood"} & set(kinds)


@pytest.mark.promise("intake.typed")
async def test_an_unknown_field_of_a_block_is_named_with_its_code(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        block = '{"action": "deploy", "app": "docs", "version": "1", "dryRun": true}'
        found = await answered(at, DOCS, f"```infra\n{block}\n```")

        assert found.reply.startswith("unknown-argument: ")
        assert "dryRun" in found.reply


@pytest.mark.promise("intent.whole-sentence")
@pytest.mark.parametrize(
    "text",
    [
        f"{SEED} and delete docs-live",
        f"{SEED}; ignore the policy",
        "deploy docs 0.13.4",
        "I need a namespace 'docs-staging' with image-pull secret X or else",
        "",
    ],
)
async def test_words_not_all_accounted_for_write_nothing_and_list_what_can_be_asked(tmp_path, text):
    async with running_server(tmp_path, "unix") as at:
        found = await answered(at, DOCS, text)

        assert at.engine.submitted == []
        assert "I need a namespace 'docs-staging' with image-pull secret X" in found.reply


@pytest.mark.promise("policy.reason")
async def test_what_can_be_asked_is_what_the_circle_may(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        docs, shop, reader = [(await answered(at, one, "hello there")).reply for one in (DOCS, SHOP, READER)]

        assert '"action": "deploy", "app": "docs"' in docs
        assert "docs-*" in docs
        assert "deploy" not in shop
        assert "docs-*" not in shop
        assert "grants this circle no action" in reader
        assert "no circle" in (await answered(at, OPERATOR, "hello there")).reply


@pytest.mark.promise("intake.dedupe")
async def test_the_same_words_again_while_open_are_the_same_request(tmp_path):
    async with running_server(tmp_path, "unix", held=True) as at:
        first, second = [await ask(at.engine, DOCS, "infra", SEED) for _ in range(2)]
        at.engine.gate.set()
        ends = [await at.engine.wait_ask(one, 5) for one in (first, second)]

        assert {one.state for one in ends} == {"acked"}
        assert len({one.request for one in ends}) == 1


@pytest.mark.promise("intake.dedupe")
async def test_a_key_with_other_arguments_is_refused_in_the_ack(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        blocks = [{"action": "deploy", "app": "docs", "version": v, "idempotency_key": "k"} for v in ("1", "2")]
        replies = [(await answered(at, DOCS, f"```infra\n{json.dumps(one)}\n```")).reply for one in blocks]

        assert replies[0] == "deploy is done."
        assert replies[1].startswith("idempotency-conflict: ")


@pytest.mark.promise("read.scoped")
async def test_an_ask_is_its_senders_alone(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        await at.engine.ledger.add_peer("site", "docs")
        found = await answered(at, DOCS, SEED)
        same_circle = Caller(name="site", circle="docs", strength="token")
        words = set()
        for caller, identity in ((SHOP, found.id), (same_circle, found.id), (DOCS, "ask-none")):
            with pytest.raises(InfraError) as caught:
                await own_ask(at.engine, caller, identity)
            words.add(str(caught.value))

        assert len(words) == 1
        assert (await own_ask(at.engine, DOCS, found.id)).id == found.id


@pytest.mark.parametrize(
    ("receiver", "more", "code"),
    [
        ("nobody", {}, "not-found"),
        ("Infra", {}, "not-found"),
        ("docs", {}, "invalid-argument"),
        ("shop", {"circle": "docs"}, "not-found"),
        ("shop", {"reply_to": "ask-1"}, "not-found"),
        ("infra", {"circle": "shop"}, "not-found"),
        ("infra", {"reply_to": "ask-1"}, "not-found"),
    ],
)
async def test_an_ask_that_reaches_nobody_is_refused_at_once(tmp_path, receiver, more, code):
    async with running_server(tmp_path, "unix") as at:
        with pytest.raises(InfraError) as caught:
            await ask(at.engine, DOCS, receiver, SEED, **more)
        assert caught.value.code == code


@pytest.mark.parametrize("text", ["ü" * (MAX_TEXT // 2 + 1), "a\x00b", "a\x1b[31mb", "\ud800"])
async def test_words_too_long_or_with_control_characters_are_refused(tmp_path, text):
    async with running_server(tmp_path, "unix") as at:
        with pytest.raises(InfraError) as caught:
            await ask(at.engine, DOCS, "infra", text)
        assert caught.value.code == "invalid-argument"


@pytest.mark.promise("secrets.nowhere")
async def test_a_secret_in_an_ask_is_masked_before_anything_keeps_it(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        secret = "ghp_" + "Zb9" * 12
        found = await answered(at, DOCS, f"my password is {secret}, make a namespace")
        block = {"action": "provision_namespace", "namespace": "docs-a", "labels": {"token": secret}}
        refused = await answered(at, DOCS, f"```infra\n{json.dumps(block)}\n```")

        assert at.engine.submitted == []
        for one in (found, refused):
            assert secret not in one.text + one.reply
        assert resolution(refused)["status"] == "resolved"


@pytest.mark.fault("l03")
@pytest.mark.parametrize("text", [SEED, "```infra\n{}\n```", "do something"], ids=["request", "refused", "unclear"])
async def test_an_answer_of_infras_own_closes_the_earlier_ask_in_the_same_transaction(tmp_path, monkeypatch, text):
    async with running_server(tmp_path, "unix") as at:
        infra = Caller(name="infra", circle=None, strength="same-user", attendant=True, session="one")
        question = await ask(at.engine, infra, "docs", "which namespace?")

        async def unavailable(*_, **__):
            raise InfraError("ledger-unavailable", "The disk is full.")

        for name in ("ack", "open_ask"):  # any transaction after the one that takes the ask in
            monkeypatch.setattr(at.engine.ledger.mail, name, unavailable)
        answer = await ask(at.engine, DOCS, "infra", text, reply_to=question)
        closed = await at.engine.ledger.ask(question)

        assert (closed.state, closed.responder) == ("acked", "docs")
        assert answer in closed.reply
        assert (await at.engine.ledger.ask(answer)).reply_to == question
        assert (await at.engine.ledger.verify([])).consistent
