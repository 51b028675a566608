"""`infra-mcp peer`: add, list and remove peers, and give out tokens."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.operate import operate
from infra_mcp.cli.options import common_options, verb
from infra_mcp.cli.output import note, show


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "peer", "manage the peers that may call").add_subparsers(metavar="WHAT", required=True)
    adding = verb(
        parts,
        "add",
        "add a peer; prints its token, once",
        "peer add docs --circle docs",
        "peer add alice --operator",
    )
    adding.add_argument("name", metavar="NAME", help="the peer's name, e.g. docs")
    kind = adding.add_mutually_exclusive_group(required=True)
    kind.add_argument("--circle", metavar="CIRCLE", help="the circle whose rights it has")
    kind.add_argument(
        "--operator", action="store_true", help="a person who may look, approve and manage, but changes nothing"
    )
    adding.set_defaults(run=_add)
    removing = verb(parts, "remove", "remove a peer; its tokens end at once", "peer remove docs --circle docs")
    removing.set_defaults(run=_remove)
    renewing = verb(parts, "token", "revoke a peer's tokens and print a new one, once", "peer token docs")
    renewing.set_defaults(run=_token)
    for parser in (removing, renewing):
        parser.add_argument("name", metavar="NAME", help="the peer's name")
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--circle", metavar="CIRCLE", help="its circle, when several have a peer of that name")
        one.add_argument("--operator", action="store_true", help="the operator of that name, when peers have it too")
    confirming = verb(
        parts, "confirm", "vouch for an operator, who counts beside others once two have", "peer confirm alice"
    )
    confirming.add_argument("name", metavar="NAME", help="the operator's name")
    confirming.set_defaults(run=_confirm)
    listing = verb(parts, "list", "all peers, without their tokens", "peer list --json")
    listing.set_defaults(run=_list)
    for parser in (adding, removing, renewing, confirming, listing):
        common_options(parser)


def _named(options: argparse.Namespace) -> dict[str, Any]:
    given = {"name": options.name, "circle": options.circle, "operator": options.operator}
    return {key: value for key, value in given.items() if value}


def _add(options: argparse.Namespace) -> int:
    made = operate(options, "operator/peer.add", _named(options))
    if not options.json:
        what = "an operator" if made.get("operator") else f"a peer of circle {made['circle']}"
        note(f"{made['name']} is {what}. The token, shown this once:")
        if made["note"]:
            note(made["note"])
    show(options.json, made, made["token"])
    return 0


def _remove(options: argparse.Namespace) -> int:
    gone = operate(options, "operator/peer.remove", _named(options))
    show(options.json, gone, f"Removed {gone['removed']}; its tokens no longer work.")
    return 0


def _token(options: argparse.Namespace) -> int:
    made = operate(options, "operator/peer.token", _named(options))
    if not options.json:
        note(f"{made['revoked']} earlier tokens of {made['name']} revoked. The new one, shown this once:")
    show(options.json, made, made["token"])
    return 0


def _confirm(options: argparse.Namespace) -> int:
    known = operate(options, "operator/peer.confirm", {"name": options.name})
    counts = "counts" if known["counts"] else "does not count yet"
    by = ", ".join(known["confirmed_by"]) or "the server's host"
    show(options.json, known, f"{known['name']} {counts} where a rule wants several approvals; confirmed by {by}.")
    return 0


def _list(options: argparse.Namespace) -> int:
    found = operate(options, "operator/peer.list", {})
    lines = [_line(peer) for peer in found["peers"]]
    show(options.json, found, "\n".join(lines) or "No peers yet.")
    return 0


def _line(peer: dict[str, Any]) -> str:
    what = "operator" if peer.get("role") == "operator" else f"circle {peer['circle']}"
    what += "" if peer.get("counts", True) else " (to be confirmed)"
    return f"{peer['name']}  {what}  {peer['tokens']} tokens  {peer['description']}".rstrip()
