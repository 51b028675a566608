"""`infra-mcp audit`: search the ledger, go from an object to who asked for it and back, and check the chain."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra_mcp import statements
from infra_mcp.cli.client import Client
from infra_mcp.cli.options import client_options, common_options, connected, group, operate, settings_of, verb
from infra_mcp.cli.output import show, show_result
from infra_mcp.cli.signing import sign
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError
from infra_mcp.text import escaped

if TYPE_CHECKING:
    from infra_mcp.clients.git.commits import Logged

_REQUEST = re.compile(r"req-[^/]+")
_COMMITS = 10_000  # looked through for heads


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parts = group(verbs, "audit", "who asked for what, and what came of it")
    searching = verb(
        parts,
        "search",
        "search the ledger by words, peer, namespace, object or time",
        "audit search rolled_back --since 2026-11-01",
        "audit search --object docs-live/deployment/docs --limit 5",
        run=_search,
    )
    searching.add_argument("words", metavar="WORDS", nargs="*", help="words to find; none for the newest events")
    for name, summary in (
        ("namespace", "only events that touch this namespace"),
        ("peer", "only events of this peer"),
        ("object", "only this object, e.g. docs-live/deployment/docs"),
        ("sponsor", "only what came by a token that this person answers for"),
        ("since", "not before this time, e.g. 2026-11-01T00:00:00Z"),
        ("until", "not after this time"),
    ):
        searching.add_argument(f"--{name}", metavar=name.upper(), help=summary)
    searching.add_argument("--limit", metavar="N", type=int, default=20, help="how many (default: 20, at most 100)")
    showing = verb(
        parts,
        "show",
        "who asked for an object, and what came of a request: objects, commit and every event",
        "audit show docs-live/deployment/docs",
        "audit show namespace/docs-staging",
        "audit show req-0123456789ab",
        run=_show,
    )
    showing.add_argument("what", metavar="OBJECT|REQUEST", help="NAMESPACE/KIND/NAME or KIND/NAME, or a request's id")
    showing.add_argument("--limit", metavar="N", type=int, default=20, help="how many of an object (default: 20)")
    for parser in (searching, showing):
        client_options(parser)
    summary = "the audit head, to keep where the server cannot reach it; signed with your own key if you like"
    giving = verb(
        parts, "head", summary, "audit head", "audit head heads/2026-11-30 --sign ~/.ssh/id_ed25519", run=_head
    )
    giving.add_argument("file", metavar="FILE", nargs="?", type=Path, help="write it into this new file")
    giving.add_argument("--sign", metavar="KEY", type=Path, help="and a signature of it with this key into FILE.sig")
    common_options(giving)
    summary = "check the chain against the heads found in commits, and say what that proves"
    checking = verb(parts, "verify", summary, "audit verify --head HEAD-FROM-AN-ACK", run=_verify)
    checking.add_argument(
        "--head", metavar="HEAD", action="append", default=[], help="a head kept elsewhere; repeatable"
    )
    common_options(checking)


def _search(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("namespace", "peer", "object", "sponsor", "since", "until")}
    arguments = {key: value for key, value in given.items() if value is not None}
    arguments |= {"query": " ".join(options.words), "limit": options.limit}
    return connected(options, lambda client: show_result(options.json, client.call("search_audit", arguments)))


def _show(options: argparse.Namespace) -> int:
    work = _request if _REQUEST.fullmatch(options.what) else _object
    return connected(options, lambda client: work(options, client))


def _request(options: argparse.Namespace, client: Client) -> int:
    """From a request to its objects and commit. Over a URL the tool shows the same, without the texts of events."""
    if client.remote:
        found = client.data("get_request", {"request_id": options.what})
        found["events"] = found.pop("trail", [])
    else:
        found = client.method("infra/trail", {"request_id": options.what})
    lines = _facts(found)
    for event in found["events"]:
        state = f" → {event['state']}" if event.get("state") else ""
        lines.append(f"{event['seq']}  {event['at']}  {event['kind']}{state}  {event['head'][:12]}")
        lines.extend(f"    {line}" for line in str(event.get("text", "")).splitlines()[:20])
    return show(options.json, found, "\n".join(lines))


def _object(options: argparse.Namespace, client: Client) -> int:
    """From an object to the requests that made it what it is, the newest first."""
    if client.remote:
        found = _through_events(client, options.what, options.limit)
    else:
        found = client.method("infra/trail", {"object": options.what, "limit": options.limit})
    if not found["requests"]:
        what = "No request that this caller may see is about this object."
        raise InfraError("not-found", what, next_step="Write it as NAMESPACE/KIND/NAME or KIND/NAME, in lower case.")
    lines = [line for one in found["requests"] for line in _facts(one)]
    if found["not_shown"]:
        lines.append(f"{found['not_shown']} older requests not shown; --limit shows more.")
    return show(options.json, found, "\n".join(lines))


def _facts(one: dict[str, Any]) -> list[str]:
    """Who asked for what, when, and what came of it."""
    who = f"{one['caller']} (circle {one['circle']})" if one.get("circle") else str(one["caller"])
    helped = f", worked on by {one['attendant']}" if one.get("attendant") else ""
    lines = [f"{one['request']}  {one['created']}  {one['state']}  {one['action']}"]
    lines.append(f"  asked by {who}{helped}, by {one['door']}: {escaped(str(one.get('words', ''))).strip()[:300]}")
    lines.extend(_answering(one))
    lines.extend(f"  {word} {one[word]}" for word in ("commit", "revert") if one.get(word))
    lines.extend(f"  {key.replace('_', ' ')} {one[key]}" for key in ("rolls_back", "rolled_back_by") if one.get(key))
    if one.get("objects"):
        lines.append(f"  objects {', '.join(one['objects'])}")
    if one.get("message"):
        lines.append(f"  {escaped(str(one['message'])).strip()[:300]}")
    return [line.replace("\n", " ") for line in lines]


def _answering(one: dict[str, Any]) -> list[str]:
    """Who answers for the token that it came by, and the pipeline's identity."""
    lines = [f"  answered for by {escaped(str(one['sponsor']))}"] if one.get("sponsor") else []
    if identity := one.get("identity"):
        names = ("subject", "issuer", "run")
        subject, issuer, run = (escaped(str(identity.get(name, ""))) for name in names)
        lines.append(f"  identified as {subject} by {issuer}, run {run}")
    return lines


