"""Several clusters: which one an app, a file and a request belong to, and that none is ever guessed."""

import pytest

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.actions.restart import Restart
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import admit
from infra_mcp.policy.policy import load

POLICY = """
[[tree.roots]]
path = "prod"
cluster = "prod"
[[tree.roots]]
path = "test"
cluster = "test"
[[tree.roots]]
path = "prod/flux"
delivery = "flux"
[clusters.prod]
context = "p"
[clusters.test]
context = "t"
service_accounts = "peers"
[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy", "restart"]
images = ["registry.example/docs/*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
FILE = POLICY + "file = 'prod/docs.yaml'\n"
OWN = POLICY + "cluster = 'test'\n"
ENVIRONMENTS = """
[apps.docs.environments.production]
at = "prod/docs"
[apps.docs.environments.staging]
cluster = "test"
"""


@pytest.mark.parametrize(
    ("text", "environment", "homes"),
    [
        (POLICY, None, ("prod", "test")),
        (FILE, None, ("prod",)),
        (OWN, None, ("test",)),
        (POLICY + ENVIRONMENTS, None, ("prod", "test")),
        (POLICY + ENVIRONMENTS, "production", ("prod",)),
        (POLICY + ENVIRONMENTS, "staging", ("test",)),
        (OWN + "[apps.docs.environments.a]\nat = 'test/x'\n", None, ("test",)),
        (OWN + "[apps.docs.environments.a]\ncluster = 'prod'\n", "a", ("prod",)),
        (FILE + "[apps.docs.environments.a]\nat = 'test/x'\n", "a", ("test",)),
        (POLICY + "file = 'prod/flux/x.yaml'", None, ("prod", "test")),  # its root names none
        (POLICY + "[apps.docs.environments.a]\n", "other", ("prod", "test")),
    ],
)
def test_an_apps_cluster_is_its_environments_or_its_own_or_its_roots(text, environment, homes):
    policy = load(text)

    assert policy.homes("docs", environment) == homes
    assert policy.home("docs", environment) == (homes[0] if len(homes) == 1 else None)
    assert policy.home("docs", environment, "test") == ("test" if "test" in homes else None)


def test_an_action_for_no_particular_cluster_is_refused_with_their_names(docs):
    verdict = admit(load(POLICY), docs, Deploy(app="docs", version="1.0.0"))

    assert (verdict.decision, verdict.rule) == ("refuse", "clusters")
    assert verdict.reason == "App docs can be in several clusters, and the request names none."
    assert verdict.would_pass == "One of: prod, test."
    verdict = admit(load(POLICY), docs, ProvisionNamespace(namespace="docs-a"))
    assert (verdict.rule, verdict.would_pass) == ("clusters", "One of: prod, test.")


@pytest.mark.parametrize(
    "action",
    [
        Deploy(app="docs", version="1.0.0", cluster="test"),
        Restart(app="docs", cluster="test"),
        ProvisionNamespace(namespace="docs-a", cluster="test"),
    ],
)
def test_an_action_may_name_the_cluster(docs, action):
    policy = load(POLICY)

    assert admit(policy, docs, action).decision == "allow"
    assert RULES[action.action].about(policy, action).place == "test"


def test_an_app_is_not_changed_in_a_cluster_where_it_is_not(docs):
    verdict = admit(load(FILE), docs, Deploy(app="docs", version="1.0.0", cluster="test"))

    assert (verdict.decision, verdict.rule) == ("refuse", "clusters")
    assert verdict.reason == "App docs is not in that cluster."
    verdict = admit(load(FILE), docs, Deploy(app="docs", version="1.0.0", cluster="other"))
    assert (verdict.reason, verdict.would_pass) == ("The policy has no such cluster.", "One of: prod, test.")


def test_other_peers_learn_nothing_of_where_an_app_is(shop):
    policy = load(FILE + "[circles.shop]\nactions = ['deploy']")
    verdict = admit(policy, shop, Deploy(app="docs", version="1.0.0", cluster="test"))

    assert verdict.rule == "apps.docs"
    assert verdict.reason == admit(policy, shop, Deploy(app="none", version="1")).reason.replace("none", "docs")


def test_each_cluster_has_its_own_accounts_roots_and_places():
    policy = load(POLICY)

    assert policy.service_account("docs", "test") == "system:serviceaccount:peers:circle-docs"
    assert policy.service_account("docs", "prod") == "system:serviceaccount:infra-mcp:circle-docs"
    assert policy.places == (("kubernetes", "prod"), ("kubernetes", "test"), ("flux", "prod"), ("flux", "test"))
    assert policy.root_of("prod/flux/a/b.yaml").delivery == "flux"
    assert policy.root_of("prod/fluxes/a.yaml").cluster == "prod"
    assert policy.root_of("other/a.yaml") is None


def test_a_new_file_goes_below_the_only_root_of_its_cluster_or_where_policy_says():
    policy = load(POLICY)

    assert policy.new_file("prod") == ("{root}/{namespace}/{kind}-{name}.yaml", "prod")
    assert policy.new_file("test") == ("{root}/{namespace}/{kind}-{name}.yaml", "test")
    more = POLICY + "[[tree.roots]]\npath = 'more'\ncluster = 'prod'\n"
    assert load(more).new_file("prod") is None
    said = "[tree]\nnew = '{root}/x/{kind}-{name}.yaml'\n" + more
    assert load(said).new_file("prod") == ("{root}/x/{kind}-{name}.yaml", "prod")
    assert load("[clusters.a]\ncontext = 'c'").new_file("a") == ("{root}/{namespace}/{kind}-{name}.yaml", ".")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (POLICY + "cluster = 'other'", "apps.docs.cluster names no cluster"),
        ("[[tree.roots]]\npath = 'a'\ncluster = 'b'", "tree.roots.0.cluster names no cluster"),
        (FILE + "cluster = 'test'", "apps.docs.cluster: its files are below a root of another cluster"),
        (
            POLICY + "[apps.docs.environments.a]\ncluster = 'test'\nat = ['test/x', 'prod/x.yaml#tag']",
            "apps.docs.environments.a.cluster: its files are below a root of another cluster",
        ),
        (POLICY + "[apps.docs.environments.a]\ncluster = 'c'", "apps.docs.environments.a.cluster names no cluster"),
        (
            POLICY + "[[tree.roots]]\npath = 'prod'\ncluster = 'test'",
            "tree.roots: prod is there for two clusters",
        ),
    ],
)
def test_what_contradicts_itself_is_named(problem, text, says):
    assert says in problem(text)
