"""`infra-mcp run`: a typed action through its change tool, with its fields as they come."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from infra_mcp.cli.change import VERBS, change, change_options
from infra_mcp.cli.client import Client
from infra_mcp.cli.options import connected, verb
from infra_mcp.cli.summary import Summary, summarized
from infra_mcp.errors import InfraError


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(
        verbs,
        "run",
        "run a typed action with its fields as KEY=VALUE or JSON",
        "run deploy app=docs version=0.13.4",
        "run provision_namespace namespace=docs-staging pull_secrets=X quota='{\"pods\": 30}'",
        "run --json-file change.json --dry-run",
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", help="e.g. provision_namespace or deploy")
    parser.add_argument(
        "arguments", metavar="KEY=VALUE", nargs="*", help="the action's fields; lists and objects as JSON"
    )
    parser.add_argument(
        "--json-file", metavar="FILE", help="read the fields (and action, if not given) as one JSON object; - for stdin"
    )
    change_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    fields = _from_file(options.json_file) if options.json_file else {}
    named = fields.pop("action", None)
    action = options.action or named
    if not isinstance(action, str) or (named is not None and named != action):
        raise InfraError("invalid-argument", "action: give one, as the first argument or in the JSON object.")

    def work(summary: Summary, client: Client) -> int:
        tools = {tool["name"]: tool["inputSchema"]["properties"] for tool in client.tools()}
        known = VERBS.get(action)
        shape = (known["fields"]["properties"] if known else {}) | (tools.get(action) or tools.get("change", {}))
        kinds = {name: part.get("type", "") for name, part in shape.items()}
        given = fields | dict(_pair(text, kinds) for text in options.arguments)
        own_tool = action in tools or (known["listed"] if known else "change" not in tools)
        return change(options, client, action, _without_nulls(given), summary, own_tool=own_tool)

    return summarized(
        options, f"run {action}", lambda summary: connected(options, lambda client: work(summary, client))
    )


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


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without those that are null, which are left out: so they make the same key as if they were."""
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


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
