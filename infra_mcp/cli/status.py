"""`infra-mcp status`: the server, and what is there as far as the caller may see."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, verb
from infra_mcp.cli.output import show, show_result, text_of
from infra_mcp.cli.place import token_of


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    summary = "what is there and how it is; without a token also how the server fares"
    parser = verb(verbs, "status", summary, "status", "status --app docs --json", run=_run)
    parser.add_argument("--namespace", metavar="NAME", help="only this namespace")
    parser.add_argument("--app", metavar="NAME", help="only this app of the catalogue")
    parser.add_argument("--place", metavar="NAME", help="only this DNS zone or Terraform workspace")
    client_options(parser)


def _run(options: argparse.Namespace) -> int:
    narrowed = {key: value for key in ("namespace", "app", "place") if (value := getattr(options, key)) is not None}

    def work(client: Client) -> int:
        result = client.call("status", narrowed)
        if token_of(options.token_file) is not None or narrowed:
            return show_result(options.json, result)
        health = client.method("operator/health", {})
        things = result.get("structuredContent") or {}
        lines = [f"server: {key} {value}" for key, value in health.items() if value not in (None, "")]
        return show(options.json, {"server": health, "status": things}, "\n".join([*lines, text_of(result)]))

    return connected(options, work)
