"""What an attending session may do for others: what the asker may do and [attend] grants, both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ContainerLimits, ProvisionNamespace, Quota
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.peer import Caller
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

ATTEND = """
[attend]
namespaces = ["docs-*", "shop-test"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["X"]
images = ["registry.example/docs/site:0.*"]
limits = { cpu = "4" }
"""
NAMESPACE = ProvisionNamespace(namespace="docs-staging", pull_secrets=("X",))
DEPLOY = Deploy(app="docs", version="0.13.4")


def provision(namespace="docs-staging", **rest) -> ProvisionNamespace:
    return ProvisionNamespace(namespace=namespace, **rest)


@pytest.fixture(scope="module")
def attended(policy_text):
    return load(policy_text + ATTEND)


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize("action", [NAMESPACE, DEPLOY, provision(quota=Quota(cpu="4"))])
def test_what_the_asker_and_the_session_are_both_granted_is_allowed(attended, docs, action):
    verdict = admit(attended, docs, action, attendant=True)

    assert (verdict.decision, verdict.rule) == ("allow", "circles.docs.actions")


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (provision("shop-test"), "circles.docs.namespaces"),
        (provision("shop-live"), "circles.docs.namespaces"),
        (provision(pull_secrets=("Y",)), "circles.docs.pull_secrets"),
        (provision(quota=Quota(cpu="21")), "circles.docs.limits"),
        (provision(quota=Quota(cpu="5")), "attend.limits"),
        (provision(limits=ContainerLimits(memory="1Gi")), "attend.limits"),
        (Deploy(app="docs", version="1.0.0"), "attend.images"),
        (Deploy(app="till", version="1"), "apps.till"),
    ],
)
def test_what_one_of_them_is_not_granted_is_refused_by_the_rule_that_says_so(attended, docs, action, rule):
    verdict = admit(attended, docs, action, attendant=True)

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (provision("shop-live"), "attend.namespaces"),
        (provision("shop-test", pull_secrets=("Y",)), "attend.pull_secrets"),
        (Deploy(app="till", version="1"), "attend.namespaces"),
    ],
)
def test_what_only_the_asker_may_do_is_refused_to_the_session(attended, shop, action, rule):
    assert admit(attended, shop, action).decision == "allow"
    assert admit(attended, shop, action, attendant=True).rule == rule


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize("action", [NAMESPACE, DEPLOY])
def test_without_attend_in_the_policy_a_session_may_do_nothing(policy, docs, action):
    verdict = admit(policy, docs, action, attendant=True)

    assert (verdict.decision, verdict.rule) == ("refuse", "attend.actions")
    assert admit(policy, docs, action).decision == "allow"


@pytest.mark.promise("policy.reason")
def test_a_refusal_to_the_session_gives_away_nothing_that_the_asker_may_not_see(attended, policy_text, docs, shop):
    narrow = policy_text + "[attend]\nactions = ['deploy']\n"
    told = [
        admit(attended, shop, provision("shop-live"), attendant=True),
        admit(attended, shop, provision("shop-test", pull_secrets=("Y",)), attendant=True),
        admit(attended, docs, Deploy(app="docs", version="1.0.0"), attendant=True),
        admit(attended, docs, provision(quota=Quota(cpu="5", memory="1Gi")), attendant=True),
        admit(load(narrow), docs, provision(), attendant=True),
    ]
    said = " ".join(verdict.reason + verdict.would_pass for verdict in told)

    assert all(verdict.rule.startswith("attend.") for verdict in told)
    assert not [name for name in ("docs-*", "shop-test", "site:0.*", "up to 4", "X.", "deploy") if name in said]


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize("namespace", ["kube-system", "default", "infra-mcp"])
def test_protected_namespaces_are_out_of_reach_for_a_session_too(namespace):
    policy = load("[clusters.a]\ncontext = 'c'\n[attend]\nnamespaces = ['*']")

    assert policy.within(policy.attend, "anything")
    assert not policy.within(policy.attend, namespace)


@pytest.mark.promise("attend.claim")
def test_what_a_plan_would_really_do_is_held_against_both(attended, docs, shop):
    space = ObjectRef(cluster="sandbox", api_version="v1", kind="Namespace", namespace=None, name="shop-live")
    site = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs-live", name="docs")
    image = FieldChange(path=("spec", "template", "spec", "image"), after="registry.example/docs/site:1.0.0")
    made = _plan(Change(target=space.target, operation="create", identity="server"))
    moved = _plan(Change(target=site.target, operation="update", fields=(image,)))
    sly = Deploy(app="docs", version="0.13.4")

    assert judge(attended, shop, provision("shop-live"), made).decision == "allow"
    assert judge(attended, shop, provision("shop-live"), made, attendant=True).rule == "attend.namespaces"
    assert judge(attended, docs, sly, moved, attendant=True).rule == "attend.images"
    assert judge(attended, docs, sly, moved).rule == "effect.scope"


def _caller(circle: str) -> Caller:
    return Caller(name=circle, circle=circle, strength="token")


def _plan(change) -> Effect:
    return Effect(action={}, parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=(change,)),), files=())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[attend]\nnamespace = ['a']", "attend.namespace is no key"),
        ("[attend]\nread_logs = true", "attend.read_logs is no key"),
        ("[attend]\nactions = ['deploi']", "attend.actions is no action"),
        ("[attend]\nnamespaces = ['kube-system']", "protected"),
        ("[attend]\npull_secrets = ['X']", "attend.pull_secrets: there is no pull_secrets.X"),
        ("[clusters.a]\ncontext='c'\n[attend]\nnamespaces = ['infra-mcp']", "attend.namespaces holds the namespace"),
    ],
)
def test_what_is_wrong_in_attend_is_named(problem, text, says):
    assert says in problem(text)


NAMES = st.sampled_from(["docs-a", "docs-b", "shop-test", "till", "kube-x"])
PATTERNS = st.lists(st.sampled_from(["docs-*", "docs-a", "shop-*", "*", "till"]), max_size=3).map(tuple)


@given(namespace=NAMES, circle=PATTERNS, session=PATTERNS)
def test_a_session_is_allowed_exactly_what_both_are_allowed_alone(namespace, circle, session):
    text = "[clusters.a]\ncontext = 'a'\n[circles.docs]\nactions = ['provision_namespace']\n"
    text += f"namespaces = {list(circle)}\n[circles.other]\nactions = ['provision_namespace']\n"
    text += f"namespaces = {list(session)}\n[attend]\nactions = ['provision_namespace']\nnamespaces = {list(session)}\n"
    policy, action = load(text), provision(namespace)
    asker, other = (_caller(name) for name in ("docs", "other"))
    both = all(admit(policy, one, action).decision == "allow" for one in (asker, other))

    assert (admit(policy, asker, action, attendant=True).decision == "allow") is both
