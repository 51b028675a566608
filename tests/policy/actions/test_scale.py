"""What policy asks of a scaling and of a restart, by the request and by its plan."""

import pytest

from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

POLICY = """
[clusters.sandbox]
context = "kwok-infra"
[circles.docs]
namespaces = ["docs-*"]
actions = ["restart", "scale"]
images = ["registry.example/docs/*"]
LIMITS
[circles.shop]
namespaces = ["shop-*"]
actions = ["deploy"]
[attend]
namespaces = ["docs-*"]
actions = ["restart", "scale"]
limits = { replicas = 2 }
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[apps.away]
owner = "docs"
workload = "shop-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[apps.till]
owner = "shop"
workload = "shop-live/deployment/till"
image = "registry.example/shop/till:{version}"
"""
GRANTED = load(POLICY.replace("LIMITS", "limits = { replicas = 4 }"))
UNLIMITED = load(POLICY.replace("LIMITS", 'limits = { cpu = "1" }'))
REPLICAS, IMAGE = ("spec", "replicas"), ("spec", "template", "spec", "containers", {"name": "site"}, "image")
RESTART = ("spec", "template", "metadata", "annotations", "infra-mcp.dev/restart")


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (Scale(app="docs", replicas=5), "circles.docs.limits.replicas"),
        (Scale(app="docs", replicas=10_000), "circles.docs.limits.replicas"),
        (Scale(app="till", replicas=1), "apps.till"),
        (Scale(app="nowhere", replicas=1), "apps.nowhere"),
        (Scale(app="away", replicas=1), "circles.docs.namespaces"),
        (Scale(app="docs", replicas=1, cluster="other"), "clusters"),
        (Restart(app="till"), "apps.till"),
        (Restart(app="nowhere"), "apps.nowhere"),
        (Restart(app="away"), "circles.docs.namespaces"),
        (Restart(app="docs", cluster="other"), "clusters"),
    ],
)
def test_only_an_own_app_in_an_own_namespace_is_scaled_or_restarted_and_within_the_limit(docs, action, rule):
    assert (admit(GRANTED, docs, action).decision, admit(GRANTED, docs, action).rule) == ("refuse", rule)


@pytest.mark.parametrize("action", [Restart(app="docs"), *(Scale(app="docs", replicas=n) for n in (0, 1, 4))])
def test_what_is_granted_is_allowed(docs, action):
    assert admit(GRANTED, docs, action).decision == "allow"


@pytest.mark.promise("policy.reason")
def test_a_refusal_says_how_many_would_pass(docs):
    assert admit(GRANTED, docs, Scale(app="docs", replicas=5)).would_pass == "At most 4 replicas."


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize("replicas", [0, 1, 4])
def test_without_a_limit_no_replicas_are_granted_and_the_key_is_named(docs, replicas):
    verdict = admit(UNLIMITED, docs, Scale(app="docs", replicas=replicas))

    assert (verdict.decision, verdict.rule) == ("refuse", "circles.docs.limits.replicas")
    assert admit(UNLIMITED, docs, Restart(app="docs")).decision == "allow"


def test_who_is_not_granted_the_action_may_not_whatever_the_app(shop):
    for action in (Restart(app="till"), Scale(app="till", replicas=1)):
        assert admit(GRANTED, shop, action).rule == "circles.shop.actions"


def test_a_session_that_acts_for_others_scales_within_its_own_limit_too(docs):
    assert admit(GRANTED, docs, Scale(app="docs", replicas=2), attendant=True).decision == "allow"
    verdict = admit(GRANTED, docs, Scale(app="docs", replicas=3), attendant=True)
    assert (verdict.rule, "2" in verdict.would_pass) == ("attend.limits.replicas", False)


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("action", "path", "after", "decision"),
    [
        (Scale(app="docs", replicas=3), REPLICAS, 3, "allow"),
        (Scale(app="docs", replicas=3), REPLICAS, 4, "refuse"),
        (Scale(app="docs", replicas=3), IMAGE, "registry.example/docs/site:9", "refuse"),
        (Restart(app="docs"), RESTART, "req-1", "allow"),
        (Restart(app="docs"), IMAGE, "registry.example/docs/site:9", "refuse"),
    ],
)
def test_a_plan_that_does_something_else_is_refused(docs, action, path, after, decision):
    assert judge(GRANTED, docs, action, effect(path, after)).decision == decision


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize("action", [Restart(app="docs"), Scale(app="docs", replicas=3)])
@pytest.mark.parametrize("name", ["docs-2", "till"])
def test_a_plan_about_another_workload_is_refused(docs, action, name):
    assert judge(GRANTED, docs, action, effect(REPLICAS, 3, name)).rule == "effect.scope"


def effect(path, after, name="docs"):
    ref = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs-live", name=name)
    images = (after,) if path == IMAGE else ()
    field = FieldChange(path=path, before=None, after=after)
    change = Change(target=ref.target, operation="update", identity="circle", fields=(field,), images=images)
    return Effect(action={}, parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,)),), files=())
