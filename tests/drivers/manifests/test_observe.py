"""What `status` tells of an app."""

from types import SimpleNamespace

import pytest

from infra_mcp.drivers.manifests import observe
from infra_mcp.policy.sections import AppRules

pytestmark = pytest.mark.anyio

DIGEST = "sha256:" + "a" * 64


class Live:
    """A cluster with one workload on it."""

    name = "test"

    def __init__(self, image):
        containers = [{"name": "side", "image": "registry.example/proxy:9"}, {"name": "site", "image": image}]
        spec = {"replicas": 1, "template": {"spec": {"containers": containers}}}
        metadata = {"name": "docs", "namespace": "docs-live", "generation": 1}
        self.found = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": {}}

    async def get(self, _ref, *, as_user):
        assert as_user == "circle"
        return self.found


@pytest.mark.fault("d10")
@pytest.mark.parametrize(
    ("template", "image", "version"),
    [
        ("registry.example/docs/site:{version}", "registry.example/docs/site:0.13.4", "0.13.4"),
        ("registry.example:5000/docs/site:{version}", "registry.example:5000/docs/site:0.13.4", "0.13.4"),
        ("registry.example:5000/docs/site:{version}", "registry.example:5000/docs/site", "latest"),
        ("registry.example/docs/site:{version}", "registry.example/docs/site", "latest"),
        ("registry.example/docs/site:{version}", f"registry.example/docs/site:0.13.3@{DIGEST}", "0.13.3"),
        (
            "registry.example:5000/docs/site:{version}",
            f"registry.example:5000/docs/site:0.13.3@{DIGEST}",
            "0.13.3",
        ),
        (
            "registry.example:5000/docs/site:{version}",
            f"registry.example:5000/docs/site@{DIGEST}",
            DIGEST,
        ),
        ("registry.example/docs/site:v{version}-slim", "registry.example/docs/site:v1.2.3-slim", "1.2.3"),
        (
            "registry.example/docs/site:v{version}-slim",
            f"registry.example/docs/site:v1.2.3-slim@{DIGEST}",
            "1.2.3",
        ),
        ("registry.example/docs/site:v{version}", "registry.example/docs/site:nightly", "nightly"),
    ],
)
async def test_the_version_is_the_one_that_a_deploy_would_name(template, image, version):
    app = AppRules(owner="docs", workload="docs-live/deployment/docs", image=template)
    found = await observe.app(Live(image), SimpleNamespace(apps={"docs": app}), "docs", "circle", None)

    assert found["version"] == version
