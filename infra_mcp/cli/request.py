"""`infra-mcp request`: show, cancel and list requests."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, verb
from infra_mcp.cli.output import show, show_result

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "request", "look at requests, or cancel one").add_subparsers(metavar="WHAT", required=True)
    for name, words, run in (
        ("show", "where a request stands, with its trail", _show),
        ("cancel", "cancel a request before its first write", _cancel),
    ):
        parser = verb(parts, name, words)
        parser.add_argument("id", metavar="ID", help="the request's id")
        client_options(parser)
        parser.set_defaults(run=run)
    listing = verb(parts, "list", "the newest requests of your circle; all for the operator")
    listing.add_argument("--limit", metavar="N", type=int, default=20, help="how many (default: 20, at most 200)")
    client_options(listing)
    listing.set_defaults(run=_list)


def _show(options: argparse.Namespace) -> int:
    return connected(
        options, lambda client: show_result(options.json, client.call("get_request", {"request_id": options.id}))
    )


def _cancel(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        result = client.call("cancel", {"request_id": options.id})
        if not result.get("isError"):
            (result.get("structuredContent") or {}).pop("exit", None)  # cancelling succeeded; that is what was asked
        return show_result(options.json, result)

    return connected(options, work)


def _list(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        found = client.method("infra/requests", {"limit": options.limit})
        lines = [
            "  ".join(
                (one["request"], one["created"], one["state"], one["caller"], one["action"], one["message"][:100])
            )
            for one in found["requests"]
        ]
        show(options.json, found, "\n".join(lines) or "No requests yet.")
        return 0

    return connected(options, work)
