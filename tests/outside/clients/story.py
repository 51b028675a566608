"""The two examples every client must finish, as calls one after another; standard library only.

`story` is a generator: it yields (tool, arguments), is sent (ok, text), and returns what came of it. So any client can
drive it, one that calls tools directly as well as an agent whose model is this script. Some clients show a model an
answer's text, some its data as JSON; either must be enough.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Generator
from typing import Any

__all__ = ["job", "story"]

Step = tuple[str, dict[str, Any]]
Reply = tuple[bool, str]
PATIENCE = 60  # seconds for each of the two


def job() -> dict[str, Any]:
    """What this run is to do: where the server is, who the client is, and which names are its own."""
    return json.loads(os.environ["OUTSIDE_JOB"])


def story(namespace: str, version: str) -> Generator[Step, Reply, dict[str, Any]]:
    """Ask for a namespace and see it land; tell of a release and hear what came of it; and be refused once.

    Args:
        namespace: the one to ask for.
        version: the release to tell of.
    """
    found: dict[str, Any] = {}
    query = f"I need a namespace '{namespace}' with image-pull secret X"
    ok, text = yield "ask", {"peer_name": "infra", "query": query}
    assert ok, text
    ack = yield from _acked(_id(text))
    found["ack"] = {key: ack[key] for key in ("status", "outcome", "reply")}
    message = f"release/{version} merged, ready to deploy"
    ok, text = yield "notify_peer", {"peer_name": "infra", "message": message}
    assert ok, text
    found["outcome"] = yield from _outcome(_id(text))
    ok, text = yield "provision_namespace", {"namespace": namespace, "dryRun": True}
    found["refused"] = {"ok": ok, "text": text}
    return found


def _id(text: str) -> str:
    return str(json.loads(text)["result"]) if text.startswith("{") else text.strip()


def _acked(ask: str) -> Generator[Step, Reply, dict[str, Any]]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ok, text = yield "wait_on_ack", {"correlation_id": ask, "timeout_seconds": 20}
        assert ok, text
        ack: dict[str, Any] = json.loads(text)
        if ack["status"] == "resolved":
            return ack
    raise TimeoutError(f"no ack of {ask}")


def _outcome(notify: str) -> Generator[Step, Reply, str]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ok, text = yield "inbox", {"wait_seconds": 20}
        assert ok, text
        for identity, words in _outcomes(text, notify):
            yield "inbox", {"mark_read": [identity]}
            return words
    raise TimeoutError(f"no outcome of {notify}")


def _outcomes(text: str, notify: str) -> list[tuple[str, str]]:
    """What an inbox says came of a notify: in its data, or as a heading that names it, with quoted lines below."""
    if text.startswith("{"):
        messages = json.loads(text)["messages"]
        return [(message["id"], message["text"]) for message in messages if message["reply_to"] == notify]
    heading = rf"^outcome (\S+) from .*; in reply to {re.escape(notify)}\n((?:> .*\n?)+)"
    return [(found[1], found[2].replace("> ", "")) for found in re.finditer(heading, text, re.MULTILINE)]
