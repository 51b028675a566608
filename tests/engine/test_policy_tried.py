"""`policy test`: a changed policy tried on requests that an engine decided, by the function that decides live ones."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing

import pytest
from engine.two_kinds import APPROVAL, NEW, OLD, PAT, Ground, register
from policy_texts import DOCS

from infra_mcp.ledger import judgements
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State, Submission
from infra_mcp.server.operator import OPERATOR, Operator

pytestmark = [pytest.mark.anyio, pytest.mark.promise("policy.test")]

DENY = '[[rules]]\nid = "no"\nmatch = { namespaces = ["docs-*"] }\ndeny = true\n'
FROZEN = '[[freeze]]\nid = "then"\nfrom = "2020-01-01T00:00:00Z"\nuntil = "2021-01-01T00:00:00Z"\n'
STRANGER = Caller(name="docs", circle="strangers", strength="token")


@pytest.fixture
def ground(tmp_path, monkeypatch):
    register(monkeypatch)
    made = Ground(tmp_path)
    made.make()
    return made


async def tried(engine, text, **more):
    return await Operator(engine.ledger, engine.policy).call(OPERATOR, "operator/policy.test", {"text": text, **more})


async def refused(engine):
    """A request that policy refuses before it is planned."""
    action = Deploy(app="docs", version=NEW)
    taken = await engine.submit(Submission(caller=STRANGER, action=action, channel="tool"))
    return await engine.wait(taken.request.id, 60.0)


async def test_a_policy_is_tried_on_what_was_decided_and_says_what_would_differ_by_which_rule(ground):
    async with ground.engine() as engine:
        landed = await ground.ask(engine)
        same = await tried(engine, ground.policy)
        needs = await tried(engine, ground.policy + APPROVAL)
        denied = await tried(engine, ground.policy + DENY)

    assert landed.state is State.LANDED
    assert (same["tried"], same["differ"], same["unknown"]) == (1, [], [])
    # The namespace stands in the plan only: without the plan the rule would match nothing.
    (one,) = needs["differ"]
    assert (one["request"], one["asked"]) == (landed.id, f"docs of docs: deploy app=docs version={NEW}")
    assert (one["then"], one["now"], one["rule"]) == ("allow", "needs-approval", "rules.one")
    assert [(each["now"], each["rule"]) for each in denied["differ"]] == [("refuse", "rules.no")]


async def test_one_approval_more_is_a_difference_and_what_is_refused_by_another_rule_is_none(ground):
    ground.settings.policy_file.write_text(ground.policy + APPROVAL, encoding="utf-8")
    async with ground.engine() as engine:
        waiting = await ground.ask(engine)
        await refused(engine)
        same = await tried(engine, ground.policy + APPROVAL + DENY.replace("docs-*", "shop-*"))
        more = await tried(engine, ground.policy + APPROVAL.replace("approvals = 1", "approvals = 2"))
        none = await tried(engine, ground.policy)

    assert waiting.state is State.AWAITING_APPROVAL
    assert (same["tried"], same["differ"], same["unknown"]) == (2, [], [])
    assert [(one["request"], one["then"], one["now"]) for one in more["differ"]] == [
        (waiting.id, "needs-approval", "needs-approval")
    ]
    assert [(one["request"], one["now"]) for one in none["differ"]] == [(waiting.id, "allow")]


async def test_a_request_whose_plan_was_not_kept_is_said_to_be_unknown_and_never_guessed(ground):
    async with ground.engine() as engine:
        stranger = await refused(engine)
        more = DOCS.replace("[circles.docs]", "[circles.strangers]").partition("[apps")[0]
        granted = ground.policy + more
        allowed = await tried(engine, granted)
        landed = await ground.ask(engine)
        with closing(sqlite3.connect(ground.settings.state_dir / "ledger.sqlite3")) as rows, rows:
            rows.execute("DELETE FROM judgements")
        lost = await tried(engine, ground.policy + DENY)
        gone = await tried(engine, ground.policy.replace('"deploy"', '"restart"'))

    assert [(one["request"], one["unknown"]) for one in allowed["unknown"]] == [(stranger.id, "its plan was not kept")]
    # The rule matches by the plan, so that it may or may not refuse; without the action, it is refused in any case.
    assert [(one["request"], one["unknown"]) for one in lost["unknown"]] == [(landed.id, "its plan was not kept")]
    assert lost["differ"] == []
    assert [(one["request"], one["then"], one["now"]) for one in gone["differ"]] == [(landed.id, "allow", "refuse")]


@pytest.mark.parametrize("how", ["changed", "secret", "large", "damaged"])
async def test_a_plan_that_is_not_the_one_that_was_judged_is_not_judged_again(ground, how, monkeypatch):
    if how == "large":
        monkeypatch.setattr(judgements, "MAX_BYTES", 200)
    if how == "secret":
        monkeypatch.setattr(judgements, "written", lambda _, value: value | {"lacks": value["lacks"] or "-"})
    async with ground.engine() as engine:
        await ground.ask(engine)
        if how in {"changed", "damaged"}:
            with closing(sqlite3.connect(ground.settings.state_dir / "ledger.sqlite3")) as rows, rows:
                (packed,) = rows.execute("SELECT judged FROM judgements").fetchone()
                text = zlib.decompress(packed).replace(OLD.encode(), b"9.9.9") if how == "changed" else b"{"
                rows.execute("UPDATE judgements SET judged = ?", (zlib.compress(text),))
        found = await tried(engine, ground.policy + APPROVAL)

    assert found["differ"] == []
    (one,) = found["unknown"]
    assert {"changed": "changed", "secret": "secret", "large": "large", "damaged": "not kept"}[how] in one["unknown"]


async def test_the_newest_are_tried_of_a_circle_and_since_a_time_and_a_freeze_is_one_of_then(ground):
    async with ground.engine() as engine:
        first = await ground.ask(engine, dry_run=True)
        await refused(engine)
        newest = await tried(engine, ground.policy + DENY, limit=1)
        docs = await tried(engine, ground.policy + DENY, circle="docs")
        later = await tried(engine, ground.policy + DENY, since="2099-01-01T00:00:00Z")
        frozen = await tried(engine, ground.policy + FROZEN)
        ever = await tried(engine, ground.policy + FROZEN.replace("2021", "2099"))

    assert (newest["tried"], newest["differ"]) == (1, [])
    assert (docs["tried"], [one["request"] for one in docs["differ"]]) == (1, [first.id])
    assert later["tried"] == 0
    assert frozen["differ"] == []
    assert [(one["request"], one["rule"]) for one in ever["differ"]] == [(first.id, "freeze.then")]


async def test_a_policy_by_which_plans_would_be_made_otherwise_says_so(ground):
    async with ground.engine() as engine:
        same = await tried(engine, ground.policy + DENY)
        other = await tried(engine, ground.policy.replace('path = "own"', 'path = "ours"'))

    assert (same["planned_otherwise"], other["planned_otherwise"]) == ([], ["tree"])


async def test_only_an_operator_tries_a_policy(ground):
    async with ground.engine() as engine:
        operator = Operator(engine.ledger, engine.policy)
        with pytest.raises(Exception, match="policy-denied"):
            await operator.call(STRANGER, "operator/policy.test", {"text": ground.policy})
        assert (await operator.call(PAT, "operator/policy.test", {"text": ground.policy}))["tried"] == 0
