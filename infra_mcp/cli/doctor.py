"""`infra-mcp doctor`: what is wrong or risky in how the server is set up, each with the command that mends it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.client import connect
from infra_mcp.cli.options import common_options, settings_of, verb
from infra_mcp.cli.output import show
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from infra_mcp.cli.client import Client

_BAD = {"failed": Exit.FAILED, "risk": Exit.NEEDS_OPERATOR}


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(
        verbs,
        "doctor",
        "what is wrong or risky in how the server is set up, each with the command that mends it; writes nothing",
        "doctor",
        "doctor checkout cluster.rights",
        "doctor --all --json",
        run=_run,
    )
    parser.add_argument("only", metavar="CHECK", nargs="*", help="only these checks, or all of an area (default: all)")
    parser.add_argument("--all", action="store_true", help="also print the checks that found nothing")
    common_options(parser)


def _run(options: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415 - a server need not run, so the command looks by itself

    from infra_mcp.doctor import CHECKS, examine  # noqa: PLC0415 - the same

    if unknown := [one for one in options.only if one not in {*CHECKS, *(check.area for check in CHECKS.values())}]:
        areas = ", ".join(dict.fromkeys(check.area for check in CHECKS.values()))
        raise InfraError("invalid-argument", f"There is no check {unknown[0]}.", next_step=f"The areas are {areas}.")
    settings = settings_of(options)
    with ExitStack() as stack:
        ask = None
        try:
            client = stack.enter_context(connect(settings, None))  # as the local operator, whatever token there is
            ask = partial(_ask, client, anyio.Lock())
        except InfraError as error:
            if error.code != "server-unreachable":
                raise
        rows = anyio.run(partial(examine, settings, ask=ask, only=options.only))
    levels = {row["level"] for row in rows}
    code = next((exit_code for level, exit_code in _BAD.items() if level in levels), Exit.LANDED)
    shown = {"checks": rows, "exit": int(code)}
    show(options.json, shown, _text(rows, all_of_it=options.all))
    return int(code)


async def _ask(client: Client, one_at_a_time: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - an anyio.Lock
    from anyio import to_thread  # noqa: PLC0415 - as above

    async with one_at_a_time:
        return await to_thread.run_sync(client.method, method, params)


def _text(rows: list[dict[str, str]], *, all_of_it: bool) -> str:
    lines = []
    for row in rows:
        if all_of_it or row["level"] in _BAD:
            lines.append(f"{row['level']:8}{row['check']}: {row['what']}")
            lines += [f"{'':8}  {row['fix']}"] if row["fix"] else []
    counts = {
        level: sum(row["level"] == level for row in rows) for level in ("failed", "risk", "pass", "empty", "skipped")
    }
    return "\n".join([*lines, ", ".join(f"{count} {level}" for level, count in counts.items() if count)])
