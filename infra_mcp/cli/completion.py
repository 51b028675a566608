"""`infra-mcp completion`: completion scripts for shells, which shtab makes from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from infra_mcp.cli.options import verb

SHELLS = ("bash", "zsh", "fish")


def add_parser(verbs: Any, whole: Callable[[], argparse.ArgumentParser]) -> None:  # noqa: ANN401 - argparse's own
    """Add the verb; `whole` makes the parser that is completed."""
    parser = verb(
        verbs,
        "completion",
        "print a completion script for your shell",
        "completion bash > ~/.local/share/bash-completion/completions/infra-mcp",
        "completion zsh > ~/.zfunc/_infra-mcp",
        "completion fish > ~/.config/fish/completions/infra-mcp.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")

    def run(options: argparse.Namespace) -> int:
        print(script(whole(), options.shell))
        return 0

    parser.set_defaults(run=run)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a parser for a shell."""
    import shtab  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - only this command needs it

    paths = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    parsers = [parser]
    for one in parsers:
        for action in one._actions:  # noqa: SLF001 - argparse has no other way to look at a parser
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
                parsers += action.choices.values()
            elif action.metavar in paths:
                vars(action)["complete"] = paths[str(action.metavar)]
    return str(shtab.complete(parser, shell=shell))
