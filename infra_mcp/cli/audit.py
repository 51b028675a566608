"""`infra-mcp audit`: search the ledger, show a request's trail, and check the chain."""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.operate import operate
from infra_mcp.cli.options import client_options, common_options, connected, settings_of, verb
from infra_mcp.cli.output import show, show_result
from infra_mcp.errors import Exit, InfraError

__all__ = ["add_parser"]

_COMMITS = 10_000  # looked through for heads


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = verb(verbs, "audit", "who asked for what, and what came of it").add_subparsers(
        metavar="WHAT", required=True
    )
    searching = verb(parts, "search", "search the ledger by words, peer, namespace, object or time")
    searching.add_argument("words", metavar="WORDS", nargs="*", help="words to find; none for the newest events")
    for name, words in (
        ("namespace", "only events that touch this namespace"),
        ("peer", "only events of this peer"),
        ("object", "only this object, e.g. docs-live/deployment/docs"),
        ("since", "not before this time, e.g. 2026-11-01T00:00:00Z"),
        ("until", "not after this time"),
    ):
        searching.add_argument(f"--{name}", metavar=name.upper(), help=words)
    searching.add_argument("--limit", metavar="N", type=int, default=20, help="how many (default: 20, at most 100)")
    client_options(searching)
    searching.set_defaults(run=_search)
    showing = verb(parts, "show", "every event of a request, from its first word to its end")
    showing.add_argument("id", metavar="ID", help="the request's id")
    client_options(showing)
    showing.set_defaults(run=_show)
    checking = verb(parts, "verify", "check the chain against the heads found in commits, and say what that proves")
    checking.add_argument(
        "--head", metavar="HEAD", action="append", default=[], help="a head kept elsewhere; repeatable"
    )
    common_options(checking)
    checking.set_defaults(run=_verify)


def _search(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("namespace", "peer", "object", "since", "until")}
    arguments = {key: value for key, value in given.items() if value is not None}
    arguments |= {"query": " ".join(options.words), "limit": options.limit}
    return connected(options, lambda client: show_result(options.json, client.call("search_audit", arguments)))


def _show(options: argparse.Namespace) -> int:
    def work(client: Client) -> int:
        found = client.method("infra/trail", {"request_id": options.id})
        lines = []
        for event in found["events"]:
            state = f" → {event['state']}" if event.get("state") else ""
            lines.append(f"{event['seq']}  {event['at']}  {event['kind']}{state}  {event['head'][:12]}")
            if event.get("text"):
                lines.extend(f"    {line}" for line in event["text"].splitlines()[:20])
        show(options.json, found, "\n".join(lines))
        return 0

    return connected(options, work)


def _verify(options: argparse.Namespace) -> int:
    found, problem = _heads(options)
    report = operate(options, "operator/audit.verify", {"heads": [*found, *options.head]})
    report["heads_in_commits"] = len(found)
    lines = [_chain(report)]
    if problem:
        lines.append(f"Commits could not be read: {problem}")
    lines.append(_proof(report))
    if report["missing_heads"]:
        lines.append("Heads that were given out and are not in the ledger: " + ", ".join(report["missing_heads"][:5]))
    if report.get("differing"):
        lines.append("Rows that do not say what their events say: " + ", ".join(report["differing"][:5]))
    show(options.json, report, "\n".join(lines))
    sound = report["consistent"] and not report["missing_heads"] and not report.get("differing")
    return int(Exit.LANDED if sound else Exit.NEEDS_OPERATOR)


def _chain(report: dict[str, Any]) -> str:
    if report["consistent"]:
        return f"{report['events']} events, internally consistent."
    return f"The chain is broken at event {report['broken_at']} of {report['events']}: it was edited or cut."


def _proof(report: dict[str, Any]) -> str:
    if report["proved_to"] is None:
        return (
            "No head given out elsewhere was compared, so this proves no more than consistency: "
            "whoever writes the file could have made it anew."
        )
    return (
        f"Compared with {report['heads_given']} heads ({report['heads_in_commits']} from commits): nothing up to event "
        f"{report['proved_to']} was changed since those were given out. What came later is not proved, nor is anything "
        "if the same hand could rewrite the commits too: push them where it cannot."
    )


def _heads(options: argparse.Namespace) -> tuple[list[str], str]:
    """The audit heads in the trailers of the branch's commits, and why there are none when that failed."""
    import anyio  # noqa: PLC0415 - only this command reads git

    from infra_mcp.clients.git import Git  # noqa: PLC0415 - the same

    settings = settings_of(options)
    # The branch that the policy in force names; main while none is in force.
    branch = str((operate(options, "operator/policy.show", {}).get("summary") or {}).get("branch", "main"))

    async def read() -> list[str]:
        git = Git(settings.repo, settings.state_dir / "git.lock")
        try:
            trailers = await git.log_trailers(branch, _COMMITS)
        finally:
            await git.aclose()
        return [head for _, found in trailers if (head := found.get("Audit-Head"))]

    try:
        return anyio.run(read), ""
    except InfraError as error:
        return [], error.what
