"""Infrastructure repositories as people have them, generated: seeded, so that the same number gives the same files.

Namespaces with applications of a Deployment, a Service and a ConfigMap each, some with an Ingress, an autoscaler or a
disruption budget, beside folders that kustomize builds, values, and templates that are no YAML. Some applications are
delivered by others: HelmReleases below Flux's Kustomizations, a base with an overlay for each environment, charts with
Applications of Argo CD, and helmfiles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["files", "write"]

_APPS = (
    "api", "web", "worker", "cron", "search", "cache", "gateway", "billing", "mail", "auth", "media", "report", "sync",
    "queue", "import",
)  # fmt: skip
_TEAMS = ("atlas", "basil", "cedar", "delta", "ember", "fjord", "grove", "harbor", "iris", "juniper")

_DEPLOYMENT = """\
# {team}'s {app}. Alerts go to #{team}-oncall.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {app}
  namespace: {space}
  labels: &labels
    app.kubernetes.io/name: {app}
    app.kubernetes.io/part-of: {team}
    app.kubernetes.io/managed-by: platform
  annotations:
    example.org/owner: "{team}@example.org"
spec:
  replicas: {replicas}   # {team} asked for these
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: {app}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata:
      labels: *labels
    spec:
      serviceAccountName: default
      securityContext:
        runAsNonRoot: true
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: {app}
          image: registry.example/{team}/{app}:{version}  # bumped by release
          args: ["--listen=:8080", "--log-format=json"]
          ports:
            - name: http
              containerPort: 8080
          envFrom:
            - configMapRef: {{name: {app}}}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: DATABASE_HOST
              value: db.{space}.svc.cluster.local
          readinessProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 5
          livenessProbe:
            httpGet: {{path: /livez, port: http}}
            initialDelaySeconds: 10
          resources:
            requests: {{cpu: {cpu}m, memory: {memory}Mi}}
            limits:
              memory: {memory}Mi
"""
_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {app}
  namespace: {space}
  labels:
    app.kubernetes.io/name: {app}
spec:
  selector:
    app.kubernetes.io/name: {app}
  ports:
    - name: http
      port: 80
      targetPort: http
"""
_CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {app}
  namespace: {space}
data:
  LOG_LEVEL: info
  FEATURE_FLAGS: "dark-mode,new-search"
  application.yaml: |
    server:
      port: 8080
      timeout: {cpu}s
    upstream:
      - name: primary
        url: "http://{app}.{space}.svc:80"
      - name: fallback
        url: "http://{app}-fallback.{space}.svc:80"
  rules.json: |
    {{
      "rules": [{rules}
      ]
    }}
"""
_RULE = """
        {{"match": "^/v1/[a-z]+/{number}$", "limit": {number}, "window": "60s", "owner": "team@example.org"}}"""
_TEMPLATE = """\
apiVersion: v1
kind: Secret
metadata:
  name: {app}-login
  {{{{- with .Values.labels }}}}
  labels: {{{{ toYaml . | nindent 4 }}}}
  {{{{- end }}}}
"""
_INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {app}
  namespace: {space}
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: "/$1"
spec:
  ingressClassName: nginx
  rules:
    - host: {app}.{space}.example.org
      http:
        paths:
          - path: /(.*)
            pathType: ImplementationSpecific
            backend:
              service: {{name: {app}, port: {{name: http}}}}
"""
_SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {app}
  namespace: {space}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {app}}}
  minReplicas: {replicas}
  maxReplicas: 12
  metrics:
    - type: Resource
      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 70}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {app}
  namespace: {space}
spec:
  minAvailable: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: {app}}}
"""
_NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {space}\n  labels: {{team: {team}}}\n"
_BUILT = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {space}
resources:
  - deployment.yaml
  - service.yaml
images:
  - name: registry.example/{team}/{app}
    newTag: {version}
"""
_CHART = "replicaCount: {replicas}\nimage:\n  repository: registry.example/{team}/{app}\n  tag: {version}\n"
_FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {app}-{space}
  namespace: flux-system
spec:
  interval: 1h
  path: ./{space}/{app}/app
  targetNamespace: {space}
  prune: true
  sourceRef: {{kind: GitRepository, name: flux-system}}
"""
_LISTED = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - helmrelease.yaml
  - source.yaml
"""
_RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {app}
spec:
  interval: 1h
  chartRef:
    kind: OCIRepository
    name: {app}
  values:
    controllers:
      {app}:
        containers:
          app:
            image:
              repository: registry.example/{team}/{app}
              tag: {version}
            env:
              TZ: Europe/Berlin
              LEVEL: &level info
              INNER_LEVEL: *level
            resources:
              requests: {{cpu: {cpu}m}}
              limits: {{memory: {memory}Mi}}
    service:
      app:
        controller: {app}
        ports: {{http: {{port: 8080}}}}
