"""`infra-mcp ask`: words to the infra peer, and its one answer."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, verb
from infra_mcp.cli.output import note, show_result

__all__ = ["add_parser"]

LONGEST = 3600


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(verbs, "ask", "ask the infra peer in words and wait for its answer")
    parser.add_argument("text", metavar="TEXT", help="the words, or - to read them from standard input")
    parser.add_argument("--to", metavar="PEER", default="infra", help="the peer asked (default: infra)")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=600.0, help="longest wait for the answer (default: 600)"
    )
    client_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    text = sys.stdin.read() if options.text == "-" else options.text

    def work(client: Client) -> int:
        sent = client.call("ask", {"peer_name": options.to, "query": text})
        if sent.get("isError"):
            return show_result(options.json, sent)
        ask_id = sent["structuredContent"]["result"]
        if not options.json:
            note(ask_id)
        wait = {"correlation_id": ask_id, "timeout_seconds": min(options.wait, LONGEST)}
        result = client.call("wait_on_ack", wait, None if options.json else note)
        data = result.get("structuredContent") or {}
        if result.get("isError"):
            return show_result(options.json, result)
        if data.get("status") == "pending":
            data["exit"] = 6
            return show_result(options.json, result, f"{ask_id} is not acked yet; it goes on.")
        return show_result(options.json, result, _words(data))

    return connected(options, work)


def _words(data: dict[str, Any]) -> str:
    lines = [str(data.get("reply") or "")]
    names = (("request", "request"), ("effect_digest", "effect"), ("commit", "commit"), ("revert", "revert"))
    lines.extend(f"  {word}: {data[key]}" for key, word in names if data.get(key))
    if data.get("audit_head"):
        lines.append(f"  audit head: {data['audit_head']}")
    return "\n".join(lines)
