"""The command `infra-mcp`: a thin client of a running server, and what starts one.

Client commands import nothing but the standard library; what needs more imports it when it runs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from infra_mcp import __version__
from infra_mcp.cli import (
    approve,
    ask,
    audit,
    backup,
    change,
    completion,
    init,
    messages,
    peer,
    policy,
    rbac,
    request,
    run,
    sandbox,
    serve,
    status,
)
from infra_mcp.cli.output import fail
from infra_mcp.cli.stopping import INTERRUPTED, TERMINATED, Terminated
from infra_mcp.errors import Exit, InfraError

__all__ = ["main", "parser"]

_EPILOG = """\
exit codes: 0 landed or already so, 1 failed or rolled back, 2 invalid, 3 refused, 4 waiting for an approval,
5 not understood, 6 no server or cluster reached or the wait ran out, 7 a person must look.

A command acts as the peer of INFRA_MCP_TOKEN or --token-file; without one as the local operator, who may look, accept
policy, approve and manage peers, but changes nothing. It calls the server of this repository, or that of INFRA_MCP_URL.
"""


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command; the documentation is tested against it."""
    top = argparse.ArgumentParser(
        prog="infra-mcp",
        description="The infra peer of a mesh of coding agents: it edits, commits, applies, confirms and acks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"infra-mcp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in (
        init,
        serve,
        peer,
        ask,
        messages,
        change,
        run,
        request,
        approve,
        policy,
        audit,
        status,
        rbac,
        backup,
    ):
        module.add_parser(verbs)
    sandbox.add_parser(verbs)
    completion.add_parser(verbs, parser)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: `errors.Exit`, 130 after an interrupt, 143 after SIGTERM where the command says what goes on.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal lacks is no failure
    options = parser().parse_args(argv)
    as_json = bool(getattr(options, "json", False))
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except InfraError as error:
        return fail(as_json, error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FAILED)
    return code


if __name__ == "__main__":
    sys.exit(main())
