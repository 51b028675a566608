"""What policy asks of a configuration: declared settings of the caller's app, of their type, within their bounds."""

import pytest

from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.effect import Change, Effect, FieldChange, FileChange, Part
from infra_mcp.model.inert import SIGNS
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

POLICY = """
[clusters.sandbox]
context = "c"
[circles.docs]
namespaces = ["docs-*"]
actions = ["configure", "scale"]
limits = { replicas = 5 }
[circles.shop]
namespaces = ["shop-*"]
actions = ["configure"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
[apps.docs.settings.memory]
at = "docs.yaml#spec.memory"
type = "quantity"
min = "64Mi"
max = "2Gi"
[apps.docs.settings.mode]
at = "docs.yaml#data.mode"
type = "enum"
values = ["slow", "fast"]
[apps.docs.settings.title]
at = "docs.yaml#data.title"
type = "string"
[apps.docs.settings.replicas]
type = "integer"
max = 8
min = 1
[apps.shop]
owner = "shop"
workload = "shop-live/deployment/shop"
"""


@pytest.fixture(scope="module")
def granted():
    return load(POLICY)


def asked(policy, caller, **settings):
    return admit(policy, caller, Configure(app="docs", settings=settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": "2Gi"},
        {"memory": "2048Mi", "mode": "fast", "title": "Docs, plain"},
        {"replicas": 5},
        {"replicas": "5"},  # as the command line sends it
        {"replicas": 1.0 + 1.0},
    ],
)
def test_declared_settings_within_their_bounds_are_allowed(granted, docs, settings):
    verdict = asked(granted, docs, **settings)

    assert (verdict.decision, verdict.rule) == ("allow", "circles.docs.actions")


@pytest.mark.promise("configure.bounded")
@pytest.mark.parametrize(
    ("settings", "rule", "says"),
    [
        ({"memory": "2049Mi"}, "settings.memory", "from 64Mi to 2Gi"),
        ({"memory": "63Mi"}, "settings.memory", "from 64Mi to 2Gi"),
        ({"memory": "-1Gi"}, "settings.memory", "out of bounds"),
        ({"memory": "lots"}, "settings.memory", "quantity"),
        ({"memory": True}, "settings.memory", "quantity"),
        ({"mode": "warp"}, "settings.mode", "one of slow, fast"),
        ({"replicas": 0}, "settings.replicas", "out of bounds"),
        ({"replicas": 6}, "circles.docs.limits.replicas", "may not ask for 6 replicas"),
        ({"replicas": 9}, "settings.replicas", "out of bounds"),
        ({"replicas": 2.5}, "settings.replicas", "whole number"),
        ({"replicas": "4; reboot"}, "settings.replicas", "whole number"),
        ({"memory": "1Gi", "debug": True}, "settings.debug", "App docs has no setting debug."),
        ({"version": "9.9.9"}, "settings.version", "no setting to configure"),
    ],
)
def test_anything_else_is_refused_by_the_settings_name(granted, docs, settings, rule, says):
    verdict = asked(granted, docs, **settings)

    assert (verdict.decision, verdict.rule) == ("refuse", rule)
    assert says in f"{verdict.reason} {verdict.would_pass}"


def test_an_unknown_setting_is_answered_with_the_declared_ones(granted, docs):
    assert asked(granted, docs, debug="on").would_pass == "One of: chart, memory, mode, replicas, title."


HOSTILE = {
    "${": "${TOKEN}",
    "$(": "$(cat token)",
    "$[": "$[variables.a]",
    "$$": "a$$b",
    "$NAME": "$TOKEN",
    "%{": "%{if a}",
    "{{": "{{ .Values.a }}",
    "{%": "{% a %}",
    "#{": "#{a}",
    "<path:": "<path:secret/data#key>",
    "<": "<token>",
    "ref+": "ref+vault://a",
    "ENC[": "ENC[AES256_GCM,data:a]",
    "vault:": "vault:secret/data/a",
    "op://": "op://a/b/c",
    "`": "`id`",
    "\n": "a\nb: c",
}


@pytest.mark.promise("value.inert")
@pytest.mark.parametrize("sign", SIGNS)
def test_a_value_that_a_deliverer_would_interpret_is_refused_and_not_repeated(granted, docs, sign):
    verdict = asked(granted, docs, title=f"x {HOSTILE[sign]}" if sign != "vault:" else HOSTILE[sign])

    assert (verdict.decision, verdict.rule) == ("refuse", "settings.title")
    assert HOSTILE[sign] not in verdict.reason + verdict.would_pass


