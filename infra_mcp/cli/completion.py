"""`infra-mcp completion`: completion scripts for shells, which shtab makes from the parser."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.options import verb

SHELLS = ("bash", "zsh", "fish")


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(
        verbs,
        "completion",
        "print a completion script for your shell",
        "completion bash > ~/.local/share/bash-completion/completions/infra-mcp",
        "completion zsh > ~/.zfunc/_infra-mcp",
        "completion fish > ~/.config/fish/completions/infra-mcp.fish",
        run=_run,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def _run(options: argparse.Namespace) -> int:
    from infra_mcp.cli.main import parser  # noqa: PLC0415 - it imports the modules of the verbs, as this one

    print(script(parser(), options.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a parser for a shell."""
    import shtab  # noqa: PLC0415 - only this command needs it

    paths = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    parsers = [parser]
    for one in parsers:
        for action in one._actions:  # noqa: SLF001 - argparse has no other way to look at a parser
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
                parsers += action.choices.values()
            elif action.metavar in paths:
                vars(action)["complete"] = paths[str(action.metavar)]
    return str(shtab.complete(parser, shell=shell))
