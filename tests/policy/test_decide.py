import pytest

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ContainerLimits, ProvisionNamespace, Quota
from infra_mcp.model.approval import Need
from infra_mcp.model.peer import Caller
from infra_mcp.policy.decide import admit, refusal
from infra_mcp.policy.policy import load

NAMESPACE = ProvisionNamespace(namespace="docs-staging", pull_secrets=("X",))
DEPLOY = Deploy(app="docs", version="0.13.4")


def provision(namespace="docs-staging", **rest) -> ProvisionNamespace:
    return ProvisionNamespace(namespace=namespace, **rest)


@pytest.mark.parametrize("action", [NAMESPACE, DEPLOY])
def test_what_the_circle_is_granted_is_allowed_by_name_and_digest(policy, docs, action):
    verdict = admit(policy, docs, action)

    assert (verdict.decision, verdict.rule, verdict.policy) == ("allow", "circles.docs.actions", policy.digest)


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (provision("prod"), "circles.docs.namespaces"),
        (provision("shop-live"), "circles.docs.namespaces"),
        (provision("kube-system"), "circles.docs.namespaces"),
        (provision("default"), "circles.docs.namespaces"),
        (provision("infra-mcp"), "circles.docs.namespaces"),
        (provision("xdocs-staging"), "circles.docs.namespaces"),
        (provision("docs"), "circles.docs.namespaces"),
        (provision(pull_secrets=("Y",)), "circles.docs.pull_secrets"),
        (provision(pull_secrets=("X", "nowhere")), "circles.docs.pull_secrets"),
        (provision(quota=Quota(cpu="20001m")), "circles.docs.limits"),
        (provision(quota=Quota(cpu="20.5")), "circles.docs.limits"),
        (provision(quota=Quota(memory="41Gi")), "circles.docs.limits"),
        (provision(limits=ContainerLimits(memory="1Ti")), "circles.docs.limits"),
        (provision(labels={"pod-security.kubernetes.io/enforce": "privileged"}), "labels.reserved"),
        (provision(labels={"infra-mcp.dev/circle": "shop"}), "labels.reserved"),
        (provision(labels={"app.kubernetes.io/managed-by": "Helm"}), "labels.reserved"),
        (provision(cluster="other"), "clusters"),
        (Deploy(app="till", version="1"), "apps.till"),
        (Deploy(app="nowhere", version="1"), "apps.nowhere"),
        (Deploy(app="docs", version="latest"), "version.latest"),
        (Deploy(app="docs", version="LATEST"), "version.latest"),
        (Deploy(app="docs", version="1", cluster="other"), "clusters"),
    ],
)
def test_what_the_circle_is_not_granted_is_refused_by_the_rule_that_says_so(policy, docs, action, rule):
    verdict = admit(policy, docs, action)

    assert (verdict.decision, verdict.rule, verdict.policy) == ("refuse", rule, policy.digest)


@pytest.mark.parametrize(
    "action",
    [
        provision(quota=Quota(cpu="20", memory="40Gi", pods=50)),
        provision(limits=ContainerLimits(cpu="500m", memory="512Mi")),
        provision(default_deny=True, owner="docs"),
        provision(cluster="sandbox"),
    ],
)
def test_what_stays_within_the_limits_is_allowed(policy, docs, action):
    assert admit(policy, docs, action).decision == "allow"


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("caller", "rule"),
    [
        (Caller(name="operator", circle=None, strength="same-user", operator=True), "caller.circle"),
        (Caller(name="x", circle="nowhere", strength="token"), "circles.nowhere"),
        (Caller(name="x", circle="readers", strength="token"), "circles.readers.actions"),
        (Caller(name="other", circle="docs", strength="token"), "apps.docs"),
        (Caller(name="docs", circle="shop", strength="token"), "circles.shop.namespaces"),
    ],
)
@pytest.mark.parametrize("at", [DEPLOY])
def test_who_asks_decides_first(policy, caller, rule, at):
    verdict = admit(policy, caller, at)

    assert (verdict.decision, verdict.rule) == ("refuse", rule)


def test_an_action_the_circle_may_not_do_is_refused_before_anything_else_is_said(policy_text, docs):
    narrowed = load(policy_text.replace('"provision_namespace", "provision_app", "deploy"', '"deploy"'))
    verdict = admit(narrowed, docs, provision("prod", pull_secrets=("Y",)))

    assert verdict.rule == "circles.docs.actions"
    assert verdict.would_pass == "One of its actions: deploy."


