"""Options that many commands share, and how a command finds its server."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from infra_mcp.cli.client import Client, connect, token_of
from infra_mcp.settings import Settings

__all__ = ["Handler", "client_options", "common_options", "connected", "settings_of", "verb"]

Handler = Callable[[argparse.Namespace], int]


def verb(verbs: Any, name: str, words: str, **more: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse's own
    """Add a verb whose help is `words`; options are never abbreviated, since a new one would change what they mean."""
    made: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=words, allow_abbrev=False, **more)
    return made


def common_options(parser: argparse.ArgumentParser) -> None:
    """`--repo` and `--json`."""
    parser.add_argument("--repo", metavar="DIR", help="the infra repository (default: INFRA_MCP_REPO, or the one here)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def client_options(parser: argparse.ArgumentParser) -> None:
    """The common options and `--token-file`."""
    common_options(parser)
    parser.add_argument("--token-file", metavar="FILE", help="act as the peer of this token (default: INFRA_MCP_TOKEN)")


def settings_of(options: argparse.Namespace) -> Settings:
    """Where things are, by `--repo`, the environment and the working directory."""
    return Settings.find(options.repo)


def connected(options: argparse.Namespace, work: Callable[[Client], int]) -> int:
    """Run `work` on a connection to the server, as the peer of the token, if any."""
    with connect(settings_of(options), token_of(options.token_file)) as client:
        return work(client)
