"""The invariants of the mail: holds what clients were told against the ledger's file.

A process of its own like `invariants.py`, which is about requests. It takes nothing from the product but SQLite rows;
its question is {"ledger": FILE, "told": JOURNAL, "waiting": [STATES a request may still be in]}. The journal is what
clients tried and heard (`journal.py`): whatever they were told has to be so, and nothing may be there that nobody sent.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["judge"]

ENDS = {
    "landed", "unchanged", "previewed", "refused", "failed", "rolled_back", "cancelled", "unclear", "needs_operator",
    "expired", "superseded",
}  # fmt: skip
TABLES = ("asks", "messages", "requests", "outbox", "approvals", "events")
CLOSES = {"acked", "replied"}

Row = dict[str, Any]
Who = tuple[str, str | None]


def _rows(file: str) -> dict[str, list[Row]]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)
    try:
        connection.row_factory = sqlite3.Row
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in TABLES}
    finally:
        connection.close()


def _sender(row: Row) -> Who:
    return row["sender"], row["circle"] or None


def _receiver(row: Row) -> Who:
    return row["receiver"], row["receiver_circle"] or None


# -- what was sent is there, and nothing else
def _sent(told: Row, tables: dict[str, list[Row]]) -> Iterator[str]:
    """By table, sender and words: as many rows as were sent at most, and all that the server said it has."""
    tries: Counter[tuple[str, Who, str]] = Counter()
    wanted: dict[tuple[str, Who, str], set[str]] = defaultdict(set)
    to: dict[tuple[str, Who, str], set[Who]] = {}
    for message in told["sent"].values():
        table = "asks" if message["kind"] == "ask" else "messages"
        key = table, (message["sender"][0], message["sender"][1]), _meant(message["text"])
        tries[key] += message["tries"]
        wanted[key] |= set(message["ids"])
        to[key] = {(name, circle) for name, circle in message["receivers"]}
    found: dict[tuple[str, Who, str], dict[str, set[Who]]] = defaultdict(lambda: defaultdict(set))
    twice: Counter[tuple[str, Who]] = Counter()
    for table in ("asks", "messages"):
        for row in tables[table]:
            if row.get("kind") == "outcome":
                continue
            found[table, _sender(row), _meant(row["text"])][row["id"]].add(_receiver(row))
            twice[row["id"], _receiver(row)] += 1
    yield from (f"{one} is there {count} times for {who[0]}" for (one, who), count in twice.items() if count > 1)
    for key, ids in found.items():
        if key not in tries:
            yield f"nobody sent {sorted(ids)}"
        elif len(ids) > tries[key]:
            yield f"{sorted(ids)} were sent {tries[key]} times and are {len(ids)}"
        yield from (f"{one} went to {sorted(map(str, who))}" for one, who in ids.items() if who != to.get(key, who))
    for key, ids in wanted.items():
        yield from (f"{one} was accepted and is not there" for one in sorted(ids - set(found.get(key, ()))))


# -- asks: one ack, by whom it was asked, in the words it was given
def _asks(told: Row, tables: dict[str, list[Row]]) -> Iterator[str]:
    delivery = Counter(row["ask"] for row in tables["outbox"])
    ended = {row["id"] for row in tables["requests"] if row["receipt"]}
    for row in tables["asks"]:
        name = row["id"]
        if row["state"] == "acked" and row["closed"] in CLOSES and row["acked_at"]:
            if delivery[name] != 1:
                yield f"{name} has {delivery[name]} acks to deliver"
        elif not row["request"] or row["request"] in ended:
            yield f"{name} has no ack: {row['state']}"
    yield from _by_events(tables)
    yield from _in_words(told, {row["id"]: row for row in tables["asks"]})


def _meant(text: str) -> str:
    """What makes messages of one sender the same: a block with a key is the first one's, whatever stands round it."""
    _, block, rest = text.partition("```infra")
    return block + rest if '"idempotency_key"' in rest else text


