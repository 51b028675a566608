"""The API of a control plane, over a connection that stays: each start of kubectl computes for a tenth of a second.

For what tests do again and again. Not the product's client, so that what a test sees is not seen with what it tests.
"""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from typing import Any

import httpx2
import yaml

__all__ = ["Api"]

_VERSIONS = {
    "apps/v1": ("DaemonSet", "Deployment", "StatefulSet"),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
    "v1": ("ConfigMap", "LimitRange", "Namespace", "Pod", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
}
_OF = {kind.lower(): version for version, kinds in _VERSIONS.items() for kind in kinds}


class Api:
    """The API of a control plane.

    Args:
        kubeconfig: with a client certificate, in files beside it.
        context: the context in it.
    """

    def __init__(self, kubeconfig: Path, context: str) -> None:
        config, folder = yaml.safe_load(kubeconfig.read_text(encoding="utf-8")), kubeconfig.parent
        named = {one["name"]: one["context"] for one in config["contexts"]}[context]
        cluster = {one["name"]: one["cluster"] for one in config["clusters"]}[named["cluster"]]
        user = {one["name"]: one["user"] for one in config["users"]}[named["user"]]
        login = ssl.create_default_context(cafile=folder / cluster["certificate-authority"])
        login.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
        self._http = httpx2.Client(base_url=cluster["server"], verify=login, timeout=60.0, trust_env=False)

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def get(self, kind: str, name: str, namespace: str | None, version: str = "") -> dict[str, Any] | None:
        """An object with its managed fields; None where it is not there.

        Args:
            kind: in any case.
            name: of the object.
            namespace: None for an object of the cluster's.
            version: the apiVersion; may be left out for the kinds above.
        """
        answer = self._http.get(_path(version or _OF[kind.lower()], kind, name, namespace))
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        return dict(_good(answer))

    def apply(self, objects: list[dict[str, Any]]) -> None:
        """Server-side apply, by force, as `kubectl apply --server-side --force-conflicts` does."""
        for one in objects:
            meta = one["metadata"]
            path = _path(one["apiVersion"], one["kind"], meta["name"], meta.get("namespace"))
            params = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"}
            headers = {"Content-Type": "application/apply-patch+yaml"}
            _good(self._http.patch(path, content=json.dumps(one), params=params, headers=headers))

    def set_status(self, live: dict[str, Any], **status: Any) -> None:
        """Set fields of an object's status, as its controller does."""
        meta = live["metadata"]
        path = _path(live["apiVersion"], live["kind"], meta["name"], meta.get("namespace"))
        headers = {"Content-Type": "application/merge-patch+json"}
        _good(self._http.patch(f"{path}/status", content=json.dumps({"status": status}), headers=headers))

    def namespaces(self) -> list[str]:
        """Their names."""
        return [one["metadata"]["name"] for one in _good(self._http.get("/api/v1/namespaces"))["items"]]

    def delete_namespace(self, name: str) -> None:
        """Have a namespace deleted, which goes on in the background."""
        answer = self._http.delete(f"/api/v1/namespaces/{name}")
        if answer.status_code not in {httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT}:
            _good(answer)

    def rolled_out(self, name: str, namespace: str, seconds: float = 60.0) -> None:
        """Wait until a Deployment is, as `kubectl rollout status` does."""
        until = time.monotonic() + seconds
        while True:
            live = self.get("Deployment", name, namespace) or {"spec": {}, "metadata": {}}
            status, wanted = live.get("status", {}), live["spec"].get("replicas")
            seen = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 1)
            counts = [status.get(one, 0) for one in ("updatedReplicas", "replicas", "availableReplicas")]
            if seen and counts == [wanted] * 3:
                return
            assert time.monotonic() < until, f"{name} in {namespace} is not rolled out: {status}"
            time.sleep(0.05)


def _path(version: str, kind: str, name: str, namespace: str | None) -> str:
    kind = kind.lower()
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + ("es" if kind.endswith("s") else "s")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}/{name}" if namespace else f"{root}/{plural}/{name}"


def _good(answer: httpx2.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json()
