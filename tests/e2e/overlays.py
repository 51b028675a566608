"""A scenario whose app is built by kustomize: a base, and an overlay each for staging and production."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.scenario import Scenario

__all__ = ["POLICY", "Overlays"]

POLICY = """\
[apps.docs]
owner = "docs"
image = "registry.example/docs/site:{{version}}"
grace = "1s"
timeout = "30s"

[apps.docs.environments.staging]
at = ["k8s/docs/overlays/staging"]
namespace = "{staging}"

[apps.docs.environments.production]
at = ["k8s/docs/overlays/production"]
namespace = "{production}"

[apps.docs.settings.title]
at = ["k8s/docs/overlays/production/config.json#title"]
type = "string"
pattern = '[A-Za-z0-9 .,-]{{1,40}}'

[apps.docs.settings.memory]
at = ["k8s/docs/overlays/production/memory.yaml#spec.template.spec.containers[name=site].resources.limits.memory"]
type = "quantity"
max = "1Gi"

[apps.docs.settings.proxy]
at = ["k8s/docs/overlays/production/kustomization.yaml#images[name=registry.example/docs/proxy].newTag"]
type = "string"
pattern = '[A-Za-z0-9 .,-]{{1,40}}'

[apps.docs.settings.color]
at = ["k8s/docs/base/docs.yaml#data.color"]
type = "string"
pattern = '[A-Za-z0-9 .,-]{{1,40}}'
"""

_FILES = {
    "base/kustomization.yaml": """
        # what every environment has
        resources: [deployment.yaml, service.yaml, docs.yaml]
        configMapGenerator:
          - name: docs-config
            files: [config.json]
            literals: [GREETING=hello]
        """,
    "base/config.json": '{"title": "Docs"}\n',
    "base/deployment.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: docs
        spec:
          replicas: 2   # two, so that a node may go
          selector:
            matchLabels: {app: docs}
          template:
            metadata:
              labels: {app: docs}
            spec:
              containers:
                - name: site
                  image: registry.example/docs/site:1.0.0
                  envFrom:
                    - configMapRef: {name: docs-config}
                  resources:
                    requests: {cpu: 50m, memory: 64Mi}
                - name: proxy
                  image: registry.example/docs/proxy:7
        """,
    "base/service.yaml": """
        apiVersion: v1
        kind: Service
        metadata: {name: docs}
        spec:
          selector: {app: docs}
          ports: [{port: 80, targetPort: 8080}]
        """,
    "base/docs.yaml": """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: plain}
        data: {color: blue}
        """,
    "components/spread/kustomization.yaml": """
        apiVersion: kustomize.config.k8s.io/v1alpha1
        kind: Component
        patches:
          - target: {kind: Deployment, name: docs}
            patch: |
              - {op: add, path: /spec/template/spec/containers/0/env, value: [{name: SPREAD, value: "yes"}]}
        """,
    "overlays/staging/kustomization.yaml": """
        namespace: {staging}
        resources: [../../base]
        images:
          - name: registry.example/docs/site
            newTag: 1.1.0   # staging goes first
        """,
    "overlays/production/kustomization.yaml": """
        namespace: {production}
        namePrefix: live-
        resources: [../../base]
        components: [../../components/spread]
        images:
          # pinned by hand after the incident
          - name: registry.example/docs/site
            newTag: 1.0.1
          - name: registry.example/docs/proxy
            newTag: "7"
        configMapGenerator:
          - name: docs-config
            behavior: merge
            files: [config.json]
        replicas:
          - name: docs
            count: 3
        patches:
          - path: memory.yaml
        """,
    "overlays/production/config.json": '{"title": "Docs, live"}\n',
    "overlays/production/memory.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: docs}
        spec:
          template:
            spec:
              containers:
                - name: site
                  resources:
                    limits: {memory: 128Mi}
        """,
}


@dataclass
class Overlays(Scenario):
    """See the module. `changed` replaces files of the app's folder, by their paths in it."""

    changed: tuple[tuple[str, str], ...] = ()

    @property
    def staging(self) -> str:
        """The namespace of the staging overlay."""
        return self.fresh("staging")

    @property
    def production(self) -> str:
        """The namespace of the production overlay."""
        return self.fresh("live")

    @property
    def manifest(self) -> Path:
        """The base's workload."""
        return self.file("base/deployment.yaml")

    def file(self, path: str) -> Path:
        """A file of the app's folder."""
        return self.repo / "k8s" / "docs" / path

    def apps(self, grace: str = "1s") -> str:
        """The app catalogue's sections of this scenario."""
        return POLICY.format(staging=self.staging, production=self.production).replace('"1s"', f'"{grace}"')

    def write_files(self) -> None:
        """Write the files of the app."""
        for path, given in {**_FILES, **dict(self.changed)}.items():
            file = self.file(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = textwrap.dedent(given).lstrip("\n").replace("{staging}", self.staging)
            file.write_text(text.replace("{production}", self.production), encoding="utf-8")

    def roll_out(self) -> None:
        """Apply both overlays as people do, and wait until they run."""
        for space, overlay, name in (
            (self.staging, "staging", "docs"),
            (self.production, "production", "live-docs"),
        ):
            self.kubectl("create", "namespace", space)
            self.cluster_setup.apply(self.cluster_setup.bindings(space))
            self.kubectl("apply", "-k", self.file(f"overlays/{overlay}"))
            self.kubectl("-n", space, "rollout", "status", f"deployment/{name}", "--timeout=60s")

    def workload(self, environment: str) -> dict[str, Any]:
        """The live workload of one environment."""
        staging = environment == "staging"
        name, space = ("docs", self.staging) if staging else ("live-docs", self.production)
        found = self.live_object("deployment", name, space)
        assert found is not None
        return found

    def site(self, environment: str) -> str:
        """The image of the app's own container in one environment."""
        (one,) = (
            item
            for item in self.workload(environment)["spec"]["template"]["spec"]["containers"]
            if item["name"] == "site"
        )
        return str(one["image"])
