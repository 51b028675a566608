"""Two peers and infra talking by name, as clients meet it: over both transports and in both eras."""

from __future__ import annotations

import json

import anyio
import pytest
from running_server import running_server

pytestmark = pytest.mark.anyio

WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("channel", "mode"), WAYS, ids=["-".join(way) for way in WAYS])
SEED = "I need a namespace 'docs-staging' with image-pull secret X"


def data(result):
    return result.structured_content


def text(result) -> str:
    return result.content[0].text


@pytest.mark.promise("mesh.tools")
@pytest.mark.promise("mcp.both-eras")
@every_way
async def test_a_peer_asks_another_is_answered_and_finds_the_answer_by_waiting(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        asked = await docs.call_tool("ask", {"peer_name": "shop", "query": "which version of the cart runs?"})
        pending = await docs.call_tool("wait_on_ack", {"correlation_id": text(asked), "timeout_seconds": 0})
        inbox = await shop.call_tool("inbox", {})
        answered = await shop.call_tool("ack", {"correlation_id": text(asked), "message": "1.4.2"})
        acked = await docs.call_tool("wait_on_ack", {"correlation_id": text(asked), "timeout_seconds": 20})

        assert data(asked) == {"result": text(asked)}
        assert (data(pending)["status"], data(pending)["reply"]) == ("pending", None)
        (shown,) = data(inbox)["asks"]
        assert (shown["id"], shown["from_peer"], shown["circle"]) == (text(asked), "docs", "docs")
        assert shown["text"] == "which version of the cart runs?"
        assert "> which version of the cart runs?" in text(inbox)
        assert text(answered) == f"acked #{text(asked)} with reply"
        assert json.loads(text(acked)) == data(acked)
        wanted = {"status": "resolved", "reply": "1.4.2", "responder": "shop", "close_reason": "acked", "exit": 0}
        assert wanted.items() <= data(acked).items()
        assert data(await shop.call_tool("inbox", {}))["asks"] == []
        assert data(await docs.call_tool("inbox", {}))["acks"] == []


@pytest.mark.promise("mesh.tools")
@every_way
async def test_notifies_and_broadcasts_reach_inboxes_under_one_id(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at:
        for name in ("site", "search"):
            await at.add(name, "docs")
        async with (
            getattr(at, channel)("docs", mode) as docs,
            getattr(at, channel)("site", mode) as site,
            getattr(at, channel)("shop", mode) as shop,
        ):
            told = await docs.call_tool("notify_peer", {"peer_name": "site", "message": "index rebuilt"})
            cast = await docs.call_tool("broadcast", {"message": "freeze at noon"})
            mail = data(await site.call_tool("inbox", {}))["messages"]

            assert text(told).startswith("notif-")
            assert data(told)["result"] == text(told)
            assert text(cast) == "Broadcast sent to: search, site"
            assert [(one["kind"], one["text"]) for one in mail] == [
                ("notify", "index rebuilt"),
                ("broadcast", "freeze at noon"),
            ]
            assert mail[0]["id"] == text(told)
            assert data(await shop.call_tool("inbox", {}))["messages"] == []


@pytest.mark.promise("mesh.tools")
@every_way
async def test_peers_describe_themselves_and_list_each_other(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as docs:
        async with getattr(at, channel)("shop", mode) as shop:
            said = await shop.call_tool("set_description", {"description": "carts and prices"})
        listed = await docs.call_tool("list_peers", {"circle": "*", "show_offline": True})
        own = await docs.call_tool("list_peers", {})
        myself = await docs.call_tool("whoami", {})

        assert text(said) == "description updated: carts and prices"
        row = next(line for line in text(listed).splitlines() if line.startswith("shop\t"))
        assert row.split("\t")[8] == '"carts and prices"'
        assert [line.split("\t")[1] for line in text(own).splitlines()] == ["name", "infra"]
        assert text(myself).splitlines()[1].split("\t")[1] == "docs"
        assert data(own)["result"] == text(own)


@pytest.mark.promise("mesh.tools")
@every_way
async def test_an_ask_in_return_closes_the_first_with_its_words(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        first = text(await docs.call_tool("ask", {"peer_name": "shop", "query": "deploy?"}))
        second = text(await shop.call_tool("ask", {"peer_name": "docs", "query": "which version?", "reply_to": first}))
        closed = data(await docs.call_tool("wait_on_ack", {"correlation_id": first, "timeout_seconds": 20}))
        (open_ask,) = data(await docs.call_tool("inbox", {}))["asks"]
        again = await shop.call_tool("ask", {"peer_name": "docs", "query": "which version?", "reply_to": first})
        other = await shop.call_tool("ask", {"peer_name": "docs", "query": "hello?", "reply_to": first})

        assert (closed["status"], closed["close_reason"]) == ("resolved", "replied")
        assert closed["reply"] == "which version?"
        assert (open_ask["id"], open_ask["reply_to"]) == (second, first)
        assert text(again) == second
        assert data(other)["code"] == "already-acked"


@every_way
async def test_a_wait_wakes_at_once_when_the_ack_comes(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        asked = text(await docs.call_tool("ask", {"peer_name": "shop", "query": "ready?"}))
        waits = anyio.Event()
        found = {}

        async def progress(*_: object) -> None:
            waits.set()

        async def wait() -> None:
            given = {"correlation_id": asked, "timeout_seconds": 60}
            found.update(data(await docs.call_tool("wait_on_ack", given, progress_callback=progress)))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await waits.wait()
                assert not found  # never before the ack is there
                await shop.call_tool("ack", {"correlation_id": asked})

        assert (found["status"], found["reply"]) == ("resolved", None)


@pytest.mark.promise("report.progress")
@every_way
async def test_a_wait_for_infra_reports_progress(tmp_path, channel, mode):
    async with running_server(tmp_path, channel, held=True) as at, getattr(at, channel)("docs", mode) as docs:
        told: list[str] = []

        async def progress(_passed: float, _total: float | None, message: str | None) -> None:
            told.append(message or "")
            if len(told) == 2:
                at.engine.gate.set()

        asked = text(await docs.call_tool("ask", {"peer_name": "infra", "query": SEED}))
        with anyio.fail_after(20):
            acked = await docs.call_tool("wait_on_ack", {"correlation_id": asked}, progress_callback=progress)

        assert data(acked)["state"] == "landed"
        assert all("is in the test's hands" in one for one in told[:2])


@every_way
async def test_a_waiting_inbox_answers_when_a_message_comes(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        waits = anyio.Event()
        found = {}

        async def progress(*_: object) -> None:
            waits.set()

        async def wait() -> None:
            found.update(data(await shop.call_tool("inbox", {"wait_seconds": 60}, progress_callback=progress)))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await waits.wait()
                await docs.call_tool("notify_peer", {"peer_name": "shop", "message": "now"})

        assert [one["text"] for one in found["messages"]] == ["now"]


@pytest.mark.promise("mesh.durable")
@every_way
async def test_looking_marks_nothing_and_only_the_receivers_own_word_does(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
        getattr(at, channel)("reader", mode) as third,
    ):
        note = text(await docs.call_tool("notify_peer", {"peer_name": "shop", "message": "a"}))
        asked = text(await docs.call_tool("ask", {"peer_name": "shop", "query": "b"}))
        looks = [data(await shop.call_tool("inbox", {"wait_seconds": 5})) for _ in range(2)]
        others = data(await third.call_tool("inbox", {"mark_read": [note, asked]}))
        after = data(await shop.call_tool("inbox", {"mark_read": [note, asked, "notif-none"]}))

        assert looks[0] == looks[1]
        assert [one["id"] for one in looks[0]["messages"]] == [note]
        assert others["marked"] == 0
        assert after["marked"] == 2
        assert after["messages"] == []
        assert [(one["id"], one["seen"]) for one in after["asks"]] == [(asked, True)]  # open until it is acked


@every_way
async def test_an_unknown_peer_and_an_ask_of_others_are_refused_with_the_next_step(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        await at.engine.ledger.add_peer("shop", "readers")
        asked = text(await docs.call_tool("ask", {"peer_name": "shop", "query": "x", "circle": "shop"}))
        refused = {
            "unknown": await docs.call_tool("ask", {"peer_name": "nobody", "query": "x"}),
            "self": await docs.call_tool("ask", {"peer_name": "docs", "query": "x"}),
            "two": await docs.call_tool("notify_peer", {"peer_name": "shop", "message": "x"}),
            "mine": await docs.call_tool("ack", {"correlation_id": asked}),
            "none": await docs.call_tool("ack", {"correlation_id": "ask-000000000000"}),
            "theirs": await shop.call_tool("wait_on_ack", {"correlation_id": asked, "timeout_seconds": 20}),
            "long": await docs.call_tool("notify_peer", {"peer_name": "shop", "message": "x" * 1_000_000}),
        }
        codes = {name: data(result)["code"] for name, result in refused.items()}

        assert codes == {
            "unknown": "not-found",
            "self": "invalid-argument",
            "two": "ambiguous-peer",
            "mine": "not-found",
            "none": "not-found",
            "theirs": "not-found",
            "long": "invalid-argument",
        }
        assert "shop (readers), shop (shop)" in text(refused["two"])
        assert text(refused["mine"]) == text(refused["none"])
        assert all(result.is_error and data(result)["next"] for result in refused.values())
        assert len(data(await shop.call_tool("inbox", {}))["asks"]) == 1


@every_way
async def test_attachments_arrive_with_ask_ack_and_notify(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        given = [{"path": "a.txt", "lines": [1, 2]}]
        asked = text(await docs.call_tool("ask", {"peer_name": "shop", "query": "see", "attachments": given}))
        await docs.call_tool("notify_peer", {"peer_name": "shop", "message": "see", "attachments": given})
        inbox = data(await shop.call_tool("inbox", {}))
        await shop.call_tool("ack", {"correlation_id": asked, "message": "ok", "attachments": [{"done": True}]})
        acked = data(await docs.call_tool("wait_on_ack", {"correlation_id": asked, "timeout_seconds": 20}))
        large = await docs.call_tool("ask", {"peer_name": "shop", "query": "x", "attachments": [{"a": "b" * 70_000}]})

        assert inbox["asks"][0]["attachments"] == given
        assert inbox["messages"][0]["text"] == f"see\n\nattachments: {json.dumps(given)}"
        assert acked["attachments"] == [{"done": True}]
        assert data(large)["code"] == "invalid-argument"


async def test_exit_codes_of_asks_say_what_came_of_them(tmp_path):
    async with running_server(tmp_path) as at, at.http("docs") as docs, at.http("shop") as shop:

        async def exit_of(peer: str, query: str, reply: str | None = None) -> int:
            asked = text(await docs.call_tool("ask", {"peer_name": peer, "query": query}))
            if reply is not None:
                await shop.call_tool("ack", {"correlation_id": asked, "message": reply})
            return data(await docs.call_tool("wait_on_ack", {"correlation_id": asked, "timeout_seconds": 20}))["exit"]

        assert await exit_of("infra", SEED) == 0
        assert await exit_of("infra", "make it so") == 5
        assert await exit_of("infra", '```infra\n{"action": "deploy", "dryRun": 1}\n```') == 2
        assert await exit_of("shop", "x", "policy-denied: no") == 0  # a peer's words are no code of ours


@pytest.mark.promise("intake.dedupe")
@every_way
async def test_the_same_words_of_two_peers_are_two_requests(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel, held=True) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        first, again, other = [
            text(await peer.call_tool("ask", {"peer_name": "infra", "query": SEED})) for peer in (docs, docs, shop)
        ]
        at.engine.gate.set()
        mine = data(await docs.call_tool("wait_on_ack", {"correlation_id": first, "timeout_seconds": 20}))
        theirs = data(await shop.call_tool("wait_on_ack", {"correlation_id": other, "timeout_seconds": 20}))

        assert again == first != other
        assert mine["outcome"] == "landed"
        assert theirs["outcome"] == "refused"  # it is their own, and their circle may not
        assert theirs["request"] != mine["request"]


async def test_a_host_without_a_token_has_no_mail(tmp_path):
    async with running_server(tmp_path, "unix") as at, at._unix(None, "auto", {"host": True}) as client:
        for tool, given in (
            ("inbox", {}),
            ("ask", {"peer_name": "docs", "query": "x"}),
            ("notify_peer", {"peer_name": "docs", "message": "x"}),
            ("broadcast", {"message": "x"}),
            ("ack", {"correlation_id": "ask-1"}),
            ("set_description", {"description": "x"}),
        ):
            assert data(await client.call_tool(tool, given))["code"] == "policy-denied", tool
        assert not (await client.call_tool("list_peers", {})).is_error