def _by_events(tables: dict[str, list[Row]]) -> Iterator[str]:
    """What was asked of people and acked by them has one event of each; one that replies closes the other."""
    counts = {
        kind: Counter(row["ask"] for row in tables["events"] if row["kind"] == kind) for kind in ("asked", "acked")
    }
    replied = {row["reply_to"]: row for row in tables["asks"] if row["reply_to"]}
    rows = {row["id"]: row for row in tables["asks"]}
    for name, row in rows.items():
        asked, acked = counts["asked"][name], counts["acked"][name]
        if asked > 1 or acked > 1 or (asked and not row["request"] and acked != 1):
            yield f"{name} was asked {asked} and acked {acked} times, by its events"
        if (row["closed"] == "replied") != (name in replied):
            yield f"{name} is closed as {row['closed']}, and the ask that replies to it says otherwise"
    for name, later in replied.items():
        if name not in rows or _receiver(rows[name]) != _sender(later):
            yield f"{later['id']} replies to {name}, which was not its sender's to answer"


def _in_words(told: Row, rows: dict[str, Row]) -> Iterator[str]:
    """Answers are those that were given, and those that were got."""
    given: dict[str, list[Row]] = defaultdict(list)
    for one in told["acks"]:
        given[one["ask"]].append(one)
        row = rows.get(one["ask"], {})
        if one["answered"] and one["message"] != row.get("reply"):
            yield f"{one['ask']} was acked, and the ledger has another answer"
    for name, row in rows.items():
        if row["receiver_circle"] and row["reply"] not in [one["message"] for one in given[name]]:
            yield f"{name} was acked in words that {row['receiver']} never said"
    for one in told["replies"]:
        row = rows.get(one["ask"], {})
        if (row.get("reply"), row.get("responder")) != (one["reply"], one["responder"]):
            yield f"{one['ask']} was answered to its sender, and the ledger has another answer"


def _claims(tables: dict[str, list[Row]]) -> Iterator[str]:
    """Nobody sits there any more: no open ask is claimed, and who acted for an asker did so once, with a claim."""
    claimed = {row["ask"] for row in tables["events"] if row["kind"] == "claimed"}
    acted = Counter(row["ask"] for row in tables["requests"] if row["attendant"])
    for row in tables["asks"]:
        if row["state"] == "open" and row["claim"] and not row["request"]:
            yield f"{row['id']} is still claimed"
        if (row["acted_by"] or acted[row["id"]]) and row["id"] not in claimed:
            yield f"{row['id']} was acted on without a claim"
        if acted[row["id"]] > 1:
            yield f"{row['id']} was acted on {acted[row['id']]} times"


# -- messages: marked by their reader's word alone; outcomes once
def _reading(told: Row, tables: dict[str, list[Row]]) -> Iterator[str]:
    tried: set[tuple[str, Who]] = set()
    sure: set[tuple[str, Who]] = set()
    for one in told["read"]:
        who = (one["by"][0], one["by"][1])
        tried |= {(name, who) for name in one["ids"]}
        sure |= {(name, who) for name in one["ids"] if one["answered"]}
    handled = {row["notify"] for row in tables["requests"]} | {row["reply_to"] for row in tables["messages"]}
    for row in tables["messages"]:
        key = row["id"], _receiver(row)
        if row["read"] and key not in tried and row["id"] not in handled and not _again(row, tables):
            yield f"{row['id']} is marked as read, and {row['receiver']} never said so"
        if not row["read"] and key in sure:
            yield f"{row['id']} was marked as read and is not any more"


def _again(row: Row, tables: dict[str, list[Row]]) -> bool:
    """Whether a notify was found to repeat an open release."""
    kinds = (one for one in tables["events"] if one["kind"] == "notified-again")
    return any(json.loads(one["data"]).get("id") == row["id"] for one in kinds)


