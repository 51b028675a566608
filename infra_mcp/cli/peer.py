"""`infra-mcp peer`: add, list and remove peers, and give out tokens."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.options import common_options, group, operate, verb
from infra_mcp.cli.output import note, show


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = group(verbs, "peer", "manage the peers that may call")
    adding = verb(
        parts,
        "add",
        "add a peer; prints its token, once",
        "peer add docs --circle docs",
        "peer add alice --operator",
        run=_add,
    )
    adding.add_argument("name", metavar="NAME", help="the peer's name, e.g. docs")
    kind = adding.add_mutually_exclusive_group(required=True)
    kind.add_argument("--circle", metavar="CIRCLE", help="the circle whose rights it has")
    kind.add_argument(
        "--operator", action="store_true", help="a person who may look, approve and manage, but changes nothing"
    )
    summary = "remove a peer; its tokens end at once"
    removing = verb(parts, "remove", summary, "peer remove docs --circle docs", run=_remove)
    summary = "revoke a peer's tokens and print a new one, once"
    renewing = verb(parts, "token", summary, "peer token docs", run=_token)
    for parser in (removing, renewing):
        parser.add_argument("name", metavar="NAME", help="the peer's name")
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--circle", metavar="CIRCLE", help="its circle, when several have a peer of that name")
        one.add_argument("--operator", action="store_true", help="the operator of that name, when peers have it too")
    summary = "vouch for an operator, who counts beside others once two have"
    confirming = verb(parts, "confirm", summary, "peer confirm alice", run=_confirm)
    confirming.add_argument("name", metavar="NAME", help="the operator's name")
    listing = verb(parts, "list", "all peers, without their tokens", "peer list --json", run=_list)
    for parser in (adding, removing, renewing, confirming, listing):
        common_options(parser)


def _operate(options: argparse.Namespace, method: str) -> dict[str, Any]:
    given = {key: getattr(options, key, None) for key in ("name", "circle", "operator")}
    return operate(options, f"operator/peer.{method}", {key: value for key, value in given.items() if value})


def _add(options: argparse.Namespace) -> int:
    made = _operate(options, "add")
    if not options.json:
        what = "an operator" if made.get("operator") else f"a peer of circle {made['circle']}"
        note(f"{made['name']} is {what}. The token, shown this once:")
        if made["note"]:
            note(made["note"])
    return show(options.json, made, made["token"])


def _remove(options: argparse.Namespace) -> int:
    gone = _operate(options, "remove")
    return show(options.json, gone, f"Removed {gone['removed']}; its tokens no longer work.")


def _token(options: argparse.Namespace) -> int:
    made = _operate(options, "token")
    if not options.json:
        note(f"{made['revoked']} earlier tokens of {made['name']} revoked. The new one, shown this once:")
    return show(options.json, made, made["token"])


def _confirm(options: argparse.Namespace) -> int:
    known = _operate(options, "confirm")
    counts = "counts" if known["counts"] else "does not count yet"
    by = ", ".join(known["confirmed_by"]) or "the server's host"
    text = f"{known['name']} {counts} where a rule wants several approvals; confirmed by {by}."
    return show(options.json, known, text)


def _list(options: argparse.Namespace) -> int:
    found = _operate(options, "list")
    return show(options.json, found, "\n".join(map(_line, found["peers"])) or "No peers yet.")


def _line(peer: dict[str, Any]) -> str:
    what = "operator" if peer.get("role") == "operator" else f"circle {peer['circle']}"
    what += "" if peer.get("counts", True) else " (to be confirmed)"
    return f"{peer['name']}  {what}  {peer['tokens']} tokens  {peer['description']}".rstrip()
