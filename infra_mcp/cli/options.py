"""Options that many commands share, and how a command finds its server."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from infra_mcp.cli.client import Client, Remote, connect
from infra_mcp.cli.output import note
from infra_mcp.cli.place import token_of, url_of
from infra_mcp.cli.stopping import stoppable
from infra_mcp.settings import Settings

Handler = Callable[[argparse.Namespace], int]
WAIT = 600.0  # seconds a command waits if not told otherwise
_LONGEST = 24 * 3600.0


def verb(verbs: Any, name: str, words: str, *examples: str, **more: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Add a verb whose help is `words` and ends with examples.

    Options are never abbreviated, since a new one would change what they mean.
    """
    if examples:
        shown = "\n".join(f"  infra-mcp {example}" for example in examples)
        more |= {"epilog": f"examples:\n{shown}", "formatter_class": argparse.RawDescriptionHelpFormatter}
    made: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=words, allow_abbrev=False, **more)
    return made


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
        "--wait", metavar="SECONDS", type=seconds, default=WAIT, help=f"longest wait for {what} (default: 600)"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait: print the id and leave")


def seconds(text: str) -> float:
    """A number of seconds, from nothing to a day."""
    number = float(text)
    if not 0 <= number <= _LONGEST:
        raise argparse.ArgumentTypeError(f"between 0 and {_LONGEST:.0f} seconds")
    return number


def settings_of(options: argparse.Namespace) -> Settings:
    """Where things are, by `--repo`, the environment and the working directory."""
    return Settings.find(options.repo)


def _start(settings: Settings) -> None:
    """Start a server where none runs, and say so: what follows takes a second longer, and leaves a process behind."""
    from infra_mcp.cli.starting import LOG, start  # noqa: PLC0415 - only where there is no server

    note(f"No server runs for {settings.repo}: starting one, which leaves when idle. Log: {settings.state_dir / LOG}")
    start(settings)


@contextmanager
def connection(options: argparse.Namespace) -> Iterator[Client]:
    """A client of the server meant, as the peer of the token, if any.

    Raises:
        InfraError: `server-unreachable`, `unauthenticated`, `invalid-argument`.
    """
    url, token = url_of(options.url, options.repo), token_of(options.token_file)
    with stoppable():
        if url:
            with closing(Remote(url, token)) as transport:
                yield Client(transport)
        else:
            with connect(settings_of(options), token, start=_start) as client:
                yield client


def connected(options: argparse.Namespace, work: Callable[[Client], int]) -> int:
    """Run `work` on a connection to the server, as the peer of the token, if any."""
    with connection(options) as client:
        return work(client)
