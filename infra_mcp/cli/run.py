"""`infra-mcp run`: a typed action through its change tool."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, verb
from infra_mcp.cli.output import note, show_result
from infra_mcp.errors import InfraError

__all__ = ["add_parser"]

LONGEST = 600


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(verbs, "run", "run a typed action, e.g. run deploy app=docs version=0.13.4")
    parser.add_argument("action", metavar="ACTION", nargs="?", help="e.g. provision_namespace or deploy")
    parser.add_argument(
        "arguments", metavar="KEY=VALUE", nargs="*", help="the action's fields; lists and objects as JSON"
    )
    parser.add_argument(
        "--json-file", metavar="FILE", help="read the fields (and action, if not given) as one JSON object; - for stdin"
    )
    parser.add_argument("--dry-run", action="store_true", help="only plan: show what would change, write nothing")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key again gives the first result")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=600.0, help="longest wait for the end, at most 600 (default)"
    )
    client_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    fields = _from_file(options.json_file) if options.json_file else {}
    named = fields.pop("action", None)
    action = options.action or named
    if not isinstance(action, str) or (named is not None and named != action):
        raise InfraError("invalid-argument", "action: give one, as the first argument or in the JSON object.")

    def work(client: Client) -> int:
        kinds = _kinds(client, action)
        arguments = fields | dict(_pair(text, kinds) for text in options.arguments)
        arguments |= {"wait_seconds": min(max(options.wait, 0.0), LONGEST)}
        if options.dry_run:
            arguments["dry_run"] = True
        if options.reason is not None:
            arguments["reason"] = options.reason
        if options.idempotency_key is not None:
            arguments["idempotency_key"] = options.idempotency_key
        return show_result(options.json, client.call(action, arguments, None if options.json else note))

    return connected(options, work)


def _from_file(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        fields = json.loads(text)
    except OSError:
        raise InfraError("invalid-argument", f"--json-file: {name} cannot be read.") from None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InfraError("invalid-argument", "--json-file: not one JSON object.")
    return fields


def _kinds(client: Client, action: str) -> dict[str, str]:
    """The JSON type of each argument, from the server; nothing where this caller does not see the tool."""
    for tool in client.tools():
        if tool["name"] == action:
            return {name: part.get("type", "") for name, part in tool["inputSchema"].get("properties", {}).items()}
    return {}


def _pair(text: str, kinds: dict[str, str]) -> tuple[str, Any]:
    """One `key=value`: text stays text where the argument is text, anything else is JSON, `a,b` is a list of texts."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise InfraError("invalid-argument", "Arguments are KEY=VALUE.", next_step="See `infra-mcp run --help`.")
    kind = kinds.get(key, "string" if kinds or value[:1] not in {"[", "{"} else "")
    if kind == "string":
        return key, value
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        if kind == "array":
            return key, [item for item in value.split(",") if item]
        return key, value  # the server says what is wrong with it
