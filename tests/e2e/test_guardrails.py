"""What a change would bring beside what it says: refused on the real API server before anything is committed."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from e2e.granting import Granting, refused_by
from e2e.scenario import APP

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
class Guarded(Granting):
    """A scenario whose app is a raw manifest with more fields in its pod."""

    pod: str = ""

    def apps(self, grace: str = "1s") -> str:
        """The app, with settings that could make it more than it is."""
        return super().apps(grace) + SETTINGS

    def write_files(self) -> None:
        """Write the app with the fields."""
        super().write_files()
        text = APP.format(namespace=self.namespace)
        self.manifest.write_text(f"{text.rstrip()}\n{PLAIN}{self.pod}", encoding="utf-8")


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


@pytest.mark.promise("effect.guarded")
async def test_a_deploy_of_a_pod_with_host_access_is_refused_until_policy_allows_both_by_name(cluster_setup, tmp_path):
    async with Guarded(cluster_setup, tmp_path, pod=HOST) as scenario:
        refused = await refused_by(scenario, scenario.tool("deploy", app="docs", version="0.13.4"), "pods.host-path")
        assert "/srv/docs" in refused.text
        assert "pods.host-pid" in refused.text
        await scenario.grant('allow = ["pods.host-path"]')
        await refused_by(scenario, scenario.tool("deploy", app="docs", version="0.13.4"), "pods.host-pid")
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

    await refused_by(guarded, ask(), "pods.privileged")
    live = guarded.live_object("deployment", "docs", guarded.namespace)
    assert live["spec"]["template"]["spec"]["containers"][0]["securityContext"] == {"privileged": False}

    await guarded.grant('allow = ["pods.privileged"]')
    made = await ask()

    assert made.ok, made.text


@pytest.mark.promise("effect.guarded")
async def test_a_namespace_that_policy_calls_restricted_takes_no_pod_that_is_not(guarded):
    await guarded.accept_policy(f'{guarded.apps()}\n[pod_security]\n"{guarded.namespace}" = "restricted"\n')

    refused = await refused_by(guarded, guarded.tool("deploy", app="docs", version="0.13.4"), "pods.drop-capabilities")

    assert "pods.run-as-non-root" in refused.text


@contextmanager
def _mutation(scenario, resource, spaces, expression, shown):
    """A mutating admission policy, which stands for a webhook. It takes a moment until a dry run shows it.

    Args:
        scenario: where.
        resource: group, resource and name of an object that is there.
        spaces: the namespaces that it is for; the object is in the first one.
        expression: what is added.
        shown: a word of it.
    """
    group, kind, one = resource
    probe = ("-n", spaces[0], "annotate", kind, one, "probe=x", "--dry-run=server", "-o", "json")
    name = scenario.fresh("adds")
    api = {"apiVersion": "admissionregistration.k8s.io/v1"}
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": [kind]}
    spec = {
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {
                "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(spaces)}]
            },
        },
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    objects = [
        api | {"kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        api | {"kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}},
    ]
    try:
        body = {"apiVersion": "v1", "kind": "List", "items": objects}
        scenario.kubectl("create", "-f", "-", stdin=json.dumps(body))
        deadline = time.monotonic() + 30
        while shown not in scenario.kubectl(*probe):
            assert time.monotonic() < deadline, "the mutation did not come into force"
        yield
    finally:
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            scenario.kubectl("delete", kind, name, "--ignore-not-found", check=False)


@pytest.mark.promise("effect.guarded")
async def test_what_the_api_server_would_add_is_judged_too(guarded):
    added = (
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{hostNetwork: true}}}}"
    )
    with _mutation(guarded, ("apps", "deployments", "docs"), [guarded.namespace], added, "hostNetwork"):
        await refused_by(guarded, guarded.tool("deploy", app="docs", version="0.13.4"), "pods.host-network")


@pytest.mark.promise("effect.guarded")
async def test_what_it_adds_to_an_object_of_a_namespace_that_was_just_made_is_not_written_unjudged(guarded):
    space = guarded.fresh("late")
    added = (
        "Object{metadata: Object.metadata{annotations: "
        '{"external-dns.alpha.kubernetes.io/hostname": "www.shop.example"}}}'
    )
    with _mutation(guarded, ("", "serviceaccounts", "default"), [guarded.namespace, space], added, "www.shop.example"):
        failed = await guarded.tool("provision_namespace", namespace=space, pull_secrets=["X"])

    assert not failed.ok, failed.text
    assert "not judged (hosts)" in failed.text
    account = guarded.live_object("serviceaccount", "default", space)
    assert account is None or "imagePullSecrets" not in account


LEASE = """\
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {{name: docs, namespace: {namespace}}}
spec: {{leaseDurationSeconds: 30}}
"""
LASTING = """
[apps.docs.settings.lasting]
at = "k8s/teams/lease.yaml#spec.leaseDurationSeconds"
type = "integer"
"""


@pytest.mark.promise("effect.guarded")
async def test_a_raw_manifest_of_a_kind_that_no_action_writes_is_refused_before_the_cluster_is_asked_for_it(guarded):
    owned = '[[owners]]\npaths = ["k8s/**"]\nowner = "docs"\n'
    guarded.manifest.with_name("lease.yaml").write_text(LEASE.format(namespace=guarded.namespace), encoding="utf-8")
    guarded.git("add", ".")
    guarded.git("commit", "-q", "-m", "A lease")
    await guarded.accept_policy(guarded.apps() + LASTING + owned)

    ask = guarded.tool("change", action="configure", arguments={"app": "docs", "settings": {"lasting": 60}})
    refused = await refused_by(guarded, ask, "effect.kinds")

    assert "writes no Lease" in refused.text
