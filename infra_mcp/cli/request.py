"""`infra-mcp request`, `approve` and `deny`: look at requests, cancel one, and decide about what one would do."""

from __future__ import annotations

import argparse
import getpass
from functools import partial
from pathlib import Path
from typing import Any

from infra_mcp import statements
from infra_mcp.cli.client import Client
from infra_mcp.cli.following import follow, stopped, until_merged, works
from infra_mcp.cli.options import client_options, connected, group, verb, wait_for_option, wait_options
from infra_mcp.cli.output import Progress, show, show_result, text_of
from infra_mcp.cli.signing import sign
from infra_mcp.cli.stopping import goes_on
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line

_MOST = 200  # requests listed at once
_PAGE = 100  # events looked through at once for the requests they belong to


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    parts = group(verbs, "request", "look at requests, or cancel one")
    summary = "the newest requests of your circle; all for the operator"
    listing = verb(parts, "list", summary, "request list --limit 5 --json", run=_list)
    listing.add_argument("--limit", metavar="N", type=int, default=20, help="how many (default: 20, at most 200)")
    client_options(listing)
    for name, summary, run in (
        ("show", "where a request stands, with its trail", _show),
        ("watch", "wait for a request's end, and tell how far it is", _watch),
        ("cancel", "cancel a request before its first write", _cancel),
    ):
        parser = verb(parts, name, summary, f"request {name} req-0123456789ab", run=run)
        parser.add_argument("id", metavar="ID", help="the request's id")
        if run is _watch:
            wait_options(parser, "the end")
            wait_for_option(parser)
            summary_option(parser)
        client_options(parser)
    summary = "say that you have seen to what a request left for a person, and how"
    resolving = verb(parts, "resolve", summary, "request resolve req-0123456789ab 'set it back by hand'", run=_resolve)
    resolving.add_argument("id", metavar="ID", help="the request's id")
    resolving.add_argument("reason", metavar="REASON", help="what you found and did, for everyone to read")
    client_options(resolving)
    for name, summary in (
        ("approve", "say yes to what a request would do, as its digest names it"),
        ("deny", "say no to what a request would do, which ends it"),
    ):
        decide = partial(_decide, approve=name == "approve")
        parser = verb(verbs, name, summary, f"{name} req-0123456789ab sha256:DIGEST", run=decide)
        parser.add_argument("id", metavar="ID", help="the request's id")
        parser.add_argument("digest", metavar="DIGEST", help="the effect digest that was looked at (sha256:…)")
        if name == "approve":
            about = "sign it with this key, where a rule requires that; an agent's key by its public one"
            parser.add_argument("--sign", metavar="KEY", type=Path, help=about)
            about = "go on without the others whom a rule wants, where it allows that: why, for everyone to read"
            parser.add_argument("--bypass", metavar="REASON", help=about)
            about = "whose key it is, as [signers] of the policy names them (default: the user's name)"
            parser.add_argument("--signer", metavar="NAME", help=about)
        client_options(parser)


def _show(options: argparse.Namespace) -> int:
    asked = {"request_id": options.id}
    return connected(options, lambda client: show_result(options.json, client.call("get_request", asked)))


def _watch(options: argparse.Namespace) -> int:
    def work(client: Client, summary: Summary) -> int:
        summary.data["request"] = options.id
        with goes_on(lambda: stopped(options.id)), Progress(quiet=options.json) as progress:

            def look(_: float = 0.0) -> dict[str, Any]:
                # `get_request` does not wait, so that it is the same for every caller and channel
                result = client.call("get_request", {"request_id": options.id})
                if works(result):
                    data = result["structuredContent"]
                    progress(str(data.get("progress") or f"{options.id} is {data['state']}"))
                return result

            wait = 0.0 if options.no_wait else options.wait
            result = follow(look, look(), works, wait, progress)
            result = until_merged(client, result, options.wait_for, wait=wait, progress=progress)
        summary.result(result, str((result.get("structuredContent") or {}).get("message") or text_of(result)))
        return show_result(options.json, result)

    return summarized(options, f"request {options.id}", work)


def _cancel(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        result = client.call("cancel", {"request_id": options.id})
        if not result.get("isError"):
            (result.get("structuredContent") or {}).pop("exit", None)  # cancelling succeeded; that is what was asked
        return show_result(options.json, result)

    return connected(options, work)


def _resolve(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        found = client.method("operator/resolve", {"request_id": options.id, "reason": options.reason})
        return show(options.json, found, f"Resolved. {found['request']} needs no person any more.")

    return connected(options, work)


def _decide(options: argparse.Namespace, *, approve: bool) -> int:
    given: dict[str, Any] = {"request_id": options.id, "digest": options.digest, "approve": approve}

    def work(client: Client) -> int:
        if approve and options.bypass is not None:
            given["bypass"] = options.bypass
        if approve and options.sign:
            given["signature"] = {"signer": options.signer or getpass.getuser(), "text": _signed(client, options)}
        found = client.method("operator/approve", given)
        decided = "Approved" if approve else "Denied"
        text = f"{decided}. {found['request']} is {found['state']}. {found['message']}".rstrip()
        return show(options.json, found, text)

    return connected(options, work)


def _signed(client: Client, options: argparse.Namespace) -> str:
    """A signature of the effect that the person named: its text is made here, and no server can put another there."""
    found = client.data("get_request", {"request_id": options.id})
    if "until" not in found:
        raise InfraError("approval-mismatch", f"{options.id} is not waiting for approval: it is {found['state']}.")
    text = statements.approval(options.id, options.digest, found["until"], options.bypass or "")
    return sign(text, options.sign, statements.APPROVAL)


def _list(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        if client.remote:
            found = {"requests": _through_events(client, options.limit)}
        else:
            found = client.method("infra/requests", {"limit": options.limit})
        return show(options.json, found, "\n".join(map(_line, found["requests"])) or "No requests yet.")

    return connected(options, work)


def _line(one: dict[str, Any]) -> str:
    parts = (one.get(key, "") for key in ("request", "created", "state", "caller", "action"))
    return "  ".join([*map(str, parts), one_line(str(one.get("message", "")), 100)])


def _through_events(client: Client, limit: int) -> list[dict[str, Any]]:
    """The same over a URL, where there are tools only: the newest events' requests, each looked at."""
    if not 1 <= limit <= _MOST:
        raise InfraError("invalid-argument", f"limit: between 1 and {_MOST}.")
    found: dict[str, None] = {}
    until: str | None = None
    while len(found) < limit:
        asked = {"limit": _PAGE} | ({"until": until} if until else {})
        events = client.data("search_audit", asked).get("events", ())
        before = len(found)
        found |= {event["request"]: None for event in events if event.get("request")}
        oldest = events[-1]["at"] if len(events) == _PAGE else None
        if oldest is None or (oldest == until and len(found) == before):
            break
        until = oldest
    listed = (client.data("get_request", {"request_id": request}) for request in list(found)[:limit])
    return [{key: value for key, value in one.items() if key not in {"plan", "trail"}} for one in listed]