def _outcomes(told: Row, tables: dict[str, list[Row]]) -> Iterator[str]:
    """Each notify that a request answers, once ended, was told of it once, to its sender; so was each refusal."""
    messages = [row for row in tables["messages"] if row["kind"] != "outcome"]
    outcomes = [row for row in tables["messages"] if row["kind"] == "outcome"]
    about = Counter((row["request"], row["reply_to"]) for row in outcomes if row["request"])
    notifies = {row["id"]: row for row in messages}
    ended = {row["id"] for row in tables["requests"] if row["state"] in ENDS}
    due = {(row["id"], row["notify"]) for row in tables["requests"] if row["notify"]}
    repeats = (one for one in tables["events"] if one["kind"] == "notified-again")
    due |= {(one["request"], json.loads(one["data"])["id"]) for one in repeats}
    for request, notify in due | set(about):
        expected = int((request, notify) in due and request in ended)
        if about[request, notify] != expected:
            yield f"{request} has {about[request, notify]} outcomes told in reply to {notify}, not {expected}"
    for row in outcomes:
        origin = notifies.get(row["reply_to"])
        if origin is None or _receiver(row) != _sender(origin):
            yield f"the outcome {row['id']} is not told to who sent {row['reply_to']}"
    releases = {text["text"] for text in told["sent"].values() if text["kind"] == "release"}
    came_of = {row["notify"] for row in tables["requests"]} | {row["reply_to"] for row in outcomes}
    for row in messages:
        meant = row["text"] in releases
        if meant and row["id"] not in came_of and not _again(row, tables):
            yield f"nothing came of the release {row['id']}"
        if not meant and row["id"] in came_of:
            yield f"something came of {row['id']}, which is no release"
    refused = Counter(row["reply_to"] for row in outcomes if not row["request"])
    yield from (f"{name} was refused {count} times" for name, count in refused.items() if count > 1)


# -- requests: as clients were told, and approved where they had to be
def _requests(told: Row, tables: dict[str, list[Row]], waiting: Iterable[str]) -> Iterator[str]:
    rows = {row["id"]: row for row in tables["requests"]}
    yield from (f"{name} was accepted and is not there" for name in told["taken"] if name not in rows)
    for one in told["ends"]:
        row = rows.get(one["request"], {})
        if one["state"] in ENDS and row.get("state") != one["state"]:
            yield f"{one['request']} was told to be {one['state']} and is {row.get('state')}"
        receipt = json.loads(row.get("receipt") or "{}")
        if one["state"] in ENDS and (one["commit"], one["audit_head"]) != (
            receipt.get("commit"), receipt.get("audit_head"),
        ):  # fmt: skip
            yield f"the receipt of {one['request']} is not the one that was told"
    keys = Counter((row["caller"], row["circle"], row["idempotency_key"]) for row in rows.values())
    yield from (f"{key[2]} of {key[0]} has {count} requests" for key, count in keys.items() if key[2] and count > 1)
    allowed = ENDS | set(waiting)
    yield from (f"{name} is {row['state']}" for name, row in rows.items() if row["state"] not in allowed)


def _approvals(told: Row, tables: dict[str, list[Row]]) -> Iterator[str]:
    rows = {row["id"]: row for row in tables["requests"]}
    given: dict[str, list[Row]] = defaultdict(list)
    for row in tables["approvals"]:
        given[row["request"]].append(row)
    parked = {row["request"] for row in tables["events"] if row["state"] == "awaiting_approval"}
    for name, row in rows.items():
        yes = [one for one in given[name] if one["approve"]]
        used = [one for one in yes if one["used"]]
        if used and row["state"] in {"refused", "expired", "superseded", "cancelled"}:
            yield f"{name} is {row['state']}, and an approval of it was used"
        if name in parked and row["state"] in {"landed", "rolled_back"}:
            if len(used) != 1 or used[0]["effect_digest"] != row["effect_digest"]:
                yield f"{name} is {row['state']} with {len(used)} approvals used"
            if any(not one["approve"] for one in given[name]):
                yield f"{name} is {row['state']}, and was denied"
        if len(given[name]) > sum(one["request"] == name for one in told["decided"]):
            yield f"{name} has {len(given[name])} decisions, and people made fewer"
    for one in told["decided"]:
        if one["answered"] and not any(bool(row["approve"]) == one["approve"] for row in given[one["request"]]):
            yield f"the decision on {one['request']} was taken and is not there"


# -- the verdict
def judge(question: Row) -> Row:
    """Look at everything, and say what is wrong."""
    tables, told = _rows(question["ledger"]), question["told"]
    faults = [
        *_sent(told, tables), *_asks(told, tables), *_claims(tables), *_reading(told, tables),
        *_outcomes(told, tables), *_requests(told, tables, question.get("waiting", ())), *_approvals(told, tables),
    ]  # fmt: skip
    return {"faults": faults, "rows": {name: len(rows) for name, rows in tables.items()}}


if __name__ == "__main__":
    verdict = judge(json.load(sys.stdin))
    json.dump(verdict, sys.stdout, indent=1)
    sys.exit(1 if verdict["faults"] else 0)
