"""Live updates: every event of the ledger once, in order, also for a browser that was away."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import pytest
from dashboard_visits import visit
from running_server import running_server

pytestmark = [pytest.mark.anyio]


@pytest.fixture
async def at(tmp_path):
    async with running_server(tmp_path) as server:
        await server.engine.ledger.add_peer("olga", "", operator=True)
        server.tokens["olga"] = await server.engine.ledger.issue_token("olga")
        yield server


@asynccontextmanager
async def _stream(mine, query="", **headers):
    """The events of an open stream, each as its number and its data; a comment comes as None."""
    async with mine.web.stream("GET", f"{mine.home}events{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def events():
            number = None
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "data":
                    yield number, json.loads(value)
                elif line.startswith(":"):
                    yield None

        yield events()


async def _note(at, word):
    await at.engine.ledger.note(word, "docs", {"message": "a secret word of a peer"}, circle="docs")


@pytest.mark.promise("web.trail")
async def test_news_come_by_their_number_and_one_who_was_away_misses_none(at):
    async with visit(at) as mine:
        with anyio.fail_after(20):
            async with _stream(mine) as events:
                assert await anext(events) is None, "connected"
                await _note(at, "first")
                number, data = await anext(events)
                assert data == {"request": None, "kind": "first", "state": None}
            for word in ("second", "third"):
                await _note(at, word)
            async with _stream(mine, "?after=0", **{"Last-Event-ID": str(number)}) as events:
                assert [(await anext(events))[1]["kind"] for _ in range(2)] == ["second", "third"]
            async with _stream(mine, f"?after={number + 1}") as events:
                assert (await anext(events))[1]["kind"] == "third"


@pytest.mark.promise("web.approve")
async def test_a_stream_ends_with_the_token_of_its_session(at):
    async with visit(at, token=at.tokens["olga"]) as hers:
        with anyio.fail_after(20):
            async with _stream(hers) as events:
                assert await anext(events) is None
                await at.engine.ledger.revoke_tokens("olga")
                assert [one async for one in events if one and one[1]["kind"] == "remark"] == []
            assert (await hers.get("events")).status_code == 403


@pytest.mark.promise("web.trail")
async def test_a_stream_ends_with_the_server_at_once(at):
    async with visit(at) as mine:
        with anyio.fail_after(20):
            async with _stream(mine) as events:
                assert await anext(events) is None
                at.service.stopping.set()
                assert [one async for one in events if one] == []
