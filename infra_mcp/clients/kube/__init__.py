"""The Kubernetes API: the only room that imports `kubernetes`, and lets none of it out."""

from infra_mcp.clients.kube.cluster import FIELD_MANAGER, Cluster
from infra_mcp.clients.kube.errors import Cause, KubeError

__all__ = ["FIELD_MANAGER", "Cause", "Cluster", "KubeError"]
