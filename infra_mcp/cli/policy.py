"""`infra-mcp policy`: the policy in force, what a change of it would do, and accepting a new one."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from infra_mcp.cli.options import common_options, group, operate, settings_of, verb
from infra_mcp.cli.output import agreed, note, show
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    parts = group(verbs, "policy", "look at the policy, or accept it")
    summary = "the policy in force, and whether infra.toml says something else"
    showing = verb(parts, "show", summary, "policy show --json", run=_show)
    comparing = verb(parts, "diff", "what accepting infra.toml would change", "policy diff", run=_diff)
    explaining = verb(
        parts,
        "explain",
        "what a guardrail refuses, why, and how to permit it; without a name all of them",
        "policy explain",
        "policy explain pods.host-path",
        run=_explain,
    )
    explaining.add_argument("name", metavar="NAME", nargs="?", help="the guardrail, as a refusal names it")
    checking = verb(
        parts,
        "check",
        "what in infra.toml, or in FILE, does nothing or more than it seems to",
        "policy check",
        "policy check next.toml --json",
        run=_check,
    )
    checking.add_argument("file", metavar="FILE", nargs="?", type=Path, help="another file than infra.toml")
    testing = verb(
        parts,
        "test",
        "what FILE would decide otherwise on the requests in the ledger",
        "policy test next.toml",
        "policy test next.toml --circle docs --since 2026-11-01 --limit 500",
        run=_test,
    )
    testing.add_argument("file", metavar="FILE", type=Path, help="the policy to be tried")
    testing.add_argument("--limit", metavar="N", type=int, default=200, help="the newest N (default: 200, most: 1000)")
    testing.add_argument("--since", metavar="TIME", help="not older than this, e.g. 2026-11-01T00:00:00Z")
    testing.add_argument("--circle", metavar="CIRCLE", help="only requests of this circle")
    accepting = verb(
        parts,
        "accept",
        "put infra.toml in force, after showing its digest and what it grants",
        "policy accept",
        "policy accept --yes",
        run=_accept,
    )
    accepting.add_argument("--digest", metavar="DIGEST", help="accept only if the file has this digest (sha256:…)")
    accepting.add_argument("--yes", action="store_true", help="do not ask")
    for parser in (showing, comparing, explaining, checking, testing, accepting):
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
    return show(options.json, found, "\n".join(lines))


def _waiting(found: dict[str, Any]) -> list[str]:
    """The actions that an acceptance brings into force beside what the file changes."""
    names = ", ".join(found["waiting"])
    return [f"granted, and in force once the policy is accepted again: {names}"] if names else []


def _remarks(found: dict[str, Any]) -> list[str]:
    """The findings of `policy check`, one line each."""
    return [f"remark: {one}" for one in found["remarks"]]


def _granted(summary: dict[str, Any] | None) -> list[str]:
    if not summary:
        return []
    at = f" of remote {summary['remote']}" if summary.get("remote") else ""
    lines = [
        f"branch {summary['branch']}{at}, clusters: " + ", ".join(f"{k} ({v})" for k, v in summary["clusters"].items())
    ]
    for name, circle in summary["circles"].items():
        grants = [f"{key} {', '.join(value) or 'none'}" for key, value in circle.items()]
        lines.append(f"circle {name}: " + "; ".join(grants))
    lines += [f"app {name} of {owner}" for name, owner in summary["apps"].items()]
    restricted = ((key, summary.get(key)) for key in ("rules", "protected", "freezes"))
    lines += [f"{key}: {', '.join(ids)}" for key, ids in restricted if ids]
    return lines


def _diff(options: argparse.Namespace) -> int:
    found = operate(options, "operator/policy.diff", {})
    text = "\n".join([found["diff"] or "infra.toml is what is in force.", *_waiting(found), *_remarks(found)])
    if found["pending_problem"]:
        text += f"\nIt cannot be accepted: {found['pending_problem']}"
    return show(options.json, found, text)


def _explain(options: argparse.Namespace) -> int:
    from infra_mcp.policy.guard.rules import GUARDRAILS  # noqa: PLC0415 - only this command needs the policy's code

    if options.name is None:
        found = [one._asdict() for one in GUARDRAILS.values()]
        return show(options.json, {"guardrails": found}, "\n".join(f"{one['name']}: {one['refuses']}" for one in found))
    name = options.name.rpartition(".")[2] if options.name.startswith(("circles.", "attend.")) else options.name
    guard = GUARDRAILS.get(name)
    if guard is None:
        near = get_close_matches(name, GUARDRAILS, n=3)
        step = f"Did you mean {' or '.join(near)}?" if near else "`infra-mcp policy explain` lists them."
        raise InfraError("not-found", "There is no such guardrail.", next_step=step)
    lines = [
        guard.name,
        f"  refuses: {guard.refuses}",
        f"  judges: {guard.scope}",
        f"  why: {guard.why}",
        f"  source: {guard.source}",
        f"  permitted by: {guard.permitted}",
    ]
    return show(options.json, guard._asdict() | {"permitted": guard.permitted}, "\n".join(lines))


def _check(options: argparse.Namespace) -> int:
    from infra_mcp.policy.acceptance import read_policy  # noqa: PLC0415 - only this command needs the policy's code

    text = read_policy(options.file or settings_of(options).policy_file)

    async def alone(settings: Settings) -> dict[str, Any]:
        from infra_mcp.server import offline  # noqa: PLC0415 - only where there is no server to ask

        return await offline.checked(settings, text)

    found = operate(options, "operator/policy.check", {"text": text}, alone)
    lines = [f"{one['where']}: {one['what']}\n  {one['step']}" for one in found["findings"]]
    show(options.json, found, "\n".join(lines) or f"No findings in {found['policy']}.")
    return int(Exit.REFUSED if lines else Exit.LANDED)


def _test(options: argparse.Namespace) -> int:
    from infra_mcp.policy.acceptance import read_policy  # noqa: PLC0415 - only this command needs the policy's code

    given = {"text": read_policy(options.file), "limit": options.limit}
    given |= {name: getattr(options, name) for name in ("since", "circle") if getattr(options, name) is not None}

    async def alone(settings: Settings) -> dict[str, Any]:
        from infra_mcp.server import offline  # noqa: PLC0415 - only where there is no server to ask

        return await offline.on_ledger(settings, "operator/policy.test", given)

    found = operate(options, "operator/policy.test", given, alone)
    differ, unknown = found["differ"], found["unknown"]
    lines = []
    for one in differ:
        lines.append(f"{one['request']}  {one['asked']}")
        lines.append(f"  then {_verdict(one['then'], one['then_rule'])}, now {_verdict(one['now'], one['rule'])}")
        lines.append(f"  {one['reason']}")
    lines += [f"{one['request']}  {one['asked']}\n  cannot be judged again: {one['unknown']}" for one in unknown]
    if sections := ", ".join(found["planned_otherwise"]):
        lines.append(f"The stored plans were judged. FILE differs in {sections}: new plans may differ from them.")
    same = found["tried"] - len(differ) - len(unknown)
    lines.append(f"{found['tried']} tried: {len(differ)} differ, {same} do not, {len(unknown)} cannot be judged again.")
    show(options.json, found, "\n".join(lines))
    return int(Exit.REFUSED if differ else Exit.LANDED)


def _verdict(decision: str, rule: str) -> str:
    return f"{decision} ({rule})" if rule else decision


def _accept(options: argparse.Namespace) -> int:
    found = operate(options, "operator/policy.diff", {})
    digest = options.digest or found["pending"] or (found["in_force"] if found["waiting"] else None)
    if found["pending_problem"]:
        raise InfraError("policy-invalid", found["pending_problem"])
    if digest is None:
        return show(
            options.json, {"in_force": found["in_force"]}, f"infra.toml is in force already: {found['in_force']}"
        )
    for one in _remarks(found):
        note(one)
    if not options.yes and not options.digest:
        note("\n".join(filter(None, [found["diff"], *_waiting(found), f"\ninfra.toml: {digest}"])))
        if not sys.stdin.isatty() or not agreed("Accept it?"):
            raise InfraError("policy-not-accepted", "Nothing was accepted.", next_step="Answer y, or give --yes.")
    made = operate(options, "operator/policy.accept", {"digest": digest})
    return show(options.json, made, "\n".join([f"in force: {made['in_force']}", *_granted(made["summary"])]))
