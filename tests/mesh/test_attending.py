"""Attending sessions: asks wait for one, its claims end with it, and no ask waits in vain."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from running_server import running_server

from infra_mcp.errors import InfraError
from infra_mcp.mesh.asks import ack, ask
from infra_mcp.mesh.attending import AttendantSessions
from infra_mcp.mesh.inbox import look
from infra_mcp.model.peer import Address, Caller
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
INFRA = Address(name="infra")
ODD = "could you have a look at the ingress of docs-live?"
FOR_EVER = 3600.0


def session(name: str) -> Caller:
    return Caller(name="infra", circle=None, strength="same-user", attendant=True, session=name)


ONE, TWO = session("one"), session("two")


async def asked(at, text=ODD, caller=DOCS) -> str:
    return await ask(at.engine, caller, "infra", text, attendants=at.service.attendants, limits=at.service.limits)


async def state(at, ask_id) -> str:
    return (await at.engine.ledger.ask(ask_id)).state


@pytest.mark.promise("attend.claim")
async def test_what_is_not_understood_waits_only_while_somebody_attends(tmp_path):
    async with running_server(tmp_path, "unix", grace=0.0) as at:
        before = await asked(at)
        async with at.service.attendants.attend(ONE):
            during = await asked(at)
            (waiting,) = (await look(at.engine, INFRA)).asks

            assert await state(at, before) == "acked"
            assert await state(at, during) == "open"
            assert waiting.id == during
        helped = await at.engine.wait_ask(during, 5)

        assert helped.reply.startswith("not-understood: ")
        assert 'What "docs" of circle "docs" can ask' in helped.reply
        assert await state(at, await asked(at)) == "acked"


async def test_an_ask_that_is_written_while_the_last_one_leaves_waits_for_nobody(tmp_path, monkeypatch):
    async with running_server(tmp_path, "unix", grace=0.0) as at, AsyncExitStack() as one:
        await one.enter_async_context(at.service.attendants.attend(ONE))
        real = at.engine.ledger.mail.open_ask

        async def late(*given, **more):
            await one.aclose()
            await anyio.wait_all_tasks_blocked()  # whoever waited until now was helped
            return await real(*given, **more)

        monkeypatch.setattr(at.engine.ledger.mail, "open_ask", late)
        with anyio.fail_after(30):
            assert (await at.engine.wait_ask(await asked(at), 600)).state == "acked"


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize(
    "text",
    [
        "I need a namespace 'docs-staging' with image-pull secret X",
        "deploy docs 0.13.4",
        '```infra\n{"action": "deploy", "app": "docs", "version": "1", "dryRun": true}\n```',
        "```infra\n{\n```",
        "```infra\n{}\n```\n```infra\n{}\n```",
    ],
)
async def test_what_the_server_can_answer_itself_never_waits_for_a_session(tmp_path, text):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        found = await at.engine.wait_ask(await asked(at, text), 5)
        assert found.state == "acked"
        assert (await look(at.engine, INFRA)).asks == ()


@pytest.mark.promise("attend.claim")
async def test_who_comes_back_within_the_grace_finds_what_waited(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at:
        async with at.service.attendants.attend(ONE):
            first = await asked(at)
        second = await asked(at)  # nobody sits, and somebody may be back
        async with at.service.attendants.attend(TWO):
            waiting = [one.id for one in (await look(at.engine, INFRA)).asks]

        assert at.service.attendants.present
        assert waiting == [first, second]


@pytest.mark.promise("token.sponsor")
async def test_a_session_acts_in_the_name_of_the_askers_sponsor(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at, at.service.attendants.attend(ONE):
        await at.engine.ledger.add_peer("site", "docs")
        caller = await at.engine.ledger.caller_for_token(await at.engine.ledger.issue_token("site", sponsor="ann"))
        asked_by_it = await asked(at, caller=caller)
        await at.service.attendants.claim(ONE, asked_by_it)

        assert await at.service.attendants.requester(ONE, asked_by_it) == caller
        assert caller.sponsor == "ann"


@pytest.mark.promise("attend.claim")
async def test_a_claim_is_one_sessions_and_dies_with_it(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at:
        attendants = at.service.attendants
        async with attendants.attend(TWO):
            async with attendants.attend(ONE):
                ask_id = await asked(at)
                await attendants.claim(ONE, ask_id)
                await attendants.claim(ONE, ask_id)
                for refused in (
                    attendants.claim(TWO, ask_id),
                    attendants.requester(TWO, ask_id),
                    ack(at.engine, TWO, ask_id, "x"),
                ):
                    with pytest.raises(InfraError) as caught:
                        await refused
                    assert caught.value.code == "claim-taken"
                assert (await attendants.requester(ONE, ask_id)) == DOCS
            with pytest.raises(InfraError, match="claim-taken"):
                await attendants.requester(ONE, ask_id)
            with pytest.raises(InfraError, match="claim-taken"):
                await attendants.claim(ONE, ask_id)  # its connection is gone
            await attendants.claim(TWO, ask_id)
            await ack(at.engine, TWO, ask_id, "done by hand")
        found = await at.engine.ledger.ask(ask_id)

        assert (found.reply, found.responder, found.acted_by) == ("done by hand", "infra", "two")


@pytest.mark.promise("attend.claim")
async def test_others_who_attend_are_woken_when_a_claim_is_free_again(tmp_path):
    async with (
        running_server(tmp_path, "unix", grace=FOR_EVER) as at,
        at.service.attendants.attend(TWO),
        AsyncExitStack() as one,
    ):
        await one.enter_async_context(at.service.attendants.attend(ONE))
        ask_id = await asked(at)
        await at.service.attendants.claim(ONE, ask_id)
        with at.engine.signals.waiter(INFRA.signal) as freed:
            await one.aclose()
            assert freed.is_set()
        assert (await at.engine.ledger.ask(ask_id)).claim is None


@pytest.mark.promise("attend.claim")
async def test_claims_of_a_dead_server_are_given_back_and_its_asks_wait_for_a_return(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at, at.service.attendants.attend(ONE):
        ask_id = await asked(at)
        await at.service.attendants.claim(ONE, ask_id)
        next_sessions = AttendantSessions(at.engine, FOR_EVER)
        async with anyio.create_task_group() as group:
            await group.start(next_sessions.open)
            freed = await at.engine.ledger.ask(ask_id)
            assert (freed.claim, freed.state) == (None, "open")
            assert next_sessions.present
            group.cancel_scope.cancel()


async def test_a_server_that_finds_nobody_waiting_keeps_nobody_waiting(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at:
        assert not at.service.attendants.present
        assert await state(at, await asked(at)) == "acked"


@pytest.mark.promise("attend.claim")
async def test_after_the_grace_of_a_new_server_whoever_still_waits_is_helped(tmp_path):
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at:
        async with at.service.attendants.attend(ONE):
            ask_ids = [await asked(at), await asked(at, "what about the disk?", SHOP)]
            async with anyio.create_task_group() as group:
                await group.start(AttendantSessions(at.engine, 0.0).open)
                found = [await at.engine.wait_ask(one, 5) for one in ask_ids]
                group.cancel_scope.cancel()

        assert all(one.reply.startswith("not-understood: ") for one in found)
        assert "shop-staging" in found[1].reply


async def test_an_outage_of_the_ledger_when_a_session_leaves_does_not_keep_its_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("infra_mcp.mesh.attending._RETRY", 0.01)
    async with running_server(tmp_path, "unix", grace=FOR_EVER) as at:
        real, failures = at.engine.ledger.mail.release, []

        async def broken(name):
            if not failures:
                failures.append(name)
                raise InfraError("ledger-unavailable", "No.")
            return await real(name)

        async with at.service.attendants.attend(ONE):
            ask_id = await asked(at)
            await at.service.attendants.claim(ONE, ask_id)
            monkeypatch.setattr(at.engine.ledger.mail, "release", broken)
        with anyio.fail_after(30):
            while (await at.engine.ledger.ask(ask_id)).claim is not None:
                await anyio.lowlevel.checkpoint()
        assert failures == ["one"]


async def test_an_outage_of_the_ledger_does_not_keep_who_waits_from_being_helped(tmp_path, monkeypatch):
    monkeypatch.setattr("infra_mcp.mesh.attending._RETRY", 0.01)
    async with running_server(tmp_path, "unix", grace=0.0) as at:
        real, failures = at.engine.ledger.mail.unanswered, []

        async def broken(name):
            if not failures:
                failures.append(name)
                raise InfraError("ledger-unavailable", "No.")
            return await real(name)

        async with at.service.attendants.attend(ONE):
            ask_id = await asked(at)
            monkeypatch.setattr(at.engine.ledger.mail, "unanswered", broken)
        assert (await at.engine.wait_ask(ask_id, 5)).state == "acked"
        assert failures == ["infra"]


@pytest.mark.parametrize("caller", [DOCS, Caller(name="infra", circle=None, strength="same-user")])
async def test_who_does_not_attend_neither_sits_nor_claims_nor_acts_for_others(tmp_path, caller):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        ask_id = await asked(at)
        with pytest.raises(InfraError, match="policy-denied"):
            async with at.service.attendants.attend(caller):
                raise NotImplementedError
        with pytest.raises(InfraError, match="policy-denied"):
            await at.service.attendants.claim(caller, ask_id)
        with pytest.raises(InfraError, match="invalid-argument"):
            await at.service.attendants.requester(caller, ask_id)
        with pytest.raises(InfraError) as caught:
            await ack(at.engine, caller, ask_id, "x")
        assert caught.value.code in {"not-found", "claim-taken"}
        assert await state(at, ask_id) == "open"


@pytest.mark.promise("attend.claim")
async def test_an_attendant_asks_back_and_the_answer_comes_to_infras_inbox(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        first = await asked(at)
        await at.service.attendants.claim(ONE, first)
        back = await ask(at.engine, ONE, "docs", "which ingress?", reply_to=first)
        closed = await at.engine.ledger.ask(first)
        await ack(at.engine, DOCS, back, "the one of the site")
        (answer,) = (await look(at.engine, INFRA)).acks

        assert (closed.state, closed.closed, closed.reply) == ("acked", "replied", "which ingress?")
        assert (answer.id, answer.reply) == (back, "the one of the site")


@pytest.mark.promise("attend.claim")
async def test_a_question_of_infras_is_also_answered_by_an_ask_that_the_server_understands(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        question = await ask(at.engine, ONE, "docs", "which namespace?")
        answer = await ask(at.engine, DOCS, "infra", "I need a namespace 'docs-staging'", reply_to=question)
        closed = await at.engine.ledger.ask(question)

        assert (await at.engine.wait_ask(answer, 5)).request
        assert (closed.state, closed.reply) == ("acked", f"Answered by {answer}.")


async def test_two_asks_in_the_same_words_are_two(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        assert await asked(at) != await asked(at)


@pytest.mark.fault("f27")
async def test_a_claimed_ask_of_a_peer_that_was_removed_acts_for_nobody(tmp_path):
    async with running_server(tmp_path, "unix") as at, at.service.attendants.attend(ONE):
        claimed = await asked(at)
        await at.service.attendants.claim(ONE, claimed)
        await at.operator.call(OPERATOR, "operator/peer.remove", {"name": "docs"})

        with pytest.raises(InfraError) as refused:
            await at.service.attendants.requester(ONE, claimed)

        assert refused.value.code == "claim-taken"
        assert await state(at, claimed) == "acked"
