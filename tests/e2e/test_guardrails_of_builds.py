"""What a build would bring beside what a change says: refused on the real API server, or said and approved."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from e2e.granting import Granting, refused_by
from e2e.overlays import Overlays

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

BUILT = """
[apps.docs.settings.network]
at = ["k8s/docs/overlays/production/memory.yaml#spec.template.spec.hostNetwork"]
type = "boolean"

[apps.docs.settings.warmer]
at = ["k8s/docs/overlays/production/kustomization.yaml#images[name=registry.example/docs/warm].newName"]
type = "string"

[apps.docs.settings.host]
at = ["k8s/docs/overlays/production/ingress.yaml#spec.rules[0].host"]
type = "string"

[apps.docs.settings.port]
at = ["k8s/docs/overlays/production/service.yaml#spec.type"]
type = "string"
"""
FILES = (
    (
        "overlays/production/memory.yaml",
        """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: docs}
        spec:
          template:
            spec:
              hostNetwork: false
              initContainers:
                - name: warm
                  image: registry.example/docs/warm:1
              containers:
                - name: site
                  resources:
                    limits: {memory: 128Mi}
        """,
    ),
    (
        "overlays/production/ingress.yaml",
        """
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: docs}
        spec:
          rules:
            - host: live.docs.example
              http:
                paths: [{path: /, pathType: Prefix, backend: {service: {name: docs, port: {number: 80}}}}]
        """,
    ),
    (
        "overlays/production/service.yaml",
        """
        apiVersion: v1
        kind: Service
        metadata: {name: more}
        spec:
          type: ClusterIP
          selector: {app: docs}
          ports: [{port: 80}]
        """,
    ),
    (
        "overlays/production/kustomization.yaml",
        """
        namespace: {production}
        namePrefix: live-
        resources: [../../base, ingress.yaml, service.yaml]
        components: [../../components/spread]
        images:
          - name: registry.example/docs/site
            newTag: 1.0.1
          - name: registry.example/docs/warm
            newName: registry.example/docs/warm
          - name: registry.example/docs/proxy
            newTag: "7"
        configMapGenerator:
          - name: docs-config
            behavior: merge
            files: [config.json]
        secretGenerator:
          - name: seeds
            files: [seed]
        patches:
          - path: memory.yaml
        """,
    ),
    ("overlays/production/seed", "oak\n"),
    (
        "others/ingress.yaml",
        """
        apiVersion: networking.k8s.io/v1
        kind: Ingress
        metadata: {name: site, namespace: others}
        spec: {rules: [{host: taken.docs.example}]}
        """,
    ),
)


@dataclass
class Built(Granting, Overlays):
    """Overlays with an init container, an Ingress, a Service and a generated Secret in production."""

    changed: tuple[tuple[str, str], ...] = FILES

    def apps(self, grace: str = "1s") -> str:
        """The app, with settings that could make it more than it is."""
        return super().apps(grace) + BUILT + SEED


SEED = """
[apps.docs.settings.seed]
at = ["k8s/docs/overlays/production/kustomization.yaml#secretGenerator[name=seeds].files[0]"]
type = "string"
"""


@pytest.mark.promise("effect.guarded")
async def test_a_build_that_brings_more_than_the_circle_may_have_is_refused_by_the_guardrail(cluster_setup, tmp_path):
    async with Built(cluster_setup, tmp_path) as scenario:

        def ask(**settings):
            given = {"app": "docs", "environment": "production", "settings": settings}
            return scenario.tool("change", action="configure", arguments=given)

        before = scenario.workload("production")
        await refused_by(scenario, ask(network=True), "pods.host-network")
        await refused_by(scenario, ask(warmer="evil.example/docs/warm"), "circles.docs.images")
        await refused_by(scenario, ask(host="live.shop.example"), "circles.docs.hosts")
        await refused_by(scenario, ask(port="NodePort"), "services.node-port")
        await refused_by(scenario, ask(seed="config.json"), "kinds.secrets")
        assert scenario.workload("production") == before

        made = await scenario.tool("deploy", app="docs", version="1.2.0", environment="production")

        assert made.ok, made.text
        assert scenario.site("production") == "registry.example/docs/site:1.2.0"

        await scenario.grant('hosts = ["*.docs.example"]\nallow = ["services.node-port"]')
        await refused_by(scenario, ask(host="taken.docs.example"), "hosts.taken")
        made = await ask(host="new.docs.example", port="NodePort")

        assert made.ok, made.text
        ingress = scenario.live_object("ingress", "live-docs", scenario.production)
        assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["new.docs.example"]
        assert scenario.live_object("service", "live-more", scenario.production)["spec"]["type"] == "NodePort"


# ---- what cannot be rendered

REMOTE = (
    (
        "overlays/preview/kustomization.yaml",
        """
        namespace: {staging}
        nameSuffix: -preview
        resources: [../../base, 'https://git.example/more?ref=main']
        """,
    ),
)


@pytest.mark.promise("effect.unrendered")
async def test_what_cannot_be_built_beside_is_said_and_waits_for_an_approval_of_its_effect(cluster_setup, tmp_path):
    async with Built(cluster_setup, tmp_path, changed=REMOTE) as scenario:
        await scenario.accept_policy(scenario.apps() + '[[owners]]\npaths = ["k8s/docs/**"]\nowner = "docs"\n')
        head = scenario.git("rev-parse", "HEAD")

        parked = await scenario.tool(
            "change", action="configure", arguments={"app": "docs", "settings": {"color": "red"}}
        )

        assert parked.data["state"] == "awaiting_approval", parked.text
        assert scenario.git("rev-parse", "HEAD") == head
        (event,) = [one for one in scenario.events(parked.data["request"]) if one["kind"] == "approval-needed"]
        assert json.loads(event["data"])["rule"] == "effect.unrendered"
        assert "not rendered: k8s/docs/overlays/preview" in event["data"]
        assert "git.example" in event["data"]
        await scenario.approve(parked.data["request"], parked.data["effect_digest"])
        (ended,) = await scenario.settled()
        assert ended["state"] == "landed"
        assert scenario.live_object("configmap", "live-plain", scenario.production)["data"] == {"color": "red"}


# What cannot be built reads the file of production's version, which is then no root of its own.
BESIDE = (
    (
        "overlays/preview/kustomization.yaml",
        """
        namespace: {staging}
        nameSuffix: -preview
        resources: [../../base, 'https://git.example/more?ref=main']
        configMapGenerator:
          - name: production
            files: [../production/kustomization.yaml]
        """,
    ),
)
OWNED = """
[[owners]]
paths = ["k8s/docs/**"]
owner = "docs"

[apps.docs.settings.version]
at = ["k8s/docs/overlays/production/kustomization.yaml#images[name=registry.example/docs/site].newTag"]
type = "string"
"""


@pytest.mark.promise("effect.unrendered")
async def test_a_change_of_which_nothing_can_be_built_is_refused_and_never_called_landed(cluster_setup, tmp_path):
    async with Built(cluster_setup, tmp_path, changed=BESIDE) as scenario:
        named = scenario.apps().replace("[apps.docs]\n", '[apps.docs]\nversions = ["1.*"]\n', 1)
        await scenario.accept_policy(named + OWNED)
        head = scenario.git("rev-parse", "HEAD")

        refused = await scenario.tool("deploy", app="docs", environment="production", version="1.2.0")

        assert refused.data["error"]["code"] == "build-failed", refused.text
        assert "k8s/docs/overlays/preview" in refused.text
        assert scenario.git("rev-parse", "HEAD") == head
        assert scenario.site("production") == "registry.example/docs/site:1.0.1"
