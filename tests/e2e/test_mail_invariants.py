"""The invariants of the mail has teeth: whatever a broken server could lose, double or make up is found by it."""

import ast
import copy
import shutil
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest
from e2e.fault_injection import MAIL_INVARIANTS, verdict_on_mail
from e2e.random_load import RandomLoad
from e2e.random_requests import AttendantSessions, Mailbox, RandomRequests
from e2e.scenario import Scenario

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.promise("mesh.durable")]

NOTIFY = "kind = 'notify' AND receiver_circle IS NOT NULL"
PEERS = "receiver_circle IS NOT NULL"
COLUMNS = "event, kind, sender, circle, receiver, receiver_circle, text, created, request, reply_to, read, purged"
MESSAGE = f"INSERT INTO messages(id, {COLUMNS}) SELECT {{0}}, {COLUMNS} FROM messages WHERE {NOTIFY}"
APPROVAL = (
    "INSERT INTO approvals SELECT 99, event, request, effect_digest, {0}, approver, way, strength, at, expires, NULL"
    " FROM approvals"
)
IN_THE_LEDGER = {
    "was accepted and is not there": f"DELETE FROM messages WHERE {NOTIFY}",
    "were sent 1 times and are 2": MESSAGE.format("'new'"),
    "is there 2 times": MESSAGE.format("id"),
    "nobody sent": f"UPDATE messages SET text = 'made up' WHERE {NOTIFY}",
    "went to": f"UPDATE messages SET receiver = 'shop' WHERE {NOTIFY}",
    "has no ack": f"UPDATE asks SET state = 'open', reply = NULL WHERE {PEERS}",
    "acks to deliver": "DELETE FROM outbox",
    "and acked 0 times, by its events": "UPDATE events SET kind = 'noted' WHERE kind = 'acked'",
    "never said": f"UPDATE asks SET reply = 'no' WHERE {PEERS}",
    "the ledger has another answer": "UPDATE asks SET reply = 'no' WHERE receiver_circle IS NULL",
    "replies to it says otherwise": f"UPDATE asks SET closed = 'replied' WHERE {PEERS} AND closed = 'acked'",
    "was not its sender's to answer": f"UPDATE asks SET reply_to = 'ask-none' WHERE {PEERS}",
    "is still claimed": "UPDATE asks SET state = 'open', claim = 'session', request = NULL",
    "without a claim": "UPDATE events SET kind = 'noted' WHERE kind = 'claimed'",
    "was acted on": "UPDATE requests SET attendant = 'infra', ask = (SELECT min(id) FROM asks)",
    "is not any more": "UPDATE messages SET read = NULL",
    "outcomes told": "DELETE FROM messages WHERE kind = 'outcome'",
    "is not told to who sent": "UPDATE messages SET receiver = 'site' WHERE kind = 'outcome'",
    "nothing came of": "UPDATE requests SET notify = NULL; DELETE FROM messages WHERE kind = 'outcome'",
    "which is no release": "UPDATE requests SET notify = (SELECT id FROM messages WHERE text LIKE '%do NOT%')",
    "was told to be": "UPDATE requests SET state = 'failed' WHERE state IN ('landed', 'unchanged')",
    "is not the one that was told": "UPDATE requests SET receipt = json_set(receipt, '$.audit_head', 'f00')",
    "requests": "UPDATE requests SET circle = NULL, idempotency_key = 'key'",
    "is queued": "UPDATE requests SET state = 'queued'",
    "approvals used": "UPDATE approvals SET used = NULL",
    "and was denied": APPROVAL.format(0),
    "people made fewer": APPROVAL.format(1),
    "is not there": "DELETE FROM approvals",
}
IN_THE_JOURNAL = {
    "never said so": lambda told: told.update(read=[]),
    "was accepted and is not there": lambda told: told["taken"].append("req-none"),
    "nobody sent": lambda told: told["sent"].clear(),
    "never said": lambda told: told.update(acks=[]),
}


@pytest.fixture
async def day(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario on which one of each errand was gone about, and all is quiet; with the journal of it."""
    scenario = Scenario(cluster_setup, tmp_path, serve=False)
    scenario.policy = RandomLoad.policy(scenario)
    async with scenario:
        load = RandomLoad(scenario, 1)
        await load.move_in()
        load.yes = 1.0
        async with anyio.create_task_group() as people:
            for number, session in enumerate(load.sessions):
                people.start_soon(session.stay)
                people.start_soon((Mailbox if session.who[1] else AttendantSessions)(load, session, number).run)
            people.start_soon(load.approve)
            await load.rage(0)
            errands = RandomRequests(load, load.sessions[0], 0)
            several = [errands.ask_a_peer] * 8 + [errands.ask_in_vain] * 8
            for errand in (*several, errands.notify_a_peer, errands.chatter, errands.release, errands.weekly):
                await errand()
            await errands.guarded()
            await errands.broadcast()
            await load.calm()
            people.cancel_scope.cancel()
        await scenario.stop()  # so that all of the ledger is in its one file
        assert load.faults == []
        yield scenario, load.journal.told()


async def test_the_judge_finds_what_a_broken_server_could_lose_or_double(day, tmp_path_factory):
    scenario, told = day
    assert await verdict_on_mail(scenario, told) == []

    home, missed = tmp_path_factory.mktemp("tampered"), {}
    for number, (words, statements) in enumerate(IN_THE_LEDGER.items()):
        ledger = home / f"{number}.sqlite3"
        shutil.copy(scenario.settings.state_dir / "ledger.sqlite3", ledger)
        connection = sqlite3.connect(ledger, isolation_level=None)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.executescript(statements)
        connection.close()
        found = await verdict_on_mail(scenario, told, ledger=str(ledger))
        if not any(words in fault for fault in found):
            missed[words] = found
    for words, change in IN_THE_JOURNAL.items():
        other = copy.deepcopy(told)
        change(other)
        found = await verdict_on_mail(scenario, other)
        if not any(words in fault for fault in found):
            missed[f"journal: {words}"] = found
    assert missed == {}


def test_the_judge_of_the_mail_takes_nothing_from_the_product():
    tree = ast.parse(Path(MAIL_INVARIANTS).read_text(encoding="utf-8"))
    taken = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    taken |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert taken <= sys.stdlib_module_names
