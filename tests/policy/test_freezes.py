from datetime import UTC, datetime, timedelta

import pytest

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.effect import Change, Effect, Part
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.decide import admit, judge, refusal
from infra_mcp.policy.matching import active_freeze
from infra_mcp.policy.policy import load

BEGINS = datetime(2026, 12, 20, 17, tzinfo=UTC)
UNTIL = datetime(2027, 1, 4, 5, tzinfo=UTC)
DURING = BEGINS + timedelta(days=1)
FREEZE = """
[[freeze]]
id = "year-end"
from = 2026-12-20T18:00:00+01:00
until = "2027-01-04T06:00:00+01:00"
reason = "Nobody is there."
"""
DEPLOY = Deploy(app="docs", version="0.13.4")
NAMESPACE = ProvisionNamespace(namespace="docs-staging")


def found(text, app="docs", namespaces=("docs-live",), circle="docs", now=DURING):
    one = active_freeze(load(text), app=app, namespaces=namespaces, circle=circle, now=now)
    return one.id if one else None


@pytest.mark.parametrize(
    ("now", "holds"),
    [
        (BEGINS - timedelta(microseconds=1), False),
        (BEGINS, True),
        (UNTIL - timedelta(microseconds=1), True),
        (UNTIL, False),
    ],
)
def test_a_freeze_holds_from_its_first_moment_to_before_its_last(now, holds):
    assert (found(FREEZE, now=now) == "year-end") is holds


@pytest.mark.parametrize(
    ("match", "change", "holds"),
    [
        ("{}", {}, True),
        ("{ apps = ['docs'] }", {}, True),
        ("{ apps = ['d*'], namespaces = ['*-live'], circles = ['docs'] }", {}, True),
        ("{ apps = ['till'] }", {}, False),
        ("{ apps = ['*'] }", {"app": None}, False),
        ("{ namespaces = ['docs-prod'] }", {}, False),
        ("{ namespaces = ['docs-prod'] }", {"namespaces": ("docs-live", "docs-prod")}, True),
        ("{ circles = ['shop'] }", {}, False),
        ("{ circles = ['docs'] }", {"circle": None}, False),
        ("{ circles = ['*'] }", {"circle": None}, True),
        ("{ apps = ['docs'], circles = ['shop'] }", {}, False),
        ("{ namespaces = [] }", {}, False),
    ],
)
def test_a_freeze_is_about_what_every_key_matches(match, change, holds):
    assert (found(FREEZE + f"match = {match}", **change) is not None) is holds


def test_of_several_freezes_the_one_that_ends_last_is_named():
    short, long = FREEZE.replace("year-end", "short").replace("2027-01-04", "2026-12-24"), FREEZE

    assert found(short + long) == found(long + short) == "year-end"
    assert found(long + short.replace("2026-12-24T06", "2026-12-20T19"), now=DURING) == "year-end"


@pytest.mark.parametrize("action", [DEPLOY, NAMESPACE])
def test_what_is_asked_for_directly_is_refused_while_a_freeze_holds_and_told_until_when(policy_text, docs, action):
    verdict = admit(load(policy_text + FREEZE), docs, action, now=DURING)

    assert (verdict.decision, verdict.rule) == ("refuse", "freeze.year-end")
    assert verdict.reason == "Nothing may change here until 2027-01-04T06:00:00+01:00 (Nobody is there.)."
    assert verdict.would_pass == "The same request after 2027-01-04T06:00:00+01:00."
    assert refusal(verdict).code == "policy-denied"


@pytest.mark.parametrize("now", [None, BEGINS - timedelta(seconds=1), UNTIL])
def test_without_a_time_freezes_are_not_asked_and_outside_of_them_nothing_is_refused(policy_text, docs, now):
    assert admit(load(policy_text + FREEZE), docs, DEPLOY, now=now).decision == "allow"


def test_what_a_plan_touches_falls_into_a_freeze_too(policy_text, docs):
    policy = load(policy_text + FREEZE + "match = { namespaces = ['docs-live'] }")
    ref = ObjectRef(cluster="sandbox", api_version="v1", kind="Namespace", namespace=None, name="docs-staging")
    change = Change(target=ref.target, operation="create", identity="server")
    plan = Effect(action={}, parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,)),), files=())
    here = load(policy_text + FREEZE + "match = { namespaces = ['docs-staging'] }")

    assert judge(policy, docs, NAMESPACE, plan, now=DURING).decision == "allow"
    assert judge(here, docs, NAMESPACE, plan, now=DURING).rule == "freeze.year-end"
    assert judge(here, docs, NAMESPACE, plan).decision == "allow"


def test_a_freeze_is_told_only_to_those_who_were_granted_the_change(policy_text, docs):
    text = policy_text + FREEZE

    assert admit(load(text), docs, ProvisionNamespace(namespace="prod"), now=DURING).rule == "circles.docs.namespaces"
    assert admit(load(text), docs, Deploy(app="till", version="1"), now=DURING).rule == "apps.till"


def test_a_freeze_beats_an_approval_that_could_be_given(policy_text, docs):
    prod = ProvisionNamespace(namespace="docs-prod")

    assert admit(load(policy_text + FREEZE), docs, prod).decision == "needs-approval"
    assert admit(load(policy_text + FREEZE), docs, prod, now=DURING).rule == "freeze.year-end"
