"""Finds the rights of the server's login that its role does not give, by SelfSubjectAccessReview."""

from __future__ import annotations

from functools import partial

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather

_RETRY_AFTER = 30.0  # seconds, when the rights could not be read
# Rights that the server's own role does not give: as text, and as verb, group and resource of all namespaces.
_BEYOND = {
    "read Secrets": ("get", "", "secrets"),
    "change workloads": ("patch", "apps", "deployments"),
    "change namespaces": ("patch", "", "namespaces"),
    "delete namespaces": ("delete", "", "namespaces"),
    "grant rights": ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    "act as anybody": ("impersonate", "", "users"),
}


async def excess_rights(cluster: Cluster) -> str:
    """The login's rights beyond the server's own role, in a sentence; empty without any. Waits for the cluster."""
    while True:
        try:
            if await cluster.may("*", "*", "*"):
                found = ["every right in the cluster"]
            else:
                allowed = await gather(partial(cluster.may, *asked) for asked in _BEYOND.values())
                found = [text for text, allows in zip(_BEYOND, allowed, strict=True) if allows]
        except (KubeError, InfraError):
            await anyio.sleep(_RETRY_AFTER)
            continue
        if not found:
            return ""
        what = f"The kubeconfig's login has more rights than the server's own role: {', '.join(found)}."
        return f"{what} Use the account that `infra-mcp rbac render` prints."
