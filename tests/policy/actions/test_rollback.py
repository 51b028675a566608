"""What policy asks of a rollback: today's grants, for the rollback and for what it is about, and its own effect."""

from datetime import UTC, datetime

import pytest

from infra_mcp.model.actions import Rollback, RollbackOf
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace, Quota
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.target import Target
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

pytestmark = pytest.mark.promise("rollback.request")

POLICY = """
[clusters.sandbox]
context = "kwok-infra"
[circles.docs]
namespaces = ["docs-*"]
actions = ["rollback", "deploy", "scale", "provision_namespace"]
images = ["registry.example/docs/*"]
limits = { replicas = 4, cpu = "2", memory = "4Gi" }
[circles.shop]
namespaces = ["shop-*"]
actions = ["rollback"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[apps.till]
owner = "shop"
workload = "shop-live/deployment/till"
image = "registry.example/shop/till:{version}"
"""
GRANTED = load(POLICY)
FREEZE = """
[[freeze]]
id = "f"
from = 2026-11-01T00:00:00Z
until = 2026-12-31T00:00:00Z
match = { apps = ["docs"] }
"""
NOW = datetime(2026, 11, 30, tzinfo=UTC)
DEPLOYMENT = Target(system="kubernetes", place="sandbox", scope="docs-live", kind="apps/Deployment", name="docs")
QUOTA = Target(system="kubernetes", place="sandbox", scope="docs-x", kind="ResourceQuota", name="quota")
IMAGE = ("spec", "template", "spec", "containers", {"name": "site"}, "image")
SPACE = ProvisionNamespace(namespace="docs-x", quota=Quota(pods=3))


def of(action):
    return RollbackOf(request="req-1", of=action)


@pytest.mark.parametrize(
    "action",
    [Deploy(app="docs", version="2"), Scale(app="docs", replicas=99), SPACE, Deploy(app="docs", version="latest")],
)
def test_what_a_request_asked_for_is_not_judged_again(docs, action):
    assert admit(GRANTED, docs, of(action)).decision == "allow"


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("policy", "action", "rule"),
    [
        (POLICY.replace('"rollback", "deploy"', '"deploy"'), Deploy(app="docs", version="2"), "circles.docs.actions"),
        (POLICY.replace('"rollback", "deploy"', '"rollback"'), Deploy(app="docs", version="2"), "circles.docs.actions"),
        (POLICY.replace('owner = "docs"', 'owner = "shop"'), Deploy(app="docs", version="2"), "apps.docs"),
        (POLICY, Deploy(app="till", version="2"), "apps.till"),
        (POLICY.replace('"docs-*"', '"other-*"'), Scale(app="docs", replicas=2), "circles.docs.namespaces"),
        (POLICY, ProvisionNamespace(namespace="shop-x"), "circles.docs.namespaces"),
        (POLICY, ProvisionNamespace(namespace="docs-x", cluster="other"), "clusters"),
    ],
)
def test_the_rollback_and_what_it_is_about_must_be_granted_today(docs, policy, action, rule):
    verdict = admit(load(policy), docs, of(action))

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


def test_an_action_that_is_granted_and_not_yet_in_force_is_not_rolled_back(docs):
    policy = GRANTED.accepted_for({"rollback", "scale"})

    assert admit(policy, docs, of(Deploy(app="docs", version="2"))).rule == "circles.docs.actions"
    assert admit(policy, docs, of(Scale(app="docs", replicas=2))).decision == "allow"


def test_a_rollback_of_which_nothing_is_known_is_refused(docs):
    assert admit(GRANTED, docs, Rollback(request="req-1")).decision == "refuse"
    assert RULES["rollback"].about(GRANTED, Rollback(request="req-1")).keys == frozenset()


def test_it_holds_the_locks_of_what_it_is_about():
    for action in (Deploy(app="docs", version="2"), SPACE):
        assert RULES["rollback"].about(GRANTED, of(action)) == RULES[action.action].about(GRANTED, action)


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("action", "target", "path", "after", "rule"),
    [
        (Deploy(app="docs", version="2"), DEPLOYMENT, IMAGE, "registry.example/docs/site:1", None),
        (Deploy(app="docs", version="2"), DEPLOYMENT, IMAGE, "registry.example/shop/till:1", "circles.docs.images"),
        (Deploy(app="till", version="2"), DEPLOYMENT, IMAGE, "registry.example/docs/site:1", "apps.till"),
        (Scale(app="docs", replicas=1), DEPLOYMENT, ("spec", "replicas"), 4, None),
        (Scale(app="docs", replicas=1), DEPLOYMENT, ("spec", "replicas"), 5, "circles.docs.limits.replicas"),
        (Scale(app="docs", replicas=1), QUOTA, ("spec", "hard", "pods"), "5", "effect.scope"),
        (SPACE, QUOTA, ("spec", "hard", "limits.cpu"), "2", None),
        (SPACE, QUOTA, ("spec", "hard", "limits.cpu"), "2500m", "circles.docs.limits"),
        (SPACE, QUOTA, ("spec", "hard"), {"pods": "9", "requests.memory": "5Gi"}, "circles.docs.limits"),
        (SPACE, QUOTA, ("spec", "hard", "limits.memory"), "1e9", "circles.docs.limits"),
        (
            SPACE,
            QUOTA.model_copy(update={"kind": "LimitRange"}),
            ("spec", "limits"),
            [{"type": "Container", "default": {"cpu": "3"}}],
            "circles.docs.limits",
        ),
        (SPACE, QUOTA.model_copy(update={"kind": "Secret"}), ("data", "x"), "y", "effect.kinds"),
        (SPACE, QUOTA.model_copy(update={"scope": "docs-y"}), ("spec", "hard", "pods"), "5", "effect.scope"),
    ],
)
def test_what_it_sets_back_is_judged_as_any_effect(docs, action, target, path, after, rule):
    verdict = judge(GRANTED, docs, of(action), effect(target, path, after))

    assert (verdict.rule, verdict.decision) == ((rule, "refuse") if rule else ("circles.docs.actions", "allow"))


@pytest.mark.parametrize("operation", ["create", "delete"])
def test_a_plan_that_makes_or_deletes_an_object_is_refused(docs, operation):
    verdict = judge(GRANTED, docs, of(SPACE), effect(QUOTA, ("spec", "hard", "pods"), "5", operation))

    assert verdict.rule == "effect.scope"


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ('[[rules]]\nid = "a"\nmatch = { actions = ["rollback"] }\ndeny = true', "rules.a"),
        ('[[rules]]\nid = "a"\nmatch = { apps = ["docs"] }\ndeny = true', "rules.a"),
        ('[[rules]]\nid = "a"\nmatch = { namespaces = ["docs-*"] }\nrequire = { approvals = 1 }', "rules.a"),
        ('[[rules]]\nid = "a"\nmatch = { actions = ["deploy"] }\ndeny = true', None),
        (FREEZE, "freeze.f"),
    ],
)
def test_rules_and_freezes_match_the_rollback_and_what_it_is_about(docs, more, rule):
    verdict = judge(load(POLICY + more), docs, of(Deploy(app="docs", version="2")), None, now=NOW)

    assert (verdict.rule, verdict.decision == "allow") == (rule or "circles.docs.actions", rule is None)


def effect(target, path, after, operation="update"):
    field = FieldChange(path=path, before=None, after=after)
    change = Change(target=target, operation=operation, fields=(field,))
    return Effect(action={}, parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,)),), files=())
