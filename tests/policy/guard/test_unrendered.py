"""What could not be rendered is said, and needs an approval, unless policy names the version or says otherwise."""

from __future__ import annotations

import pytest
from policy.guard.guard_cases import DOCS, change_of

from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Effect, Part, Reached
from infra_mcp.policy.decide import judge
from infra_mcp.policy.guard.unrendered import unrendered
from infra_mcp.policy.policy import load

POLICY = """
[clusters.sandbox]
context = "s"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy", "configure"]
images = ["registry.example/docs/*"]
{allow}
[[owners]]
paths = ["apps/docs/**"]
owner = "docs"
[apps.docs]
owner = "docs"
{versions}
"""
DEPLOY = Deploy(app="docs", version="1.2.0")
OWN = Reached(delivery="flux", root="apps/docs/live", by="Kustomization flux-system/docs", apps=("docs",), own=True)
BROKEN = Reached(delivery="kubernetes", root="apps/docs/other", apps=("docs",), unbuilt="it names a base elsewhere")
RELEASE = {
    "apiVersion": "helm.toolkit.fluxcd.io/v2",
    "kind": "HelmRelease",
    "metadata": {"name": "docs"},
    "spec": {"values": {"image": {"tag": "1.2.0"}, "containers": {"main": {}}}},
}


def _verdict(*reached, action=DEPLOY, allow="", versions="", parts=()):
    policy = load(POLICY.format(allow=allow, versions=versions))
    return judge(policy, DOCS, action, Effect(action={}, parts=parts, files=(), reach=reached))


def _rendered(**more):
    change = change_of(RELEASE, "docs-live", by="", images=()).model_copy(update={"operation": "update"} | more)
    return OWN.model_copy(update={"renderer": "kustomize 5", "targets": (change.target.key,), "renders": (change,)})


@pytest.mark.promise("effect.unrendered")
@pytest.mark.parametrize(
    "reached",
    [OWN, OWN.model_copy(update={"own": False}), BROKEN, OWN.model_copy(update={"delivery": "external"}), _rendered()],
    ids=["others render it", "beside", "a build that fails", "a pipeline", "a HelmRelease"],
)
def test_an_effect_that_could_not_be_rendered_needs_an_approval(reached):
    verdict = _verdict(reached)

    assert (verdict.decision, verdict.rule) == ("needs-approval", "effect.unrendered")
    assert [(need.approvals, need.by) for need in verdict.needs] == [(1, "operator")]
    assert "could not be rendered" in verdict.reason


@pytest.mark.promise("effect.unrendered")
@pytest.mark.parametrize(
    ("version", "decision"), [("1.2.0", "allow"), (f"1.2.0@sha256:{'a' * 64}", "allow"), ("2.0.0", "refuse")]
)
def test_a_version_that_the_app_may_be_brought_to_needs_none(version, decision):
    action = Deploy(app="docs", version=version)

    for reached in (OWN, BROKEN, _rendered()):
        assert _verdict(reached, action=action, versions='versions = ["1.*"]').decision == decision


@pytest.mark.promise("effect.unrendered")
def test_a_version_says_nothing_of_what_moves_other_apps_or_of_another_action():
    versions = 'versions = ["1.*"]\n[apps.other]\nowner = "docs"'
    beside = BROKEN.model_copy(update={"apps": ("docs", "other")})

    assert _verdict(beside, versions=versions).rule == "effect.unrendered"
    assert _verdict(BROKEN.model_copy(update={"apps": ()}), versions=versions).rule == "effect.unrendered"
    action = Configure(app="docs", settings={"chart": "1.0.0"})
    assert _verdict(OWN, action=action, versions=versions).rule == "effect.unrendered"


@pytest.mark.promise("effect.unrendered")
def test_a_circle_may_be_trusted_with_what_nobody_sees():
    assert _verdict(OWN, allow='allow = ["effect.unrendered"]').decision == "allow"


def test_what_was_rendered_needs_no_approval():
    built = OWN.model_copy(update={"renderer": "kustomize 5"})
    plain = Reached(delivery="kubernetes", root="apps/docs", own=True)
    chart = OWN.model_copy(update={"delivery": "helm"})
    part = Part(driver="helm", place="sandbox", stage=0, changes=())

    assert _verdict(built).decision == "allow"
    assert _verdict(plain).decision == "allow"
    assert _verdict(chart, parts=(part,)).decision == "allow"
    assert _verdict(chart).rule == "effect.unrendered"


def test_it_is_said_what_was_not_rendered_and_why():
    found = [str(one) for one in unrendered(Effect(action={}, parts=(), files=(), reach=(OWN, BROKEN, _rendered())))]

    assert found == [
        "not rendered: Kustomization flux-system/docs of apps/docs/live (flux renders it)",
        "not rendered: apps/docs/other (it names a base elsewhere)",
        "not rendered: docs-live/helmrelease/docs (a HelmRelease is rendered by who carries it out)",
    ]


@pytest.mark.promise("effect.guarded")
def test_what_others_make_live_is_judged_as_it_is_rendered():
    pod = {"hostPID": True, "containers": [{"name": "web", "image": "evil.example/x:1"}]}
    rendered = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "docs"},
        "spec": {"template": {"spec": pod}},
    }
    change = change_of(rendered, "docs-live", by="").model_copy(update={"operation": "update"})
    found = OWN.model_copy(update={"renderer": "kustomize 5", "targets": (change.target.key,), "renders": (change,)})

    assert _verdict(found).rule == "pods.host-pid"
    assert _verdict(found, allow='allow = ["pods.host-pid"]').rule == "circles.docs.images"


@pytest.mark.promise("effect.guarded")
def test_a_new_object_that_delivers_others_must_be_of_the_circles_kinds():
    assert _verdict(_rendered(operation="create")).rule == "circles.docs.kinds"
