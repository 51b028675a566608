"""`infra-mcp freeze` and `unfreeze`: let nothing change for a while, at once and without another policy."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.options import common_options, operate, verb
from infra_mcp.cli.output import show

_MATCH = ("namespaces", "apps", "circles", "environments")


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    freezing = verb(
        verbs,
        "freeze",
        "let nothing change from now on, also what waits; what has begun to write ends",
        'freeze --reason "the network is being repaired"',
        'freeze --until 4h --namespaces "*-live,shop-*" --reason "the sale"',
        run=_freeze,
    )
    freezing.add_argument("--reason", metavar="TEXT", required=True, help="why, for those who are refused")
    freezing.add_argument("--until", metavar="WHEN", help="4h, or 2026-12-20T18:00:00+01:00 (default: until unfreeze)")
    for key in _MATCH:
        freezing.add_argument(f"--{key}", metavar="A,B", help=f"only these {key}; a * stands for any characters")
    lifting = verb(
        verbs,
        "unfreeze",
        "lift a freeze that an operator ordered, or all of them; those of the policy stay",
        "unfreeze",
        "unfreeze ordered-2",
        run=_unfreeze,
    )
    lifting.add_argument("id", metavar="ID", nargs="?", help="the freeze, as refusals and status name it")
    for parser in (freezing, lifting):
        common_options(parser)


def _freeze(options: argparse.Namespace) -> int:
    given = {key: value for key in _MATCH if (value := getattr(options, key)) is not None}
    match = {key: [one.strip() for one in value.split(",") if one.strip()] for key, value in given.items()}
    asked = {"reason": options.reason, "match": match} | ({"until": options.until} if options.until else {})
    made = operate(options, "operator/freeze", asked)
    about = "; ".join(f"{key} {', '.join(several)}" for key, several in made["match"].items()) or "everything"
    text = f"frozen until {made['until']}: {about} ({made['id']}); `infra-mcp unfreeze {made['id']}` lifts it"
    return show(options.json, made, text)


def _unfreeze(options: argparse.Namespace) -> int:
    made = operate(options, "operator/unfreeze", {"id": options.id} if options.id else {})
    return show(options.json, made, f"lifted: {', '.join(made['lifted'])}")
