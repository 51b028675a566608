"""`infra-mcp apps`: the apps of this checkout, or of a server's repository with their live state."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, settings_of, verb
from infra_mcp.cli.output import columns, show, show_result

_COLUMNS = ("app", "environment", "version", "delivery", "cluster", "owner", "at")
_WIDEST = 44  # characters of a column that is not the last


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    summary = "the apps of this checkout: environments, versions, where they stand, who delivers and owns them"
    parser = verb(verbs, "apps", summary, "apps", "apps docs --json", "apps --live", run=_run)
    parser.add_argument("app", metavar="APP", nargs="?", help="only this one")
    parser.add_argument("--live", action="store_true", help="ask the server, which adds the live state of your apps")
    client_options(parser)


def _run(options: argparse.Namespace) -> int:
    if options.live:
        given = {} if options.app is None else {"app": options.app}
        return connected(options, lambda client: _live(client, options, given))
    import anyio  # noqa: PLC0415 - only where no server is asked

    from infra_mcp.engine.preview import apps  # noqa: PLC0415 - needs the YAML reader

    found = anyio.run(apps, settings_of(options).repo)
    found["apps"] = [one for one in found["apps"] if options.app in (None, one["app"])]
    return show(options.json, found, f"{table(found['apps'])}\n{_others(found['others'])}".rstrip("\n"))


def _live(client: Client, options: argparse.Namespace, given: dict[str, str]) -> int:
    return show_result(options.json, client.call("apps", given))


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Instances as a table for people."""
    if not lines:
        return "No apps were found."
    rows = [
        tuple(name.upper() for name in _COLUMNS),
        *(tuple(_text(line[name]) for name in _COLUMNS) for line in lines),
    ]
    widths = [min(max(len(row[i]) for row in rows), _WIDEST) for i in range(len(_COLUMNS))]
    used = [i for i in range(len(_COLUMNS)) if any(row[i] != "-" for row in rows[1:])]
    return "\n".join("  ".join(_cell(row[i], widths[i], i == used[-1]) for i in used).rstrip() for row in rows)


def _others(found: Sequence[dict[str, Any]]) -> str:
    """What there is beside apps, counted by kind and delivery; empty where there is nothing."""
    counted = Counter[tuple[str, str]]()
    for one in found:
        counted[one["kind"], one["delivery"]] += one["count"] if one["kind"] == "encrypted" else 1
    rows = [(kind, str(number), "-" if by == "none" else by) for (kind, by), number in sorted(counted.items())]
    return "\n".join(["", *columns([("BESIDE APPS", "COUNT", "DELIVERY"), *rows])]) if rows else ""


def _cell(text: str, width: int, last: bool) -> str:
    if last:
        return text
    return (text if len(text) <= width else f"{text[: width - 1]}…").ljust(width)


def _text(value: Any) -> str:  # noqa: ANN401 - a JSON value
    return (", ".join(value) if isinstance(value, list) else str(value or "")) or "-"
