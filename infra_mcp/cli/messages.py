"""`infra-mcp notify`, `inbox` and `ack`: messages between peers, from a shell."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.ask import text_of
from infra_mcp.cli.options import client_options, connected, connection, seconds, verb
from infra_mcp.cli.output import said, show_result
from infra_mcp.cli.progress import Progress
from infra_mcp.errors import CODES, Exit


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    notifying = verb(
        verbs,
        "notify",
        "tell a peer something that needs no answer; a release notice to infra becomes a deploy",
        "notify infra 'release/0.13.4 merged, ready to deploy'",
        "notify docs - < notes.txt",
    )
    notifying.add_argument("peer", metavar="PEER", help="the peer told, e.g. infra")
    notifying.add_argument("message", metavar="MESSAGE", help="the words, or - to read them from standard input")
    notifying.add_argument("--circle", metavar="CIRCLE", help="the peer's circle, when several have one of that name")
    notifying.set_defaults(run=_notify)
    looking = verb(
        verbs,
        "inbox",
        "open asks to you, messages and answers; looking marks nothing",
        "inbox",
        "inbox --wait 60",
        "inbox --read notif-0123456789ab --read ask-0123456789ab",
    )
    looking.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=0.0, help="wait so long for something to come (default: 0)"
    )
    looking.add_argument("--read", metavar="ID", action="append", default=[], help="mark this one as read; repeatable")
    looking.set_defaults(run=_inbox)
    answering = verb(
        verbs,
        "ack",
        "close an ask to you, with an answer or as seen",
        "ack ask-0123456789ab",
        "ack ask-0123456789ab '0.13.4 is live'",
    )
    answering.add_argument("id", metavar="ID", help="the ask's id")
    answering.add_argument(
        "message", metavar="MESSAGE", nargs="?", help="the answer, or - to read it from standard input"
    )
    answering.set_defaults(run=_ack)
    for parser in (notifying, looking, answering):
        client_options(parser)


def _notify(options: argparse.Namespace) -> int:
    arguments = {"peer_name": options.peer, "message": text_of(options.message)}
    if options.circle is not None:
        arguments["circle"] = options.circle
    return connected(options, lambda client: _told(options, client.call("notify_peer", arguments)))


def _told(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """The notify's id, and what became of the releases in it: one that was refused is this command's exit code."""
    data = result.get("structuredContent") or {}
    lines = [said(result)]
    for one in data.get("requests", ()):
        held = f", held by {one['held_by']}" if one.get("held_by") else ""
        due = f", due {one['due']}" if one.get("due") else ""
        lines.append(f"  {one['request']}: {one['app']} {one['version']} is {one.get('state', 'under way')}{due}{held}")
    for one in data.get("refused", ()):
        lines.append(
            f"  refused: {one['app']} {one['version']}: {one['code']}: {one['what']}\n    {one.get('next', '')}"
        )
        data.setdefault("exit", int(CODES[one["code"]].exit if one["code"] in CODES else Exit.REFUSED))
    return show_result(options.json, result, "\n".join(lines))


def _inbox(options: argparse.Namespace) -> int:
    arguments: dict[str, Any] = {"wait_seconds": options.wait}
    if options.read:
        arguments["mark_read"] = options.read
    with connection(options) as client:
        with Progress(quiet=options.json) as told:
            result = client.call("inbox", arguments, told)
        return show_result(options.json, result)


def _ack(options: argparse.Namespace) -> int:
    arguments = {"correlation_id": options.id}
    if options.message is not None:
        arguments["message"] = text_of(options.message)
    return connected(options, lambda client: show_result(options.json, client.call("ack", arguments)))
