"""Files that kustomize builds: a small app, and a tree with every way in which a kustomization names a file."""

from __future__ import annotations

import json
import textwrap

from infra_mcp.repository.builds import View

__all__ = ["APP", "TREE", "WEB", "view"]

_WORKLOAD = """
apiVersion: apps/v1
kind: {kind}
metadata:
  name: {name}
spec:
  replicas: 1
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
      - name: main
        image: registry.example/{name}:1.0
        envFrom:
        - configMapRef: {{name: settings}}
"""
_SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector: {{app: {name}}}\n"
_PLUGIN = "apiVersion: builtin\nkind: {kind}\nmetadata:\n  name: x\n"

_TEXTS = {
    "app/kustomization.yaml": """
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        namespace: shop
        buildMetadata: [originAnnotations]
        resources: [extra.yaml, ../base, web.yaml]
        components: [../parts/scaled]
        crds: [crd.json]
        configurations: [names.yaml]
        openapi: {path: schema.json}
        images: [{name: registry.example/web, newTag: "2.0"}]
        labels: [{pairs: {team: shop}, includeSelectors: true}]
        patches:
        - path: patch.yaml
        - target: {kind: Service, name: extra}
          patch: |
            - {op: add, path: /spec/type, value: NodePort}
        patchesJson6902:
        - target: {version: v1, kind: Service, name: web}
          path: patch.json
        patchesStrategicMerge:
        - merge.yaml
        - |
          apiVersion: v1
          kind: Service
          metadata: {name: web}
          spec: {sessionAffinity: ClientIP}
        replacements: [{path: replace.yaml}]
        configMapGenerator:
        - {name: files, files: [plain.txt, key=deep/named.txt]}
        - {name: variables, envs: [a.env], literals: [c=3]}
        - {name: old, env: b.env}
        secretGenerator:
        - {name: secret, files: [password], envs: [secret.env]}
        generators:
        - make.yaml
        - ../generators
        transformers:
        - change.yaml
        - |
          apiVersion: builtin
          kind: PatchTransformer
          metadata: {name: inline}
          path: of-inline.yaml
          target: {kind: Service}
        """,
    "app/extra.yaml": _SERVICE.format(name="extra"),
    "app/web.yaml": _SERVICE.format(name="web"),
    "app/patch.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec: {minReadySeconds: 7}
        """,
    "app/patch.json": json.dumps([{"op": "add", "path": "/metadata/annotations", "value": {"by": "json"}}]),
    "app/merge.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec: {revisionHistoryLimit: 3}
        """,
    "app/replace.yaml": """
        source: {kind: Deployment, name: web, fieldPath: metadata.name}
        targets:
        - select: {kind: Service, name: extra}
          fieldPaths: [spec.selector.replaced]
          options: {create: true}
        """,
    "app/plain.txt": "plain\n",
    "app/deep/named.txt": "named\n",
    "app/a.env": "A=1\n",
    "app/b.env": "B=2\n",
    "app/password": "made-up\n",
    "app/secret.env": "KEY=made-up-too\n",
    "app/of-inline.yaml": "- {op: add, path: /spec/publishNotReadyAddresses, value: true}\n",
    "app/make.yaml": _PLUGIN.format(kind="ConfigMapGenerator").replace("x", "made")
    + "files: [made.txt]\nenvs: [made.env]\n",
    "app/made.txt": "made\n",
    "app/made.env": "MADE=yes\n",
    "app/change.yaml": (
        _PLUGIN.format(kind="PatchStrategicMergeTransformer")
        + "paths: [sm.yaml]\n---\n"
        + _PLUGIN.format(kind="PatchJson6902Transformer")
        + "target: {version: v1, kind: Service, name: extra}\npath: op.json\n---\n"
        + _PLUGIN.format(kind="PrefixSuffixTransformer")
        + "suffix: -x\nfieldSpecs: [{path: metadata/name, kind: Service}]\n"
    ),
    "app/sm.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec: {progressDeadlineSeconds: 99}
        """,
    "app/op.json": json.dumps([{"op": "add", "path": "/spec/externalName", "value": "example.org"}]),
    "app/names.yaml": "namePrefix:\n- {path: metadata/name, kind: Thing}\n",
    "app/crd.json": json.dumps({"v1.Thing": {"Schema": {"description": "a thing"}}}),
    "app/schema.json": json.dumps({"definitions": {}}),
    "base/kustomization.yml": """
        resources: [workload.yaml, ../beside]
        configMapGenerator: [{name: settings, files: [settings.txt]}]
        """,
    "base/workload.yaml": _WORKLOAD.format(kind="Deployment", name="web"),
    "base/settings.txt": "colour\n",
    "beside/Kustomization": "resources: [store.yaml]\n",
    "beside/store.yaml": _WORKLOAD.format(kind="StatefulSet", name="store"),
    "parts/scaled/kustomization.yaml": """
        apiVersion: kustomize.config.k8s.io/v1alpha1
        kind: Component
        patches: [{path: replicas.yaml}]
        """,
    "parts/scaled/replicas.yaml": """
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: store}
        spec: {replicas: 5}
        """,
    # What a plugin names is taken from the folder of the kustomization that uses it, here app.
    "generators/kustomization.yaml": "resources: [more.yaml]\n",
    "generators/more.yaml": _PLUGIN.format(kind="SecretGenerator").replace("x", "more") + "files: [more.txt]\n",
    "app/more.txt": "more\n",
}
TREE = {path: textwrap.dedent(text).encode() for path, text in _TEXTS.items()}

# A small app with an overlay, and what a build of such files reads.
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: registry.example/web:1.0, envFrom: [{configMapRef: {name: settings}}]}]
"""
APP = {
    "base/kustomization.yaml": "resources: [web.yaml]\nconfigMapGenerator: [{name: settings, envs: [settings.env]}]\n",
    "base/web.yaml": WEB,
    "base/settings.env": "COLOUR=red\n",
    "prod/kustomization.yaml": (
        "resources: [../base]\nnamespace: web-prod\nimages: [{name: registry.example/web, newTag: '2.0'}]\n"
    ),
}


def view(files, links=None):
    """What a build may read: these files, as text or bytes."""
    data = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
    return View(data.get, data.keys(), links or {})
