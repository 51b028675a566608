from collections.abc import Callable

import pytest
from policy.installed_policy import install

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.policy.policy import Policy, load

POLICY = """
[tree]
branch = "main"
new = "{root}/{namespace}/{kind}-{name}.yaml"

[[tree.roots]]
path = "apps"

[peer]
name = "infra"
description = "infra peer; owns k8s manifests, helm, cluster DNS"

[clusters.sandbox]
context = "kwok-infra"                  # named; a kubeconfig's current-context is never used by default

[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "provision_app", "deploy"]
pull_secrets = ["X"]
images = ["registry.example/docs/*"]
limits = { replicas = 10, cpu = "20", memory = "40Gi" }

[circles.shop]
namespaces = ["shop-*", "till"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["Y"]
images = ["registry.example/shop/*"]

[circles.readers]
namespaces = ["docs-*"]

[pull_secrets.X]                        # "secret X" is a name; content is copied at apply time
from = "infra-secrets/registry-x"
name = "registry-x-copy"

[pull_secrets.Y]
from = "infra-secrets/registry-y"

[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
deploy_on = "release/{version} merged, ready to deploy"

[apps.till]
owner = "shop"
workload = "till/statefulset/till"
image = "registry.example/shop/till:v{version}"

[[rules]]
id = "prod-needs-two"
match = { namespaces = ["*-prod"] }
require = { approvals = 2, by = "operator", strength = "token" }

[[rules]]
id = "frozen"
match = { namespaces = ["docs-frozen"], actions = ["provision_namespace"] }
deny = true
reason = "docs-frozen is being moved."
"""


@pytest.fixture(scope="session")
def policy_text() -> str:
    return POLICY


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load(POLICY)


@pytest.fixture(scope="session")
def docs() -> Caller:
    return Caller(name="docs", circle="docs", strength="token")


@pytest.fixture(scope="session")
def shop() -> Caller:
    return Caller(name="shop", circle="shop", strength="token")


@pytest.fixture(scope="session")
def operator() -> Caller:
    return Caller(name="operator", circle=None, strength="same-user", operator=True)


@pytest.fixture(scope="session")
def problem() -> Callable[[str], str]:
    """What is said to be wrong with a text that is no policy."""

    def said(text: str) -> str:
        with pytest.raises(InfraError) as caught:
            load(text)
        assert caught.value.code == "policy-invalid"
        return caught.value.what

    return said


@pytest.fixture(scope="session")
def installed(control_plane, policy_text, tmp_path_factory):
    """The policy of these tests on a real API server."""
    with install(control_plane, policy_text, tmp_path_factory.mktemp("installed")) as one:
        yield one
