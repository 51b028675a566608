"""No answer tells a peer whether what it sent equals a secret."""

from __future__ import annotations

import json
import re

import pytest
from running_server import running_server

pytestmark = pytest.mark.anyio

KNOWN = "correct-horse9"  # what a pull secret's password may look like: a name, a version, a label's value
GUESSES = {
    "set_description": lambda guess: {"description": f"we use {guess}"},
    "provision_namespace": lambda guess: {"namespace": "docs-a", "reason": guess, "labels": {"team": guess}},
    "deploy": lambda guess: {"app": "docs", "version": guess, "idempotency_key": guess, "reason": guess},
    "ask": lambda guess: {"peer_name": "infra", "query": f"please {guess}"},
    "notify_peer": lambda guess: {"peer_name": "shop", "message": guess, "attachments": [{"a": guess}]},
    "broadcast": lambda guess: {"message": guess},
    "status": lambda guess: {"namespace": f"docs-{guess}"},
    "get_request": lambda guess: {"request_id": guess},
    "search_audit": lambda guess: {"query": guess},
    "list_peers": lambda guess: {"circle": guess},
    "inbox": lambda guess: {"show": guess},
}
LATER = (
    ("whoami", {}),
    ("list_peers", {"include_self": True, "show_offline": True}),
    ("search_audit", {}),
    ("search_audit", {"query": "we use"}),
    ("inbox", {}),
)


async def _answers(client, tool, guess):
    """All that a peer sees of what it sent, at once and later; ids and times aside."""
    calls = [(tool, GUESSES[tool](guess)), *LATER, ("search_audit", {"query": guess})]
    told = [await client.call_tool(name, given) for name, given in calls]
    sent = str(told[0].structured_content.get("result", ""))
    if tool == "ask":
        told.append(await client.call_tool("wait_on_ack", {"correlation_id": sent, "timeout_seconds": 5}))
    if request := told[0].structured_content.get("request"):
        told.append(await client.call_tool("get_request", {"request_id": request}))
    shown = json.dumps([[one.content[0].text, one.structured_content, one.is_error] for one in told])
    shown = re.sub(r"\b(req|ask|notif|bcast)-[a-z0-9]+|\b[0-9a-f]{40,}|[0-9-]{10}T[0-9:.]+(Z|\+00:00)?", "ID", shown)
    return re.sub(r'"seq": [0-9]+', '"seq": 0', shown).replace(guess, "GUESS")


@pytest.mark.fault("f29")
@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize("tool", GUESSES)
async def test_no_answer_reveals_whether_a_sent_text_equals_a_secret(tmp_path, tool):
    seen = []
    for guess in (KNOWN, "correct-horse8"):
        folder = tmp_path / guess
        folder.mkdir()
        async with running_server(folder, "unix") as at, at.unix("docs") as client:
            at.engine.masker.learn(KNOWN)
            seen.append(await _answers(client, tool, guess))

    assert "masked:" not in seen[0]
    assert seen[0] == seen[1]


@pytest.mark.fault("f29")
@pytest.mark.promise("secrets.nowhere")
async def test_a_secret_that_a_peer_sent_is_masked_in_the_ledger_and_towards_everyone_else(tmp_path):
    async with (
        running_server(tmp_path, "unix") as at,
        at.unix("docs") as docs,
        at.unix("shop") as shop,
        at.unix(None) as people,
    ):
        at.engine.masker.learn(KNOWN)
        await docs.call_tool("set_description", {"description": f"we use {KNOWN}"})
        await docs.call_tool("ask", {"peer_name": "shop", "query": f"is it {KNOWN}"})
        await docs.call_tool("notify_peer", {"peer_name": "shop", "message": KNOWN})
        await docs.call_tool("provision_namespace", {"namespace": "docs-a", "reason": KNOWN})
        told = [
            await shop.call_tool("inbox", {}),
            await shop.call_tool("list_peers", {"circle": "*", "show_offline": True}),
            await people.call_tool("search_audit", {}),
        ]

        assert all(KNOWN not in str(one) for one in told)
        assert "[masked:" in str(told[0])
        await at.engine.ledger.aclose()
        for file in (tmp_path / "state").iterdir():
            if file.is_file():
                assert KNOWN.encode() not in file.read_bytes()
