"""Freezes that operators order by a command: they add to the policy, and no peer orders or lifts one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ledger_template import open_new

from infra_mcp.engine.notices import notices
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.policy.acceptance import PolicyInForce, end_of
from infra_mcp.policy.matching import active_freeze
from infra_mcp.policy.policy import digest_of
from infra_mcp.policy.restrictions import FreezeMatch
from infra_mcp.server.operator import OPERATOR, Operator

pytestmark = [pytest.mark.anyio, pytest.mark.promise("policy.windows")]

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
YEAR_END = """
[clusters.a]
context = "a"
[[freeze]]
id = "year-end"
from = "2026-12-20T18:00:00Z"
until = "2027-01-04T06:00:00Z"
"""
PEER = Caller(name="docs", circle="docs", strength="token")


@pytest.fixture
async def ledger(tmp_path):
    made = await open_new(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
async def in_force(ledger, tmp_path):
    file = tmp_path / "infra.toml"
    file.write_text(YEAR_END, encoding="utf-8")
    policy = PolicyInForce(file, ledger)
    await policy.refresh()
    await policy.accept(digest_of(YEAR_END), OPERATOR)
    return policy


def order(policy, *, hours=4, now=NOW, by=OPERATOR, **match):
    given = FreezeMatch.model_validate({key: tuple(value) for key, value in match.items()})
    return policy.freeze(by, until=now + timedelta(hours=hours), match=given, reason="the network", now=now)


def held(policy, now=NOW, **about):
    given = {"app": "docs", "namespaces": ("docs-live",), "circle": "docs"} | about
    found = active_freeze(policy.current(), now=now, **given)
    return found.id if found else None


async def test_a_freeze_is_in_force_at_once_after_a_restart_too_and_leaves_the_policy_as_it_is(
    in_force, ledger, tmp_path
):
    digest, changed = in_force.current().digest, in_force.changed()

    made = await order(in_force)

    assert changed.is_set(), "what waits is judged again"
    assert (made.id, made.by, held(in_force)) == ("ordered-1", "operator", "ordered-1")
    again = PolicyInForce(tmp_path / "infra.toml", ledger)
    await again.refresh()
    assert held(again) == "ordered-1"
    assert in_force.current().digest == again.current().digest == digest
    assert [one.id for one in again.current().freezes] == ["year-end", "ordered-1"]
    assert held(in_force, now=NOW + timedelta(hours=4)) is None


async def test_a_clock_that_is_set_back_does_not_suspend_it(in_force, ledger):
    await order(in_force)
    earlier = NOW - timedelta(days=3)

    assert held(in_force, now=earlier) == "ordered-1"
    (notice,) = [one for one in await notices(ledger, in_force.current(), earlier) if one["about"] == "freeze"]
    assert (notice["id"], notice["holds"]) == ("ordered-1", True)


async def test_another_accepted_policy_does_not_lift_it(in_force, tmp_path):
    await order(in_force)
    text = '[clusters.a]\ncontext = "b"\n'
    (tmp_path / "infra.toml").write_text(text, encoding="utf-8")

    await in_force.accept(digest_of(text), OPERATOR)

    assert [one.id for one in in_force.current().freezes] == ["ordered-1"]


async def test_it_holds_under_a_pinned_policy(ledger, tmp_path):
    (tmp_path / "infra.toml").write_text(YEAR_END, encoding="utf-8")
    pinned = PolicyInForce(tmp_path / "infra.toml", ledger, digest_of(YEAR_END))
    await pinned.refresh()

    await order(pinned)

    assert held(pinned) == "ordered-1"


async def test_each_is_about_what_it_names_and_is_lifted_alone_or_with_all(in_force):
    await order(in_force, namespaces=["shop-*"])
    await order(in_force, hours=2, namespaces=["docs-*"], circles=["docs"])

    assert held(in_force) == "ordered-2"
    assert held(in_force, namespaces=("till",)) is None
    assert held(in_force, circle="shop") is None
    assert await in_force.unfreeze(OPERATOR, "ordered-2") == ("ordered-2",)
    assert held(in_force) is None
    await order(in_force)
    assert held(in_force) == "ordered-3", "who lifts an old one by its id lifts no other"
    assert await in_force.unfreeze(OPERATOR, None) == ("ordered-1", "ordered-3")
    assert held(in_force) is None
    for name in ("year-end", "ordered-9", None):
        with pytest.raises(InfraError, match="not-found"):
            await in_force.unfreeze(OPERATOR, name)
    assert [one.id for one in in_force.current().freezes] == ["year-end"]
    assert (await order(in_force)).id == "ordered-4"


async def test_what_the_ledger_would_not_keep_as_it_is_is_refused_and_freezes_nothing(in_force):
    secret = "glpat-" + "abcde01234" * 2  # it looks like a token of a forge
    for until, pattern in ((NOW + timedelta(milliseconds=300), "docs"), (NOW + timedelta(hours=1), secret)):
        match = FreezeMatch(namespaces=(pattern,))
        with pytest.raises(InfraError, match="invalid-argument"):
            await in_force.freeze(OPERATOR, until=until, match=match, reason="the network", now=NOW)
        assert (in_force.ordered, held(in_force)) == ((), None)


async def test_the_trail_tells_who_froze_what_and_who_lifted_it(in_force, ledger):
    await order(in_force, by=OPERATOR.model_copy(update={"name": "ann"}))
    await in_force.unfreeze(OPERATOR, None)

    events = (await ledger.search("", circle=None, limit=10)).events
    told = [(one.peer, one.text) for one in events if one.kind == "freezes-changed"]
    assert told[::-1] == [
        ("ann", "Changes are frozen until 2026-11-22T14:00:00+00:00: the network"),
        ("operator", "Freeze lifted: all that were ordered"),
    ]


@pytest.mark.parametrize("method", ["operator/freeze", "operator/unfreeze"])
async def test_no_peer_orders_or_lifts_one(in_force, ledger, method):
    with pytest.raises(InfraError, match="policy-denied"):
        await Operator(ledger, in_force).call(PEER, method, {"reason": "I want to"})
    with pytest.raises(InfraError, match="policy-denied"):
        await order(in_force, by=PEER)
    with pytest.raises(InfraError, match="policy-denied"):
        await in_force.unfreeze(PEER, None)
    assert in_force.ordered == ()


@pytest.mark.parametrize("hours", [0, -1, 24 * 367])
async def test_one_that_would_not_last_or_lasts_too_long_is_refused(in_force, hours):
    with pytest.raises(InfraError, match="invalid-argument"):
        await order(in_force, hours=hours)
    assert in_force.ordered == ()


def test_its_end_is_a_duration_or_a_moment_with_an_offset():
    assert end_of("4h", NOW) == NOW + timedelta(hours=4)
    assert end_of("2026-12-20T18:00:00+01:00", NOW) == datetime(2026, 12, 20, 17, tzinfo=UTC)
    for text in ("", "tomorrow", "4", "-4h", "2026-12-20T18:00:00", "999d"):
        with pytest.raises(InfraError, match="invalid-argument"):
            end_of(text, NOW)


async def test_the_command_without_an_end_freezes_until_someone_lifts_it(in_force, ledger):
    operator = Operator(ledger, in_force)

    made = await operator.call(OPERATOR, "operator/freeze", {"reason": "no network", "match": {"apps": ["docs"]}})

    assert made["match"] == {"apps": ("docs",)} or made["match"] == {"apps": ["docs"]}
    assert datetime.fromisoformat(made["until"]) - datetime.now(UTC) > timedelta(days=365)
    (notice,) = await notices(ledger, in_force.current(), datetime.now(UTC))
    assert (notice["about"], notice["lift"]) == ("freeze", "infra-mcp unfreeze ordered-1")
    assert (await operator.call(OPERATOR, "operator/policy.show", {}))["summary"]["freezes"][-1] == "ordered-1"
    assert (await operator.call(OPERATOR, "operator/unfreeze", {}))["lifted"] == ["ordered-1"]