def _through_events(client: Client, name: str, limit: int) -> dict[str, Any]:
    """The same over a URL, where there are tools only."""
    page = client.data("search_audit", {"object": name, "limit": 100})
    ids = list(dict.fromkeys(event["request"] for event in page["events"] if event.get("request")))
    listed = [client.data("get_request", {"request_id": one}) for one in ids[:limit]]
    for one in listed:
        one.pop("trail", None)
    return {"object": name, "requests": listed, "not_shown": max(0, len(ids) - limit)}


def _head(options: argparse.Namespace) -> int:
    if options.sign and options.file is None:
        raise InfraError("invalid-argument", "--sign signs a file: name the one to write.")
    found = operate(options, "operator/audit.head", {})
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = statements.head(found["events"], found["head"], at)
    if options.file is None:
        return show(options.json, found | {"at": at}, text.decode().rstrip())
    files = {options.file: text}
    if options.sign:
        files[Path(f"{options.file}.sig")] = sign(text, options.sign, statements.HEAD).encode()
    try:
        for path, content in files.items():
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        raise InfraError("invalid-argument", f"{path} cannot be written: {error.strerror}.") from error
    names = [str(path) for path in files]
    return show(options.json, found | {"at": at, "files": names}, f"Wrote {' and '.join(names)}.")


def _verify(options: argparse.Namespace) -> int:
    found, problem = _heads(options)
    commits = [
        {"commit": one.commit, "head": one.trailers["Audit-Head"], "proof": one.trailers.get("Audit-Proof", "")}
        for one in found
    ]
    report = operate(options, "operator/audit.verify", {"heads": options.head, "commits": commits})
    authors = {one.commit: one.author for one in found}
    claims = [{"commit": commit, "author": authors.get(commit, "")} for commit in report["claims"]]
    report |= {"heads_in_commits": len(found), "claims": claims}
    if report["consistent"]:
        lines = [f"{report['events']} events, internally consistent."]
    else:
        lines = [f"The chain is broken at event {report['broken_at']} of {report['events']}: it was edited or cut."]
    if problem:
        lines.append(f"Commits could not be read: {problem}")
    lines.append(_proof(report))
    if report["missing_heads"]:
        lines.append("Heads that were given out and are not in the ledger: " + ", ".join(report["missing_heads"][:5]))
    lines += [
        f"Commit {one['commit'][:12]} by {one['author']} names a head that is not in the ledger, and the ledger does "
        "not know the commit: anyone can write one. If this server made it, its ledger and keys were replaced since."
        for one in report["claims"][:5]
    ]
    if report.get("differing"):
        lines.append("Rows that differ from their events: " + ", ".join(report["differing"][:5]))
    show(options.json, report, "\n".join(lines))
    sound = report["consistent"] and not report["missing_heads"] and not report.get("differing")
    return int(Exit.LANDED if sound else Exit.NEEDS_OPERATOR)


def _proof(report: dict[str, Any]) -> str:
    if report["proved_to"] is None:
        return (
            "No head given out elsewhere was compared, so this proves no more than consistency: "
            "anyone who can write the file could have rewritten it."
        )
    return (
        f"Compared with {report['heads_given']} heads ({report['heads_in_commits']} from commits): nothing up to event "
        f"{report['proved_to']} was changed since those were given out. What came later is not proved, nor is anything "
        "if the same hand could rewrite the commits too: push them where it cannot."
    )


def _heads(options: argparse.Namespace) -> tuple[list[Logged], str]:
    """The commits of the branch with an audit head in their trailers, and why there are none when that failed."""
    import anyio  # noqa: PLC0415 - only this command reads git

    from infra_mcp.clients.git import Git, Login  # noqa: PLC0415 - the same
    from infra_mcp.engine.repositories import upstream  # noqa: PLC0415 - the same

    settings = settings_of(options)
    # The branch that the policy in force names; main while none is in force.
    summary = operate(options, "operator/policy.show", {}).get("summary") or {}
    branch, remote = str(summary.get("branch", "main")), summary.get("remote")

    async def read() -> list[Logged]:
        local = Git(settings.repo, settings.state_dir / "git.lock")
        git = upstream(settings, remote, Login()) if remote else local
        try:
            logged = await git.log_trailers(branch, _COMMITS)
        finally:
            await git.aclose()
        return [one for one in logged if one.trailers.get("Audit-Head")]

    try:
        return anyio.run(read), ""
    except InfraError as error:
        return [], error.what
