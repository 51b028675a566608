"""`infra-mcp ask`: words to a peer, and its one answer."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.following import PARKED, follow, steady
from infra_mcp.cli.options import client_options, connected, verb, wait_options
from infra_mcp.cli.output import note, show, show_result
from infra_mcp.cli.progress import Progress
from infra_mcp.cli.stopping import goes_on
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.errors import Exit


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(
        verbs,
        "ask",
        "ask the infra peer, or another one, in words and wait for the answer",
        "ask \"I need a namespace 'docs-staging' with image-pull secret X\"",
        "ask --to docs 'which version is live?' --no-wait",
        "ask - < request.md",
    )
    parser.add_argument("text", metavar="TEXT", help="the words, or - to read them from standard input")
    parser.add_argument("--to", metavar="PEER", default="infra", help="the peer asked (default: infra)")
    parser.add_argument("--circle", metavar="CIRCLE", help="the peer's circle, when several have one of that name")
    parser.add_argument("--reply-to", metavar="ID", help="an open ask to you that this one answers, which closes it")
    wait_options(parser, "the answer")
    summary_option(parser)
    client_options(parser)
    parser.set_defaults(run=_run)


def text_of(given: str) -> str:
    """The words given, or those on standard input for `-`."""
    return sys.stdin.read() if given == "-" else given


def _run(options: argparse.Namespace) -> int:
    text = text_of(options.text)
    return summarized(
        options,
        f"ask {options.to}",
        lambda summary: connected(options, lambda client: _ask(options, client, text, summary)),
    )


def _ask(options: argparse.Namespace, client: Client, text: str, summary: Summary) -> int:
    more = {"circle": options.circle, "reply_to": options.reply_to}
    arguments = {"peer_name": options.to, "query": text} | {key: value for key, value in more.items() if value}
    words = ["Stopped before the server named the ask. If it was taken in it goes on."]
    with goes_on(lambda: words[0]):
        sent = client.call("ask", arguments)
        if sent.get("isError"):
            summary.result(sent)
            return show_result(options.json, sent)
        ask_id = str(sent["structuredContent"]["result"])
        summary.data["correlation_id"] = ask_id
        words[0] = f"{ask_id} goes on. Its answer comes into this peer's inbox: `infra-mcp inbox`."
        return _answered(options, client, ask_id, summary)


def _answered(options: argparse.Namespace, client: Client, ask_id: str, summary: Summary) -> int:
    """Wait for the ack, unless that is not wanted, and show it."""
    if options.no_wait:
        show(options.json, {"correlation_id": ask_id, "status": "pending", "exit": int(Exit.LANDED)}, ask_id)
        summary.words = "Asked; not waited for."
        return int(Exit.LANDED)
    if not options.json:
        note(ask_id)
    with Progress(quiet=options.json) as told:

        def wait(seconds: float) -> dict[str, Any]:
            return client.call("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": seconds}, told)

        first = steady(lambda: wait(0), told)
        result = follow(wait, first, _works, options.wait, told)
    data = result.get("structuredContent") or {}
    words = None
    if not result.get("isError"):
        words = _words(data)
        if data.get("status") == "pending":
            waits = data.get("state") == PARKED
            data["exit"] = int(Exit.WAITING if waits else Exit.UNREACHABLE)
            words = (
                f"{ask_id} {'waits for an approval' if waits else 'is not acked yet'}; it goes on.\n{words}".rstrip()
            )
    summary.result(result, words)
    return show_result(options.json, result, words)


def _works(result: dict[str, Any]) -> bool:
    data = result.get("structuredContent") or {}
    return not result.get("isError") and data.get("status") == "pending" and data.get("state") != PARKED


def _words(data: dict[str, Any]) -> str:
    lines = [str(data.get("reply") or "")]
    names = (("request", "request"), ("effect_digest", "effect"), ("commit", "commit"), ("revert", "revert"))
    lines.extend(f"  {word}: {data[key]}" for key, word in names if data.get(key))
    if data.get("audit_head"):
        lines.append(f"  audit head: {data['audit_head']}")
    return "\n".join(lines)
