"""`infra-mcp serve`: the server, in the foreground until it is told to stop."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.options import common_options, settings_of, verb

if TYPE_CHECKING:
    from infra_mcp.server.process import Serving

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(verbs, "serve", "run the server until it is told to stop (Ctrl-C or SIGTERM)")
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=8420, help="of the HTTP door (default: 8420); 0 takes a free one"
    )
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="only loopback in this version")
    parser.add_argument("--policy-pin", metavar="DIGEST", help="the only policy digest this server takes (sha256:…)")
    common_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    import anyio  # noqa: PLC0415 - the server's imports take a second; no other command has them

    from infra_mcp.server.process import serve  # noqa: PLC0415 - the same

    def ready(serving: Serving) -> None:
        place = {"url": serving.url, "socket": str(serving.socket), "pid": serving.pid, "repo": str(settings.repo)}
        plain = f"serving {serving.url} and {serving.socket} (pid {serving.pid}) for {settings.repo}"
        print(json.dumps(place) if options.json else plain, flush=True)

    async def run() -> None:
        await serve(settings, host=options.host, port=options.port, ready=ready, policy_pin=options.policy_pin)

    anyio.run(run)
    return 0
