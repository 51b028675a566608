"""`infra-mcp serve`: the server, in the foreground until it is told to stop, or on demand until no client needs it."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.options import common_options, seconds, settings_of, verb
from infra_mcp.cli.starting import LOG
from infra_mcp.errors import InfraError
from infra_mcp.settings import dashboard_wanted, given_variables

if TYPE_CHECKING:
    from infra_mcp.server.outside import Outside
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
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="only loopback; see --listen")
    _outside_options(parser)
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


def _outside_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", help="also take calls from other machines there, with TLS or behind a proxy"
    )
    parser.add_argument("--public-url", metavar="URL", help="the https URL under which other machines know it")
    parser.add_argument(
        "--cert", metavar="FILE", help="its certificate with the chain, PEM; read again when it changes"
    )
    parser.add_argument("--key", metavar="FILE", help="the certificate's key, PEM, for this user only")
    summary = "an address or network whose X-Forwarded-For and -Proto are believed; again for more"
    parser.add_argument("--trusted-proxy", metavar="ADDRESS", action="append", default=[], help=summary)


def _outside(options: argparse.Namespace) -> Outside | None:
    """How to listen beyond loopback, by the options or else the environment; None for not at all."""
    from infra_mcp.server.outside import Outside  # noqa: PLC0415 - the server's imports take a second

    given = given_variables([f"INFRA_MCP_HTTP_{name}" for name in ("LISTEN", "URL", "CERT", "KEY", "PROXIES")])
    listen = options.listen or given.get("INFRA_MCP_HTTP_LISTEN")
    url = options.public_url or given.get("INFRA_MCP_HTTP_URL")
    cert = options.cert or given.get("INFRA_MCP_HTTP_CERT")
    key = options.key or given.get("INFRA_MCP_HTTP_KEY")
    proxies = options.trusted_proxy or given.get("INFRA_MCP_HTTP_PROXIES", "").replace(",", " ").split()
    if not listen:
        if options.public_url or options.cert or options.key or options.trusted_proxy:
            raise InfraError("invalid-argument", "--listen is missing: the others say how that address is served.")
        return None
    if not url:
        what = "--listen needs --public-url: calls under any other name are refused."
        raise InfraError("invalid-argument", what, next_step="e.g. --public-url https://infra.example:8443")
    certificate, its_key = (Path(one).absolute() if one else None for one in (cert, key))
    outside = Outside(listen, url, certificate, its_key, tuple(proxies))
    outside.check()
    return outside


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

    outside = _outside(options)

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
            outside=outside,
        )

    try:
        anyio.run(run)
    except InfraError as error:
        if options.on_demand:
            print(error, file=sys.stderr)  # into its log too
        raise
    return 0
