"""Environments, versions and reach in verdicts; and what a policy of the first edition still means."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.effect import Change, Effect, FieldChange, FileChange, Part, Reached
from infra_mcp.model.names import Version
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import admit, judge
from infra_mcp.policy.policy import load

VERSION = TypeAdapter(Version)
DIGEST = "sha256:" + "0" * 64
POLICY = """
[clusters.sandbox]
context = "c"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy", "provision_namespace"]
images = ["registry.example/docs/*"]
[circles.pinned]
images = ["registry.example/docs/site:1.*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
versions = ["1.*", "2.0.0"]
[apps.docs.environments.production]
[apps.docs.environments.test]
namespace = "docs-test"
[apps.shop]
owner = "shop"
workload = "shop/deployment/shop"
"""
RULE = """
[[rules]]
id = "production"
match = { apps = ["docs"], environments = ["production"] }
require = { approvals = 1 }
"""
FREEZE = """
[[freeze]]
id = "summer"
from = "2026-07-01T00:00:00Z"
until = "2026-08-01T00:00:00Z"
match = { environments = ["production"] }
"""


@pytest.mark.parametrize(
    "version",
    [
        *("1.2.3", "v1", "2026.11.22", "1.2.3-rc.1+build.5", "release/1.2", "main", "0f3a9c1", "_x"),
        *(f"1.2@{DIGEST}", "a" * 128),
    ],
)
def test_a_version_is_a_tag_with_or_without_its_digest_a_chart_version_or_a_ref(version):
    assert VERSION.validate_python(version) == version


@pytest.mark.promise("value.inert")
@pytest.mark.parametrize(
    "version",
    [
        *("", "-x", ".x", "/x", "a//b", "a/", "a..b", "a.lock", "a/.b", "a b", "a\n", "a:b", "a@b", "@", "a@{1}"),
        *("${X}", "$(x)", "{{x}}", "<path:x>", "ref+x://y", "ENC[x]", "a`b`", "a;b", "a#b", "a?b", "a*", "ä", "a'b"),
        *(f"a@{DIGEST}0", f"a@{DIGEST[:-1]}", f"a/b@{DIGEST}", f"@{DIGEST}", f"a@{DIGEST.upper()}", "a" * 129),
    ],
)
def test_anything_else_is_no_version(version):
    with pytest.raises(ValidationError):
        VERSION.validate_python(version)


@pytest.mark.parametrize(
    ("environment", "decision"), [("production", "needs-approval"), ("test", "allow"), (None, "needs-approval")]
)
def test_a_rule_is_about_an_environment_and_about_all_where_none_is_named(docs, environment, decision):
    action = Deploy(app="docs", version="1.0", environment=environment)

    assert admit(load(POLICY + RULE), docs, action).decision == decision
    assert admit(load(POLICY + RULE), docs, ProvisionNamespace(namespace="docs-a")).decision == "allow"


@pytest.mark.parametrize(
    ("environment", "rule"),
    [("production", "freeze.summer"), ("test", "circles.docs.actions"), (None, "freeze.summer")],
)
def test_a_freeze_is_about_an_environment_too(docs, environment, rule):
    action = Deploy(app="docs", version="1.0", environment=environment)
    now = datetime(2026, 7, 15, tzinfo=UTC)

    assert admit(load(POLICY + FREEZE), docs, action, now=now).rule == rule


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("1.9", "circles.docs.actions"),
        ("2.0.0", "circles.docs.actions"),
        (f"1.9@{DIGEST}", "circles.docs.actions"),
        ("2.0.1", "apps.docs.versions"),
        ("latest", "version.latest"),
        (f"latest@{DIGEST}", "version.latest"),
    ],
)
def test_an_app_is_brought_to_the_versions_that_policy_names(docs, version, rule):
    assert admit(load(POLICY), docs, Deploy(app="docs", version=version)).rule == rule


def test_a_digest_needs_a_grant_of_every_tag(docs):
    policy = load(POLICY.replace('images = ["registry.example/docs/*"]', 'images = ["registry.example/docs/site:1.*"]'))

    assert admit(policy, docs, Deploy(app="docs", version="1.9")).decision == "allow"
    assert admit(policy, docs, Deploy(app="docs", version=f"1.9@{DIGEST}")).rule == "circles.docs.images"


def effect_of(*reach, files=("docs.yaml",), changes=True):
    target = Target(system="kubernetes", place="sandbox", scope="docs-live", kind="apps/Deployment", name="docs")
    image = "registry.example/docs/site:1.0"
    field = FieldChange(path=("spec", "template", "spec", "containers", {"name": "web"}, "image"), after=image)
    one = Change(target=target, operation="update", fields=(field,))
    parts = (Part(driver="kubernetes", place="sandbox", stage=0, changes=(one,)),) if changes else ()
    edited = tuple(FileChange(path=path, operation="edit", before="x", diff="") for path in files)
    return Effect(action={"action": "deploy"}, parts=parts, files=edited, reach=reach)


@pytest.mark.parametrize(
    ("reached", "rule"),
    [
        (Reached(delivery="kubernetes", root="apps"), "reach"),
        (Reached(delivery="kubernetes", root="apps", apps=("docs",)), "circles.docs.actions"),
        (Reached(delivery="kubernetes", root="apps", unbuilt="no renderer"), "reach"),
        (Reached(delivery="flux", root="apps", own=True), "circles.docs.actions"),
        (Reached(delivery="flux", root="apps", apps=("docs",)), "circles.docs.actions"),
        (Reached(delivery="flux", root="apps", apps=("docs", "shop")), "reach"),
        (Reached(delivery="flux", root="apps", apps=("unlisted",)), "reach"),
        (Reached(delivery="flux", root="mine/x", apps=("unlisted",)), "effect.unrendered"),
        (Reached(delivery="flux", root="mine/x", apps=("shop",)), "reach"),
        (Reached(delivery="flux", root="mine/x"), "effect.unrendered"),
        (Reached(delivery="flux", root="others/x"), "reach"),
    ],
)
def test_every_reached_delivery_is_the_callers(docs, reached, rule):
    policy = load(POLICY + "[[owners]]\npaths = ['mine/**']\nowner = 'docs'\n")

    assert judge(policy, docs, Deploy(app="docs", version="1.0"), effect_of(reached)).rule == rule


def test_a_plan_of_unknown_namespaces_matches_every_pattern_of_namespaces(docs):
    text = POLICY.replace('workload = "docs-live/deployment/docs"\n', 'file = "docs.yaml"\n')
    text = text.replace('[apps.docs.environments.test]\nnamespace = "docs-test"\n', "")
    deny = '[[rules]]\nid = "no"\nmatch = { namespaces = ["docs-prod"] }\ndeny = true\n'
    action = Deploy(app="docs", version="1.0")

    assert admit(load(text + deny), docs, action).decision == "allow"
    assert judge(load(text + deny), docs, action, effect_of(changes=False)).rule == "rules.no"
    assert judge(load(text), docs, action, effect_of(changes=False)).decision == "allow"


def test_a_policy_of_the_first_edition_means_what_it_meant(policy, docs):
    app = policy.apps["docs"]

    assert (policy.homes("docs"), policy.home("docs", None, "other")) == (("sandbox",), None)
    assert policy.new_file("sandbox") == ("{root}/{namespace}/{kind}-{name}.yaml", "apps")
    assert (app.paths, app.versions, app.settings, app.environments) == ((), (), {}, {})
    assert policy.owner_of("apps/docs-live/deployment-docs.yaml") is None
    path = "apps/docs-live/deployment-docs.yaml"
    assert judge(policy, docs, Deploy(app="docs", version="1.0"), effect_of(files=(path,))).decision == "allow"
    assert admit(policy, docs, Deploy(app="unknown", version="1.0")).rule == "apps.unknown"
