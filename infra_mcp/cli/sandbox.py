"""`infra-mcp sandbox`: a real control plane on this machine, up with one command and gone with another."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from infra_mcp.cli.options import verb
from infra_mcp.cli.output import fail, note, show
from infra_mcp.errors import Exit, InfraError

# infra_mcp.sandbox is imported where a verb runs: it costs what every other command must not wait for.

_WAYS = ("given", "download", "build")
_FROM = "the only way to have the binaries: given (on this machine already), download, or build (some ten minutes)"


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add `sandbox` and its verbs."""
    words = "a real control plane on this machine, for trying things out"
    parts = verb(verbs, "sandbox", words).add_subparsers(metavar="WHAT", required=True)

    bringing = verb(
        parts, "up", "bring it up, or say at once that it is", "sandbox up", "sandbox up --name trial --fresh"
    )
    bringing.add_argument("--fresh", action="store_true", help="remove what there is of it first")
    bringing.add_argument("--from", dest="way", choices=_WAYS, help=_FROM)
    bringing.set_defaults(run=up)

    saying = verb(parts, "status", "which sandboxes there are, or what there is of one", "sandbox status")
    saying.set_defaults(run=status)

    removing = verb(parts, "down", "remove it: every process and every file of it", "sandbox down --all")
    removing.add_argument("--all", action="store_true", help="remove every sandbox of this user")
    removing.set_defaults(run=down)

    getting = verb(
        parts, "binaries", "get its binaries and start nothing; prints their folder", "sandbox binaries --from build"
    )
    getting.add_argument("--from", dest="way", choices=_WAYS, help=_FROM)
    getting.set_defaults(run=binaries)

    for parser in (bringing, removing):
        parser.add_argument("--name", metavar="NAME", default="infra", help="which sandbox (default: infra)")
    saying.add_argument("--name", metavar="NAME", help="which sandbox (default: all)")
    for parser in (bringing, saying, removing, getting):
        parser.add_argument("--json", action="store_true", help="print JSON")


def up(options: argparse.Namespace) -> int:
    """Bring a sandbox up; prints how to use it."""
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    began = time.monotonic()
    source = sandbox.Source(options.way) if options.way else None

    progress = sandbox.Progress(sys.stderr)
    made = anyio.run(partial(sandbox.up, options.name, progress=progress, fresh=options.fresh, source=source))
    note(f"sandbox {made.name} is up ({time.monotonic() - began:.1f} s); its context is {made.context}")
    show(options.json, asdict(made), f"export KUBECONFIG={made.kubeconfig}")
    return Exit.LANDED


def status(options: argparse.Namespace) -> int:
    """Print what there is of one sandbox, or of each; for one that is not up the exit code is 6."""
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    if options.name:
        found = anyio.run(sandbox.status_of, options.name)
        show(options.json, asdict(found), _line(found))
        return Exit.LANDED if found.state == "up" else Exit.UNREACHABLE
    every = anyio.run(sandbox.status)
    text = "\n".join(map(_line, every)) or "no sandbox; `infra-mcp sandbox up` makes one"
    show(options.json, [asdict(one) for one in every], text)
    return Exit.LANDED


def down(options: argparse.Namespace) -> int:
    """Remove a sandbox, or all."""
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    names = [one.name for one in anyio.run(sandbox.status)] if options.all else [options.name]
    removed = [name for name in names if anyio.run(sandbox.down, name)]
    show(options.json, {"removed": removed}, f"removed: {', '.join(removed)}" if removed else "there was nothing")
    return Exit.LANDED


def binaries(options: argparse.Namespace) -> int:
    """Get the binaries; prints their folder."""
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above
    from infra_mcp.sandbox.binaries import ensure  # noqa: PLC0415 - see above

    source = sandbox.Source(options.way) if options.way else None
    folder = anyio.run(ensure, sandbox.Progress(sys.stderr), source)
    show(options.json, {"bin_dir": str(folder)}, str(folder))
    return Exit.LANDED


def main(argv: list[str] | None = None) -> int:
    """The same verbs as a command of their own, for the Makefile: `python -m infra_mcp.cli.sandbox binaries`."""
    parser = argparse.ArgumentParser(prog="python -m infra_mcp.cli.sandbox", allow_abbrev=False)
    add_parser(parser.add_subparsers(required=True))
    options = parser.parse_args(["sandbox", *(sys.argv[1:] if argv is None else argv)])
    try:
        return int(options.run(options))
    except InfraError as error:
        return fail(options.json, error)
    except KeyboardInterrupt:
        return 130


def _line(one: Any) -> str:  # noqa: ANN401 - a sandbox.Status, which is not imported here
    return f"{one.name}  {one.state}  {one.server}  {one.kubeconfig}  {len(one.pids)} processes"


if __name__ == "__main__":
    sys.exit(main())
