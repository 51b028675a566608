"""What policy asks of a change set: each step's own grants, for its own changes, also when it is rolled back."""

import json

import pytest

from infra_mcp.model.actions import ACTIONS, RollbackOf
from infra_mcp.model.effect import Change, Effect, FieldChange, FileChange, Part
from infra_mcp.model.target import Target
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

pytestmark = pytest.mark.promise("policy.default-deny")

POLICY = """
[clusters.sandbox]
context = "kwok-infra"
[clusters.other]
context = "kwok-other"
[circles.docs]
namespaces = ["docs-*"]
actions = ["change_set", "deploy", "scale", "rollback"]
images = ["registry.example/docs/*"]
limits = { replicas = 4 }
[apps.docs]
owner = "docs"
cluster = "sandbox"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[apps.api]
owner = "docs"
cluster = "sandbox"
workload = "docs-api/deployment/api"
image = "registry.example/docs/api:{version}"
[apps.till]
owner = "shop"
workload = "shop-live/deployment/till"
image = "registry.example/shop/till:{version}"
"""
GRANTED = load(POLICY)
DEPLOY = {"name": "new", "action": "deploy", "arguments": {"app": "docs", "version": "2.0.0"}}
SCALE = {"name": "more", "action": "scale", "arguments": {"app": "api", "replicas": 3}}
IMAGE = FieldChange(
    path=("spec", "template", "spec", "containers", {"name": "site"}, "image"),
    before="registry.example/docs/site:1.0.0",
    after="registry.example/docs/site:2.0.0",
)
NUMBER = FieldChange(path=("spec", "replicas"), before=2, after=3)


def change_set(*steps):
    return ACTIONS["change_set"].model_validate_json(json.dumps({"steps": list(steps)}))


def change(scope, name, *fields):
    target = Target(system="kubernetes", place="sandbox", scope=scope, kind="apps/Deployment", name=name)
    return Change(target=target, operation="update", fields=fields)


def effect(*changes, files=()):
    """Each change in the stage of its position."""
    parts = [Part(driver="kubernetes", place="sandbox", stage=n, changes=(one,)) for n, one in enumerate(changes)]
    return Effect(action={}, parts=tuple(parts), files=files)


def test_a_set_of_granted_steps_is_allowed_with_its_effect(docs):
    made = effect(change("docs-live", "docs", IMAGE), change("docs-api", "api", NUMBER))

    assert judge(GRANTED, docs, change_set(DEPLOY, SCALE), made).decision == "allow"


@pytest.mark.parametrize(
    ("policy", "step", "rule"),
    [
        (POLICY.replace('"deploy", ', ""), DEPLOY, "circles.docs.actions"),
        (POLICY.replace('"change_set", ', ""), DEPLOY, "circles.docs.actions"),
        (POLICY, SCALE | {"arguments": {"app": "api", "replicas": 9}}, "circles.docs.limits.replicas"),
        (POLICY, DEPLOY | {"arguments": {"app": "till", "version": "1"}}, "apps.till"),
        (POLICY.replace('"docs-*"', '"docs-api"'), DEPLOY, "circles.docs.namespaces"),
        (POLICY + '[[rules]]\nid = "no"\nmatch = { actions = ["deploy"] }\ndeny = true\n', DEPLOY, "rules.no"),
        (POLICY.replace('cluster = "sandbox"', 'cluster = "other"', 1), DEPLOY, "clusters"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_is_not_granted_refuses_the_set(docs, policy, step, rule, first):
    steps = (step, SCALE | {"name": "last"}) if first else (SCALE | {"name": "first"}, step)

    verdict = admit(load(policy), docs, change_set(*steps))

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


def test_a_change_counts_for_the_step_of_its_stage_alone(docs):
    """A scale may set no image, whatever another step may."""
    swapped = effect(change("docs-api", "api", NUMBER), change("docs-live", "docs", IMAGE))
    beyond = effect(change("docs-live", "docs", IMAGE), change("docs-api", "api", NUMBER), change("docs-api", "api"))

    assert judge(GRANTED, docs, change_set(DEPLOY, SCALE), swapped).rule == "effect.scope"
    assert judge(GRANTED, docs, change_set(DEPLOY, SCALE), beyond).rule == "effect.scope"


def test_a_file_counts_for_the_step_of_its_stage_alone(docs):
    owned = POLICY + '[[owners]]\npaths = ["shop/**"]\nowner = "shop"\n'
    file = FileChange(path="shop/till.yaml", operation="edit", before=None, diff="", stage=1)
    made = effect(change("docs-live", "docs", IMAGE), change("docs-api", "api", NUMBER), files=(file,))

    assert judge(load(owned), docs, change_set(DEPLOY, SCALE), made).rule == "owners"


def test_approvals_of_every_rule_about_a_step_are_needed(docs):
    rule = '[[rules]]\nid = "{0}"\nmatch = {{ actions = ["{0}"] }}\nrequire = {{ approvals = {1} }}\n'
    policy = load(POLICY + rule.format("deploy", 1) + rule.format("scale", 2))

    verdict = admit(policy, docs, change_set(DEPLOY, SCALE))

    assert verdict.decision == "needs-approval"
    assert [(one.rule, one.approvals) for one in verdict.needs] == [("rules.deploy", 1), ("rules.scale", 2)]


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (POLICY, None),
        (POLICY.replace('"deploy", ', ""), "circles.docs.actions"),
        (POLICY.replace('"docs-*"', '"docs-live"'), "circles.docs.namespaces"),
    ],
)
def test_a_rollback_of_a_set_needs_what_each_step_needs(docs, policy, rule):
    verdict = admit(load(policy), docs, RollbackOf(request="req-1", of=change_set(DEPLOY, SCALE)))

    assert verdict.rule == (rule or "circles.docs.actions")
    assert verdict.decision == ("refuse" if rule else "allow")


def test_a_rollback_of_a_set_touches_only_what_its_steps_are_about(docs):
    undo = RollbackOf(request="req-1", of=change_set(DEPLOY, SCALE))
    back = FieldChange(path=NUMBER.path, before=3, after=2)

    assert judge(GRANTED, docs, undo, effect(change("docs-api", "api", back))).decision == "allow"
    assert judge(GRANTED, docs, undo, effect(change("docs-other", "other", back))).rule == "effect.scope"


def test_every_action_but_a_set_and_a_rollback_may_be_a_step():
    for name in RULES.keys() - {"change_set", "rollback"}:
        assert change_set({"name": "one", "action": name, "arguments": ACTIONS[name].example})