def test_others_learn_nothing_of_an_apps_settings(granted, shop):
    there = admit(granted, shop, Configure(app="docs", settings={"debug": "1", "memory": "9Ti"}))
    nowhere = admit(granted, shop, Configure(app="none", settings={"debug": "1", "memory": "9Ti"}))

    assert there.rule == "apps.docs"
    assert there.reason.replace("docs", "none") == nowhere.reason
    assert there.would_pass == nowhere.would_pass == "One of its own: shop."


def test_replicas_need_a_limit_of_the_circle_and_the_default_bounds(granted, shop):
    verdict = admit(granted, shop, Configure(app="shop", settings={"replicas": 1}))

    assert (verdict.decision, verdict.rule) == ("refuse", "circles.shop.limits.replicas")


def test_a_scaling_is_within_the_apps_own_setting_too(granted, docs):
    assert admit(granted, docs, Scale(app="docs", replicas=5)).decision == "allow"
    assert admit(granted, docs, Scale(app="docs", replicas=0)).rule == "settings.replicas"


def effect_of(*fields, kind="apps/Deployment", name="docs", path="docs.yaml"):
    target = Target(system="kubernetes", place="sandbox", scope="docs-live", kind=kind, name=name)
    change = Change(target=target, operation="update", fields=fields)
    part = Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,))
    file = FileChange(path=path, operation="edit", before="x", diff="")
    return Effect(action={"action": "configure"}, parts=(part,), files=(file,))


@pytest.mark.promise("configure.bounded")
@pytest.mark.parametrize(
    ("effect", "rule"),
    [
        (effect_of(FieldChange(path=("spec", "replicas"), before=1, after=5)), "circles.docs.actions"),
        (effect_of(FieldChange(path=("spec", "replicas"), before=1, after=6)), "circles.docs.limits.replicas"),
        (effect_of(name="other"), "effect.scope"),
        (effect_of(kind="ConfigMap", name="other"), "circles.docs.actions"),
        (effect_of(kind="Secret"), "effect.kinds"),
        (
            effect_of(FieldChange(path=("spec", "containers"), after=[{"image": "registry.example/x:1"}])),
            "circles.docs.images",
        ),
    ],
)
def test_a_plan_that_does_more_than_the_settings_say_is_refused(granted, docs, effect, rule):
    assert judge(granted, docs, Configure(app="docs", settings={"memory": "1Gi"}), effect).rule == rule


OWNED = """
[clusters.sandbox]
context = "c"
[circles.media]
namespaces = ["docs-*"]
actions = ["configure"]
[[owners]]
paths = ["media/**"]
owner = "media"
[[owners]]
paths = ["media/docs/**"]
owner = "docs"
[apps.tv]
owner = "media"
file = "elsewhere/tv.yaml"
[apps.tv.settings.memory]
at = "elsewhere/tv.yaml#memory"
type = "quantity"
"""
MEDIA = Caller(name="media", circle="media", strength="token")


@pytest.mark.parametrize(
    ("app", "path", "rule"),
    [
        ("tv", "elsewhere/tv.yaml", "circles.media.actions"),  # its own section says so
        ("tv", "media/x.yaml", "circles.media.actions"),
        ("tv", "media/docs/x.yaml", "owners"),
        ("unlisted", "media/x.yaml", "circles.media.actions"),
        ("unlisted", "media/docs/x.yaml", "owners"),
        ("unlisted", "elsewhere/tv.yaml", "owners"),
        ("unlisted", "unowned/x.yaml", "owners"),
    ],
)
def test_every_changed_file_is_the_callers(app, path, rule):
    name = "memory" if app == "tv" else "replicas"
    policy = load(OWNED.replace("actions = [", "limits = { replicas = 3 }\nactions = ["))
    action = Configure(app=app, settings={name: 1})

    assert admit(policy, MEDIA, action).decision == "allow"
    assert judge(policy, MEDIA, action, effect_of(path=path)).rule == rule


def test_an_app_without_a_section_belongs_to_its_owners_alone(docs):
    policy = load(OWNED.replace("circles.media", "circles.docs").replace('owner = "docs"', 'owner = "other"'))

    assert admit(policy, docs, Configure(app="unlisted", settings={"replicas": 1})).rule == "apps.unlisted"
