"""Grants and guardrails: what `allow`, `kinds`, `hosts` and `pod_security` change, and what a refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy.guard.guard_cases import ACTION, CASES, DOCS, GRANTS, change_of, effect_of, policy_of, refused_by

from infra_mcp.errors import InfraError
from infra_mcp.model.effect import Effect, Part, Trait
from infra_mcp.policy.decide import judge
from infra_mcp.policy.guard.judge import level
from infra_mcp.policy.guard.rules import GUARDRAILS, SWITCHES
from infra_mcp.policy.policy import load

PRIVILEGED = next(case for case in CASES if case.name == "privileged")
POOL = {
    "images": ["registry.example/docs/*", "evil.example/*", "*"],
    "hosts": ["*.docs.example", "www.shop.example", "*"],
    "kinds": ["apps/*", "Secret", "*", "Service", "argoproj.io/Rollout"],
    "allow": list(SWITCHES),
}
GIVEN = st.fixed_dictionaries(
    {key: st.lists(st.sampled_from(pool), unique=True, max_size=4) for key, pool in POOL.items()}
)


@pytest.mark.promise("effect.guarded")
@settings(max_examples=400)
@given(st.sampled_from(CASES), GIVEN, st.data())
def test_to_remove_a_grant_never_widens_and_to_add_an_allow_never_narrows(case, grants, data):
    held = [(key, one) for key, several in grants.items() for one in several]
    less = dict(grants)
    if held:
        key, one = data.draw(st.sampled_from(held))
        less[key] = [other for other in grants[key] if other != one]
    more = grants | {"allow": [*dict.fromkeys([*grants["allow"], data.draw(st.sampled_from(SWITCHES))])]}

    if refused_by(case, **grants):
        assert refused_by(case, **less)
    else:
        assert not refused_by(case, **more)


def test_a_guardrail_that_is_not_to_be_switched_off_and_an_unknown_one_are_no_names_for_allow():
    for name in ("objects.unreadable", "hosts", "kinds", "images", "pods.nothing"):
        with pytest.raises(InfraError, match="policy explain"):
            policy_of(GRANTS | {"allow": [name]})


@pytest.mark.parametrize("name", GUARDRAILS)
def test_every_guardrail_says_what_it_refuses_why_and_by_which_source(name):
    guard = GUARDRAILS[name]

    assert all((guard.refuses, guard.why.endswith("."), guard.source, guard.scope))
    assert (name in SWITCHES) != bool(guard.instead)


def test_a_refusal_names_the_object_the_place_what_would_pass_and_every_other_guardrail_against_it():
    case = next(one for one in CASES if one.name == "host-process-of-the-pod")
    verdict = judge(policy_of(GRANTS), DOCS, ACTION, effect_of([change_of(case.rendered, "docs-live")]))

    assert verdict.rule == "pods.host-network"
    assert "docs-live/deployment/docs.spec.template.spec.hostNetwork (true)" in verdict.reason
    assert "Refused, too, by pods.host-process." in verdict.reason
    assert 'allow = ["pods.host-network"]` in [circles.docs]' in verdict.would_pass
    assert "infra-mcp policy explain pods.host-network" in verdict.would_pass


@pytest.mark.promise("effect.guarded")
def test_a_session_that_attends_needs_the_exception_of_its_own_too():
    text = '[clusters.sandbox]\ncontext = "s"\n[apps.docs]\nowner = "docs"\n'
    for section, allow in (("circles.docs", 'allow = ["pods.privileged"]'), ("attend", "{attend}")):
        text += f'[{section}]\nnamespaces = ["docs-*"]\nactions = ["deploy"]\nimages = ["*"]\n{allow}\n'
    effect = effect_of([change_of(PRIVILEGED.rendered, "docs-live")])

    def rule(attend):
        return judge(load(text.format(attend=attend)), DOCS, ACTION, effect, attendant=True).rule

    assert rule("") == "pods.privileged"
    assert rule('allow = ["pods.privileged"]') == "circles.docs.actions"


@pytest.mark.promise("effect.guarded")
@pytest.mark.parametrize("driver", ["helm", "kubernetes"])
def test_an_object_that_was_rendered_and_not_looked_at_is_refused(driver):
    unseen = change_of(PRIVILEGED.rendered, "docs-live", traits=None)
    effect = Effect(action={}, parts=(Part(driver=driver, place="sandbox", stage=0, changes=(unseen,)),), files=())

    assert judge(policy_of(GRANTS), DOCS, ACTION, effect).rule == "objects.unreadable"


def test_a_fact_that_no_rule_judges_is_refused():
    strange = change_of(PRIVILEGED.rendered, "docs-live", traits=(Trait(rule="pods.of-a-later-version"),))

    assert judge(policy_of(GRANTS), DOCS, ACTION, effect_of([strange])).rule == "objects.unreadable"


def test_what_goes_or_stays_as_it_is_is_not_judged_by_its_content():
    change = change_of(PRIVILEGED.rendered, "docs-live")
    policy = policy_of(GRANTS)

    for operation, rule in (("delete", "circles.docs.actions"), ("unchanged", "circles.docs.actions")):
        effect = effect_of([change.model_copy(update={"operation": operation, "images": ()})])
        assert judge(policy, DOCS, ACTION, effect).rule == rule


@pytest.mark.promise("effect.guarded")
def test_a_pod_may_use_a_service_account_that_the_same_change_brings_to_its_namespace_and_no_other():
    case = next(one for one in CASES if one.name == "a-service-account-of-others")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}}
    pod = change_of(case.rendered, "docs-live")

    def rule(name, scope, **more):
        brought = change_of(account | {"metadata": {"name": name}}, scope).model_copy(update=more)
        return judge(policy_of(GRANTS), DOCS, ACTION, effect_of([pod, brought])).rule

    assert rule("operator", "docs-live") == "circles.docs.actions"
    assert rule("operator", "docs-live", operation="unchanged") == "circles.docs.actions"
    assert rule("operator", "docs-live", operation="delete") == "pods.service-account"
    assert rule("operator", "docs-test") == "pods.service-account"
    assert rule("other", "docs-live") == "pods.service-account"


def test_the_kind_of_what_a_chart_would_delete_is_judged():
    change = change_of({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}, "docs-live")
    effect = effect_of([change.model_copy(update={"operation": "delete"})])

    assert judge(policy_of(GRANTS), DOCS, ACTION, effect).rule == "kinds.secrets"


@pytest.mark.parametrize(
    ("given", "levels"),
    [
        ("", {"docs-live": "baseline"}),
        ('"*" = "restricted"', {"docs-live": "restricted", "shop": "restricted"}),
        ('"*" = "restricted"\n"docs-*" = "baseline"', {"docs-live": "baseline", "shop": "restricted"}),
        ('"docs-*" = "privileged"\n"*-live" = "restricted"', {"docs-live": "restricted", "docs-x": "privileged"}),
        ('"docs-*" = "baseline"\n"docs-live" = "privileged"', {"docs-live": "privileged", "docs-live2": "baseline"}),
    ],
)
def test_the_nearest_pattern_decides_the_level_and_of_equal_ones_the_strictest(given, levels):
    policy = load(f"[pod_security]\n{given}")

    assert {name: level(policy, name) for name in levels} == levels


@pytest.mark.parametrize("given", ['"docs" = "none"', '"docs" = true', '"kube-system" = "privileged"'])
def test_a_level_that_there_is_not_makes_the_policy_invalid(given):
    with pytest.raises(InfraError, match="pod_security"):
        load(f"[pod_security]\n{given}")