@pytest.mark.parametrize("images", ['["registry.example/docs/other:*"]', '["other.example/*"]', "[]"])
def test_an_image_outside_the_circles_patterns_is_refused(policy_text, docs, images):
    narrowed = load(policy_text.replace('["registry.example/docs/*"]', images))

    assert admit(narrowed, docs, DEPLOY).rule == "circles.docs.images"


def test_a_catalogue_that_spells_latest_itself_is_refused_too(policy_text, docs):
    sly = load(policy_text.replace("docs/site:{version}", "docs/site:la{version}"))

    assert admit(sly, docs, Deploy(app="docs", version="test")).rule == "version.latest"


@pytest.mark.promise("policy.default-deny")
def test_without_a_number_in_the_policy_no_number_can_be_asked_for(policy, shop):
    asked = provision("shop-test", quota=Quota(cpu="1"))

    assert admit(policy, shop, asked).rule == "circles.shop.limits"
    assert admit(policy, shop, provision("shop-test")).decision == "allow"


@pytest.mark.promise("policy.default-deny")
def test_deny_beats_allow(policy, docs):
    verdict = admit(policy, docs, provision("docs-frozen"))

    assert (verdict.decision, verdict.rule, verdict.reason) == ("refuse", "rules.frozen", "docs-frozen is being moved.")


def test_a_rule_that_requires_approvals_is_not_an_allowance_and_says_who_gives_them_and_how(policy, docs):
    verdict = admit(policy, docs, provision("docs-prod"))
    error = refusal(verdict, request="req-1", digest="sha256:0a")

    assert (verdict.decision, verdict.rule) == ("needs-approval", "rules.prod-needs-two")
    assert verdict.needs == (Need(rule="rules.prod-needs-two", approvals=2, strength="token", seconds=3600.0),)
    assert "2 approvals by different operators known by a token" in verdict.reason
    assert "within 1h" in verdict.would_pass
    assert "`infra-mcp approve ID DIGEST`" in refusal(verdict).next_step
    assert error.code == "needs-approval"
    assert "`infra-mcp approve req-1 sha256:0a`" in error.next_step


def test_every_rule_that_requires_approvals_is_among_what_is_needed(policy_text, docs):
    more = '\n[[rules]]\nid = "z"\nrequire = { expires = "2d" }\nreason = "All is looked at."\n'
    verdict = admit(load(policy_text + more), docs, provision("docs-prod"))

    assert [(need.rule, need.approvals, need.seconds) for need in verdict.needs] == [
        ("rules.prod-needs-two", 2, 3600.0),
        ("rules.z", 1, 172800.0),
    ]
    assert "1 approval by an operator within 2d" in verdict.would_pass
    assert "(All is looked at.)" in verdict.reason


def test_a_denial_beats_a_requirement_whatever_their_order(policy_text, docs):
    both = load(policy_text + '\n[[rules]]\nid = "z"\nmatch = { namespaces = ["docs-prod"] }\ndeny = true\n')

    assert admit(both, docs, provision("docs-prod")).rule == "rules.z"


@pytest.mark.promise("policy.default-deny")
def test_a_rule_that_cannot_be_evaluated_denies_what_would_else_be_allowed(policy_text, docs):
    text = policy_text + '\n[[rules]]\nid = "z"\nmatch = { weekday = ["sat"] }\nrequire = {}\n'

    assert admit(load(text), docs, NAMESPACE).rule == "rules.z"


@pytest.mark.promise("policy.reason")
@pytest.mark.parametrize(
    ("action", "would_pass"),
    [
        (provision("prod"), "A namespace named docs-*."),
        (provision(pull_secrets=("Y",)), "Its own: X."),
        (provision(quota=Quota(cpu="21", memory="1Ti")), "cpu up to 20; memory up to 40Gi."),
        (Deploy(app="till", version="1"), "One of its own: docs."),
        (Deploy(app="docs", version="latest"), "The version's own tag."),
    ],
)
def test_a_refusal_names_the_rule_and_what_would_pass(policy, docs, action, would_pass):
    verdict = admit(policy, docs, action)
    error = refusal(verdict)

    assert verdict.would_pass == would_pass
    assert verdict.rule in str(error)
    assert would_pass in str(error)
    assert error.code == "policy-denied"
    assert error.rule == verdict.rule


