"""What a change reaches beside its own object is judged: each delivery, cluster, app and namespace."""

import pytest
from policy.test_effects import AT, DEPLOY, change, image

from infra_mcp.model.effect import Effect, FieldChange, Part, Reached
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import load

IMAGE = "registry.example/docs/site:0.13.4"
OWN = Reached(delivery="kubernetes", root="apps/docs/live", cluster="sandbox", apps=("docs",), own=True)
OTHER = OWN.model_copy(update={"root": "apps/docs/other", "own": False})
MORE = """
[[owners]]
paths = ["apps/docs/**"]
owner = "docs"
[[owners]]
paths = ["apps/shop/**"]
owner = "shop"
[clusters.far]
context = "far"
"""


def target(name="docs", kind="apps/Deployment", space="docs-live"):
    return f"kubernetes|sandbox|{space}|{kind}|{name}"


def effect(*reached, changes=()):
    return Effect(
        action={},
        parts=(Part(driver="kubernetes", place="sandbox", stage=0, changes=changes),),
        files=(),
        reach=reached,
    )


@pytest.fixture(scope="module")
def more(policy_text):
    text = policy_text.replace("[[rules]]", f"{MORE}\n[[rules]]", 1)
    return load(text.replace('path = "apps"', 'path = "apps"\ncluster = "sandbox"'))


def rule(policy, caller, *reached, changes=()):
    verdict = judge(policy, caller, DEPLOY, effect(*reached, changes=changes))
    return "" if verdict.decision == "allow" else verdict.rule


@pytest.mark.promise("delivery.reach")
@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({}, ""),  # the owner's own, by the pattern
        ({"root": "apps/shop/live"}, "reach"),
        ({"root": "apps/shop/live", "apps": ("docs",)}, "reach"),  # another's folder, whatever is named in it
        ({"root": "apps/free/live", "apps": ("docs",)}, ""),  # a folder without an owner, which holds their app alone
        ({"root": "apps/free/live", "apps": ("docs", "till")}, "reach"),
        ({"root": "apps/free/live", "apps": ("unknown",)}, "reach"),
        ({"root": "apps/free/live", "apps": ()}, "reach"),
        ({"apps": ("docs", "till"), "targets": (target(),)}, "reach"),  # in an own folder, but another's app moves
        ({"cluster": "far"}, "effect.cluster"),
        ({"cluster": "far", "own": True}, "effect.cluster"),
        ({"cluster": "a-folder-below-clusters"}, ""),
        ({"targets": (target(space="shop-live"),)}, "circles.docs.namespaces"),
        ({"delivery": "flux", "root": "apps/shop/live"}, "reach"),
    ],
)
def test_each_delivery_that_is_reached_beside_must_be_the_askers(more, docs, update, expected):
    assert rule(more, docs, OWN, OTHER.model_copy(update=update)) == expected


@pytest.mark.promise("delivery.reach")
def test_the_advice_is_the_place_that_decides_for_the_app_alone(more, docs):
    verdict = judge(more, docs, DEPLOY, effect(OWN, OTHER.model_copy(update={"root": "apps/shop/live"})))

    assert "apps/shop/live" in verdict.reason
    assert "overlay" in verdict.would_pass


def test_an_app_that_moves_along_in_the_own_build_must_be_the_askers(more, docs):
    both = OWN.model_copy(update={"apps": ("docs", "till"), "targets": (target(), target("till"))})

    assert rule(more, docs, both) == "reach"
    assert rule(more, docs, both.model_copy(update={"apps": ("docs", "docs-worker")})) == ""


def test_an_app_with_environments_in_its_section_has_no_others(policy_text, docs):
    said = '[apps.docs]\nowner = "docs"'
    environments = '\n[apps.docs.environments.live]\nat = ["apps/docs/live"]\n[apps.till]'
    policy = load(policy_text.replace("\n[apps.till]", environments))

    assert said in policy_text
    assert rule(policy, docs, OWN, OTHER.model_copy(update={"root": "apps/docs/live"})) == ""
    assert rule(policy, docs, OWN, OTHER) == "reach"


@pytest.mark.promise("policy.default-deny")
@pytest.mark.parametrize(
    ("kind", "api", "expected"),
    [
        ("ConfigMap", "v1", ""),
        ("CronJob", "batch/v1", ""),
        ("StatefulSet", "apps/v1", ""),
        ("HorizontalPodAutoscaler", "autoscaling/v2", ""),
        ("Service", "v1", ""),
        ("Secret", "v1", "kinds.secrets"),
        ("Role", "rbac.authorization.k8s.io/v1", "kinds.rbac"),
        ("Namespace", "v1", "kinds.cluster-scoped"),
        ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "kinds.webhooks"),
        ("CustomResourceDefinition", "apiextensions.k8s.io/v1", "kinds.crds"),
        ("ResourceQuota", "v1", "circles.docs.kinds"),
    ],
)
def test_a_build_may_change_workloads_and_what_they_read_and_nothing_that_gives_rights(docs, more, kind, api, expected):
    one = change(kind, "docs-worker", "docs-live", api, "update", traits=())
    built = OWN.model_copy(update={"targets": (one.target.key,)})

    assert rule(more, docs, built, changes=(one,)) == expected
    if not expected:  # not by the build: not by this action
        assert rule(more, docs, OWN, changes=(one,)).startswith("effect.")


@pytest.mark.parametrize(
    ("reference", "asked", "expected"),
    [
        ("registry.example/docs/site:0.13.4", "0.13.4", ""),
        ("registry.example/docs/site:v0.13.4", "0.13.4", ""),  # in the style of the repository
        ("registry.example/docs/site:0.13.4", "v0.13.4", ""),
        ("registry.example/docs/site:0.13.5", "0.13.4", "effect.scope"),
        ("registry.example/docs/site", "0.13.4", "circles.docs.images"),
        (f"registry.example/docs/site@sha256:{'a' * 64}", f"0.13.4@sha256:{'a' * 64}", ""),
        (f"registry.example/docs/site@sha256:{'a' * 64}", "0.13.4", "effect.scope"),
        ("registry.example/shop/site:0.13.4", "0.13.4", "circles.docs.images"),
        (f"registry.example/docs/site:0.13.4@sha256:{'a' * 64}", "0.13.4", ""),  # as git pins it
        (f"registry.example/docs/site:0.13.4@sha256:{'0' * 64}", "0.13.4", "effect.scope"),  # what pins the former one
        (f"registry.example/docs/site:0.13.4@sha256:{'a' * 64}", f"0.13.4@sha256:{'a' * 64}", ""),
        (f"registry.example/docs/site:0.13.4@sha256:{'b' * 64}", f"0.13.4@sha256:{'a' * 64}", "effect.scope"),
        ("registry.example/docs/site:0.13.4", f"0.13.4@sha256:{'a' * 64}", "effect.scope"),
    ],
)
def test_every_image_of_a_deploy_is_the_version_that_was_asked_with_its_own_digest(
    policy_text, docs, reference, asked, expected
):
    text = policy_text.replace('image = "registry.example/docs/site:{version}"\n', "")
    policy = load(text.replace('images = ["registry.example/docs/*"]', 'images = ["registry.example/docs/*:*"]'))
    field = FieldChange(path=AT, before=f"registry.example/docs/site:0.13.3@sha256:{'0' * 64}", after=reference)
    one = image(IMAGE).model_copy(update={"fields": (field,)})

    verdict = judge(policy, docs, DEPLOY.model_copy(update={"version": asked}), effect(OWN, changes=(one,)))

    assert ("" if verdict.decision == "allow" else verdict.rule) == expected
