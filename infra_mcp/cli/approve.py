"""`infra-mcp approve` and `deny`: what a person decides about one effect of one request."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.options import client_options, connected, verb
from infra_mcp.cli.output import show


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    for name, words, run in (
        ("approve", "say yes to what a request would do, as its digest names it", _approve),
        ("deny", "say no to what a request would do, which ends it", _deny),
    ):
        parser = verb(verbs, name, words, f"{name} req-0123456789ab sha256:DIGEST")
        parser.add_argument("id", metavar="ID", help="the request's id")
        parser.add_argument("digest", metavar="DIGEST", help="the effect digest that was looked at (sha256:…)")
        client_options(parser)
        parser.set_defaults(run=run)


def _approve(options: argparse.Namespace) -> int:
    return _decide(options, True)


def _deny(options: argparse.Namespace) -> int:
    return _decide(options, False)


def _decide(options: argparse.Namespace, approve: bool) -> int:
    given = {"request_id": options.id, "digest": options.digest, "approve": approve}

    def work(client: Any) -> int:  # noqa: ANN401 - a Client
        found = client.method("operator/approve", given)
        decided = "Approved" if approve else "Denied"
        show(options.json, found, f"{decided}. {found['request']} is {found['state']}. {found['message']}".rstrip())
        return 0

    return connected(options, work)
