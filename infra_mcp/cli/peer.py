"""`infra-mcp peer`: add, list and remove peers, and give out tokens."""

from __future__ import annotations

import argparse
import os
from typing import Any

from infra_mcp.cli.options import common_options, group, operate, verb
from infra_mcp.cli.output import note, show
from infra_mcp.cli.place import token_of


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
    adding.add_argument(
        "--no-token",
        action="store_true",
        help="issue none: a pipeline's own tokens stand for it (policy: oidc)",
    )
    summary = "remove a peer; its tokens end at once"
    removing = verb(parts, "remove", summary, "peer remove docs --circle docs", run=_remove)
    summary = "print a new token of a peer, once; its earlier ones end at once, or after --overlap"
    examples = ("peer token docs", "peer token docs --overlap 24h --expires 30d")
    renewing = verb(parts, "token", summary, *examples, run=_token)
    renewing.add_argument(
        "--overlap",
        metavar="TIME",
        help="let the earlier tokens stay valid for so long, e.g. 24h (default: none)",
    )
    for parser in (adding, renewing):
        parser.add_argument(
            "--expires",
            metavar="TIME",
            help="how long it is valid: 12h, 90d, at most 366d, or never (default: 90d)",
        )
        parser.add_argument(
            "--sponsor", metavar="PERSON", help="who answers for it (default: who runs this; an operator for their own)"
        )
    for parser in (removing, renewing):
        parser.add_argument("name", metavar="NAME", help="the peer's name")
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--circle", metavar="CIRCLE", help="its circle, when several have a peer of that name")
        one.add_argument("--operator", action="store_true", help="the operator of that name, when peers have it too")
    summary = "vouch for an operator, who counts beside others once two have"
    confirming = verb(parts, "confirm", summary, "peer confirm alice", run=_confirm)
    confirming.add_argument("name", metavar="NAME", help="the operator's name")
    listing = verb(parts, "list", "all peers, with each token's end, last use and sponsor", "peer list", run=_list)
    for parser in (adding, removing, renewing, confirming, listing):
        common_options(parser)


def _operate(options: argparse.Namespace, method: str) -> dict[str, Any]:
    names = ("name", "circle", "operator", "expires", "sponsor", "overlap")
    given = {key: value for key in names if (value := getattr(options, key, None))}
    if getattr(options, "no_token", False):
        given["token"] = False
    if method in {"add", "token"} and not given.get("operator") and token_of(None) is None:
        # The person behind a service's account, as sudo says.
        user = os.environ.get("SUDO_USER")
        given |= {"sponsor": user} if user and "sponsor" not in given else {}
    return operate(options, f"operator/peer.{method}", given)


def _add(options: argparse.Namespace) -> int:
    made = _operate(options, "add")
    if not options.json:
        what = "an operator" if made.get("operator") else f"a peer of circle {made['circle']}"
        note(f"{made['name']} is {what}." + (f" The token {_end(made)}, shown this once:" if made["token"] else ""))
        if made["note"]:
            note(made["note"])
    return show(options.json, made, made["token"] or f"{made['name']} has no token of its own.")


def _remove(options: argparse.Namespace) -> int:
    gone = _operate(options, "remove")
    return show(options.json, gone, f"Removed {gone['removed']}; its tokens no longer work.")


def _token(options: argparse.Namespace) -> int:
    made = _operate(options, "token")
    if not options.json:
        ended = f"Earlier tokens of {made['name']} revoked: {made['revoked']}."
        if made["overlap"]:
            overlapping = f"that stay valid for {made['overlap']} at most: {made['overlapping']}"
            ended = f"Earlier tokens of {made['name']} {overlapping}."
        note(f"{ended} The new one {_end(made)}, shown this once:")
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
    first = f"{peer['name']}  {what}  tokens: {peer['tokens']}  {peer['description']}".rstrip()
    return "\n".join([first, *map(_issued, peer.get("issued", ()))])


def _issued(token: dict[str, Any]) -> str:
    """What is known of one token, on a line below its peer."""
    end = token["expires"]
    ends = "without expiry" if end is None else f"{'expired' if token['expired'] else 'expires'} {_minute(end)}"
    used = f"last used {_minute(token['used'])}" if token["used"] else "not used"
    parts = [f"token {token['id']}", ends, used, f"sponsor {token['sponsor'] or 'not known'}"]
    return "    " + "  ".join([*parts, *(["replaced"] if token["replaced"] else [])])


def _minute(time: str) -> str:
    """A time of the ledger, to the minute."""
    return f"{time[:16].replace('T', ' ')}Z"


def _end(made: dict[str, Any]) -> str:
    return "(it does not expire)" if made["expires"] == "never" else f"(valid for {made['expires']})"
