"""The judge: says whether requests were carried once and to their end, from git, the API server and the ledger's file.

It runs as a process of its own, takes nothing from the product but its documented formats, and looks only through git,
kubectl and SQLite. A question comes as JSON on standard input, the verdict goes as JSON to standard output:

    {"ledger": FILE, "repo": DIR, "branch": "main", "base": COMMIT, "kubectl": [ARGV…], "since": RESOURCE_VERSION,
     "paths": ["/apis/apps/v1/namespaces/docs-live/deployments", …], "others": false, "operator": []}

`base` and `since` are where branch and cluster were before the first request; `others` says that other people wrote
too; `operator` names the requests that may end in an operator's hands.

What the cluster went through is read from the API server's own history: a watch that begins at `since` gives every
version of every object, so a write that was made twice shows even where the second changed nothing that matters.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["judge"]

ENDS = {
    "landed", "unchanged", "previewed", "refused", "failed", "rolled_back", "cancelled", "unclear", "needs_operator",
    "expired", "superseded",
}  # fmt: skip
HASHED = (
    "seq", "at", "kind", "state", "request", "ask", "peer", "circle", "namespaces", "objects", "text", "data", "prev",
)  # fmt: skip
MARK = "infra-mcp.dev/request"
MANAGER = "infra-mcp"
MOVING = {"resourceVersion", "generation", "managedFields"}  # of the metadata
OUTSIDE = {"apiVersion", "kind", "metadata", "status"}  # a watch names the kind, a list does not
UNTOUCHED = {
    "refused",
    "unchanged",
    "previewed",
    "cancelled",
    "expired",
    "superseded",
}  # ends of requests that wrote nothing
NOT_WRITTEN = {"deployment.kubernetes.io/revision"}  # controllers' own annotations
PATIENCE = 20.0  # seconds for the API server to give its history out
LEDGER_QUERIES = {
    "events": "SELECT * FROM events ORDER BY seq",
    "requests": "SELECT * FROM requests ORDER BY position",
    "asks": "SELECT * FROM asks",
    "outbox": "SELECT * FROM outbox",
}

Row = dict[str, Any]


def _run(argv: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


# -- the ledger
def _ledger(file: str) -> tuple[dict[str, list[Row]], list[str]]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)
    try:
        connection.row_factory = sqlite3.Row
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
        tables = {name: [dict(row) for row in connection.execute(query)] for name, query in LEDGER_QUERIES.items()}
    finally:
        connection.close()
    return tables, [] if sound == "ok" else [f"SQLite says of the ledger: {sound}"]


def _hash(event: Row) -> str:
    content = {name: event[name] for name in HASHED}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _chain(events: list[Row]) -> Iterator[str]:
    before = "0" * 64
    for number, event in enumerate(events, 1):
        if event["seq"] != number or event["prev"] != before or event["hash"] != _hash(event):
            yield f"the chain breaks at event {number}"
            return
        before = event["hash"]


def _request(row: Row, tables: dict[str, list[Row]], may_need: set[str]) -> Iterator[str]:
    name = row["id"]
    events = [event for event in tables["events"] if event["request"] == name]
    ended = [event for event in events if event["state"] in ENDS]
    if row["state"] not in ENDS or row["open"]:
        yield f"{name} has not ended: {row['state']}"
        return
    if len(ended) != 1:
        yield f"{name} has {len(ended)} terminal events"
    # A repeat may come after the end; a notify is then sent the outcome at once.
    last = events[-1] if events else {"state": row["state"], "kind": ""}
    again = last["kind"] in {"asked-again", "rolled-back", "resolved"}
    again = again or (last["kind"] == "notified-again" and '"outcome"' in str(last["data"]))
    if last["state"] not in ENDS and not again:
        yield f"{name} went on after its end: {last['kind']}"
    receipt = json.loads(row["receipt"] or "{}")
    if receipt.get("state") != row["state"] or receipt.get("request") != name:
        yield f"{name} has no receipt of its end"
    if ended and receipt.get("audit_head") != ended[-1]["hash"]:
        yield f"the receipt of {name} does not carry the head of its end"
    if row["state"] == "needs_operator" and name not in may_need:
        yield f"{name} needs an operator: {receipt.get('message')}"
    if "fault of infra-mcp" in receipt.get("message", ""):
        yield f"{name} ended by a fault"
    delivery = Counter(one["ask"] for one in tables["outbox"])
    for ask in (one for one in tables["asks"] if one["request"] == name):
        if ask["state"] != "acked" or not ask["reply"] or delivery[ask["id"]] != 1:
            yield f"{ask['id']} of {name} has not one ack: {ask['state']}, {delivery[ask['id']]} to deliver"


# -- git
class _Git:
    def __init__(self, repo: str, branch: str, base: str) -> None:
        self.repo = repo
        self.branch = branch
        self.base = base
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        self.environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _run(["git", "-C", self.repo, *words], self.environment)

    def ours(self) -> dict[str, list[tuple[str, dict[str, str]]]]:
        """Our commits since the base, oldest first, by request: id and trailers."""
        form = "--format=%H%x01%(trailers:only,unfold)%x02"
        found: dict[str, list[tuple[str, dict[str, str]]]] = {}
        for record in self.run("log", "--reverse", form, f"{self.base}..refs/heads/{self.branch}").stdout.split("\x02"):
            commit, _, text = record.strip().partition("\x01")
            trailers = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if "Infra-Request" in trailers:
                found.setdefault(trailers["Infra-Request"], []).append((commit, trailers))
        return found

    def faults(self, *, others: bool) -> Iterator[str]:
        checked = self.run("fsck", "--no-dangling", "--no-progress")
        if checked.returncode:
            yield f"git fsck: {checked.stderr.strip()[:300]}"
        if self.run("symbolic-ref", "HEAD").stdout.strip() != f"refs/heads/{self.branch}":
            yield "the checkout is no longer on its branch"
        dirty = self.run("status", "--porcelain").stdout
        if dirty and not others:
            yield f"the checkout is not as the branch: {dirty[:300]}"


def _steps(row: Row) -> list[Any]:
    """The steps of a request, each with a commit of its own."""
    return json.loads(row["action"]).get("steps") or [None]


def _commits(row: Row, commits: list[tuple[str, dict[str, str]]], heads: set[str]) -> Iterator[str]:
    name, receipt = row["id"], json.loads(row["receipt"] or "{}")
    made = [(commit, trailers) for commit, trailers in commits if "Effect-Digest" in trailers]
    taken_back = [(commit, trailers) for commit, trailers in commits if "Effect-Digest" not in trailers]
    most = len(_steps(row))
    if len(made) > most or len(taken_back) > most:
        yield f"{name} has {len(made)} commits and {len(taken_back)} reverts"
    for which, found in (("commit", made), ("revert", taken_back)):
        if found and found[-1][0] not in {row[f"{which}_id"], receipt.get(which)}:
            yield f"the ledger does not know {which} {found[-1][0]} of {name}"
    if row["state"] == "landed" and (taken_back or (receipt.get("commit") and not made)):
        yield f"{name} landed, and its commit is not what the branch says"
    if row["state"] == "rolled_back" and len(made) != len(taken_back):
        yield f"{name} was rolled back, with {len(made)} commits and {len(taken_back)} reverts"
    if row["state"] in UNTOUCHED and commits:
        yield f"{name} is {row['state']} and has a commit"
    for commit, trailers in commits:
        yield from _trailers(commit, trailers, row, heads)


def _trailers(commit: str, trailers: dict[str, str], row: Row, heads: set[str]) -> Iterator[str]:
    if trailers.get("Requested-By") != row["caller"]:
        yield f"{commit} does not say who asked"
    if trailers.get("Audit-Head") not in heads:
        yield f"{commit} carries a head the ledger never had"
    effect = json.loads(row["receipt"] or "{}").get("effect_digest")
    if "Effect-Digest" in trailers and trailers["Effect-Digest"] != effect:
        yield f"{commit} and the receipt of {row['id']} name different effects"


# -- the cluster
class _Cluster:
    def __init__(self, kubectl: list[str], since: str) -> None:
        self.kubectl = kubectl
        self.since = since

    def _list(self, path: str, query: str = "") -> list[Row]:
        done = _run([*self.kubectl, "get", "--raw", _with(path, query)])
        if done.returncode:
            raise LookupError(f"{path} {query}: {done.stderr.strip()[:300]}")
        found = json.loads(done.stdout)
        kind = found["kind"].removesuffix("List")
        return [{"kind": kind} | item for item in found["items"]]

    def versions(self, path: str) -> list[tuple[Row | None, list[Row]]]:
        """For every object: what it was at the beginning (None: not there), and every version since.

        Raises:
            LookupError: the API server does not give its history out.
        """
        begun = f"resourceVersion={self.since}&resourceVersionMatch=Exact"
        before = {item["metadata"]["uid"]: item for item in self._list(path, begun)}
        versions = [item["metadata"]["resourceVersion"] for item in self._list(path)]
        waited = {version for version in versions if int(version) > int(self.since)}
        history: dict[str, list[Row]] = {}
        if waited:
            for event in self._events(path):
                if event["type"] == "ERROR":
                    raise LookupError(f"{path} since {self.since}: {event['object'].get('message')}")
                about = event["object"]["metadata"]
                history.setdefault(about["uid"], []).append(event["object"])
                waited.discard(about["resourceVersion"])
                if not waited:
                    break
        if waited:
            raise LookupError(f"the history of {path} since {self.since} is not whole")
        return [(before.get(uid), versions) for uid, versions in history.items()]

    def _events(self, path: str) -> Iterator[Row]:
        query = f"watch=true&resourceVersion={self.since}&timeoutSeconds={PATIENCE:.0f}"
        argv = [*self.kubectl, "get", "--raw", _with(path, query)]
        null = subprocess.DEVNULL
        with subprocess.Popen(argv, stdin=null, stdout=subprocess.PIPE, stderr=null) as child:
            deadline = time.monotonic() + PATIENCE
            try:
                for line in child.stdout or ():
                    yield json.loads(line)
                    if time.monotonic() > deadline:
                        return
            finally:
                child.kill()


def _with(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}" if query else path


def _written(version: Row) -> Row:
    """What people and controllers write into an object, without what the API server and statuses move."""
    about = {k: v for k, v in version["metadata"].items() if k not in MOVING}
    about["annotations"] = {k: v for k, v in (about.get("annotations") or {}).items() if k not in NOT_WRITTEN}
    return {k: v for k, v in version.items() if k not in OUTSIDE} | {"metadata": about}


def _mark(version: Row | None) -> str:
    return ((version or {}).get("metadata", {}).get("annotations") or {}).get(MARK, "")


def _times(version: Row | None) -> list[str]:
    """When we wrote, as the API server noted it."""
    found = ((version or {}).get("metadata") or {}).get("managedFields") or []
    return [str(entry.get("time")) for entry in found if entry.get("manager") == MANAGER]


def _object(before: Row | None, versions: list[Row], *, others: bool) -> Iterator[str]:
    """Each step of a request writes an object once; which step it is, the mark says."""
    name = "{kind} {metadata[name]}".format(**versions[0])
    steps: Counter[str] = Counter()
    for version in versions:
        fresh = before is None or _written(version) != _written(before)
        by_us = _mark(version) and (_mark(version) != _mark(before) or _times(version) != _times(before))
        if fresh and by_us:
            steps[_mark(version)] += 1
        elif fresh and before is not None and not others:
            yield f"{name} was changed by something that left no mark"
        before = version
    for step, count in steps.items():
        if count > 1:
            yield f"{name} was written {count} times for {step}"


def _marks(rows: list[Row], versions: list[Row], on_branch: set[str]) -> Iterator[str]:
    """Git first, and only what there is a request for."""
    requests = {row["id"]: row for row in rows}
    for mark in {_mark(version) for version in versions} - {""}:
        row = requests.get(mark.removesuffix(".undo"))
        what = "{kind} {metadata[name]}".format(**versions[-1])
        if row is None:
            yield f"{what} was written for {mark}, which no ledger knows"
            continue
        if row["commit_id"] and row["commit_id"] not in on_branch:
            yield f"{what} was written for {mark}, whose commit is not on the branch"
        if row["state"] in UNTOUCHED:
            yield f"{what} was written for {mark}, which is {row['state']}"
        undone = {"rolled_back", "needs_operator"} | ({"failed"} if len(_steps(row)) > 1 else set())
        if mark.endswith(".undo") and row["state"] not in undone:
            yield f"{what} was undone for {mark}, which is {row['state']}"


# -- the verdict
def judge(question: dict[str, Any]) -> dict[str, Any]:
    """Look at everything, and say what is wrong."""
    others, may_need = bool(question.get("others")), set(question.get("operator", ()))
    tables, faults = _ledger(question["ledger"])
    rows, events = tables["requests"], tables["events"]
    faults += _chain(events)
    heads = {event["hash"] for event in events}
    git = _Git(question["repo"], question["branch"], question["base"])
    faults += git.faults(others=others)
    ours = git.ours()
    on_branch = {commit for commits in ours.values() for commit, _ in commits}
    faults += [f"{name} has commits and is in no ledger" for name in ours if name not in {row["id"] for row in rows}]
    for row in rows:
        faults += _request(row, tables, may_need)
        faults += _commits(row, ours.get(row["id"], []), heads)
    unheard = [ask["id"] for ask in tables["asks"] if ask["request"] is None and ask["state"] != "acked"]
    faults += [f"{ask} was never acked" for ask in unheard]
    cluster, seen = _Cluster(question["kubectl"], question["since"]), 0
    for path in question["paths"]:
        try:
            for before, versions in cluster.versions(path):
                faults += _object(before, versions, others=others)
                faults += _marks(rows, versions, on_branch)
                seen += len(versions)
        except LookupError as error:
            faults.append(str(error))
    told = {row["id"]: row["state"] for row in rows}
    return {"faults": faults, "requests": told, "commits": len(on_branch), "versions": seen, "events": len(events)}


if __name__ == "__main__":
    verdict = judge(json.load(sys.stdin))
    json.dump(verdict, sys.stdout, indent=1)
    sys.exit(1 if verdict["faults"] else 0)
