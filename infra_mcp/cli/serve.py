"""`infra-mcp serve`: the server, in the foreground until it is told to stop, or on demand until no client needs it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.options import common_options, seconds, settings_of, verb
from infra_mcp.cli.starting import LOG
from infra_mcp.errors import InfraError
from infra_mcp.settings import dashboard_wanted

if TYPE_CHECKING:
    from pathlib import Path

    from infra_mcp.server.process import Serving
    from infra_mcp.settings import Settings

_PORT = 8420
_IDLE = 300.0  # seconds


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    summary = "run the server until it is told to stop (Ctrl-C or SIGTERM)"
    parser = verb(verbs, "serve", summary, "serve", "serve --port 0 --json", run=_run)
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=int,
        help=f"of the HTTP channel (default: {_PORT}, on demand 0); 0 takes a free one",
    )
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="only loopback in this version")
    parser.add_argument("--policy-pin", metavar="DIGEST", help="the only policy digest this server takes (sha256:…)")
    summary = "stop when no client is connected and no request is open"
    parser.add_argument("--on-demand", action="store_true", help=summary)
    parser.add_argument("--idle", metavar="SECONDS", type=_idle, help="how long that must have been so (default: 300)")
    parser.add_argument(
        "--tools",
        choices=("all", "mesh", "change"),
        default="all",
        help="which tools it offers: without the changes (mesh), or without the mesh (change); default: all",
    )
    common_options(parser)


def _idle(text: str) -> float:
    return seconds(text, 7 * 24 * 3600)


def _log_file(settings: Settings) -> Path | None:
    """The log in the state directory, if that is where this process writes its own."""
    path = settings.state_dir / LOG
    try:
        return path if os.path.samestat(os.fstat(2), path.stat()) else None
    except OSError:
        return None


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.idle is not None and not options.on_demand:
        raise InfraError("invalid-argument", "--idle: a server that is not on demand does not leave.")
    # A start makes only what stays: collecting garbage meanwhile would take a tenth of it.
    gc.disable()
    import anyio  # noqa: PLC0415 - the server's imports take a second; no other command has them

    from infra_mcp.dashboard.door import Dashboard  # noqa: PLC0415 - the same
    from infra_mcp.server.process import serve  # noqa: PLC0415 - the same

    def ready(serving: Serving) -> None:
        gc.freeze()
        gc.enable()
        place = {"url": serving.url, "socket": str(serving.socket), "pid": serving.pid, "repo": str(settings.repo)}
        plain = f"serving {serving.url} and {serving.socket} (pid {serving.pid}) for {settings.repo}"
        print(json.dumps(place) if options.json else plain, flush=True)

    def ready_on_demand(serving: Serving) -> None:
        with contextlib.suppress(BrokenPipeError):  # the client that started it has gone; others will come
            ready(serving)
        os.dup2(2, 1)  # no one reads standard output any more

    async def run() -> None:
        await serve(
            settings,
            host=options.host,
            port=options.port if options.port is not None else 0 if options.on_demand else _PORT,
            ready=ready_on_demand if options.on_demand else ready,
            policy_pin=options.policy_pin,
            idle=None if not options.on_demand else _IDLE if options.idle is None else options.idle,
            log_file=_log_file(settings),
            toolset=options.tools,
            dashboard=Dashboard if dashboard_wanted() else None,
        )

    try:
        anyio.run(run)
    except InfraError as error:
        if options.on_demand:
            print(error, file=sys.stderr)  # into its log too
        raise
    return 0
