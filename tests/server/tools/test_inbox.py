"""The inbox tool's own arguments, and floods and loops as a client makes them."""

from __future__ import annotations

import anyio
import pytest
from running_server import running_server

from infra_mcp.mesh.limits import BURST
from infra_mcp.model.peer import Address

pytestmark = pytest.mark.anyio

WAYS = [("http", "auto"), ("http", "legacy"), ("unix", "auto"), ("unix", "legacy")]
every_way = pytest.mark.parametrize(("channel", "mode"), WAYS, ids=["-".join(way) for way in WAYS])


def data(result):
    return result.structured_content


def text(result) -> str:
    return result.content[0].text


@pytest.mark.promise("mcp.small")
@every_way
async def test_a_long_text_is_cut_with_its_count_and_read_on_by_show(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        words = "".join(f"{number:06} " for number in range(8_000))
        asked = text(await docs.call_tool("ask", {"peer_name": "shop", "query": words}))
        inbox = await shop.call_tool("inbox", {})
        read, offset = "", 0
        while offset is not None:
            piece = data(await shop.call_tool("inbox", {"show": asked, "offset": offset}))["shown"]
            read, offset = read + piece["text"], piece.get("next_offset")

        (shown,) = data(inbox)["asks"]
        assert len(shown["text"]) + shown["not_shown"] == len(words)
        assert f'inbox(show="{asked}")' in text(inbox)
        assert read == words


@every_way
async def test_what_makes_no_sense_is_refused(tmp_path, channel, mode):
    async with running_server(tmp_path, channel) as at, getattr(at, channel)("docs", mode) as docs:
        codes = [
            data(await docs.call_tool("inbox", given))["code"]
            for given in (
                {"offset": 5},
                {"show": "ask-000000000000"},
                {"claim": "ask-000000000000"},
                {"wait_seconds": 1e9},
                {"mark_read": "ask-1"},
                {"mark": ["ask-1"]},
            )
        ]
        assert codes == [
            "invalid-argument",
            "not-found",
            "policy-denied",
            "invalid-argument",
            "invalid-argument",
            "unknown-argument",
        ]


@pytest.mark.parametrize(
    ("channel", "mode"), [pytest.param(*way, marks=[pytest.mark.slow] * (way != ("unix", "auto"))) for way in WAYS]
)
async def test_a_flood_is_stopped_leaves_one_row_and_does_not_touch_others(tmp_path, channel, mode):
    async with (
        running_server(tmp_path, channel) as at,
        getattr(at, channel)("docs", mode) as docs,
        getattr(at, channel)("shop", mode) as shop,
    ):
        at.service.limits._clock = lambda: 1.0
        codes: list[str | None] = []

        async def send() -> None:
            for number in range(25):
                result = await docs.call_tool("notify_peer", {"peer_name": "reader", "message": f"spam {number}"})
                codes.append(data(result).get("code"))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(send)
        asked = await docs.call_tool("ask", {"peer_name": "shop", "query": "x"})
        reader = Address(name="reader", circle="readers")
        reached = (await at.engine.ledger.mail.counts(reader, reader)).unread
        rows = await at.engine.ledger.search("call-refused", circle=None, limit=1)

        assert codes.count(None) == BURST == reached
        assert codes.count("too-many") == 250 - BURST
        assert data(asked)["code"] == "too-many"
        assert data(asked)["next"]
        assert rows.total == 1
        assert not (await shop.call_tool("notify_peer", {"peer_name": "reader", "message": "hello"})).is_error
        assert not (await docs.call_tool("whoami", {})).is_error


async def test_the_infra_peers_attendant_sees_notifies_that_were_no_release(tmp_path):
    async with running_server(tmp_path) as at, at.attending() as infra, at.http("docs") as docs:
        told = await docs.call_tool("notify_peer", {"peer_name": "infra", "message": "the ingress is slow today"})
        (message,) = data(await infra.call_tool("inbox", {"wait_seconds": 5}))["messages"]

        assert (message["id"], message["text"]) == (text(told), "the ingress is slow today")
        assert data(told) == {"result": text(told), "requests": [], "refused": []}


async def test_an_ask_that_is_answered_at_once_wakes_who_waits_at_its_senders_inbox(tmp_path):
    async with running_server(tmp_path) as at, at.http("docs") as docs, at.http("docs") as other:
        waits, found = anyio.Event(), []

        async def told(_passed, _total, _message) -> None:
            waits.set()

        async def wait() -> None:
            found.append(await other.call_tool("inbox", {"wait_seconds": 600}, progress_callback=told))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await waits.wait()
                asked = await docs.call_tool("ask", {"peer_name": "infra", "query": "how is the weather?"})

        (ack,) = data(found[0])["acks"]
        assert ack["id"] == text(asked)
