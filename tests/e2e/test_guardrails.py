"""What a change would bring beside what it says: refused on the real API server before anything is committed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import pytest
from e2e.overlays import Overlays
from e2e.scenario import APP, Scenario

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

OLD, NEW = "registry.example/docs/site:0.13.3", "registry.example/docs/site:0.13.4"
SETTINGS = """
settings.root.at = "k8s/teams/docs-site.yaml#spec.template.spec.containers[name=site].securityContext.privileged"
settings.root.type = "boolean"
settings.path.at = "k8s/teams/docs-site.yaml#spec.template.spec.volumes[name=data].hostPath.path"
settings.path.type = "string"
"""
PLAIN = "          securityContext: {privileged: false}\n"


@dataclass
class Guarded(Scenario):
    """A scenario whose app is a raw manifest with more fields in its pod, and whose circle has more keys."""

    pod: str = ""
    grants: str = ""

    def apps(self, grace: str = "1s") -> str:
        """The app, with settings that could make it more than it is."""
        return super().apps(grace) + SETTINGS

    def write_files(self) -> None:
        """Write the app with the fields."""
        super().write_files()
        text = APP.format(namespace=self.namespace)
        self.manifest.write_text(f"{text.rstrip()}\n{PLAIN}{self.pod}", encoding="utf-8")

    def write_policy(self, more: str) -> None:
        """Write infra.toml, with the circle's keys."""
        text = self.cluster_setup.policy(more)
        mark = 'labels = ["team", "turn"]\n'
        assert text.count(mark) == 1
        self.settings.policy_file.write_text(text.replace(mark, f"{mark}{self.grants}\n"), encoding="utf-8")

    async def grant(self, grants: str) -> None:
        """Give the circle more, as an operator does at the running server."""
        self.grants = grants
        await self.accept_policy(self.apps())


HOST = """\
      hostPID: true
      volumes:
        - name: data
          hostPath: {path: /srv/docs}
"""


@pytest.fixture
async def guarded(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """The plain app."""
    async with Guarded(cluster_setup, tmp_path) as made:
        yield made


async def _refused(scenario, reply, rule):
    head = scenario.git("rev-parse", "HEAD")
    given = await reply

    assert not given.ok, given.text
    assert f"(rule {rule})" in given.text, given.text
    assert given.data["error"]["code"] == "policy-denied"
    assert scenario.git("rev-parse", "HEAD") == head
    return given


@pytest.mark.promise("effect.guarded")
async def test_a_deploy_of_a_pod_with_host_access_is_refused_until_policy_allows_both_by_name(cluster_setup, tmp_path):
    async with Guarded(cluster_setup, tmp_path, pod=HOST) as scenario:
        refused = await _refused(scenario, scenario.tool("deploy", app="docs", version="0.13.4"), "pods.host-path")
        assert "/srv/docs" in refused.text
        assert "pods.host-pid" in refused.text
        await scenario.grant('allow = ["pods.host-path"]')
        await _refused(scenario, scenario.tool("deploy", app="docs", version="0.13.4"), "pods.host-pid")
        assert scenario.image() == OLD

        await scenario.grant('allow = ["pods.host-path", "pods.host-pid"]')
        plan = (await scenario.tool("deploy", app="docs", version="0.13.4", dry_run=True)).data["plan"]
        made = await scenario.tool("deploy", app="docs", version="0.13.4")

        assert made.ok, made.text
        assert scenario.image() == NEW
        (one,) = plan["objects"]
        assert [line.partition(":")[0] for line in one["guardrails"]] == ["pods.host-path", "pods.host-pid"]


@pytest.mark.promise("effect.guarded")
async def test_a_scaling_and_a_restart_run_what_runs_already(cluster_setup, tmp_path):
    async with Guarded(cluster_setup, tmp_path, pod=HOST) as scenario:
        for action, more in (("scale", {"replicas": 3}), ("restart", {})):
            made = await scenario.tool("change", action=action, arguments={"app": "docs", **more})
            assert made.ok, made.text


@pytest.mark.promise("effect.guarded")
async def test_a_setting_of_a_raw_manifest_makes_no_container_privileged(guarded):
    def ask():
        return guarded.tool("change", action="configure", arguments={"app": "docs", "settings": {"root": True}})

    await _refused(guarded, ask(), "pods.privileged")
    live = guarded.live_object("deployment", "docs", guarded.namespace)
    assert live["spec"]["template"]["spec"]["containers"][0]["securityContext"] == {"privileged": False}

    await guarded.grant('allow = ["pods.privileged"]')
    made = await ask()

    assert made.ok, made.text


@pytest.mark.promise("effect.guarded")
async def test_a_namespace_that_policy_calls_restricted_takes_no_pod_that_is_not(guarded):
    await guarded.accept_policy(f'{guarded.apps()}\n[pod_security]\n"{guarded.namespace}" = "restricted"\n')

    refused = await _refused(guarded, guarded.tool("deploy", app="docs", version="0.13.4"), "pods.drop-capabilities")

    assert "pods.run-as-non-root" in refused.text


@pytest.mark.promise("effect.guarded")
async def test_what_the_api_server_would_add_is_judged_too(guarded):
    """A mutating admission policy stands for a webhook: what it adds is in the dry run's answer."""
    name = guarded.fresh("adds")
    group = {"apiVersion": "admissionregistration.k8s.io/v1"}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": guarded.namespace}}
    mutation = {
        "patchType": "ApplyConfiguration",
        "applyConfiguration": {
            "expression": "Object{spec: Object.spec{template: Object.spec.template{spec: "
            "Object.spec.template.spec{hostNetwork: true}}}}"
        },
    }
    policy = group | {
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "reinvocationPolicy": "Never",
            "mutations": [mutation],
        },
    }
    binding = group | {
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    try:
        guarded.kubectl(
            "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
        )
        _until_in_force(guarded)
        await _refused(guarded, guarded.tool("deploy", app="docs", version="0.13.4"), "pods.host-network")
    finally:
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            guarded.kubectl("delete", kind, name, "--ignore-not-found", check=False)


def _until_in_force(scenario):
    """An admission policy takes a moment; a dry run shows it, and writes nothing."""
    deadline = time.monotonic() + 30
    words = ("-n", scenario.namespace, "annotate", "deployment/docs", "probe=x", "--dry-run=server", "-o", "json")
    while "hostNetwork" not in json.loads(scenario.kubectl(*words))["spec"]["template"]["spec"]:
        assert time.monotonic() < deadline, "the mutation did not come into force"


# ---- a build

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
)


@dataclass
class Built(Overlays):
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
        await _refused(scenario, ask(network=True), "pods.host-network")
        await _refused(scenario, ask(warmer="evil.example/docs/warm"), "circles.docs.images")
        await _refused(scenario, ask(host="live.shop.example"), "circles.docs.hosts")
        await _refused(scenario, ask(port="NodePort"), "services.node-port")
        await _refused(scenario, ask(seed="config.json"), "kinds.secrets")
        assert scenario.workload("production") == before

        made = await scenario.tool("deploy", app="docs", version="1.2.0", environment="production")

        assert made.ok, made.text
        assert scenario.site("production") == "registry.example/docs/site:1.2.0"
