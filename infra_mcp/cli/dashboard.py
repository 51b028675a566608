"""`infra-mcp dashboard`: a link to the dashboard that works once, opened in the browser."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, connected, settings_of, verb
from infra_mcp.cli.output import note, show


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    summary = "open the dashboard: what needs you, each request with its steps, and approvals"
    parser = verb(verbs, "dashboard", summary, "dashboard", "dashboard requests/req-0123456789ab --print", run=_run)
    parser.add_argument(
        "page", metavar="PAGE", nargs="?", default="needs-you", help="a page's address, as pages show it"
    )
    parser.add_argument(
        "--print", action="store_true", help="only print the link, which works once, within two minutes"
    )
    client_options(parser)


def _run(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        found = client.method("operator/dashboard", {"page": options.page})
        if not (options.print or options.json) and not _opened(options, found["url"]):
            note("No browser opened; open the link yourself.")
        return show(options.json, found, found["url"])

    return connected(options, work)


def _opened(options: argparse.Namespace, url: str) -> bool:
    """Open the link by way of a file that only this user can read: other users see a browser's arguments."""
    import os  # noqa: PLC0415 - only here
    import webbrowser  # noqa: PLC0415 - 15 ms, only here

    file = settings_of(options).state_dir / "run" / "dashboard.html"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">infra-mcp</a>\n')
    try:
        return webbrowser.open(file.as_uri())
    except webbrowser.Error:
        return False
