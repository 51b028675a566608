"""What all scenarios of a test session stand on: the admin's part, done once on the session's control plane.

Every name that is not of a single namespace carries the session's own suffix, so that several sessions can share one
control plane and none meets the other's rights, fences or credentials.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from e2e.api import Api

from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render

__all__ = ["CLUSTER", "ClusterSetup", "suffix"]

CLUSTER = "sandbox"
_ALPHABET = "bcdfghjkmnpqrstvwxz0123456789"  # no vowels: no words

_POLICY = """\
[tree]
branch = "main"
new = "{{root}}/{{namespace}}/{{kind}}-{{name}}.yaml"

[[tree.roots]]
path = "k8s"

[clusters.sandbox]
context = "{context}"
service_accounts = "{accounts}"

[circles.docs]
namespaces = ["docs-*"]
actions = ["provision_namespace", "deploy", "restart", "scale", "configure", "rollback", "change_set"]
pull_secrets = ["X"]
images = ["registry.example/docs/*"]
labels = ["team", "turn"]
limits = {{ replicas = 10, cpu = "20", memory = "40Gi" }}

[circles.shop]
namespaces = ["shop-*"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["Y"]
images = ["registry.example/shop/*"]

[circles.charts]
namespaces = ["charts-*"]
actions = ["provision_namespace", "deploy", "configure", "rollback", "helm_release", "change_set"]
images = ["registry.example/charts/*"]
helm = ["charts-*"]
limits = {{ replicas = 10, cpu = "20", memory = "40Gi" }}
allow = ["kinds.secrets", "objects.own"]
kinds = ["Service", "ConfigMap", "Secret", "ServiceAccount", "Pod", "apps/Deployment", "batch/Job"]

[pull_secrets.X]
from = "{sources}/registry-x"

[pull_secrets.Y]
from = "{sources}/registry-y"
"""


def suffix() -> str:
    """Six characters that no other test has."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(6))


@dataclass
class ClusterSetup:
    """The session's control plane with rights, fences and source secrets on it.

    Args:
        kubectl: the binary.
        kubeconfig: of the admin.
        context: the context in it; the server's own kubeconfig calls it the same.
        home: a folder for the session's files.
    """

    kubectl: Path
    kubeconfig: Path
    context: str
    home: Path
    name: str = field(default_factory=suffix)
    secrets: dict[str, str] = field(default_factory=dict)  # what must be seen nowhere, by pull secret
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = Api(self.kubeconfig, self.context)

    @property
    def accounts(self) -> str:
        """The namespace of the peer's service accounts."""
        return f"infra-mcp-{self.name}"

    @property
    def sources(self) -> str:
        """The namespace of the pull secrets' sources."""
        return f"sources-{self.name}"

    @property
    def server_config(self) -> Path:
        """The kubeconfig with the server's own token, and nothing else."""
        return self.home / "server.kubeconfig"

    def policy(self, more: str = "") -> str:
        """The text of infra.toml: circles and pull secrets as the session's rights say, and more sections."""
        text = _POLICY.format(context=self.context, accounts=self.accounts, sources=self.sources)
        return f"{text}\n{more}"

    def run(self, *words: str | Path, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the admin."""
        argv = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), "--context", self.context, *map(str, words)]
        how = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, **how)
        assert not check or done.returncode == 0, f"kubectl {' '.join(map(str, words))}: {done.stderr}"
        return done

    def apply(self, objects: list[dict[str, Any]]) -> None:
        """Server-side apply, as admins do with what is rendered for them."""
        self.api.apply(objects)

    def bindings(self, *namespaces: str) -> list[dict[str, Any]]:
        """What `infra-mcp rbac render --namespaces` adds for namespaces that were there before."""
        rendered = render(load(self.policy()), CLUSTER, namespaces)
        return [one for one in rendered if one["metadata"].get("namespace") in namespaces]

    def prepare(self) -> None:
        """Apply rights and sources, and give the server its token."""
        self.apply([_namespace(self.sources), *(self._source(name) for name in ("x", "y"))])
        self.apply(render(load(self.policy()), CLUSTER))
        token = self.run("-n", self.accounts, "create", "token", "server", "--duration", "12h").stdout.strip()
        view = self.run("config", "view", "--raw", "--minify", "-o", "json").stdout
        config = json.loads(view)
        cluster = config["clusters"][0]
        for kind in ("certificate-authority",):
            if kind in cluster["cluster"]:
                data = Path(self.kubeconfig.parent, cluster["cluster"].pop(kind)).read_bytes()
                cluster["cluster"][f"{kind}-data"] = base64.b64encode(data).decode()
        config["users"] = [{"name": "infra-mcp", "user": {"token": token}}]
        config["contexts"] = [{"name": self.context, "context": {"cluster": cluster["name"], "user": "infra-mcp"}}]
        config["current-context"] = ""
        handle = os.open(self.server_config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(yaml.safe_dump(config))

    def _source(self, name: str) -> dict[str, Any]:
        password = secrets.token_urlsafe(18)
        login = base64.b64encode(f"robot:{password}".encode()).decode()
        content = json.dumps({"auths": {"registry.example": {"auth": login}}})
        self.secrets[name.upper()] = password
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"registry-{name}", "namespace": self.sources},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
        }

    def leave(self) -> None:
        """Take away what `prepare` made. Deletion goes on in the background."""
        rendered = render(load(self.policy()), CLUSTER)
        objects = [one for one in rendered if not one["metadata"].get("namespace")] + [_namespace(self.sources)]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.run("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=text, check=False)
        self.api.close()


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
