"""Questions that are asked all the time are answered from an index, however large the ledger grows."""

import pytest
from sqlalchemy import event

from infra_mcp.ledger import schema

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


@pytest.fixture
def plans(ledger):
    """Runs something that reads, and returns how SQLite would answer each of its queries."""

    async def run(read):
        asked = []

        def note(_connection, _cursor, statement, parameters, _context, _many):
            if statement.startswith(("SELECT", "WITH", "UPDATE")):
                asked.append((statement, parameters))

        engine = ledger._database._engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            await read()
        finally:
            event.remove(engine, "before_cursor_execute", note)
        assert asked

        def explain(connection):
            found = []
            for statement, parameters in asked:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found.append((statement, [row.detail for row in rows]))
            return found

        return await ledger._database.read(explain)

    return run


@pytest.fixture
async def questions(ledger, docs, shop, at):
    mine, other = at(docs), at(docs).model_copy(update={"name": "shop"})
    # Something of each kind waits: of an empty inbox only the counts are asked.
    await ledger.mail.open_ask(shop, mine, "which version?", now=NOW)
    await ledger.mail.post(shop, [mine], "hello", now=NOW)
    acked = await ledger.mail.open_ask(docs, at(shop), "and yours?", now=NOW)
    await ledger.mail.ack(shop, acked.id, "0.13.4", now=NOW)
    return {
        "inbox": lambda: ledger.mail.inbox(mine),
        "counts": lambda: ledger.mail.counts(mine, other, "ask-1"),
        "marking": lambda: ledger.mail.mark_read(mine, ["ask-1", "notif-1"], now=NOW),
        "one message": lambda: ledger.mail.message(mine, "notif-1"),
        "unanswered": lambda: ledger.mail.unanswered("infra"),
        "claims": lambda: ledger.mail.release("s1"),
        "parked": ledger.parked,
        "open requests": ledger.open_requests,
        "open releases": lambda: ledger.open_releases("docs"),
        "landed version": lambda: ledger.landed_version("docs"),
        "search by object": lambda: ledger.search("", circle=None, object="deployment/docs"),
        "search by peer": lambda: ledger.search("", circle=None, peer="docs"),
        "search by time": lambda: ledger.search("", circle="docs", since="2026-11-22"),
        "trail": lambda: ledger.trail("req-1"),
        "trail of an object": lambda: ledger.trail_of("docs"),
        "token": lambda: ledger.caller_for_token("imcp_x"),
        "approvals": lambda: ledger.approvals.of("req-1"),
        "purge": lambda: ledger.mail.purge("2026-01-01"),
    }


NAMES = (
    "inbox",
    "counts",
    "marking",
    "one message",
    "unanswered",
    "claims",
    "parked",
    "open requests",
    "open releases",
    "landed version",
    "search by object",
    "search by peer",
    "search by time",
    "trail",
    "trail of an object",
    "token",
    "approvals",
    "purge",
)


@pytest.mark.parametrize("question", NAMES)
async def test_no_table_that_grows_is_read_through(plans, questions, question):
    assert set(NAMES) == set(questions)
    grows = {schema.events, schema.subjects, schema.requests, schema.asks, schema.outbox, schema.messages}
    names = {table.name for table in grows} | {"approvals"}
    found = await plans(questions[question])
    assert len(found) == 4 or question != "inbox", "the counts, asks, messages and acks"
    for statement, plan in found:
        for step in plan:
            words = step.split()
            through = words[0] == "SCAN" and words[1] in names
            assert not through, f"{step}\n{statement}\n{plan}"


# The inbox is not here: it gives every sender a share, so it orders what waits for its one reader.
@pytest.mark.parametrize("question", ["parked", "unanswered"])
async def test_what_is_asked_all_the_time_need_not_be_sorted(plans, questions, question):
    for statement, plan in await plans(questions[question]):
        sorted_whole = any("TEMP B-TREE FOR ORDER BY" in step for step in plan)
        several_states = question == "parked"  # two, each in order
        assert several_states or not sorted_whole, f"{plan}\n{statement}"
