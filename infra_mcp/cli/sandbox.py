"""`infra-mcp sandbox`: a real control plane on this machine, up with one command and gone with another."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from infra_mcp.cli.options import group, verb
from infra_mcp.cli.output import note, show
from infra_mcp.codes import Exit

# anyio and infra_mcp.sandbox are imported where a verb runs: help must not wait for them.

_WAYS = ("given", "download", "build")
_FROM = "the only way to have the binaries: given (on this machine already), download, or build (some ten minutes)"


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add `sandbox` and its verbs."""
    parts = group(verbs, "sandbox", "a real control plane on this machine, for trying things out")
    examples = ("sandbox up", "sandbox up --name trial --fresh")
    bringing = verb(parts, "up", "bring it up, or say at once that it is", *examples, run=_up)
    bringing.add_argument("--fresh", action="store_true", help="remove what there is of it first")
    summary = "which sandboxes there are, or what there is of one"
    saying = verb(parts, "status", summary, "sandbox status", run=_status)
    summary = "remove it: every process and every file of it"
    removing = verb(parts, "down", summary, "sandbox down --all", run=_down)
    removing.add_argument("--all", action="store_true", help="remove every sandbox of this user")
    summary = "get its binaries and start nothing; prints their folder"
    getting = verb(parts, "binaries", summary, "sandbox binaries --from build", run=_binaries)
    for parser in (bringing, getting):
        parser.add_argument("--from", dest="way", choices=_WAYS, help=_FROM)
    for parser in (bringing, removing):
        parser.add_argument("--name", metavar="NAME", default="infra", help="which sandbox (default: infra)")
    saying.add_argument("--name", metavar="NAME", help="which sandbox (default: all)")
    for parser in (bringing, saying, removing, getting):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _up(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    began = time.monotonic()
    source = sandbox.Source(options.way) if options.way else None

    progress = sandbox.Progress(sys.stderr)
    made = anyio.run(partial(sandbox.up, options.name, progress=progress, fresh=options.fresh, source=source))
    note(f"sandbox {made.name} is up ({time.monotonic() - began:.1f} s); its context is {made.context}")
    return show(options.json, asdict(made), f"export KUBECONFIG={made.kubeconfig}")


def _status(options: argparse.Namespace) -> int:
    """Print the state of one sandbox, or of each; for one that is not up the exit code is 6."""
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    if options.name:
        found = anyio.run(sandbox.status_of, options.name)
        show(options.json, asdict(found), _line(found))
        return Exit.LANDED if found.state == "up" else Exit.UNREACHABLE
    every = anyio.run(sandbox.status)
    text = "\n".join(map(_line, every)) or "no sandbox; `infra-mcp sandbox up` makes one"
    return show(options.json, [asdict(one) for one in every], text)


def _down(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above

    names = [one.name for one in anyio.run(sandbox.status)] if options.all else [options.name]
    removed = [name for name in names if anyio.run(sandbox.down, name)]
    text = f"removed: {', '.join(removed)}" if removed else "there was nothing"
    return show(options.json, {"removed": removed}, text)


def _binaries(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp import sandbox  # noqa: PLC0415 - see above
    from infra_mcp.sandbox.binaries import ensure  # noqa: PLC0415 - see above

    source = sandbox.Source(options.way) if options.way else None
    folder = str(anyio.run(ensure, sandbox.Progress(sys.stderr), source))
    return show(options.json, {"bin_dir": folder}, folder)


def _line(one: Any) -> str:  # noqa: ANN401 - a sandbox.Status, which is not imported here
    return f"{one.name}  {one.state}  {one.server}  {one.kubeconfig}  {len(one.pids)} processes"