@pytest.mark.promise("policy.reason")
@pytest.mark.parametrize(
    ("theirs", "nowhere", "name"),
    [
        (provision("shop-live"), provision("zzzz-live"), ("shop-live", "zzzz-live")),
        (provision("till"), provision("zzzz"), ("till", "zzzz")),
        (provision("infra-secrets"), provision("zzzzz-secrets"), ("infra-secrets", "zzzzz-secrets")),
        (provision(pull_secrets=("Y",)), provision(pull_secrets=("Z",)), ("Y", "Z")),
        (Deploy(app="till", version="1"), Deploy(app="zzzz", version="1"), ("till", "zzzz")),
    ],
)
def test_what_is_someone_elses_is_answered_like_what_does_not_exist(policy, docs, theirs, nowhere, name):
    there = admit(policy, docs, theirs).model_dump_json()
    not_there = admit(policy, docs, nowhere).model_dump_json()

    assert there.replace(*name) == not_there


@pytest.mark.promise("policy.reason")
def test_no_refusal_tells_another_circles_names(policy, docs):
    asked = [
        provision("till"),
        provision("kube-system"),
        provision(pull_secrets=("nowhere",)),
        provision(cluster="other"),
        Deploy(app="nowhere", version="1"),
    ]
    told = " ".join(admit(policy, docs, action).model_dump_json() for action in asked).replace('"till"', "")

    assert not [name for name in ("shop", "registry-y", "infra-secrets", '"Y"') if name in told]


def test_a_verdict_that_allows_is_no_refusal(policy, docs):
    with pytest.raises(ValueError, match="no refusal"):
        refusal(admit(policy, docs, NAMESPACE))


def test_without_a_cluster_in_the_policy_nothing_is_allowed(docs):
    policy = load("[circles.docs]\nactions=['provision_namespace']\nnamespaces=['docs-*']")

    assert admit(policy, docs, provision()).rule == "clusters"


LABELS = {
    "team": "docs",
    "control-plane": "x",
    "istio-injection": "disabled",
    "name": "x",
    "app.kubernetes.io/name": "x",
}


@pytest.mark.fault("f38")
@pytest.mark.parametrize("key", LABELS)
def test_a_circle_whose_policy_names_no_label_sets_none(policy, docs, key):
    verdict = admit(policy, docs, provision(labels={key: "x"}))

    assert (verdict.decision, verdict.rule) == ("refuse", "circles.docs.labels")
    assert key in verdict.reason


@pytest.mark.fault("f38")
def test_a_circle_sets_the_labels_its_policy_names_and_no_other(policy_text, docs):
    text = policy_text.replace(
        'images = ["registry.example/docs/*"]', '\\g<0>\nlabels = ["team", "app.kubernetes.io/*"]'
    )
    text = text.replace("\\g<0>", 'images = ["registry.example/docs/*"]')
    granting = load(text)

    assert admit(granting, docs, provision(labels={"team": "a", "app.kubernetes.io/name": "x"})).decision == "allow"
    for key in ("teams", "xteam", "tea", "istio-injection", "name"):
        assert admit(granting, docs, provision(labels={"team": "a", key: "x"})).rule == "circles.docs.labels", key
    for key in ("app.kubernetes.io/managed-by", "infra-mcp.dev/circle"):
        assert admit(granting, docs, provision(labels={key: "x"})).decision == "refuse", key


@pytest.mark.fault("f38")
def test_a_session_that_attends_sets_only_labels_granted_to_both(policy_text, docs):
    def granting(circle, attend):
        text = policy_text.replace('pull_secrets = ["X"]', f'pull_secrets = ["X"]\nlabels = {circle}', 1)
        more = f'[attend]\nnamespaces = ["docs-*"]\nactions = ["provision_namespace"]\nlabels = {attend}\n'
        return admit(load(text + more), docs, provision(labels={"team": "a"}), attendant=True)

    assert granting('["team"]', '["*"]').decision == "allow"
    assert granting('["team"]', "[]").rule == "attend.labels"
    assert granting("[]", '["team"]').rule == "circles.docs.labels"
