"""`infra-mcp ask`, `notify`, `inbox` and `ack`: messages between peers, from a shell."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.following import PARKED, follow, steady
from infra_mcp.cli.options import client_options, connected, seconds, verb, wait_options
from infra_mcp.cli.output import Progress, note, show, show_result, text_of
from infra_mcp.cli.stopping import goes_on
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.codes import CODES, Exit

_CIRCLE = "the peer's circle, when several have one of that name"


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    asking = verb(
        verbs,
        "ask",
        "ask the infra peer, or another one, in words and wait for the answer",
        "ask \"I need a namespace 'docs-staging' with image-pull secret X\"",
        "ask --to docs 'which version is live?' --no-wait",
        "ask - < request.md",
        run=_ask,
    )
    asking.add_argument("text", metavar="TEXT", help="the words, or - to read them from standard input")
    asking.add_argument("--to", metavar="PEER", default="infra", help="the peer asked (default: infra)")
    asking.add_argument("--circle", metavar="CIRCLE", help=_CIRCLE)
    asking.add_argument("--reply-to", metavar="ID", help="an open ask to you that this one answers, which closes it")
    wait_options(asking, "the answer")
    summary_option(asking)
    notifying = verb(
        verbs,
        "notify",
        "tell a peer something that needs no answer; a release notice to infra becomes a deploy",
        "notify infra 'release/0.13.4 merged, ready to deploy'",
        "notify docs - < notes.txt",
        run=_notify,
    )
    notifying.add_argument("peer", metavar="PEER", help="the peer to notify, e.g. infra")
    notifying.add_argument("message", metavar="MESSAGE", help="the words, or - to read them from standard input")
    notifying.add_argument("--circle", metavar="CIRCLE", help=_CIRCLE)
    looking = verb(
        verbs,
        "inbox",
        "open asks to you, messages and answers; for an operator what waits for people; looking marks nothing",
        "inbox",
        "inbox --wait 60",
        "inbox --read notif-0123456789ab --read ask-0123456789ab",
        run=_inbox,
    )
    looking.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=0.0, help="wait so long for something to come (default: 0)"
    )
    looking.add_argument("--read", metavar="ID", action="append", default=[], help="mark this one as read; repeatable")
    answering = verb(
        verbs,
        "ack",
        "close an ask to you, with an answer or as seen",
        "ack ask-0123456789ab",
        "ack ask-0123456789ab '0.13.4 is live'",
        run=_ack,
    )
    answering.add_argument("id", metavar="ID", help="the ask's id")
    answering.add_argument(
        "message", metavar="MESSAGE", nargs="?", help="the answer, or - to read it from standard input"
    )
    for parser in (asking, notifying, looking, answering):
        client_options(parser)


def _given(**arguments: str | None) -> dict[str, Any]:
    """The arguments that are given; a text of `-` is read from standard input."""
    texts = {"query", "message"}
    return {
        name: sys.stdin.read() if name in texts and value == "-" else value
        for name, value in arguments.items()
        if value is not None
    }


def _ask(options: argparse.Namespace) -> int:
    more = {"circle": options.circle or None, "reply_to": options.reply_to or None}
    arguments = _given(peer_name=options.to, query=options.text, **more)

    def work(client: Client, summary: Summary) -> int:
        text = "Stopped before the server named the ask. If it was taken in it goes on."
        with goes_on(lambda: text):
            sent = client.call("ask", arguments)
            if sent.get("isError"):
                summary.result(sent)
                return show_result(options.json, sent)
            ask_id = str(sent["structuredContent"]["result"])
            summary.data["correlation_id"] = ask_id
            text = f"{ask_id} goes on. Its answer comes into this peer's inbox: `infra-mcp inbox`."
            return _answered(options, client, ask_id, summary)

    return summarized(options, f"ask {options.to}", work)


def _answered(options: argparse.Namespace, client: Client, ask_id: str, summary: Summary) -> int:
    """Wait for the ack, unless that is not wanted, and show it."""
    if options.no_wait:
        summary.text = "Asked; not waited for."
        data = {"correlation_id": ask_id, "status": "pending", "exit": int(Exit.LANDED)}
        return show(options.json, data, ask_id)
    if not options.json:
        note(ask_id)
    with Progress(quiet=options.json) as progress:

        def wait(seconds: float) -> dict[str, Any]:
            return client.call("wait_on_ack", {"correlation_id": ask_id, "timeout_seconds": seconds}, progress)

        result = follow(wait, steady(lambda: wait(0), progress), _works, options.wait, progress)
    text = None
    if not result.get("isError"):
        data = result.get("structuredContent") or {}
        text = _ack_text(data)
        if data.get("status") == "pending":
            waits = data.get("state") == PARKED
            data["exit"] = int(Exit.WAITING if waits else Exit.UNREACHABLE)
            state = "waits for an approval" if waits else "is not acked yet"
            text = f"{ask_id} {state}; it goes on.\n{text}".rstrip()
    summary.result(result, text)
    return show_result(options.json, result, text)


def _works(result: dict[str, Any]) -> bool:
    data = result.get("structuredContent") or {}
    return not result.get("isError") and data.get("status") == "pending" and data.get("state") != PARKED


def _ack_text(data: dict[str, Any]) -> str:
    names = {"request": "request", "effect_digest": "effect", "commit": "commit", "revert": "revert"}
    names["audit_head"] = "audit head"
    lines = [f"  {word}: {data[key]}" for key, word in names.items() if data.get(key)]
    return "\n".join([str(data.get("reply") or ""), *lines])


def _notify(options: argparse.Namespace) -> int:
    arguments = _given(peer_name=options.peer, message=options.message, circle=options.circle)
    return connected(options, lambda client: _notified(options, client.call("notify_peer", arguments)))


def _notified(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """The notify's id, and what became of the releases in it: one that was refused is this command's exit code."""
    data = result.get("structuredContent") or {}
    lines = [text_of(result)]
    for one in data.get("requests", ()):
        held = f", held by {one['held_by']}" if one.get("held_by") else ""
        due = f", due {one['due']}" if one.get("due") else ""
        lines.append(f"  {one['request']}: {one['app']} {one['version']} is {one.get('state', 'under way')}{due}{held}")
    for one in data.get("refused", ()):
        refused = f"  refused: {one['app']} {one['version']}: {one['code']}: {one['what']}"
        lines += [refused, f"    {one.get('next', '')}"]
        data.setdefault("exit", int(CODES[one["code"]].exit if one["code"] in CODES else Exit.REFUSED))
    return show_result(options.json, result, "\n".join(lines))


def _inbox(options: argparse.Namespace) -> int:
    arguments = {"wait_seconds": options.wait} | ({"mark_read": options.read} if options.read else {})

    def work(client: Client) -> int:
        with Progress(quiet=options.json) as progress:
            result = client.call("inbox", arguments, progress)
        return show_result(options.json, result)

    return connected(options, work)


def _ack(options: argparse.Namespace) -> int:
    arguments = _given(correlation_id=options.id, message=options.message)
    return connected(options, lambda client: show_result(options.json, client.call("ack", arguments)))
