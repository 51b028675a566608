"""`infra-mcp policy`: what is in force, what the file would change, and accepting it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from infra_mcp.cli.operate import operate
from infra_mcp.cli.options import common_options, verb
from infra_mcp.cli.output import note, show
from infra_mcp.errors import Exit, InfraError


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "policy", "look at the policy, or accept it").add_subparsers(metavar="WHAT", required=True)
    showing = verb(
        parts, "show", "the policy in force, and whether infra.toml says something else", "policy show --json"
    )
    showing.set_defaults(run=_show)
    comparing = verb(parts, "diff", "what accepting infra.toml would change", "policy diff")
    comparing.set_defaults(run=_diff)
    accepting = verb(
        parts,
        "accept",
        "put infra.toml in force, after showing its digest and what it grants",
        "policy accept",
        "policy accept --yes",
    )
    accepting.add_argument("--digest", metavar="DIGEST", help="accept only if the file has this digest (sha256:…)")
    accepting.add_argument("--yes", action="store_true", help="do not ask")
    accepting.set_defaults(run=_accept)
    for parser in (showing, comparing, accepting):
        common_options(parser)


def _show(options: argparse.Namespace) -> int:
    found = operate(options, "operator/policy.show", {})
    lines = [f"in force: {found['in_force']}" if found["in_force"] else found["problem"]]
    lines += _granted(found.get("summary"))
    if found["pending"]:
        lines.append(f"infra.toml says something else: {found['pending']} (see `infra-mcp policy diff`)")
    lines += _waiting(found)
    if found["pending_problem"]:
        lines.append(f"infra.toml cannot be accepted: {found['pending_problem']}")
    show(options.json, found, "\n".join(lines))
    return int(Exit.LANDED)


def _waiting(found: dict[str, Any]) -> list[str]:
    """The actions that an acceptance brings into force beside what the file changes."""
    names = ", ".join(found["waiting"])
    return [f"granted, and in force once the policy is accepted again: {names}"] if names else []


def _granted(summary: dict[str, Any] | None) -> list[str]:
    if not summary:
        return []
    lines = [
        f"branch {summary['branch']}, clusters: " + ", ".join(f"{k} ({v})" for k, v in summary["clusters"].items())
    ]
    for name, circle in summary["circles"].items():
        words = [f"{key} {', '.join(value) or 'none'}" for key, value in circle.items()]
        lines.append(f"circle {name}: " + "; ".join(words))
    lines += [f"app {name} of {owner}" for name, owner in summary["apps"].items()]
    if summary["rules"]:
        lines.append("rules: " + ", ".join(summary["rules"]))
    return lines


def _diff(options: argparse.Namespace) -> int:
    found = operate(options, "operator/policy.diff", {})
    text = "\n".join([found["diff"] or "infra.toml is what is in force.", *_waiting(found)])
    if found["pending_problem"]:
        text += f"\nIt cannot be accepted: {found['pending_problem']}"
    show(options.json, found, text)
    return int(Exit.LANDED)


def _accept(options: argparse.Namespace) -> int:
    found = operate(options, "operator/policy.diff", {})
    digest = options.digest or found["pending"] or (found["in_force"] if found["waiting"] else None)
    if found["pending_problem"]:
        raise InfraError("policy-invalid", found["pending_problem"])
    if digest is None:
        show(options.json, {"in_force": found["in_force"]}, f"infra.toml is in force already: {found['in_force']}")
        return int(Exit.LANDED)
    if not options.yes and not options.digest:
        note("\n".join(filter(None, [found["diff"], *_waiting(found), f"\ninfra.toml: {digest}"])))
        if not _agreed():
            raise InfraError("policy-not-accepted", "Nothing was accepted.", next_step="Answer y, or give --yes.")
    made = operate(options, "operator/policy.accept", {"digest": digest})
    show(options.json, made, "\n".join([f"in force: {made['in_force']}", *_granted(made["summary"])]))
    return int(Exit.LANDED)


def _agreed() -> bool:
    """Ask on a terminal; where nobody can be asked the answer is no."""
    if not sys.stdin.isatty():
        return False
    note("Accept it? [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
