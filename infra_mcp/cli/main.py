"""The command `infra-mcp`: a thin client of a running server, and what starts one.

Client commands import nothing but the standard library; what needs more imports it when it runs. A command imports the
module of its own verb only, and `connect`, which hosts wait for, not even argparse.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False  # as type checkers know it; typing takes 5 ms to import
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

# Which module adds which verbs, in the order of the help.
_MODULES: dict[str, tuple[str, ...]] = {
    "init": ("init",),
    "serve": ("serve",),
    "connect": ("connect",),
    "peer": ("peer",),
    "messages": ("ask", "notify", "inbox", "ack"),
    "apps": ("apps",),
    "preview": ("preview",),
    "check": ("check",),
    "change": ("run",),  # and a verb for each action
    "request": ("request", "approve", "deny"),
    "policy": ("policy",),
    "rbac": ("rbac",),
    "freeze": ("freeze", "unfreeze"),
    "audit": ("audit",),
    "dashboard": ("dashboard",),
    "status": ("status",),
    "doctor": ("doctor",),
    "backup": ("backup", "restore"),
    "sandbox": ("sandbox",),
    "tools": ("tools",),
    "completion": ("completion",),
}

_EPILOG = """\
exit codes: 0 landed or already so, 1 failed or rolled back, 2 invalid, 3 refused, 4 waiting for an approval,
5 not understood, 6 no server or cluster reached or the wait ran out, 7 a person must look.

A command acts as the peer of INFRA_MCP_TOKEN or --token-file; without one as the local operator, who may look, accept
policy, approve and manage peers, but changes nothing. It calls the server of this repository, or that of INFRA_MCP_URL.
"""


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The whole grammar of the command; the documentation is tested against it.

    Args:
        verb: the only verb wanted, which saves the imports of the others; all of them when there is no such verb.
    """
    import argparse  # noqa: PLC0415 - see the module's docstring
    from importlib import import_module  # noqa: PLC0415 - the same

    from infra_mcp import __version__  # noqa: PLC0415 - the same

    top = argparse.ArgumentParser(
        prog="infra-mcp",
        description="The infra peer of a mesh of coding agents: it edits, commits, applies, confirms and acks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"infra-mcp {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    wanted = [name for name, added in _MODULES.items() if verb in added]
    if not wanted and verb is not None:
        from infra_mcp.cli.change import VERBS  # noqa: PLC0415 - the same

        wanted = ["change"] if verb.replace("-", "_") in VERBS else []
    for name in wanted or _MODULES:
        import_module(f"infra_mcp.cli.{name}").add_parser(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: `codes.Exit`, 130 after an interrupt, 143 after SIGTERM where the command says what goes on.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["connect"]:
        from infra_mcp.cli.connect import quick  # noqa: PLC0415 - see the module's docstring

        ended = quick(arguments[1:])
        if ended is not None:
            return ended
    from infra_mcp.cli.output import fail  # noqa: PLC0415 - see the module's docstring
    from infra_mcp.cli.stopping import INTERRUPTED, TERMINATED, Terminated  # noqa: PLC0415 - the same
    from infra_mcp.codes import Exit  # noqa: PLC0415 - the same
    from infra_mcp.errors import InfraError  # noqa: PLC0415 - the same

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for letters that the terminal lacks
    options = parser(arguments[0] if arguments else None).parse_args(arguments)
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
        # The reader of our output has gone; print nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FAILED)
    return code


if __name__ == "__main__":
    sys.exit(main())
