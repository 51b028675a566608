"""`infra-mcp peer`: add, list and remove peers, and give out tokens."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.operate import operate
from infra_mcp.cli.options import common_options, verb
from infra_mcp.cli.output import note, show

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "peer", "manage the peers that may call").add_subparsers(metavar="WHAT", required=True)
    adding = verb(parts, "add", "add a peer; prints its token, once")
    adding.add_argument("name", metavar="NAME", help="the peer's name, e.g. docs")
    adding.add_argument("--circle", metavar="CIRCLE", required=True, help="the circle whose rights it has")
    adding.set_defaults(run=_add)
    removing = verb(parts, "remove", "remove a peer; its tokens end at once")
    removing.add_argument("name", metavar="NAME", help="the peer's name")
    removing.set_defaults(run=_remove)
    renewing = verb(parts, "token", "revoke a peer's tokens and print a new one, once")
    renewing.add_argument("name", metavar="NAME", help="the peer's name")
    renewing.set_defaults(run=_token)
    listing = verb(parts, "list", "all peers, without their tokens")
    listing.set_defaults(run=_list)
    for parser in (adding, removing, renewing, listing):
        common_options(parser)


def _add(options: argparse.Namespace) -> int:
    made = operate(options, "operator/peer.add", {"name": options.name, "circle": options.circle})
    if not options.json:
        note(f"Peer {made['name']} of circle {made['circle']}. Its token, shown this once:")
        if made["note"]:
            note(made["note"])
    show(options.json, made, made["token"])
    return 0


def _remove(options: argparse.Namespace) -> int:
    gone = operate(options, "operator/peer.remove", {"name": options.name})
    show(options.json, gone, f"Removed {gone['removed']}; its tokens no longer work.")
    return 0


def _token(options: argparse.Namespace) -> int:
    made = operate(options, "operator/peer.token", {"name": options.name})
    if not options.json:
        note(f"{made['revoked']} earlier tokens of {made['name']} revoked. The new one, shown this once:")
    show(options.json, made, made["token"])
    return 0


def _list(options: argparse.Namespace) -> int:
    found = operate(options, "operator/peer.list", {})
    lines = [
        f"{peer['name']}  circle {peer['circle']}  {peer['tokens']} tokens  {peer['description']}".rstrip()
        for peer in found["peers"]
    ]
    show(options.json, found, "\n".join(lines) or "No peers yet.")
    return 0
