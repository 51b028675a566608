"""Options that many commands share, and how a command finds its server."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from infra_mcp.cli.client import Client, Remote, connect
from infra_mcp.cli.output import note
from infra_mcp.cli.place import token_of, url_of
from infra_mcp.cli.stopping import stoppable
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

Handler = Callable[[argparse.Namespace], int]
Alone = Callable[[Settings], Awaitable[dict[str, Any]]]


def verb(
    verbs: Any,  # noqa: ANN401 - argparse gives it no public name
    name: str,
    summary: str,
    *examples: str,
    run: Handler | None = None,
) -> argparse.ArgumentParser:
    """Add a verb whose help is `summary` and ends with examples, and which does `run`.

    Options are never abbreviated, since a new one would change what they mean.
    """
    made: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    if examples:
        made.epilog = "\n".join(["examples:", *(f"  infra-mcp {example}" for example in examples)])
        made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.set_defaults(run=run)
    return made


def group(verbs: Any, name: str, summary: str) -> Any:  # noqa: ANN401 - as above
    """Add a verb that has verbs of its own, and return what takes those."""
    return verb(verbs, name, summary).add_subparsers(metavar="WHAT", required=True)


def common_options(parser: argparse.ArgumentParser) -> None:
    """`--repo` and `--json`."""
    parser.add_argument("--repo", metavar="DIR", help="the infra repository (default: INFRA_MCP_REPO, or the one here)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def client_options(parser: argparse.ArgumentParser) -> None:
    """The common options, `--url` and `--token-file`."""
    common_options(parser)
    parser.add_argument("--url", metavar="URL", help="a server elsewhere (default: INFRA_MCP_URL, or the one here)")
    parser.add_argument("--token-file", metavar="FILE", help="act as the peer of this token (default: INFRA_MCP_TOKEN)")


def wait_options(parser: argparse.ArgumentParser, what: str) -> None:
    """`--wait` and `--no-wait`."""
    parser.add_argument(
        "--wait", metavar="SECONDS", type=seconds, default=600.0, help=f"longest wait for {what} (default: 600)"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait: print the id and leave")


def wait_for_option(parser: argparse.ArgumentParser) -> None:
    """`--wait-for`."""
    parser.add_argument(
        "--wait-for",
        choices=("proposed", "merged", "landed"),
        default="proposed",
        help="how far to wait where people merge a pull request first (default: proposed)",
    )


def seconds(text: str, longest: int = 24 * 3600) -> float:
    """A number of seconds, at most a day or as many as given."""
    number = float(text)
    if not 0 <= number <= longest:
        raise argparse.ArgumentTypeError(f"between 0 and {longest} seconds")
    return number


def settings_of(options: argparse.Namespace) -> Settings:
    """Where things are, by `--repo`, the environment and the working directory."""
    return Settings.find(options.repo)


def _start(settings: Settings) -> None:
    """Start a server and say so, since it takes a second and leaves a process behind."""
    from infra_mcp.cli.starting import LOG, start  # noqa: PLC0415 - only where there is no server

    note(f"No server runs for {settings.repo}: starting one, which leaves when idle. Log: {settings.state_dir / LOG}")
    start(settings)


def connected(options: argparse.Namespace, work: Callable[[Client], int]) -> int:
    """Run `work` with a client of the server to use, as the peer of the token, if any.

    Raises:
        InfraError: `server-unreachable`, `unauthenticated`, `invalid-argument`; and what the work ends in.
    """
    url, token = url_of(options.url, options.repo), token_of(options.token_file)
    with stoppable():
        if url:
            with closing(Remote(url, token)) as transport:
                return work(Client(transport))
        with connect(settings_of(options), token, start=_start) as client:
            return work(client)


def operate(
    options: argparse.Namespace, method: str, params: dict[str, Any], alone: Alone | None = None
) -> dict[str, Any]:
    """Carry out a method of the socket or, when no server runs, `alone` or the method itself under the state lock.

    Raises:
        InfraError: `policy-denied`, when a token makes the caller a peer; and what the method may end in.
    """
    settings, token = settings_of(options), token_of(None)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(connect(settings, token))
        except InfraError as error:
            if error.code != "server-unreachable":
                raise
        else:
            return client.method(method, params)
    if token is not None:
        what = "Only the local operator may do this, and INFRA_MCP_TOKEN makes this a peer."
        raise InfraError("policy-denied", what, next_step="Run it without INFRA_MCP_TOKEN.", rule="operator")
    import anyio  # noqa: PLC0415 - only where there is no server to ask

    if alone is not None:
        return anyio.run(alone, settings)
    from infra_mcp.server import offline  # noqa: PLC0415 - the same

    return anyio.run(partial(offline.call, settings, method, params))