"""
_SOURCE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata:
  name: {app}
spec:
  interval: 1h
  url: oci://registry.example/charts/app
  ref:
    tag: {chart}
"""
_BASE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - deployment.yaml
  - service.yaml
"""
_OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {space}-{environment}
resources:
  - ../../base
patches:
  - path: replicas.yaml
images:
  - name: registry.example/{team}/{app}
    newTag: {version}
"""
_REPLICAS = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {app}
  namespace: {space}
spec:
  replicas: {replicas}
"""
_CHART_YAML = """\
apiVersion: v2
name: {space}-{app}
version: 0.1.0
appVersion: "{version}"
dependencies:
  - name: app
    version: {chart}
    repository: oci://registry.example/charts
"""
_APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: {space}-{app}-{environment}
  namespace: argocd
spec:
  project: {team}
  destination: {{name: {environment}, namespace: {space}}}
  source:
    repoURL: https://git.example.org/estate.git
    path: {space}/{app}/chart
    targetRevision: main
    helm:
      valueFiles: [values.yaml, values-{environment}.yaml]
"""
_HELMFILE = """\
repositories:
  - name: shared
    url: registry.example/charts
    oci: true
releases:
  - name: {app}
    namespace: {space}
    chart: shared/app
    version: {chart}
    values:
      - values.yaml
"""
_ENVIRONMENTS = ("staging", "production")


def files(count: int, seed: int = 1) -> dict[str, str]:
    """So many YAML files, by path."""
    return dict(islice(_endless(random.Random(seed)), count))


def write(root: Path, count: int) -> None:
    """Write so many files below a folder."""
    for path, text in files(count).items():
        at = root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text, encoding="utf-8")


def _endless(chance: random.Random) -> Iterator[tuple[str, str]]:
    number = 0
    while True:
        team = _TEAMS[number % len(_TEAMS)]
        space = f"{team}-{number // len(_TEAMS)}"
        number += 1
        yield f"{space}/namespace.yaml", _NAMESPACE.format(space=space, team=team)
        for app in chance.sample(_APPS, chance.randint(2, 9)):
            known = {
                "app": app, "space": space, "team": team, "replicas": chance.randint(1, 5),
                "version": f"{chance.randint(0, 9)}.{chance.randint(0, 40)}.{chance.randint(0, 9)}",
                "cpu": chance.choice((50, 100, 250)), "memory": chance.choice((64, 128, 512)),
                "rules": ",".join(_RULE.format(number=at) for at in range(chance.randint(2, 30))),
            }  # fmt: skip
            known["chart"] = f"{chance.randint(1, 5)}.{chance.randint(0, 20)}.0"
            kinds = {"deployment": _DEPLOYMENT, "service": _SERVICE}
            sort = chance.random()
            if (others := _others(chance.random(), known)) is not None:
                yield from ((f"{space}/{app}/{path}", text) for path, text in others.items())
                continue
            if sort < 0.1:
                kinds["kustomization"] = _BUILT
            elif sort < 0.2:
                kinds = {"values": _CHART, "template": _TEMPLATE}  # the template is no YAML
            else:
                kinds["configmap"] = _CONFIG
            if sort > 0.6:
                kinds["ingress"] = _INGRESS
            if sort > 0.8:
                kinds["scaling"] = _SCALER
            for kind, text in kinds.items():
                yield f"{space}/{app}/{kind}.yaml", text.format(**known)


def _others(sort: float, known: dict[str, Any]) -> dict[str, str] | None:
    """The files of an application that others deliver, below its folder; None for one of plain manifests."""
    if sort < 0.15:
        return _filled(
            known,
            {
                "ks.yaml": _FLUX,
                "app/kustomization.yaml": _LISTED,
                "app/helmrelease.yaml": _RELEASE,
                "app/source.yaml": _SOURCE,
            },
        )
    if sort < 0.27:
        base = {"kustomization": _BASE, "deployment": _DEPLOYMENT, "service": _SERVICE}
        made = _filled(known, {f"base/{kind}.yaml": text for kind, text in base.items()})
        for environment in _ENVIRONMENTS:
            texts = {"kustomization": _OVERLAY, "replicas": _REPLICAS}
            below = f"overlays/{environment}"
            made |= _filled(
                known | {"environment": environment}, {f"{below}/{kind}.yaml": text for kind, text in texts.items()}
            )
        return made
    if sort < 0.37:
        made = _filled(known, {"chart/Chart.yaml": _CHART_YAML, "chart/values.yaml": _CHART})
        for environment in _ENVIRONMENTS:
            texts = {f"chart/values-{environment}.yaml": _CHART, f"application-{environment}.yaml": _APPLICATION}
            made |= _filled(known | {"environment": environment}, texts)
        return made
    return _filled(known, {"helmfile.yaml": _HELMFILE, "values.yaml": _CHART}) if sort < 0.4 else None


def _filled(known: dict[str, Any], texts: dict[str, str]) -> dict[str, str]:
    return {path: text.format(**known) for path, text in texts.items()}
