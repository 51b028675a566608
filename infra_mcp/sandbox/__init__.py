"""A real control plane on this machine, for the demo and the tests: etcd, API server, controllers, simulated pods."""

from infra_mcp.binaries.progress import Progress
from infra_mcp.sandbox.binaries import Source
from infra_mcp.sandbox.clusters import Status, down, status, status_of, up

__all__ = ["Progress", "Source", "Status", "down", "status", "status_of", "up"]
